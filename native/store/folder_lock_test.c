/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/checkpoint_folder.h"
#include "store/folder_lock.h"
#include "store/image_test_support.h"

static void one_dump_or_several_restores(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	bool changed;
	int dump, restore, other;
	char own[64];

	dump = folder_lock(fixture->folder, false, &error);
	assert_true(dump >= 0);
	assert_int_equal(folder_lock(fixture->folder, false, &error), -EBUSY);
	snprintf(own, sizeof(own), "process %d (folder_lock_tes", getpid());
	assert_non_null(strstr(error.text, own));
	assert_int_equal(checkpoint_folder_share(fixture->folder, &changed, &error), -EBUSY);
	folder_unlock(dump);
	restore = folder_lock(fixture->folder, true, &error);
	other = checkpoint_folder_share(fixture->folder, &changed, &error);
	assert_true(restore >= 0 && other >= 0);
	assert_int_equal(folder_lock(fixture->folder, false, &error), -EBUSY);
	folder_unlock(restore);
	assert_int_equal(folder_lock(fixture->folder, false, &error), -EBUSY);
	folder_unlock(other);
	dump = folder_lock(fixture->folder, false, &error);
	assert_int_equal(folder_lock_share(dump, &error), 0);
	other = folder_lock(fixture->folder, true, &error);
	assert_true(other >= 0);
	folder_unlock(other);
	folder_unlock(dump);
}

/* The pool holds the lock on when criu has died. */
static void a_duplicate_holds_the_lock(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int lock = folder_lock(fixture->folder, false, &error), pool = dup(lock);
	pid_t child;

	close(lock);
	assert_int_equal(folder_lock(fixture->folder, false, &error), -EBUSY);
	close(pool);
	/* Taken by a process that has ended. */
	pool = openat(fixture->folder, ".", O_RDONLY | O_DIRECTORY);
	child = fork();
	if (child == 0)
		_exit(flock(pool, LOCK_EX));
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(folder_lock(fixture->folder, false, &error), -EBUSY);
	assert_non_null(strstr(error.text, "whose criu has ended"));
	close(pool);
	lock = folder_lock(fixture->folder, false, &error);
	assert_true(lock >= 0);
	folder_unlock(lock);
}

/* Whoever may read the folder may lock it; that is no run. */
static void another_user_keeps_nobody_out(void **state)
{
	struct folder_fixture *fixture = *state;
	int ends[2], lock, other, status;
	struct error_text error;
	char byte;

	if (geteuid())
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	other = openat(fixture->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!fork()) {
		close(ends[0]);
		if (setgid(65534) || setuid(65534) || flock(other, LOCK_EX | LOCK_NB) || write(ends[1], "l", 1) != 1)
			_exit(1);
		_exit(read(ends[1], &byte, 1) != 0);
	}
	close(ends[1]);
	close(other);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	lock = folder_lock(fixture->folder, false, &error);
	assert_true(lock >= 0);
	folder_unlock(lock);
	lock = folder_lock(fixture->folder, true, &error);
	assert_true(lock >= 0);
	assert_int_equal(folder_lock_share(lock, &error), 0);
	folder_unlock(lock);
	close(ends[0]);
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(one_dump_or_several_restores),
		FOLDER_TEST(a_duplicate_holds_the_lock),
		FOLDER_TEST(another_user_keeps_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
