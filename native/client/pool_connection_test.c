/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "client/pool_client.h"
#include "client/pool_connection.h"
#include "client/pool_start.h"
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
#include <sys/resource.h>
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

/* What a pool must not have of the run that starts it. */
static void describe(char *text, size_t size)
{
	struct sigaction child_action;
	char current[64];
	struct rlimit files;
	mode_t mask = umask(0);

	umask(mask);
	getrlimit(RLIMIT_FSIZE, &files);
	sigaction(SIGPIPE, NULL, &child_action);
	snprintf(text, size, "in %s, umask %o, files %s, SIGPIPE %s, LD_PRELOAD %s, nice %d",
		 getcwd(current, sizeof(current)) ? current : "?", mask,
		 files.rlim_cur == RLIM_INFINITY ? "unlimited" : "limited",
		 child_action.sa_handler == SIG_DFL ? "default" : "changed", getenv("LD_PRELOAD") ? "set" : "unset",
		 getpriority(PRIO_PROCESS, 0));
}

static int serve(int socket)
{
	const char *behaviour = getenv("FAKE_POOL");
	struct pool_request request;
	uint64_t served = 0;

	while (message_receive(socket, &request, sizeof(request), NULL, NULL, -1) == (ssize_t)sizeof(request)) {
		struct pool_reply reply = {.version = POOL_PROTOCOL_VERSION, .number = request.number};
		sigset_t blocked;

		if (behaviour && !strcmp(behaviour, "die"))
			raise(SIGKILL);
		if (behaviour && !strcmp(behaviour, "hang"))
			pause();
		if (behaviour && !strcmp(behaviour, "refuse")) {
			reply.result = -EIO;
			snprintf(reply.error.text, sizeof(reply.error.text), "the device is on fire: pour water");
		}
		/* Each time it gets something done; all of that takes longer than the test waits without it. */
		for (int word = 0; behaviour && !strncmp(behaviour, "work", 4) && word < 25; word++) {
			usleep(strcmp(behaviour, "work") ? 1000 : 100000);
			reply.still_working = 1;
			if (message_send(socket, &reply, sizeof(reply), NULL, 0))
				return 1;
			reply.still_working = 0;
		}
		if (behaviour && !strcmp(behaviour, "otherwise"))
			return message_send(socket, &reply, sizeof(reply) / 2, NULL, 0) != 0;
		sigprocmask(SIG_SETMASK, NULL, &blocked);
		reply.status.pid = getpid();
		reply.status.restores = ++served;
		reply.status.contexts = open_descriptors();
		reply.status.runs = (unsigned int)sigismember(&blocked, SIGUSR1);
		describe(reply.reason, sizeof(reply.reason));
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

	if (getenv("FAKE_POOL") && !strcmp(getenv("FAKE_POOL"), "deaf")) {
		alarm(30); /* nobody ends it */
		pause();
	}
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
	static const char *const names[] = {"pool.sock", "rekindled.log", "stats-rekindle.json", "program"};

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

/* Starts a pool in the state in which a criu may be that somebody made nice, and whose run was cancelled. */
static void start_from_a_strange_criu(struct pool_connection *pool, struct pool_reply *reply)
{
	struct rlimit old, none;
	struct error_text error;
	mode_t mask = umask(0);

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	none = (struct rlimit){0, old.rlim_max};
	setenv("LD_PRELOAD", "", 1);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &none);
	setpriority(PRIO_PROCESS, 0, 5);
	assert_int_equal(pool_connection_open(pool, &settings, work_folder, false, &error), 0);
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGPIPE, SIG_DFL);
	unsetenv("LD_PRELOAD");
	umask(mask);
	assert_int_equal(ask(pool, 20000, reply, &error), 0);
	setpriority(PRIO_PROCESS, 0, 0);
}

static void a_private_pool_has_only_the_weight_of_its_run(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;

	(void)state;
	start_from_a_strange_criu(&pool, &reply);
	pool_connection_close(&pool);
	assert_string_equal(reply.reason, "in /, umask 77, files unlimited, SIGPIPE default, LD_PRELOAD unset, nice 5");
}

static void a_lasting_pool_has_nothing_of_the_run_that_started_it(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;

	(void)state;
	settings.context_pool = true;
	start_from_a_strange_criu(&pool, &reply);
	pool_connection_close(&pool);
	assert_string_equal(reply.reason, "in /, umask 77, files unlimited, SIGPIPE default, LD_PRELOAD unset, nice 0");
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

static void waits_for_a_pool_that_gets_on(void **state)
{
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;

	(void)state;
	setenv("FAKE_POOL", "work", 1);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), 0);
	assert_int_equal(ask(&pool, 2400, &reply, &error), 0);
	assert_int_equal(reply.still_working, 0);
	pool_connection_close(&pool);
}

