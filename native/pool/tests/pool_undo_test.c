/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/run/revive.h"
#include "process/process_lock.h"

/* A dump that failed, or whose pool is gone, is undone, and the older image is whole. */

/* The older image is the only copy of its process until there is a newer one. */
static void a_dump_that_fails_leaves_the_older_image(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *other, *application;
	struct pool_reply reply;
	uint8_t image_id[16];
	int client;

	application = dumped(fixture, true, image_id);
	other = application_start(fixture, 2, 2, "export-unsupported");
	client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(client, POOL_LOCK, other->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, other, true, &reply), -EOPNOTSUPP);
	assert_int_equal(client_simple(client, POOL_UNLOCK, other->pid, &reply), 0);
	client_finish(client, -1);
	assert_true(image_is_there(fixture, application->pid));
	assert_false(image_is_there(fixture, other->pid));
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void another_pools_dump_is_undone_from_the_folder(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, -1);
}

/* Holds a thread of the process as CRIU does, with a SIGSTOP for when it dies, which it does when `end` closes. */
static pid_t start_tracer(pid_t pid, pid_t thread, int *end)
{
	int told[2], ends[2];
	pid_t tracer;
	char byte;

	assert_int_equal(pipe2(told, O_CLOEXEC) || pipe2(ends, O_CLOEXEC), 0);
	tracer = fork();
	if (!tracer) {
		close(ends[1]);
		if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) || ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) ||
		    waitpid(thread, NULL, __WALL) != thread || syscall(SYS_tgkill, pid, thread, SIGSTOP) ||
		    write(told[1], "t", 1) != 1 || read(ends[0], &byte, 1) != 0)
			_exit(1);
		usleep(100000);
		_exit(0);
	}
	close(told[1]);
	close(ends[0]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
	*end = ends[1];
	return tracer;
}

/* The thread that it made last. */
static pid_t last_thread(pid_t pid)
{
	struct dirent *entry;
	pid_t last = 0;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	assert_non_null(threads);
	while ((entry = readdir(threads)))
		if (atoi(entry->d_name) > last)
			last = atoi(entry->d_name);
	closedir(threads);
	return last;
}

/* Its descriptors are closed before it lets go of what it holds: the guardian comes when the process is not stopped yet. */
static void bring_back_from_a_dying_criu(struct pool_fixture *fixture, bool holds_the_first_thread)
{
	struct application *application = application_start(fixture, 2, 2, "signals");
	struct abandoned_process process = {.folder = -1, .folder_lock = -1};
	struct error_text error;
	struct pool *pool;
	int status, end;
	pid_t tracer;

	assert_int_equal(pool_create(&pool, &fixture->settings, &error), 0);
	assert_int_equal(target_open(&process.target, client_pidfd(application->pid), application->pid, NULL), 0);
	process.lock = process_lock_take(process.target.pidfd, process.target.pid, &error);
	assert_true(process.lock >= 0);
	assert_false(revive_is_needed(pool, &process));
	tracer = start_tracer(application->pid,
			      holds_the_first_thread ? application->pid : last_thread(application->pid), &end);
	assert_true(revive_is_needed(pool, &process));
	close(end);
	assert_int_equal(revive(pool, &process), 0);
	assert_int_equal(waitpid(tracer, &status, 0), tracer);
	assert_int_equal(status, 0);
	close(process.lock);
	pool_destroy(pool);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void a_process_that_a_dying_criu_still_holds_is_brought_back(void **state)
{
	bring_back_from_a_dying_criu(*state, true);
}

/* It may die when it has sent the first of its SIGSTOPs only, or has taken all but the last one away. */
static void a_process_of_which_a_dying_criu_holds_one_thread_is_brought_back(void **state)
{
	bring_back_from_a_dying_criu(*state, false);
}

/* What fails while CRIU holds the processes is done when the connection ends, for each of them. */
static void undo_another_pools_dump_of_two(struct pool_fixture *fixture, bool second_is_damaged)
{
	struct application *applications[2];
	struct pool_reply reply;
	uint8_t image_id[16];
	int client, i;

	client = client_begin(fixture, POOL_STAGE_DUMP);
	for (i = 0; i < 2; i++) {
		applications[i] = application_start(fixture, 2, 2, "none");
		assert_int_equal(client_simple(client, POOL_LOCK, applications[i]->pid, &reply), 0);
		assert_int_equal(client_checkpoint(client, applications[i], true, &reply), 0);
	}
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);

	client = client_begin(fixture, POOL_STAGE_DUMP);
	inject("cuCheckpointProcessRestore=999");
	for (i = 0; i < 2; i++) {
		image_id_of(fixture, applications[i]->pid, image_id);
		assert_true(client_resume(client, applications[i], image_id, &reply) < 0);
	}
	inject("");
	if (second_is_damaged)
		damage(fixture, applications[1]->pid, 1 << 20);
	close(client);
	wait_until_nothing_is_held(fixture);
	for (i = 0; i < (second_is_damaged ? 1 : 2); i++) {
		assert_int_equal(application_checksum(applications[i]), applications[i]->checksum);
		assert_false(image_is_there(fixture, applications[i]->pid));
	}
	if (second_is_damaged)
		assert_true(image_is_there(fixture, applications[1]->pid));
}

static void another_pools_dump_of_two_is_undone_at_the_end(void **state)
{
	undo_another_pools_dump_of_two(*state, false);
}

static void what_cannot_be_undone_leaves_its_image_and_the_others_whole(void **state)
{
	undo_another_pools_dump_of_two(*state, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_dump_that_fails_leaves_the_older_image),
		TEST(a_process_that_a_dying_criu_still_holds_is_brought_back),
		TEST(a_process_of_which_a_dying_criu_holds_one_thread_is_brought_back),
		TEST(another_pools_dump_is_undone_from_the_folder),
		TEST(another_pools_dump_of_two_is_undone_at_the_end),
		TEST(what_cannot_be_undone_leaves_its_image_and_the_others_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
