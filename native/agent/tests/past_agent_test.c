/* SPDX-License-Identifier: MIT */
/* Where the agent is loaded and the program gets to the driver past it, that is said, and nothing breaks. */
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/agent_page.h"

#include <cmocka.h>

typedef int use_driver(void);

/* The driver is initialised once in a process, so each case is a child. */
static void run(void (*body)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void require(int holds, int code)
{
	if (!holds)
		_exit(code);
}

static void use(void *library)
{
	use_driver *function = library ? (use_driver *)dlsym(library, "use_driver") : NULL;

	require(function != NULL, 10);
	require(function() == 0, 11);
}

/* The agent's thread says when it has begun. */
static void expect(enum agent_presence presence, const char *note)
{
	struct process_maps maps;
	struct agent agent;
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		require(!process_maps_read(getpid(), &maps, NULL), 12);
		agent_open(&agent, getpid(), &maps);
		if (agent.presence == presence)
			break;
		agent_close(&agent);
		usleep(10000);
	}
	require(agent.presence == presence, 13);
	require(note ? strstr(agent.note, note) != NULL : !agent.note[0], 14);
	agent_close(&agent);
}

static const char nothing_came[] = "no CUDA call of the process has come to it";

static void as_usual(void)
{
	use(dlopen(LIBRARY, RTLD_NOW));
	expect(AGENT_PRESENT, NULL);
}

static void in_a_scope_of_its_own(void)
{
	use(dlopen(LIBRARY, RTLD_NOW | RTLD_DEEPBIND));
	expect(AGENT_UNASKED, nothing_came);
	expect(AGENT_UNASKED, "RTLD_DEEPBIND");
}

static void in_another_namespace(void)
{
	use(dlmopen(LM_ID_NEWLM, LIBRARY, RTLD_NOW));
	expect(AGENT_UNASKED, nothing_came);
	expect(AGENT_UNASKED, "dlmopen");
}

/* What the rest of the program does through the agent is as if the other were not there. */
static void beside_what_comes_to_the_agent(void)
{
	use(dlmopen(LM_ID_NEWLM, LIBRARY, RTLD_NOW));
	as_usual();
}

static void a_library_that_is_linked_with_the_driver(void **state)
{
	(void)state;
	run(as_usual);
}

static void opened_with_deepbind(void **state)
{
	(void)state;
	run(in_a_scope_of_its_own);
}

static void opened_with_dlmopen(void **state)
{
	(void)state;
	run(in_another_namespace);
	run(beside_what_comes_to_the_agent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_library_that_is_linked_with_the_driver),
		cmocka_unit_test(opened_with_deepbind),
		cmocka_unit_test(opened_with_dlmopen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
