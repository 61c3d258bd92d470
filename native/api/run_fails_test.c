/* SPDX-License-Identifier: MIT */
#include "api/run_test_support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process_tree.h"
#include "api/test_images.h"

/* Every way in which a criu can fail has a code and a sentence that names the cause. */

static void a_failed_dump_tells_the_first_cause_and_the_log(void **state)
{
	struct fixture *f = *state;
	struct rekindle_statistics statistics;

	setenv("REKINDLE_TEST_CRIU", "fails", 1);
	assert_int_equal(rekindle_checkpoint(&f->environment, &f->dump, &statistics, NULL, 0, &f->error),
			 REKINDLE_ERROR_CRIU_FAILED);
	assert_int_equal(f->error.code, REKINDLE_ERROR_CRIU_FAILED);
	assert_int_equal(f->error.phase, REKINDLE_PHASE_CRIU);
	assert_non_null(strstr(f->error.message, "the first cause"));
	assert_non_null(strstr(f->error.message, "exit status 1"));
	assert_non_null(strstr(f->error.criu_log, "Dumping FAILED."));
	assert_false(statistics.succeeded);
	assert_string_equal(statistics.failure, f->error.message);
}

static void known_causes_have_codes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dump(f, "disk-full"), REKINDLE_ERROR_NO_SPACE);
	/* With CRIU's own option: callers of the command line and from Java read it too. */
	assert_int_equal(dump(f, "timeout"), REKINDLE_ERROR_TIMEOUT);
	assert_non_null(strstr(f->error.message, "allow more time (--timeout)"));
	assert_int_equal(dump(f, "terminal"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "give --shell-job to dump and restore"));
	assert_int_equal(dump(f, "no-loopback"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "Network is unreachable"));
	assert_non_null(strstr(f->error.message, "'ip link set lo up'"));
	assert_int_equal(dump(f, "killed"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "signal 9"));
	assert_int_equal(dump(f, "no-log"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "libnet.so.1"));
	assert_int_equal(restore(f, "file-is-missing", NULL), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "Can't open file data/state"));
	assert_int_equal(restore(f, "image-is-broken", NULL), REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_non_null(strstr(f->error.message, "core-7.img"));
	assert_int_equal(restore(f, "connection-in-image", NULL), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "with the options of the dump: --tcp-established"));
	assert_int_equal(dump(f, "image-is-broken"), REKINDLE_ERROR_CRIU_FAILED);
}

/* Its configuration may have sent it elsewhere. */
static void a_dump_of_nothing_is_no_success(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dump(f, "nothing"), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "has written no checkpoint"));
	assert_int_equal(dump(f, "ok"), REKINDLE_OK);
	/* What is there is the one of before. */
	assert_int_equal(dump(f, "nothing"), REKINDLE_ERROR_CRIU_FAILED);
}

static void a_process_that_is_left_without_its_gpu_is_a_failure(void **state)
{
	struct fixture *f = *state;

	/* Without the flag the process has ended, and its image is all that counts. */
	f->dump.flags = 0;
	assert_int_equal(dump(f, "gpu-left-behind"), REKINDLE_OK);
	f->dump.flags = REKINDLE_LEAVE_RUNNING;
	assert_int_equal(dump(f, "gpu-left-behind"), REKINDLE_ERROR_GPU);
	assert_non_null(strstr(f->error.message, "is complete"));
	assert_non_null(strstr(f->error.message, "The driver did not restore."));
}

static void a_failed_gpu_part_gives_code_phase_and_sentence(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(restore(f, "gpu-fails", NULL), REKINDLE_ERROR_CORRUPT_IMAGE);
	assert_int_equal(f->error.phase, REKINDLE_PHASE_PREFETCH);
	assert_string_equal(f->error.message, "Chunk 3 of allocation 1 in rekindle-pages-7.img is damaged.");
	assert_non_null(strstr(f->error.criu_log, "the plugin's words"));
}

