/* SPDX-License-Identifier: MIT */
#include "plugin/dump_lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "driver/cuda_abi.h"
#include "plugin/dump_checks.h"
#include "process/agent_page.h"
#include "process/process_maps.h"
#include "support/clock.h"
#include "support/log.h"

#define FIRST_LIMIT_MS 10u
/* Whether all come to rest is a matter of luck: of so many attempts one has the full limit, the others a fraction of it. */
#define ATTEMPTS_PER_LIMIT 9u
#define SHORT_LIMIT(limit) ((limit) / 8 > FIRST_LIMIT_MS ? (limit) / 8 : FIRST_LIMIT_MS)
#define MS UINT64_C(1000000)

/* Names those that are not at rest. */
static void name_busy(const struct dumped_process *processes, char *text, size_t bytes)
{
	size_t length = 0;

	text[0] = '\0';
	for (; processes; processes = processes->next)
		if (dumped_process_is_to_be_locked(processes) &&
		    processes->call.reply.state == CU_PROCESS_STATE_RUNNING && length + 16 < bytes)
			length += (size_t)snprintf(text + length, bytes - length, "%s%d", length ? ", " : "",
						   (int)processes->handle.pid);
}

/* Another process that ends, or has ended, is no failure of this one's. */
static bool is_gone(const struct plugin_run *run, const struct dumped_process *process, int code)
{
	return !run->pool.lost && (code == -ESRCH || process_handle_has_ended(&process->handle));
}

/* A stopped process would keep the driver waiting, and whoever asks it. */
static int check_all_run(const struct plugin_run *run, const struct dumped_process *processes, struct error_text *error)
{
	int code = 0;

	for (; processes && !code; processes = processes->next) {
		if (dumped_process_is_to_be_locked(processes))
			code = check_runs(processes->handle.pid, error);
		if (code && is_gone(run, processes, code))
			code = 0;
	}
	return code;
}

/* All at once. *at_rest: each of them is locked. */
static int attempt(struct plugin_run *run, struct dumped_process *processes, const struct run_lock_limits *limits,
		   bool *at_rest, struct error_text *error)
{
	int code = check_all_run(run, processes, error), one;
	struct error_text other;

	*at_rest = true;
	for (struct dumped_process *process = processes; process && !code; process = process->next) {
		if (!dumped_process_is_to_be_locked(process))
			continue;
		process->turn = TURN_UNDER_WAY;
		dumped_process_reached(process, DUMP_LOCK_TRIED);
		run_lock_begin(run, &process->call, &process->handle, process->restore_thread, limits);
	}
	for (struct dumped_process *process = processes; process; process = process->next) {
		if (process->turn != TURN_UNDER_WAY)
			continue;
		process->turn = NO_TURN;
		/* Of several only one says why the pool is lost, and the others that there is none. */
		one = run_lock_end(run, &process->call, limits, code && code != -ENOTCONN ? &other : error);
		if (one && is_gone(run, process, one))
			continue;
		if (one && (!code || code == -ENOTCONN))
			code = one;
		*at_rest &= process_handle_has_ended(&process->handle) ||
			    process->call.reply.state != CU_PROCESS_STATE_RUNNING;
	}
	return code;
}

/* All of them, also those that are not known to be locked. What fails keeps no other one from it. */
static int let_run(struct plugin_run *run, struct dumped_process *processes, unsigned int timeout_ms,
		   struct error_text *error)
{
	int code = check_all_run(run, processes, error), one;
	struct pool_request unlock;
	struct error_text other;
	struct pool_reply reply;

	for (; processes; processes = processes->next) {
		if (!dumped_process_is_to_be_locked(processes) || check_runs(processes->handle.pid, &other))
			continue;
		unlock = (struct pool_request){.type = POOL_UNLOCK, .timeout_ms = timeout_ms};
		one = run_call_unfiltered(run, &processes->handle, processes->restore_thread, &unlock, &reply,
					  code ? &other : error);
		if (one && !is_gone(run, processes, one))
			code = code ? code : one;
	}
	return code;
}

