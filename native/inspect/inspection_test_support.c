/* SPDX-License-Identifier: MIT */
#include "inspect/inspection_test_support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each obstacle is made by a child, which then waits to be killed. Its word to us is one byte; another: it could not. */
#define READY 'r'
#define IMPOSSIBLE 'i'

const struct inspection_options strict = {.known = true, .ghost_bytes = 1 << 20};

void close_what_is_inherited(void)
{
	close_range(STDERR_FILENO + 1, ~0u, 0);
}

static void leave_the_terminal(void)
{
	int nothing = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3; i++)
		dup2(nothing, i);
	close(nothing);
}

struct obstacle_maker start_in(bool new_session, bool (*make)(void))
{
	struct obstacle_maker maker;
	int ready[2];
	char word = 0;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	maker.pid = fork();
	assert_true(maker.pid >= 0);
	if (!maker.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		leave_the_terminal();
		if (new_session)
			setsid();
		word = make() ? READY : IMPOSSIBLE;
		if (write(ready[1], &word, 1) != 1)
			_exit(1);
		close(ready[0]);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &word, 1), 1);
	close(ready[0]);
	maker.possible = word == READY;
	return maker;
}

struct obstacle_maker start(bool (*make)(void))
{
	return start_in(true, make);
}

void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

bool has(const struct inspection *inspection, enum obstacle_kind kind)
{
	for (size_t i = 0; i < inspection->obstacle_count; i++)
		if (inspection->obstacles[i].kind == kind)
			return true;
	return false;
}

bool is_only(pid_t pid, enum obstacle_kind kind, const struct inspection_options *options)
{
	struct inspection inspection;
	struct error_text error;
	bool only;

	assert_int_equal(inspection_run(&inspection, pid, options, &error), 0);
	assert_int_equal(inspection.processes[0].pid, pid);
	only = has(&inspection, kind);
	for (size_t i = 0; i < inspection.obstacle_count; i++) {
		if (inspection.obstacles[i].kind != kind)
			fail_msg("also: %s", inspection.obstacles[i].what);
		assert_true(inspection.obstacles[i].remedy[0]);
	}
	inspection_free(&inspection);
	return only;
}

bool make_nothing(void)
{
	return true;
}
