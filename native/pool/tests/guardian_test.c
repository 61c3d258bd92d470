/* SPDX-License-Identifier: MIT */
/* The guardian itself, started by this program in place of rekindled, and refused the lock on a process. */
#include "pool/run/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/run/guardian_message.h"
#include "process/process_lock.h"
#include "process/process_status.h"
#include "process/process_tree.h"
#include "protocol/message_socket.h"
#include "settings/settings.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define VICTIMS 2
#define GUARDIANS_END 3

/* What it gets for the lock, one letter for each time: b, another run has it yet; r, it is refused. */
#define ANSWERS "REKINDLE_TEST_LOCK_ANSWERS"

int __wrap_process_lock_take(int pidfd, pid_t pid, struct error_text *error);
int __wrap_process_lock_take(int pidfd, pid_t pid, struct error_text *error)
{
	static size_t times;
	const char *answers = getenv(ANSWERS);

	(void)pidfd;
	(void)pid;
	(void)error;
	if (!answers || times >= strlen(answers))
		_exit(77); /* it asks more often than it should */
	return answers[times++] == 'b' ? -EBUSY : -EMFILE;
}

static pid_t victims[VICTIMS];
static char folder[] = "/tmp/guardian-test-XXXXXX";

static void image_name(pid_t pid, char *name, size_t size)
{
	snprintf(name, size, "rekindle-%d-00112233445566778899aabbccddeeff.img", (int)pid);
}

static int set_up(void **state)
{
	char name[64];

	(void)state;
	if (!mkdtemp(strcpy(folder, "/tmp/guardian-test-XXXXXX")) || chdir(folder))
		return -1;
	for (int i = 0; i < VICTIMS; i++) {
		victims[i] = fork();
		if (victims[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		image_name(victims[i], name, sizeof(name));
		close(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	for (int i = 0; i < VICTIMS; i++) {
		kill(victims[i], SIGKILL);
		waitpid(victims[i], NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* Tells a guardian of so many of them, and dies as a pool does; it_ends: then the first one does. Returns how the guardian ended. */
static int guard(int count, const char *answers, bool it_ends)
{
	struct guardian_message message = {.was_locked = 0};
	struct guardian_greeting greeting;
	int ends[2], status, descriptors[GUARDED_DESCRIPTORS];
	struct error_text error;
	pid_t guardian;

	setenv(ANSWERS, answers, 1);
	assert_int_equal(settings_load(&message.settings, "/dev/null", &error), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	guardian = fork();
	if (guardian == 0) {
		dup2(ends[1], GUARDIANS_END);
		execl("/proc/self/exe", "guardian_test", "--guard", NULL);
		_exit(126);
	}
	close(ends[1]);
	assert_int_equal(message_receive(ends[0], &greeting, sizeof(greeting), NULL, NULL, 60000), sizeof(greeting));
	assert_int_equal(greeting.message_size, sizeof(message));
	for (int i = 0; i < count; i++) {
		message.named = victims[i];
		descriptors[0] = (int)syscall(SYS_pidfd_open, victims[i], 0);
		descriptors[1] = descriptors[2] = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(message_send(ends[0], &message, sizeof(message), descriptors, GUARDED_DESCRIPTORS), 0);
		close(descriptors[0]);
		close(descriptors[1]);
	}
	close(ends[0]);
	if (it_ends) {
		usleep(50000);
		kill(victims[0], SIGKILL);
	}
	assert_int_equal(waitpid(guardian, &status, 0), guardian);
	return status;
}

static bool is_there(pid_t pid)
{
	char name[64];

	image_name(pid, name, sizeof(name));
	return access(name, F_OK) == 0;
}

/* What could not be looked at may have its only memory in its image. */
static void a_refused_lock_leaves_the_image(void **state)
{
	(void)state;
	assert_int_equal(guard(1, "r", false), 0);
	assert_true(is_there(victims[0]));
}

/* As it says what memory they share, that of the others stays, too. */
static void a_refused_lock_leaves_all_images_of_the_tree(void **state)
{
	(void)state;
	assert_int_equal(guard(VICTIMS, "bbrr", false), 0);
	for (int i = 0; i < VICTIMS; i++)
		assert_true(is_there(victims[i]));
}

/* Whoever has it in hand, a process that ends needs nobody any more. */
static void what_ends_is_not_waited_for(void **state)
{
	char answers[10001];

	(void)state;
	memset(answers, 'b', sizeof(answers) - 1);
	answers[sizeof(answers) - 1] = '\0';
	assert_int_equal(guard(1, answers, true), 0);
}

/* ---- its start, as the pool sees it ---- */

/* How this program is as guardian: it starts late, ends at once, or is of another version. */
#define BEHAVIOUR "REKINDLE_TEST_GUARDIAN"

static int guardian_with_behaviour(void)
{
	const char *behaviour = getenv(BEHAVIOUR);
	const struct guardian_greeting other = {.message_size = 1};

	if (behaviour && !strcmp(behaviour, "late"))
		usleep(300000);
	if (behaviour && !strcmp(behaviour, "ends"))
		return 127;
	if (behaviour && !strcmp(behaviour, "other"))
		return message_send(GUARDIANS_END, &other, sizeof(other), NULL, 0) ? 1 : pause();
	return guardian_main(GUARDIANS_END);
}

/* A run watches its first process. Returns what came of it; of its guardian stays nothing. */
static int watch(const char *behaviour, char name[PROCESS_NAME_MAX], struct error_text *error)
{
	struct pool pool = {.settings = {.timeout_seconds = 60}};
	struct run run = {.pool = &pool, .folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), .lock = -1};
	struct run_process process = {.pid = victims[0]};
	struct process_facts *children;
	size_t count;
	int result;

	setenv(BEHAVIOUR, behaviour, 1);
	strcpy(pool.settings.pool_program, "/proc/self/exe");
	process.target.pidfd = (int)syscall(SYS_pidfd_open, victims[0], 0);
	result = guardian_watch(&run, &process, error);
	children = process_children(getpid(), &count);
	if (result == 0) {
		assert_int_equal(count, VICTIMS + 1);
		strcpy(name, children[VICTIMS].name);
		guardian_dismiss(&run);
	} else {
		assert_int_equal(count, VICTIMS);
		assert_null(run.guardian);
	}
	free(children);
	close(process.target.pidfd);
	close(run.folder);
	unsetenv(BEHAVIOUR);
	return result;
}

/* Before that whoever looks for it by its name finds nobody at work. */
static void it_is_there_under_its_name_before_a_process_needs_it(void **state)
{
	char name[PROCESS_NAME_MAX];
	struct error_text error;

	(void)state;
	assert_int_equal(watch("late", name, &error), 0);
	assert_string_equal(name, GUARDIAN_NAME);
}

static void one_that_does_not_start_guards_nobody(void **state)
{
	char name[PROCESS_NAME_MAX];
	struct error_text error;

	(void)state;
	assert_int_equal(watch("ends", name, &error), -ECONNRESET);
	assert_non_null(strstr(error.text, "ended at its start"));
	assert_int_equal(watch("other", name, &error), -EPROTO);
	assert_non_null(strstr(error.text, "another version"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_is_there_under_its_name_before_a_process_needs_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_does_not_start_guards_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_refused_lock_leaves_the_image, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_refused_lock_leaves_all_images_of_the_tree, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_ends_is_not_waited_for, set_up, tear_down),
	};

	if (argc > 1 && !strcmp(argv[1], "--guard"))
		return guardian_with_behaviour();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
