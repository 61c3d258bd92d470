/* SPDX-License-Identifier: MIT */
#include "process/process_status.h"
#include "process/process_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_do_not_pass_for_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
