/* SPDX-License-Identifier: MIT */
#include "plugin/run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "plugin/criu_options.h"
#include "plugin/criu_plugin_abi.h"
#include "process/thread_control.h"
#include "report/failure_report.h"
#include "report/run_record.h"
#include "support/clock.h"
#include "support/log.h"
#include "support/plain_text.h"

/* The pool keeps the limit too, and knows better what took so long: let it speak first. */
#define POOL_SPEAKS_FIRST_MS 2000u

unsigned int run_timeout_ms(const struct plugin_run *run)
{
	return run->settings.timeout_seconds * 1000u + POOL_SPEAKS_FIRST_MS;
}

/* Without it the dump writes all, and is as good. */
static void open_parent(struct plugin_run *run)
{
	const char *path = run->settings.parent;

	if (!*path || !strcmp(path, PARENT_NONE))
		return;
	run->parent_folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->parent_folder < 0)
		log_warning("the folder %s (REKINDLE_PARENT) cannot be opened, and no image there is a parent: %s",
			    path, errno_text(errno));
}

int run_begin(struct plugin_run *run, uint32_t stage, struct error_text *error)
{
	int code;

	memset(run, 0, sizeof(*run));
	run->stage = stage;
	run->began = monotonic_nanoseconds();
	run->pool = POOL_CONNECTION_NONE;
	run->folder_lock = -1;
	run->parent_folder = -1;
	run->work_folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->work_folder < 0)
		return fail(error, -errno, "cannot open the work folder: %s", errno_text(errno));
	code = settings_load(&run->settings, NULL, error);
	if (!code)
		code = criu_options_apply(&run->settings, stage == POOL_STAGE_RESTORE, error);
	if (!code && stage == POOL_STAGE_DUMP)
		open_parent(run);
	return code;
}

/* Of the descriptors that go with a HELLO. */
static size_t count_folders(const struct plugin_run *run)
{
	return run->folder_lock < 0 ? 2 : run->parent_folder < 0 ? 3 : 4;
}

bool run_leaves_no_files(const struct plugin_run *run)
{
	return run->stage == POOL_STAGE_DUMP && !strcmp(run->settings.park, PARK_EPHEMERAL) && criu_tasks_will_end &&
	       &opts && opts == CRIU_TASK_DEAD;
}

static uint32_t tier_of(const struct plugin_run *run)
{
	const char *park = run->settings.park;

	if (run->stage != POOL_STAGE_DUMP)
		return POOL_TIER_FILES;
	if (run_leaves_no_files(run))
		return POOL_TIER_EPHEMERAL;
	if (!strcmp(park, PARK_EPHEMERAL))
		log_warning(
			"device memory is written into files: REKINDLE_PARK=ephemeral is for a tree that ends with its "
			"dump, and for a criu with Rekindle's patches");
	if (!strcmp(park, PARK_DEVICE) || !strcmp(park, PARK_EPHEMERAL))
		return POOL_TIER_DEVICE;
	return !strcmp(park, PARK_PINNED) ? POOL_TIER_PINNED : POOL_TIER_FILES;
}

int run_connect(struct plugin_run *run, bool fresh_private, struct error_text *error)
{
	struct pool_request hello = {
		.type = POOL_HELLO,
		.version = POOL_PROTOCOL_VERSION,
		.stage = run->stage,
		.parallel = run->settings.parallel_restore,
		.verify = run->settings.checksums || run->settings.verify_images,
		.hook_nanoseconds = run->began,
		.tier = tier_of(run),
	};
	const char *name = getenv(POOL_RUN_VARIABLE);
	struct pool_reply reply;
	int folders[4];
	int code = 0;

	run->lost_a_pool |= run->pool.lost;
	copy_text(hello.note, sizeof(hello.note), name ? name : "");
	memcpy(hello.image_id, run->checkpoint_id, sizeof(hello.image_id));
	if (run->stage == POOL_STAGE_RESTORE)
		memcpy(hello.device_map, run->settings.device_map, sizeof(hello.device_map));
	folders[0] = criu_get_image_dir();
	folders[1] = run->work_folder;
	folders[2] = run->folder_lock;
	folders[3] = run->parent_folder;
	if (!strcmp(run->settings.parent, PARENT_NONE))
		hello.parent = POOL_PARENT_NONE;
	else if (run->folder_lock >= 0 && run->parent_folder >= 0)
		hello.parent = POOL_PARENT_GIVEN;
	if (folders[0] < 0)
		return fail(error, -EBADF, "CRIU has no image folder open");
	for (int tries = 0; tries < 2; tries++) {
		pool_connection_close(&run->pool);
		code = pool_connection_open(&run->pool, &run->settings, run->work_folder, fresh_private, error);
		if (code)
			return code;
		hello.started_by_us = run->pool.started;
		code = pool_connection_call(&run->pool, &hello, folders, count_folders(run), &reply,
					    run_timeout_ms(run), error);
		/* A pool may end of idleness just when somebody comes; the second try starts another one. */
		if (!run->pool.lost || run->pool.abandoned || run->pool.started)
			break;
	}
	if (!code && reply.version != POOL_PROTOCOL_VERSION)
		code = fail(error, -EPROTO, POOL_OF_ANOTHER_VERSION);
	if (!code)
		log_info("the pool is %s", reply.pool_warm ? "warm" : "cold");
	return code;
}

