/* SPDX-License-Identifier: MIT */
#include "process/process_status.h"
#include "process/process_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* Processes may call themselves anything, and files of /proc have their names in them. */
static void names_do_not_pass_for_facts(void **state)
{
	static const char *const names[] = {
		"plain", "two words", "a) Z 1 1 1", "\nState:\tZ", ") X (\nTgid: 1\n", "((((", "))))", "\\", "\n", "",
	};
	char name[PROCESS_NAME_MAX];
	struct process_facts facts;
	struct thread_status status;
	int ready[2];
	pid_t child;
	char byte;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(pipe(ready), 0);
		child = fork();
		assert_true(child >= 0);
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_SET_NAME, names[i]);
			close(ready[1]);
			for (;;)
				pause();
		}
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 0);
		close(ready[0]);
		assert_int_equal(process_facts_read(child, &facts), 0);
		assert_int_equal(facts.parent, getpid());
		assert_int_equal(facts.process, child);
		assert_false(facts.is_thread);
		assert_false(facts.ending);
		assert_true(facts.state != 'Z' && facts.state != 'X');
		assert_true(process_alive(child));
		assert_int_equal(thread_status_read(child, child, &status), 0);
		assert_true(status.state == 'S' || status.state == 'R');
		assert_int_equal(status.tracer, 0);
		assert_int_equal(status.namespace_id, child);
		assert_int_equal(process_name_read(child, name), 0);
		assert_null(strchr(name, '\n'));
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
}

struct slow_death {
	pid_t child;
	int ready[2];
	atomic_bool let_go;
};

/* Its exit takes longer than any machine that is only busy; SIGKILL breaks off the stops before it. */
static void *trace(void *argument)
{
	struct slow_death *death = argument;
	int status = 0;

	if (ptrace(PTRACE_SEIZE, death->child, NULL, PTRACE_O_TRACEEXIT) || write(death->ready[1], "x", 1) != 1)
		return NULL;
	while (waitpid(death->child, &status, __WALL) == death->child && !WIFEXITED(status) && !WIFSIGNALED(status))
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			sleep(2);
			atomic_store(&death->let_go, true);
			ptrace(PTRACE_CONT, death->child, NULL, NULL);
		}
	return NULL;
}

/* It is the root, or a child of it. */
static void kill_slowly(bool is_root)
{
	struct slow_death death = {.let_go = false};
	pthread_t tracer;
	int named[2];
	pid_t root;
	char byte;

	assert_int_equal(pipe(named), 0);
	assert_int_equal(pipe(death.ready), 0);
	root = fork();
	assert_true(root >= 0);
	if (!root) {
		if (!is_root)
			fork();
		death.child = getpid();
		(void)!write(named[1], &death.child, sizeof(death.child));
		for (;;)
			pause();
	}
	do
		assert_int_equal(read(named[0], &death.child, sizeof(death.child)), sizeof(death.child));
	while ((death.child == root) != is_root);
	assert_int_equal(pthread_create(&tracer, NULL, trace, &death), 0);
	assert_int_equal(read(death.ready[0], &byte, 1), 1);
	process_tree_kill(root, is_root);
	assert_true(atomic_load(&death.let_go));
	assert_int_equal(pthread_join(tracer, NULL), 0);
	assert_int_equal(process_alive(root), !is_root);
	kill(root, SIGKILL);
	waitpid(root, NULL, 0);
	close(named[0]);
	close(named[1]);
	close(death.ready[0]);
	close(death.ready[1]);
}

static void who_takes_long_to_die_is_waited_for(void **state)
{
	(void)state;
	kill_slowly(true);
	kill_slowly(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_do_not_pass_for_facts),
		cmocka_unit_test(who_takes_long_to_die_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