/* As rekindle-seal asks on the plugin's connection, and is killed before it hears. */
static void takes_no_reply_for_its_own_that_is_not(void **state)
{
	struct pool_request of_another = {.type = POOL_CHECK, .number = 1};
	struct pool_connection pool;
	struct pool_reply reply;
	struct error_text error;

	(void)state;
	setenv("FAKE_POOL", "work quickly", 1);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, true, &error), 0);
	assert_int_equal(message_send(pool.socket, &of_another, sizeof(of_another), NULL, 0), 0);
	assert_int_equal(ask(&pool, 20000, &reply, &error), 0);
	assert_int_equal(reply.status.restores, 2);
	assert_int_equal(reply.still_working, 0);
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
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), -ECONNREFUSED);
	assert_non_null(strstr(error.text, settings.pool_program));
	assert_non_null(strstr(error.text, "REKINDLE_POOL_PROGRAM"));
}

static void a_program_that_cannot_be_run_is_no_pool(void **state)
{
	struct pool_connection pool;
	struct error_text error;
	int program = openat(work_folder, "program", O_WRONLY | O_CREAT | O_CLOEXEC, 0700);

	(void)state;
	assert_true(program >= 0);
	assert_int_equal(write(program, "nothing", 7), 7);
	close(program);
	snprintf(settings.pool_program, sizeof(settings.pool_program), "%s/program", folder);
	for (int kind = 0; kind < 2; kind++) {
		settings.context_pool = kind;
		assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), -ECONNREFUSED);
		assert_non_null(strstr(error.text, settings.pool_program));
	}
}

static void one_of_another_version_is_said_to_be_so(void **state)
{
	struct pool_connection pool;
	struct pool_client client;
	struct pool_reply reply;
	struct error_text of_plugin, of_api;
	int pidfd, code;

	(void)state;
	setenv("FAKE_POOL", "otherwise", 1);
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, true, &of_plugin), 0);
	assert_int_equal(ask(&pool, 20000, &reply, &of_plugin), -EPROTO);
	pool_connection_close(&pool);
	pidfd = pool_start(&settings, work_folder, -1, &of_api);
	assert_true(pidfd >= 0);
	do
		code = pool_client_open(&client, settings.pool_socket, 20, &of_api);
	while (code == -ECONNREFUSED);
	assert_int_equal(code, -EPROTO);
	assert_string_equal(of_plugin.text, of_api.text);
	assert_int_equal(pool_has_ended(pidfd, 20000), 1);
	close(pidfd);
}

static void says_when_a_lasting_pool_ends_at_once(void **state)
{
	struct pool_connection pool;
	struct error_text error;

	(void)state;
	settings.context_pool = true;
	snprintf(settings.pool_program, sizeof(settings.pool_program), "/bin/false");
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), -ECONNREFUSED);
	assert_non_null(strstr(error.text, "rekindled.log"));
}

static void waits_for_a_pool_to_listen_as_long_as_the_operator_says(void **state)
{
	struct pool_connection pool;
	struct error_text error;

	(void)state;
	setenv("FAKE_POOL", "deaf", 1);
	settings.context_pool = true;
	settings.timeout_seconds = 1;
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), -ETIMEDOUT);
	assert_non_null(strstr(error.text, " 1 s (REKINDLE_TIMEOUT) after its start"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		TEST(starts_a_private_pool_that_inherits_nothing),
		TEST(a_private_pool_has_only_the_weight_of_its_run),
		TEST(a_lasting_pool_has_nothing_of_the_run_that_started_it),
		TEST(starts_a_lasting_pool_and_finds_it_again),
		TEST(passes_on_what_the_pool_says),
		TEST(notices_that_the_pool_died),
		TEST(waits_for_a_pool_that_gets_on),
		TEST(takes_no_reply_for_its_own_that_is_not),
		TEST(ends_a_private_pool_that_hangs),
		TEST(one_of_another_version_is_said_to_be_so),
		TEST(says_which_program_is_missing),
		TEST(a_program_that_cannot_be_run_is_no_pool),
		TEST(says_when_a_lasting_pool_ends_at_once),
		TEST(waits_for_a_pool_to_listen_as_long_as_the_operator_says),
	};

	if (count == 3 && !strcmp(arguments[1], "--private-descriptor"))
		return serve((int)strtol(arguments[2], NULL, 10));
	if (count == 5 && !strcmp(arguments[1], "--socket") && !strcmp(arguments[3], "--idle"))
		return listen_and_serve(arguments[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