struct pool_request run_resume_request(int initial_state, const struct agent *agent)
{
	struct pool_request request = {.type = POOL_RESUME, .initial_state = initial_state};

	if (agent->has_page && agent->page.state == AGENT_STATE_RELEASED) {
		request.agent_released = 1;
		memcpy(request.image_id, agent->page.image_id, sizeof(request.image_id));
	}
	return request;
}

static unsigned int limit_ms(const struct plugin_run *run, const struct pool_request *request)
{
	return request->timeout_ms ? request->timeout_ms + POOL_SPEAKS_FIRST_MS : run_timeout_ms(run);
}

int run_call(struct plugin_run *run, struct pool_request *request, struct pool_reply *reply, struct error_text *error)
{
	return pool_connection_call(&run->pool, request, NULL, 0, reply, limit_ms(run, request), error);
}

/* agent: -1 for none. */
static int call_within(struct plugin_run *run, const struct process_handle *process, int agent,
		       struct pool_request *request, struct pool_reply *reply, unsigned int timeout_ms,
		       struct error_text *error)
{
	int descriptors[POOL_PROCESS_DESCRIPTORS] = {process->pidfd, process->lock, agent};

	request->pid = process->pid;
	return pool_connection_call(&run->pool, request, descriptors, agent >= 0 ? 3 : 2, reply, timeout_ms, error);
}

static int call_about(struct plugin_run *run, const struct process_handle *process, int agent,
		      struct pool_request *request, struct pool_reply *reply, struct error_text *error)
{
	return call_within(run, process, agent, request, reply, limit_ms(run, request), error);
}

int run_call_process(struct plugin_run *run, const struct process_handle *process, struct pool_request *request,
		     struct pool_reply *reply, struct error_text *error)
{
	return call_about(run, process, -1, request, reply, error);
}

/* Of all calls that are under way. */
static void watch_threads(void *run)
{
	for (struct run_call *call = ((struct plugin_run *)run)->calls; call; call = call->next)
		for (size_t index = 0; index < 2; index++)
			thread_watch(&call->released[index]);
}

static void add_call(struct plugin_run *run, struct run_call *call)
{
	call->next = run->calls;
	run->calls = call;
	run->pool.watch = watch_threads;
	run->pool.watched = run;
}

static void remove_call(struct plugin_run *run, struct run_call *call)
{
	struct run_call **at = &run->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	if (!run->calls)
		run->pool.watch = NULL;
}

static void stop_at_end(struct plugin_run *run, const struct process_handle *process)
{
	int *more = realloc(run->stop_at_end, (run->stop_at_end_count + 1) * sizeof(*more));

	if (!more)
		return;
	run->stop_at_end = more;
	run->stop_at_end[run->stop_at_end_count++] = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 0);
}

static int begin_with_threads(const struct process_handle *process, const struct run_threads *threads,
			      struct released_thread released[2], struct error_text *error)
{
	const struct agent *agent = threads->agent;
	pid_t running[2] = {threads->restore_thread, agent->usable ? agent->thread : 0};
	int code = 0;

	/* A process with an agent is unlocked for it. */
	if (threads->standstill && agent->usable)
		code = standstill_begin(threads->standstill, process->pid, running, 2, error);
	if (!code)
		code = thread_release(&released[0], process->pid, threads->restore_thread, error);
	if (!code && agent->usable)
		code = thread_release(&released[1], process->pid, agent->thread, error);
	return code;
}

/* May what waits in the driver's lock, or comes to it, run? */
static bool may_run(const struct plugin_run *run, const struct run_call *call)
{
	if (!call->code || run->pool.lost)
		return !call->code;
	/* A checkpoint that fails leaves it whole. */
	return call->type != POOL_RESUME || call->reply.state == CU_PROCESS_STATE_LOCKED ||
	       call->reply.state == CU_PROCESS_STATE_CHECKPOINTED;
}

