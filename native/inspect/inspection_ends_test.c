/* SPDX-License-Identifier: MIT */
#include "inspect/inspection_test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/inspection-ends-test-XXXXXX";

static void a_job_of_a_shell_is_found(void **state)
{
	struct obstacle_maker maker = start_in(false, make_nothing);
	struct inspection_options options = strict;

	(void)state;
	assert_true(is_only(maker.pid, OBSTACLE_SESSION, &options));
	options.shell_job = true;
	assert_false(is_only(maker.pid, OBSTACLE_SESSION, &options));
	end(maker.pid);
}

static int master = -1;

static bool make_terminal(void)
{
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);

	return slave >= 0 && !close(master);
}

static bool make_both_ends_of_a_terminal(void)
{
	return open(ptsname(master), O_RDWR | O_NOCTTY) >= 0;
}

static void a_terminal_of_a_program_outside_is_found(void **state)
{
	struct inspection_options options = strict;
	struct obstacle_maker maker;

	(void)state;
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) || unlockpt(master))
		skip();
	maker = start(make_terminal);
	assert_true(maker.possible);
	assert_true(is_only(maker.pid, OBSTACLE_TERMINAL, &options));
	options.shell_job = true;
	assert_false(is_only(maker.pid, OBSTACLE_TERMINAL, &options));
	end(maker.pid);
	maker = start(make_both_ends_of_a_terminal);
	assert_true(maker.possible);
	assert_false(is_only(maker.pid, OBSTACLE_TERMINAL, &strict));
	end(maker.pid);
	close(master);
}

static int open_lock_file(void)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), "%s/lock", folder);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unlink(path);
	return file;
}

static bool make_whole_file_lock(void)
{
	return !flock(open_lock_file(), LOCK_EX);
}

static bool make_record_lock(void)
{
	struct flock part = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

	return !fcntl(open_lock_file(), F_SETLK, &part);
}

static void a_file_lock_is_found(void **state)
{
	static bool (*const makers[])(void) = {make_whole_file_lock, make_record_lock};
	struct inspection_options options = strict;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct obstacle_maker maker = start(makers[i]);

		assert_true(maker.possible);
		options.file_locks = false;
		assert_true(is_only(maker.pid, OBSTACLE_FILE_LOCK, &options));
		options.file_locks = true;
		assert_false(is_only(maker.pid, OBSTACLE_FILE_LOCK, &options));
		end(maker.pid);
	}
}

static int ends[2];

static bool keep_one_end(void)
{
	return !close(ends[0]);
}

static bool make_both_ends(void)
{
	int pair[2];

	return !socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
}

/* Is it found of a process that has one end of a pair of that type? */
static bool is_one_end_found(int type, const struct inspection_options *options)
{
	struct obstacle_maker maker;
	bool found;

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
	maker = start(keep_one_end);
	assert_true(maker.possible);
	close(ends[1]);
	found = is_only(maker.pid, OBSTACLE_UNIX_SOCKET, options);
	end(maker.pid);
	close(ends[0]);
	return found;
}

static void a_unix_socket_to_outside_is_found(void **state)
{
	struct inspection_options options = strict;
	struct obstacle_maker maker = start(make_both_ends);

	(void)state;
	assert_true(maker.possible);
	assert_false(is_only(maker.pid, OBSTACLE_UNIX_SOCKET, &options));
	end(maker.pid);
	assert_true(is_one_end_found(SOCK_STREAM, &options));
	assert_true(is_one_end_found(SOCK_DGRAM, &options));
	options.datagrams = true;
	assert_true(is_one_end_found(SOCK_STREAM, &options));
	assert_false(is_one_end_found(SOCK_DGRAM, &options));
	options.unix_sockets = true;
	assert_false(is_one_end_found(SOCK_STREAM, &options));
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_of_a_shell_is_found),
		cmocka_unit_test(a_terminal_of_a_program_outside_is_found),
		cmocka_unit_test(a_file_lock_is_found),
		cmocka_unit_test(a_unix_socket_to_outside_is_found),
	};

	close_what_is_inherited();
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