static void a_failure_that_criu_ignores_is_one_and_leaves_no_process(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int32_t pid = 77;

	assert_int_equal(restore(f, "gpu-fails-unnoticed", &pid), REKINDLE_ERROR_GPU);
	assert_string_equal(f->error.message, "The driver did not restore.");
	assert_int_equal(f->error.phase, REKINDLE_PHASE_DRIVER_RESTORE);
	assert_int_equal(pid, 0);
	snprintf(path, sizeof(path), "%s.pid", f->arguments);
	assert_false(process_alive(atoi(text_of(path))));
}

static int restore_of(struct fixture *f, pid_t pid, uint32_t namespace_of_tree)
{
	int32_t restored = 0;
	int result;

	test_images_write(f->images, pid);
	test_images_share_namespace(f->images, pid, 5, namespace_of_tree);
	unlink(f->arguments);
	setenv("REKINDLE_TEST_CRIU", "ok", 1);
	result = rekindle_restore(&f->environment, &f->restore, &restored, NULL, NULL, 0, &f->error);
	if (restored > 0)
		kill(restored, SIGKILL);
	return result;
}

/* The next two ids of the tree may be another program's: they are looked at after this one. */
static void assert_id_is_free(struct fixture *f, pid_t pid)
{
	int result = restore_of(f, pid, 5);
	char named[64];

	snprintf(named, sizeof(named), "needs the process id %d,", pid);
	if (result) {
		assert_int_equal(result, REKINDLE_ERROR_PID_IN_USE);
		assert_null(strstr(f->error.message, named));
	}
}

static void an_id_in_use_is_named_with_who_has_it(void **state)
{
	struct fixture *f = *state;
	char expected[128];

	assert_int_equal(restore_of(f, f->target, 5), REKINDLE_ERROR_PID_IN_USE);
	snprintf(expected, sizeof(expected), "needs the process id %d, which is in use by process %d (run_fails_test)",
		 f->target, f->target);
	assert_non_null(strstr(f->error.message, expected));
	assert_non_null(strstr(f->error.message, "which runs: end it first"));
	/* Nothing was started for it, and nothing was done to the process. */
	assert_string_equal(text_of(f->arguments), "");
	assert_true(process_alive(f->target));
	/* The child of the tree, and a thread of it, have ids too: see test_images_write. */
	assert_int_equal(restore_of(f, f->target - 1, 5), REKINDLE_ERROR_PID_IN_USE);
	assert_int_equal(restore_of(f, f->target - 2, 5), REKINDLE_ERROR_PID_IN_USE);
	/* In a pid namespace of its own nobody has it. */
	assert_int_equal(restore_of(f, f->target, 6), REKINDLE_OK);
	assert_true(passed(f, "restore\n"));
}

/* As the second of two restores of one checkpoint finds the first. */
static void an_id_of_a_criu_at_work_is_to_be_waited_for(void **state)
{
	struct fixture *f = *state;
	pid_t criu = fork();

	if (!criu) {
		prctl(PR_SET_NAME, "criu");
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		kill(getpid(), SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(criu, NULL, WUNTRACED), criu);
	assert_int_equal(restore_of(f, criu, 5), REKINDLE_ERROR_BUSY);
	assert_non_null(strstr(f->error.message, "another restore or dump is under way, wait"));
	kill(criu, SIGKILL);
	assert_int_equal(waitpid(criu, NULL, 0), criu);
}

static void *sleep_in_thread(void *context)
{
	atomic_int *id = context;

	atomic_store(id, (int)syscall(SYS_gettid));
	while (atomic_load(id))
		usleep(1000);
	return NULL;
}

static void a_thread_that_has_the_id_is_named_by_its_process(void **state)
{
	struct fixture *f = *state;
	atomic_int id = 0;
	char expected[64];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, sleep_in_thread, &id), 0);
	while (!atomic_load(&id))
		usleep(1000);
	assert_int_equal(restore_of(f, atomic_load(&id), 5), REKINDLE_ERROR_PID_IN_USE);
	snprintf(expected, sizeof(expected), "in use by a thread of process %d (run_fails_test)", getpid());
	assert_non_null(strstr(f->error.message, expected));
	atomic_store(&id, 0);
	pthread_join(thread, NULL);
}