/* request: of any type, of which CHECKPOINT and RESUME may only be begun. */
static void begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		  const struct run_threads *threads, struct pool_request *request)
{
	const struct agent *agent = threads->agent;

	*call = (struct run_call){
		.process = process,
		.standstill = threads->standstill,
		.type = request->type,
		.reply = {.state = CU_PROCESS_STATE_RUNNING},
	};
	add_call(run, call);
	call->code = begin_with_threads(process, threads, call->released, &call->error);
	if (call->code)
		return;
	request->has_agent = agent->usable;
	call->code = call_about(run, process, agent->usable ? agent->control : -1, request, &call->reply, &call->error);
	call->is_awaited = !call->code && request->begin;
}

void run_call_begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		    const struct run_threads *threads, struct pool_request *request)
{
	request->begin = 1;
	begin(run, call, process, threads, request);
}

/* Whatever happened, CRIU must find all of them as it left them. */
static int stop_threads(struct plugin_run *run, struct run_call *call, struct error_text *error)
{
	struct error_text other;
	int code = 0, one;

	for (size_t index = 0; index < 2; index++) {
		one = thread_stop(&call->released[index], run_timeout_ms(run), code ? &other : error);
		code = code ? code : one;
	}
	if (call->standstill && may_run(run, call)) {
		one = standstill_end(call->standstill, run_timeout_ms(run), code ? &other : error);
		code = code ? code : one;
	}
	if (call->released[0].sigstop || call->released[1].sigstop)
		stop_at_end(run, call->process);
	return code;
}

int run_call_end(struct plugin_run *run, struct run_call *call, struct error_text *error)
{
	struct pool_request await = {.type = POOL_AWAIT, .pid = call->process->pid};
	struct error_text stop_error;
	int code;

	if (call->is_awaited)
		call->code = run_call(run, &await, &call->reply, &call->error);
	code = stop_threads(run, call, &stop_error);
	remove_call(run, call);
	if (call->code || code)
		*error = call->code ? call->error : stop_error;
	return call->code ? call->code : code;
}

void run_add_result(int *code, struct error_text *error, int one, const struct error_text *one_error)
{
	if (!one)
		return;
	if (*code && *code != -ENOTCONN) {
		log_error("%s", one_error->text);
		return;
	}
	if (*code)
		log_error("%s", error->text);
	*code = one;
	*error = *one_error;
}

void run_lock_begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		    pid_t restore_thread, const struct run_lock_limits *limits)
{
	struct pool_request request = {.type = POOL_LOCK, .timeout_ms = limits->driver_ms, .begin = 1};

	*call = (struct run_call){.process = process, .type = POOL_LOCK, .reply = {.state = CU_PROCESS_STATE_RUNNING}};
	add_call(run, call);
	thread_unfilter(&call->released[0], process->pid, restore_thread);
	call->code = call_within(run, process, -1, &request, &call->reply, limits->pool_ms + POOL_SPEAKS_FIRST_MS,
				 &call->error);
	call->is_awaited = !call->code;
}

/* timeout_ms: 0 for as long as something gets done. */
static int end_unfiltered(struct plugin_run *run, struct run_call *call, unsigned int timeout_ms,
			  struct error_text *error)
{
	struct pool_request await = {.type = POOL_AWAIT, .pid = call->process->pid, .timeout_ms = timeout_ms};

	if (call->is_awaited)
		call->code = run_call(run, &await, &call->reply, &call->error);
	/* CRIU seizes it next. */
	thread_filter_again(&call->released[0], run_timeout_ms(run));
	remove_call(run, call);
	if (call->code)
		*error = call->error;
	return call->code;
}

int run_lock_end(struct plugin_run *run, struct run_call *call, const struct run_lock_limits *limits,
		 struct error_text *error)
{
	return end_unfiltered(run, call, limits->pool_ms, error);
}

void run_ahead_begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		     const struct agent *agent)
{
	struct pool_request request = {.type = POOL_COPY_AHEAD, .begin = 1, .has_agent = 1};

	*call = (struct run_call){.process = process, .type = POOL_COPY_AHEAD};
	add_call(run, call);
	thread_unfilter(&call->released[0], process->pid, agent->thread);
	call->code = call_about(run, process, agent->control, &request, &call->reply, &call->error);
	call->is_awaited = !call->code;
}

int run_ahead_end(struct plugin_run *run, struct run_call *call, struct error_text *error)
{
	return end_unfiltered(run, call, 0, error);
}

