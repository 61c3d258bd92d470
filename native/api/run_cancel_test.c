/* SPDX-License-Identifier: MIT */
#include "api/run_test_support.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process/process_tree.h"

/* A run that is given up ends in order, and says what is so. */

static void wait_for(struct fixture *f, const char *suffix)
{
	char path[128];
	int i;

	snprintf(path, sizeof(path), "%s.%s", f->arguments, suffix);
	for (i = 0; i < 60000 && access(path, F_OK); i++)
		usleep(1000);
	assert_int_equal(access(path, F_OK), 0);
}

static void unlink_mark(struct fixture *f, const char *suffix)
{
	char path[128];

	snprintf(path, sizeof(path), "%s.%s", f->arguments, suffix);
	assert_int_equal(unlink(path), 0);
}

struct observed {
	uint64_t done, total;
	int32_t phase;
	_Atomic unsigned int calls;
};

static void observe(uint64_t bytes_done, uint64_t bytes_total, int32_t phase, void *context)
{
	struct observed *observed = context;

	observed->calls++;
	if (bytes_total) {
		observed->done = bytes_done;
		observed->total = bytes_total;
		observed->phase = phase;
	}
}

struct canceller {
	struct fixture *fixture;
	struct rekindle_operation *operation;
	const struct observed *observed;
};

/* When the observer has heard of what criu was at by then: of two calls the second has begun after it. */
static void *cancel_when_ready(void *context)
{
	struct canceller *canceller = context;
	unsigned int calls;

	wait_for(canceller->fixture, "ready");
	calls = canceller->observed->calls;
	while (canceller->observed->calls < calls + 2)
		usleep(1000);
	rekindle_operation_cancel(canceller->operation);
	return NULL;
}

static int cancelled_run(struct fixture *f, bool is_restore, const char *behaviour, struct observed *observed)
{
	struct canceller canceller = {f, rekindle_operation_create(observe, observed), observed};
	pthread_t thread;
	int result;

	f->dump.operation = f->restore.operation = canceller.operation;
	assert_int_equal(pthread_create(&thread, NULL, cancel_when_ready, &canceller), 0);
	result = is_restore ? restore(f, behaviour, NULL) : dump(f, behaviour);
	pthread_join(thread, NULL);
	rekindle_operation_destroy(canceller.operation);
	f->dump.operation = f->restore.operation = NULL;
	return result;
}

/* Processes with "300.NUMBER" in their command line; the pattern does not find the search itself. */
static unsigned int count_sleepers(int number)
{
	char command[256];
	unsigned int count = 0;
	FILE *stream;

	snprintf(command, sizeof(command), "grep -alzx '300[.]%d' /proc/[0-9]*/cmdline 2>/dev/null | wc -l", number);
	stream = popen(command, "r");
	assert_non_null(stream);
	assert_int_equal(fscanf(stream, "%u", &count), 1);
	pclose(stream);
	return count;
}

static void a_cancelled_restore_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};
	char mark[16];

	snprintf(mark, sizeof(mark), "%d", getpid());
	setenv("REKINDLE_TEST_MARK", mark, 1);
	assert_int_equal(cancelled_run(f, true, "slow-restore", &observed), REKINDLE_ERROR_CANCELLED);
	assert_int_equal(count_sleepers(getpid()), 0);
	assert_true(observed.calls > 1);
	assert_non_null(strstr(f->error.message, "cancelled"));
}

static void a_cancelled_dump_ends_by_itself_outside_the_copy(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};

	assert_int_equal(cancelled_run(f, false, "slow-dump", &observed), REKINDLE_ERROR_CANCELLED);
	assert_true(process_alive(f->target));
	assert_non_null(strstr(f->error.message, "was cancelled; the process runs as before."));
}

