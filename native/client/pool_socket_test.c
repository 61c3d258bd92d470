/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "client/pool_client.h"
#include "client/pool_connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* What listens, or does not, where a pool is to be, as plugin and API see it. */

static char folder[64];
static int work_folder;
static struct settings settings;

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/pool-socket-test-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	work_folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(&settings, 0, sizeof(settings));
	settings.timeout_seconds = 20;
	snprintf(settings.pool_socket, sizeof(settings.pool_socket), "%s/pool.sock", folder);
	return work_folder < 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlinkat(work_folder, "pool.sock", 0);
	close(work_folder);
	return rmdir(folder);
}

/* Plugin and API say the same of it, and mean the same. */
static void expect_one_sentence(int code, const char *words)
{
	struct error_text of_plugin, of_api;
	struct pool_connection pool;
	struct pool_client client;

	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &of_plugin), code);
	assert_int_equal(pool_client_open(&client, settings.pool_socket, 1, &of_api), code);
	assert_string_equal(of_plugin.text, of_api.text);
	assert_non_null(strstr(of_api.text, settings.pool_socket));
	assert_non_null(strstr(of_api.text, words));
}

/* A listener that nobody but another user can have made: it would be handed device memory. */
static void pool_of_another_user_is_not_trusted(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct pool_connection pool;
	struct error_text error;
	int ready[2], status;
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(chmod(folder, 0777), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(77);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		strcpy(address.sun_path, settings.pool_socket);
		if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 5) ||
		    write(ready[1], "r", 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		waitpid(child, &status, 0);
		close(ready[0]);
		assert_int_equal(WEXITSTATUS(status), 77);
		skip(); /* needs root */
	}
	close(ready[0]);
	expect_one_sentence(-EACCES, "belongs to another user");
	settings.context_pool = true;
	assert_int_equal(pool_connection_open(&pool, &settings, work_folder, false, &error), -EACCES);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

static void what_is_no_pool_is_not_reached(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	strcpy(address.sun_path, settings.pool_socket);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	expect_one_sentence(-EHOSTUNREACH, "REKINDLE_POOL_SOCKET");
	close(listener);
	/* Below what is no folder. */
	snprintf(settings.pool_socket, sizeof(settings.pool_socket), "%s/pool.sock/pool.sock", folder);
	expect_one_sentence(-EHOSTUNREACH, "Not a directory");
}

static void ignore(int signal_number)
{
	(void)signal_number;
}

/* One that is stopped takes nobody in; who gives up counts among those that wait. */
static void a_pool_that_takes_nobody_in_is_given_up(void **state)
{
	const struct itimerval ticks = {.it_interval = {.tv_usec = 50000}, .it_value = {.tv_usec = 50000}};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), waiting;

	(void)state;
	strcpy(address.sun_path, settings.pool_socket);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 0), 0);
	do {
		waiting = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	} while (!connect(waiting, (struct sockaddr *)&address, sizeof(address)) && !close(waiting));
	assert_int_equal(errno, EAGAIN);
	settings.timeout_seconds = 1;
	/* As a profiler's, or of a child that ends. */
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = ignore, .sa_flags = SA_RESTART}, NULL);
	setitimer(ITIMER_REAL, &ticks, NULL);
	expect_one_sentence(-ETIMEDOUT, "took nobody in for 1 s (REKINDLE_TIMEOUT)");
	setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0}}, NULL);
	close(waiting);
	close(listener);
}

static void who_cannot_start_a_pool_says_where_none_listens(void **state)
{
	struct pool_client client;
	struct error_text error;

	(void)state;
	assert_int_equal(pool_client_open(&client, settings.pool_socket, 1, &error), -ECONNREFUSED);
	assert_non_null(strstr(error.text, settings.pool_socket));
	assert_non_null(strstr(error.text, "start rekindled"));
}

/* A pool may listen there all the same. */
static void who_may_not_look_is_not_told_to_start_one(void **state)
{
	struct pool_client client;
	struct error_text error;
	int code;

	(void)state;
	if (seteuid(65534))
		skip(); /* needs root */
	code = pool_client_open(&client, settings.pool_socket, 1, &error);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(code, -EACCES);
	assert_null(strstr(error.text, "start rekindled"));
	assert_non_null(strstr(error.text, "run this as a user who may"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pool_of_another_user_is_not_trusted),
		TEST(a_pool_that_takes_nobody_in_is_given_up),
		TEST(what_is_no_pool_is_not_reached),
		TEST(who_cannot_start_a_pool_says_where_none_listens),
		TEST(who_may_not_look_is_not_told_to_start_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
