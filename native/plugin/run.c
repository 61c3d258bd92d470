/* SPDX-License-Identifier: MIT */
#include "plugin/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin/criu_plugin_abi.h"
#include "plugin/failure_report.h"
#include "plugin/thread_control.h"
#include "support/clock.h"
#include "support/log.h"

/* The pool keeps the limit too, and knows better what took so long: let it speak first. */
#define POOL_SPEAKS_FIRST_MS 2000u

unsigned int run_timeout_ms(const struct run *run)
{
	return run->settings.timeout_seconds * 1000u + POOL_SPEAKS_FIRST_MS;
}

int run_begin(struct run *run, uint32_t stage, struct error_text *error)
{
	int code;

	memset(run, 0, sizeof(*run));
	run->stage = stage;
	run->began = monotonic_nanoseconds();
	run->pool = POOL_CONNECTION_NONE;
	run->work_folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->work_folder < 0)
		return fail(error, -errno, "cannot open the work folder: %s", strerror(errno));
	code = settings_load(&run->settings, NULL, error);
	return code;
}

int run_connect(struct run *run, bool fresh_private, struct error_text *error)
{
	struct pool_request hello = {
		.type = POOL_HELLO,
		.version = POOL_PROTOCOL_VERSION,
		.stage = run->stage,
		.parallel = run->settings.parallel_restore,
		.verify = run->settings.checksums,
		.hook_nanoseconds = run->began,
	};
	struct pool_reply reply;
	int folders[2];
	int code = 0;

	folders[0] = criu_get_image_dir();
	folders[1] = run->work_folder;
	if (folders[0] < 0)
		return fail(error, -EBADF, "CRIU has no image folder open");
	for (int tries = 0; tries < 2; tries++) {
		pool_connection_close(&run->pool);
		code = pool_connection_open(&run->pool, &run->settings, run->work_folder, fresh_private, error);
		if (code)
			return code;
		hello.started_by_us = run->pool.started;
		code = pool_connection_call(&run->pool, &hello, folders, 2, &reply, run_timeout_ms(run), error);
		/* A pool may end of idleness just when somebody comes; the second try starts another one. */
		if (!run->pool.lost || run->pool.abandoned || run->pool.started)
			break;
	}
	if (!code && reply.version != POOL_PROTOCOL_VERSION)
		code = fail(error, -EPROTO,
			    "the pool speaks version %u of the protocol and this plugin %u: install the same version "
			    "of both",
			    reply.version, POOL_PROTOCOL_VERSION);
	if (!code)
		log_info("the pool is %s", reply.pool_warm ? "warm" : "cold");
	return code;
}

struct pool_request run_resume_request(pid_t pid, int initial_state, const struct agent *agent)
{
	struct pool_request request = {.type = POOL_RESUME, .pid = pid, .initial_state = initial_state};

	if (agent->has_page && agent->page.state == AGENT_STATE_RELEASED) {
		request.agent_released = 1;
		memcpy(request.image_id, agent->page.image_id, sizeof(request.image_id));
	}
	return request;
}

int run_call(struct run *run, struct pool_request *request, struct pool_reply *reply, struct error_text *error)
{
	unsigned int limit = request->timeout_ms ? request->timeout_ms + POOL_SPEAKS_FIRST_MS : run_timeout_ms(run);

	return pool_connection_call(&run->pool, request, NULL, 0, reply, limit, error);
}

static void watch_threads(void *threads)
{
	thread_watch(&((struct released_thread *)threads)[0]);
	thread_watch(&((struct released_thread *)threads)[1]);
}

static void stop_at_end(struct run *run, pid_t pid)
{
	pid_t *more = realloc(run->stop_at_end, (run->stop_at_end_count + 1) * sizeof(*more));

	if (!more)
		return;
	run->stop_at_end = more;
	run->stop_at_end[run->stop_at_end_count++] = pid;
}

int run_call_with_threads(struct run *run, struct pool_request *request, pid_t restore_thread,
			  const struct agent *agent, struct pool_reply *reply, struct error_text *error)
{
	struct released_thread threads[2] = {0}, *restore = &threads[0], *helper = &threads[1];
	struct error_text stop_error;
	int code, stop_code;

	code = thread_release(restore, request->pid, restore_thread, error);
	if (code)
		goto stop;
	if (agent->usable) {
		code = thread_release(helper, request->pid, agent->thread, error);
		if (code)
			goto stop;
		request->has_agent = 1;
	}
	run->pool.watch = watch_threads;
	run->pool.watched = threads;
	code = pool_connection_call(&run->pool, request, &agent->control, agent->usable, reply, run_timeout_ms(run),
				    error);
	run->pool.watch = NULL;
stop:
	/* Whatever happened, CRIU must find both as it left them. */
	stop_code = thread_stop(helper, run_timeout_ms(run), &stop_error);
	if (!stop_code)
		stop_code = thread_stop(restore, run_timeout_ms(run), &stop_error);
	else
		thread_stop(restore, run_timeout_ms(run), NULL);
	if (restore->sigstop || helper->sigstop)
		stop_at_end(run, request->pid);
	if (stop_code && !code) {
		*error = stop_error;
		code = stop_code;
	}
	return code;
}

void run_fail(struct run *run, const struct error_text *error)
{
	log_error("%s", error->text);
	if (!run->failed)
		run->failure = *error;
	run->failed = true;
}

void run_end(struct run *run, int criu_result)
{
	struct pool_request finish = {.type = POOL_FINISH};
	struct pool_reply reply;
	struct error_text error;
	int code = -ENOTCONN;

	finish.criu_result = criu_result > 0 || (!criu_result && run->failed) ? -EIO : criu_result;
	/* What failed here and not in the pool, the pool knows only from us. */
	snprintf(finish.note, sizeof(finish.note), "%.*s", (int)sizeof(finish.note) - 1,
		 run->failed ? run->failure.text : run->note.text);
	/* A connection that ends without FINISH tells the pool to bring back what the run has left behind. */
	if (run->pool.socket >= 0 && !run->left_to_pool) {
		code = pool_connection_call(&run->pool, &finish, NULL, 0, &reply, run_timeout_ms(run), &error);
		if (code)
			log_warning("the pool could not end the run well: %s", error.text);
	}
	if (run->failed && code)
		failure_report_write(run->work_folder, run->stage, run->began, run->failure.text);
	pool_connection_close(&run->pool);
	/* Not before: it would stop what CRIU lets run in the process. */
	for (size_t i = 0; i < run->stop_at_end_count; i++)
		kill(run->stop_at_end[i], SIGSTOP);
	free(run->stop_at_end);
	run->stop_at_end = NULL;
	run->stop_at_end_count = 0;
	if (run->work_folder >= 0)
		close(run->work_folder);
	run->work_folder = -1;
}