static void a_zombie_that_has_the_id_is_named_one(void **state)
{
	struct fixture *f = *state;
	pid_t zombie = fork();

	if (!zombie)
		_exit(0);
	waitid(P_PID, (id_t)zombie, NULL, WEXITED | WNOWAIT);
	assert_int_equal(restore_of(f, zombie, 5), REKINDLE_ERROR_PID_IN_USE);
	assert_non_null(
		strstr(f->error.message, "a zombie: it has ended, and this program, its parent, has not waited"));
	/* It is no process of ours that was restored: it is still there to be waited for. */
	assert_int_equal(waitpid(zombie, NULL, 0), zombie);
	assert_id_is_free(f, zombie);
}

static void *wait_a_little_later(void *context)
{
	usleep(200000);
	waitpid(*(pid_t *)context, NULL, 0);
	return NULL;
}

static void an_id_that_is_becoming_free_is_waited_for(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	kill(f->target, SIGKILL);
	assert_int_equal(pthread_create(&thread, NULL, wait_a_little_later, &f->target), 0);
	assert_id_is_free(f, f->target);
	pthread_join(thread, NULL);
}

static void criu_finds_an_id_in_use(void **state)
{
	struct fixture *f = *state;
	char id[16], expected[64];

	snprintf(id, sizeof(id), "%d", f->target);
	setenv("REKINDLE_TEST_ID", id, 1);
	assert_int_equal(restore(f, "id-in-use", NULL), REKINDLE_ERROR_PID_IN_USE);
	snprintf(expected, sizeof(expected), "process id %d is in use by process %d (run_fails_test)", f->target,
		 f->target);
	assert_non_null(strstr(f->error.message, expected));
	assert_int_equal(f->error.phase, REKINDLE_PHASE_CRIU);
	assert_int_equal(restore(f, "thread-id-in-use", NULL), REKINDLE_ERROR_PID_IN_USE);
	assert_non_null(strstr(f->error.message, "the id of one of its threads is in use"));
	assert_int_equal(restore(f, "cannot-fork", NULL), REKINDLE_ERROR_CRIU_FAILED);
	unsetenv("REKINDLE_TEST_ID");
}

static void another_run_that_has_the_process_is_busy(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dump(f, "busy"), REKINDLE_ERROR_BUSY);
	assert_string_equal(f->error.message, "Process 7 is being dumped by criu, process 8: wait for its end.");
}

static void a_restore_without_a_living_process_failed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(restore(f, "dead-after-restore", NULL), REKINDLE_ERROR_CRIU_FAILED);
	assert_non_null(strstr(f->error.message, "ended as soon as it ran"));
	assert_int_equal(restore(f, "no-pid", NULL), REKINDLE_ERROR_CRIU_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_failed_dump_tells_the_first_cause_and_the_log),
		TEST(known_causes_have_codes),
		TEST(a_dump_of_nothing_is_no_success),
		TEST(a_process_that_is_left_without_its_gpu_is_a_failure),
		TEST(a_failed_gpu_part_gives_code_phase_and_sentence),
		TEST(a_failure_that_criu_ignores_is_one_and_leaves_no_process),
		TEST(an_id_in_use_is_named_with_who_has_it),
		TEST(an_id_of_a_criu_at_work_is_to_be_waited_for),
		TEST(a_thread_that_has_the_id_is_named_by_its_process),
		TEST(a_zombie_that_has_the_id_is_named_one),
		TEST(an_id_that_is_becoming_free_is_waited_for),
		TEST(criu_finds_an_id_in_use),
		TEST(another_run_that_has_the_process_is_busy),
		TEST(a_restore_without_a_living_process_failed),
	};

	return RUN_TESTS(tests);
}