/* Not in step with what they do. */
static void wait_a_moment(unsigned int limit_ms)
{
	const struct timespec pause = {.tv_nsec = (long)(random() % (1 + (limit_ms < 50 ? limit_ms : 50)) * (long)MS)};

	nanosleep(&pause, NULL);
}

/*
 * A pool that died, or lost patience, may have left an agent at work for it. In the middle of a CUDA call it would be
 * counted among the program's threads that wait at the driver's lock, see pool/device/driver_gate.h. Nobody else asks it
 * anything now, as the process is ours.
 */
static void let_agent_end(const struct dumped_process *process, uint64_t end)
{
	const struct timespec pause = {.tv_nsec = (long)MS / 2};
	pid_t pid = process->handle.pid;
	struct process_maps maps;
	struct error_text error;
	struct agent agent;
	bool waited = false, at_work = false;

	if (process_maps_read(pid, &maps, &error))
		return;
	agent_open(&agent, pid, &maps);
	while (agent.usable && (at_work = agent_is_at_work(&agent, pid)) && monotonic_nanoseconds() < end &&
	       !process_handle_has_ended(&process->handle)) {
		if (!waited)
			log_info("the agent of process %d is at work for another run, which is waited for", (int)pid);
		waited = true;
		nanosleep(&pause, NULL);
	}
	agent_close(&agent);
	if (at_work)
		log_warning("the agent of process %d is at work for another run, and does not come to an end",
			    (int)pid);
	else if (waited)
		log_info("the agent of process %d was at work for another run until now", (int)pid);
}

static size_t count(const struct dumped_process *processes)
{
	size_t found = 0;

	for (; processes; processes = processes->next)
		found += dumped_process_is_to_be_locked(processes);
	return found;
}

int dump_lock_tree(struct plugin_run *run, struct dumped_process *processes, unsigned int timeout_ms,
		   struct error_text *error)
{
	uint64_t end = monotonic_nanoseconds() + timeout_ms * MS, left;
	unsigned int full = FIRST_LIMIT_MS, limit, attempts = 0;
	struct run_lock_limits limits;
	bool at_rest = false, is_last;
	char busy[256];
	int code = 0;

	for (struct dumped_process *process = processes; process; process = process->next)
		if (dumped_process_is_to_be_locked(process))
			log_info("locking CUDA of process %d, within %u ms", (int)process->handle.pid, timeout_ms);
	for (struct dumped_process *process = processes; process; process = process->next)
		if (dumped_process_is_to_be_locked(process))
			let_agent_end(process, end - timeout_ms * MS / 2);
	for (;;) {
		left = end > monotonic_nanoseconds() ? (end - monotonic_nanoseconds()) / MS + 1 : 1;
		attempts++;
		limit = attempts % ATTEMPTS_PER_LIMIT ? SHORT_LIMIT(full) : full;
		is_last = count(processes) < 2 || left + limit <= timeout_ms / 2 || left <= limit;
		if (is_last)
			limit = (unsigned int)left;
		limits = (struct run_lock_limits){.driver_ms = limit, .pool_ms = (unsigned int)left};
		code = attempt(run, processes, &limits, &at_rest, error);
		if (code || at_rest || is_last)
			break;
		code = let_run(run, processes, limits.pool_ms, error);
		if (code)
			break;
		wait_a_moment(limit);
		if (attempts % ATTEMPTS_PER_LIMIT == 0)
			full += full / 2;
	}
	if (!code && at_rest) {
		if (attempts > 1)
			log_info("%zu processes came to rest together at attempt %u", count(processes), attempts);
		for (struct dumped_process *process = processes; process; process = process->next)
			if (dumped_process_is_to_be_locked(process))
				dumped_process_reached(process, DUMP_AT_REST);
	}
	if (code || at_rest)
		return code;
	name_busy(processes, busy, sizeof(busy));
	if (count(processes) < 2)
		return fail(error, -ETIMEDOUT,
			    "The GPU work of process %s did not end within %u ms; try later or raise CRIU's --timeout",
			    busy, timeout_ms);
	return fail(error, -ETIMEDOUT,
		    "The GPU work of %zu processes did not come to rest together within %u ms, at the end that of "
		    "process %s; try later or raise CRIU's --timeout",
		    count(processes), timeout_ms, busy);
}
