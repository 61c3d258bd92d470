/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "plugin/failure_report.h"
#include "plugin/pool_connection.h"
#include "plugin/pool_start.h"
#include "protocol/message_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * This program is its own pool: started with a pool's arguments it answers as the environment variable FAKE_POOL says.
 * The reply to QUERY carries what the test wants to know about the new process.
 */

static unsigned int open_descriptors(void)
{
	unsigned int count = 0;
	DIR *folder = opendir("/proc/self/fd");

	while (readdir(folder))
		count++;
	closedir(folder);
	return count - 3; /* . and .. and the folder itself */
}

static int serve(int socket)
{
	const char *behaviour = getenv("FAKE_POOL");
	struct pool_request request;

	while (message_receive(socket, &request, sizeof(request), NULL, NULL, -1) == (ssize_t)sizeof(request)) {
		struct pool_reply reply = {.version = POOL_PROTOCOL_VERSION};
		sigset_t blocked;

		if (behaviour && !strcmp(behaviour, "die"))
			raise(SIGKILL);
		if (behaviour && !strcmp(behaviour, "hang"))
			pause();
		if (behaviour && !strcmp(behaviour, "refuse")) {
			reply.result = -EIO;
			snprintf(reply.error.text, sizeof(reply.error.text), "the device is on fire: pour water");
		}
		sigprocmask(SIG_SETMASK, NULL, &blocked);
		reply.status.pid = getpid();
		reply.status.contexts = open_descriptors();
		reply.status.runs = (unsigned int)sigismember(&blocked, SIGUSR1);
		if (message_send(socket, &reply, sizeof(reply), NULL, 0))
			return 1;
		if (request.type == POOL_STOP)
			return 0;
	}
	return 0;
}

static int listen_and_serve(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	int client;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	usleep(50000); /* so that the client has to wait for us */
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 5))
		return errno == EADDRINUSE ? 0 : 1;
	client = accept(listener, NULL, NULL);
	return client < 0 ? 1 : serve(client);
}

static char folder[64];
static int work_folder;
static struct settings settings;

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/pool-connection-test-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	work_folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(&settings, 0, sizeof(settings));
	settings.timeout_seconds = 20;
	settings.idle_seconds = 1;
	snprintf(settings.pool_socket, sizeof(settings.pool_socket), "%s/pool.sock", folder);
	if (!realpath("/proc/self/exe", settings.pool_program))
		return -1;
	unsetenv("FAKE_POOL");
	return work_folder < 0;
}

static int remove_folder(void **state)
{
	static const char *const names[] = {"pool.sock", "rekindled.log", "stats-rekindle.json"};

	(void)state;
	for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++)
		unlinkat(work_folder, names[index], 0);
	close(work_folder);
	return rmdir(folder);
}

static int ask(struct pool_connection *pool, unsigned int timeout_ms, struct pool_reply *reply,
	       struct error_text *error)
{
	struct pool_request request = {.type = POOL_QUERY};

	return pool_connection_call(pool, &request, NULL, 0, reply, timeout_ms, error);
}

static void starts_a_private_pool_that_inherits_nothing(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;
	struct stat log;
	sigset_t blocked, old;
	int pidfd;

	(void)state;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &old);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	assert_true(pool.started);
	assert_int_equal(ask(&pool, 20000, &reply, &error), 0);
	/* No child of ours: CRIU would take its end for that of a restored process. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	/* Standard streams and the connection. */
	assert_int_equal(reply.status.contexts, 4);
	assert_int_equal(reply.status.runs, 0);
	assert_int_equal(fstatat(work_folder, "rekindled.log", &log, 0), 0);
	assert_int_equal(log.st_mode & 0777, 0600);
	pidfd = dup(pool.pidfd);
	pool_connection_close(&pool);
	assert_int_equal(pool_has_ended(pidfd, 20000), 1);
	close(pidfd);
}

static void starts_a_lasting_pool_and_finds_it_again(void **state)
{
	struct pool_request stop = {.type = POOL_STOP};
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;

	(void)state;
	settings.context_pool = true;
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), 0);
	assert_true(pool.started);
	assert_int_equal(pool_connection_call(&pool, &stop, NULL, 0, &reply, 20000, &error), 0);
	pool_connection_close(&pool);
}

static void passes_on_what_the_pool_says(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;

	(void)state;
	setenv("FAKE_POOL", "refuse", 1);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, true, &error), 0);
	assert_int_equal(ask(&pool, 20000, &reply, &error), -EIO);
	assert_string_equal(error.text, "the device is on fire: pour water");
	assert_false(pool.lost);
	pool_connection_close(&pool);
}

static void notices_that_the_pool_died(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;

	(void)state;
	setenv("FAKE_POOL", "die", 1);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, true, &error), 0);
	assert_true(ask(&pool, 20000, &reply, &error) < 0);
	assert_true(pool.lost);
	assert_false(pool.abandoned);
	assert_int_equal(ask(&pool, 20000, &reply, &error), -ENOTCONN);
	pool_connection_close(&pool);
}

static void ends_a_private_pool_that_hangs(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;

	(void)state;
	setenv("FAKE_POOL", "hang", 1);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, true, &error), 0);
	assert_int_equal(ask(&pool, 100, &reply, &error), -ETIMEDOUT);
	assert_true(pool.lost);
	assert_false(pool.abandoned);
	assert_int_equal(pool_has_ended(pool.pidfd, 0), 1);
	pool_connection_close(&pool);
}

static void says_which_program_is_missing(void **state)
{
	struct pool_connection pool;
	struct error_text error;

	(void)state;
	snprintf(settings.pool_program, sizeof(settings.pool_program), "%s/rekindled", folder);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), -ENOENT);
	assert_non_null(strstr(error.text, settings.pool_program));
	assert_non_null(strstr(error.text, "REKINDLE_POOL_PROGRAM"));
}

static void says_when_a_lasting_pool_ends_at_once(void **state)
{
	struct pool_connection pool;
	struct error_text error;

	(void)state;
	settings.context_pool = true;
	snprintf(settings.pool_program, sizeof(settings.pool_program), "/bin/false");
	assert_true(pool_connection_open(&pool, &settings, work_folder, false, &error) < 0);
	assert_non_null(strstr(error.text, "rekindled.log"));
}

static void reports_a_failure_as_json(void **state)
{
	char text[1024] = "";
	int file;

	(void)state;
	failure_report_write(work_folder, POOL_STAGE_RESTORE, 1, "it said \"no\"\tand \\ left");
	file = openat(work_folder, "stats-rekindle.json", O_RDONLY | O_CLOEXEC);
	assert_true(file >= 0);
	assert_true(read(file, text, sizeof(text) - 1) > 0);
	close(file);
	assert_non_null(strstr(text, "\"it said \\\"no\\\"\\u0009and \\\\ left\""));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		TEST(starts_a_private_pool_that_inherits_nothing),
		TEST(starts_a_lasting_pool_and_finds_it_again),
		TEST(passes_on_what_the_pool_says),
		TEST(notices_that_the_pool_died),
		TEST(ends_a_private_pool_that_hangs),
		TEST(says_which_program_is_missing),
		TEST(says_when_a_lasting_pool_ends_at_once),
		TEST(reports_a_failure_as_json),
	};

	if (count == 3 && !strcmp(arguments[1], "--private-descriptor"))
		return serve((int)strtol(arguments[2], NULL, 10));
	if (count == 5 && !strcmp(arguments[1], "--socket") && !strcmp(arguments[3], "--idle"))
		return listen_and_serve(arguments[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