static void watch_one(void *thread)
{
	thread_watch(thread);
}

int run_call_unfiltered(struct plugin_run *run, const struct process_handle *process, pid_t restore_thread,
			struct pool_request *request, struct pool_reply *reply, struct error_text *error)
{
	struct released_thread thread;
	int code;

	thread_unfilter(&thread, process->pid, restore_thread);
	run->pool.watch = thread.running ? watch_one : NULL;
	run->pool.watched = &thread;
	code = run_call_process(run, process, request, reply, error);
	run->pool.watch = NULL;
	/* CRIU seizes it next. */
	thread_filter_again(&thread, run_timeout_ms(run));
	return code;
}

int run_call_with_threads(struct plugin_run *run, const struct process_handle *process,
			  const struct run_threads *threads, struct pool_request *request, struct pool_reply *reply,
			  struct error_text *error)
{
	struct run_call call;
	int code;

	begin(run, &call, process, threads, request);
	code = run_call_end(run, &call, error);
	*reply = call.reply;
	return code;
}

void run_fail(struct plugin_run *run, int code, const struct error_text *error)
{
	log_error("%s", error->text);
	if (!run->failed) {
		run->failure_code = code;
		run->failure = *error;
	}
	run->failed = true;
}

/* Nobody can undo it any more: its processes have ended. */
static void fail_without_memory(struct plugin_run *run, const char *why)
{
	struct error_text error;
	int code =
		fail(&error, -ENODATA,
		     "this checkpoint cannot be restored: its device memory is in no file (REKINDLE_PARK=ephemeral), "
		     "and its pool has not kept it (%.300s)",
		     why);

	log_error("%s", error.text);
	run_fail(run, code, &error);
}

enum run_rest run_end(struct plugin_run *run, int criu_result)
{
	struct pool_request finish = {.type = POOL_FINISH, .images_stay = run->images_stay};
	struct pool_reply reply;
	struct error_text error;
	enum run_rest rest = RUN_REST_OURS;
	int code = -ENOTCONN;

	finish.criu_result = criu_result > 0 ? -EIO : criu_result;
	/* Of a pool that died: the other code would say to the one that took its place that CRIU did. */
	if (run->failed)
		finish.criu_result = run->failure_code == -ECONNRESET ? -EPIPE : run->failure_code;
	/* What failed here and not in the pool, the pool knows only from us. */
	snprintf(finish.note, sizeof(finish.note), "%.*s", (int)sizeof(finish.note) - 1,
		 run->failed ? run->failure.text : run->note.text);
	/* A connection that ends without FINISH tells the pool to bring back what the run has left behind. */
	if (run->pool.socket >= 0 && !run->left_to_pool) {
		code = pool_connection_call(&run->pool, &finish, NULL, 0, &reply, run_timeout_ms(run), &error);
		if (code)
			log_warning("the pool could not end the run well: %s", error.text);
		else if (reply.bytes)
			log_info("%" PRIu64 " bytes of device memory stay in the pool for the next restore, "
				 "provided that the tree ends now",
				 reply.bytes);
		if (!code && reply.reason[0])
			log_warning("%s%s", reply.bytes ? "" : "no device memory is parked: ", reply.reason);
		if (run->left_in_pool && (code || !reply.bytes))
			fail_without_memory(run, code ? error.text : reply.reason);
	}
	/* One that died while it wrote has left it. */
	if (run->pool.lost && !run->pool.abandoned)
		unlinkat(run->work_folder, RUN_RECORD_OF_POOL, 0);
	if (run->left_to_pool || run->pool.abandoned)
		rest = RUN_REST_POOLS;
	else if (!code)
		rest = reply.left_behind || run->lost_a_pool ? RUN_REST_POOLS : RUN_REST_NONE;
	if (run->failed && code)
		failure_report_write(run->work_folder, run->stage, run->began, run->failure_code, run->failure.text);
	pool_connection_close(&run->pool);
	/* Not before: it would stop what CRIU lets run in the process. */
	for (size_t i = 0; i < run->stop_at_end_count; i++) {
		syscall(SYS_pidfd_send_signal, run->stop_at_end[i], SIGSTOP, NULL, 0);
		close(run->stop_at_end[i]);
	}
	free(run->stop_at_end);
	run->stop_at_end = NULL;
	run->stop_at_end_count = 0;
	if (run->work_folder >= 0)
		close(run->work_folder);
	if (run->parent_folder >= 0)
		close(run->parent_folder);
	run->work_folder = run->parent_folder = -1;
	return rest;
}