static void a_dump_cancelled_in_the_copy_waits_for_the_pool(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};
	char path[128];

	assert_int_equal(cancelled_run(f, false, "slow-copy", &observed), REKINDLE_ERROR_CANCELLED);
	snprintf(path, sizeof(path), "%s.back", f->arguments);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(observed.done, 1);
	assert_int_equal(observed.total, 2);
	assert_int_equal(observed.phase, REKINDLE_PHASE_COPY_OUT);
	snprintf(path, sizeof(path), "%s/rekindle.progress", f->work);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_dump_cancelled_in_the_lock_waits_for_the_pool(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};
	char path[128];

	assert_int_equal(cancelled_run(f, false, "slow-lock", &observed), REKINDLE_ERROR_CANCELLED);
	snprintf(path, sizeof(path), "%s.back", f->arguments);
	assert_int_equal(access(path, F_OK), 0);
	assert_true(process_alive(f->target));
}

struct second_run {
	struct fixture *fixture;
	int dump_result, restore_result;
	unsigned int calls;
};

/* From within the first run: the same operation again, for a dump and for a restore. */
static void run_again(uint64_t bytes_done, uint64_t bytes_total, int32_t phase, void *context)
{
	struct second_run *second = context;
	struct fixture *f = second->fixture;

	(void)bytes_done;
	(void)bytes_total;
	(void)phase;
	if (second->calls++)
		return;
	second->dump_result = rekindle_checkpoint(&f->environment, &f->dump, NULL, NULL, 0, &f->error);
	second->restore_result = rekindle_restore(&f->environment, &f->restore, NULL, NULL, NULL, 0, NULL);
}

static void an_operation_that_has_a_run_takes_no_other(void **state)
{
	struct fixture *f = *state;
	struct second_run second = {.fixture = f};

	f->dump.operation = f->restore.operation = rekindle_operation_create(run_again, &second);
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	assert_true(second.calls > 0);
	assert_int_equal(second.dump_result, REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(second.restore_result, REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(f->error.message, "in use by another run"));
	/* And is free again after it. */
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	rekindle_operation_destroy(f->dump.operation);
}

/* Nothing is said of the process that was not looked at. */
static void what_is_said_after_a_cancelled_dump_is_so(void **state)
{
	struct fixture *f = *state;
	struct observed observed = {0};

	setenv("REKINDLE_TIMEOUT", "1", 1);
	assert_int_equal(cancelled_run(f, false, "slow-lock-for-ever", &observed), REKINDLE_ERROR_CANCELLED);
	unsetenv("REKINDLE_TIMEOUT");
	assert_non_null(strstr(f->error.message, "has not said in time"));
	unlink_mark(f, "ready");
	kill(f->target, SIGSTOP);
	process_wait_stopped(f->target);
	assert_int_equal(cancelled_run(f, false, "slow-dump", &observed), REKINDLE_ERROR_CANCELLED);
	assert_non_null(strstr(f->error.message, "runs as before")); /* stopped as before */
	kill(f->target, SIGCONT);
	unlink_mark(f, "ready");
	assert_int_equal(cancelled_run(f, false, "slow-dump-stops", &observed), REKINDLE_ERROR_CANCELLED);
	assert_non_null(strstr(f->error.message, "stands still"));
	unlink_mark(f, "ready");
	kill(f->target, SIGCONT);
	assert_int_equal(cancelled_run(f, false, "slow-dump-kills", &observed), REKINDLE_ERROR_CANCELLED);
	assert_non_null(strstr(f->error.message, "has ended meanwhile"));
}

static void a_cancellation_before_the_run_counts_once(void **state)
{
	struct fixture *f = *state;
	struct rekindle_operation *operation = rekindle_operation_create(NULL, NULL);

	f->dump.operation = operation;
	rekindle_operation_cancel(operation);
	assert_int_equal(dump(f, "ok"), REKINDLE_ERROR_CANCELLED);
	assert_string_equal(text_of(f->arguments), "");
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	rekindle_operation_destroy(operation);
	rekindle_operation_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_cancelled_restore_leaves_nothing),
		TEST(a_cancelled_dump_ends_by_itself_outside_the_copy),
		TEST(a_dump_cancelled_in_the_copy_waits_for_the_pool),
		TEST(a_dump_cancelled_in_the_lock_waits_for_the_pool),
		TEST(an_operation_that_has_a_run_takes_no_other),
		TEST(what_is_said_after_a_cancelled_dump_is_so),
		TEST(a_cancellation_before_the_run_counts_once),
	};

	return RUN_TESTS(tests);
}
