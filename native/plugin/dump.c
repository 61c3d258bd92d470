/* SPDX-License-Identifier: MIT */
#include "plugin/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "plugin/criu_alarm.h"
#include "plugin/criu_plugin_abi.h"
#include "plugin/process_maps.h"
#include "plugin/process_status.h"
#include "plugin/run.h"
#include "support/log.h"

/* What LOCK leaves of CRIU's freeze timeout, so that its end is ours and not the alarm's. */
#define ALARM_MARGIN_MS 1000u

/* A process of the tree that uses CUDA. */
struct dumped_process {
	struct dumped_process *next;
	pid_t pid;
	uint64_t start_time;
	pid_t restore_thread;
	int initial_state; /* CUprocessState before we touched it */
	bool locked;	   /* by us */
	bool checkpointed; /* or tried: its memory may be away */
};

static struct run run;
static struct dumped_process *processes;
static bool in_inventory;

/* CRIU's cgroup freezer would keep the driver's threads from running; only worth changing where there may be a driver.
 */
static bool driver_may_be_present(void)
{
	return run.settings.cuda_driver[0] || !access("/proc/driver/nvidia", F_OK) || !access("/dev/nvidiactl", F_OK) ||
	       !access("/dev/dxg", F_OK);
}

int dump_begin(void)
{
	struct error_text error;

	processes = NULL;
	in_inventory = false;
	if (run_begin(&run, POOL_STAGE_DUMP, &error)) {
		run_fail(&run, &error);
		run_end(&run, -EINVAL);
		return -1;
	}
	if (driver_may_be_present() && set_compel_interrupt_only_mode)
		set_compel_interrupt_only_mode();
	return 0;
}

static struct dumped_process *find_process(pid_t pid)
{
	for (struct dumped_process *process = processes; process; process = process->next)
		if (process->pid == pid && process->start_time == process_start_time(pid))
			return process;
	return NULL;
}

static bool is_gone(pid_t pid)
{
	struct thread_status status;

	return thread_status_read(pid, pid, &status) || status.state == 'Z' || status.state == 'X';
}

static struct dumped_process *track_process(pid_t pid, const struct pool_reply *query, struct error_text *error)
{
	struct dumped_process *process = calloc(1, sizeof(*process));

	if (!process) {
		fail(error, -ENOMEM, "out of memory");
		return NULL;
	}
	process->pid = pid;
	process->start_time = process_start_time(pid);
	process->restore_thread = query->restore_thread_id;
	process->initial_state = query->state;
	process->next = processes;
	processes = process;
	return process;
}

/* A thread of the process itself tells the driver its state: asked of one that SIGSTOP holds, the driver waits for
 * ever. */
static int check_runs(pid_t pid, struct error_text *error)
{
	struct thread_status status;

	if (thread_status_read(pid, pid, &status) || status.state != 'T')
		return 0;
	return fail(
		error, -EBUSY,
		"process %d is stopped (SIGSTOP), and its CUDA cannot be locked then: let it run (SIGCONT) and dump it "
		"again",
		(int)pid);
}

/* What CRIU's alarm leaves, and our own limit where that is shorter. */
static unsigned int left_ms(const struct criu_alarm *alarm)
{
	unsigned int limit = run_timeout_ms(&run), left = criu_alarm_left_ms(alarm, ALARM_MARGIN_MS, limit);

	return left < limit ? left : limit;
}

static int pause_process(pid_t pid, const struct criu_alarm *alarm, struct error_text *error)
{
	struct pool_request query = {.type = POOL_QUERY, .pid = pid};
	struct pool_request lock = {.type = POOL_LOCK, .pid = pid};
	struct dumped_process *process;
	struct pool_reply reply;
	int code;

	if (run.pool.socket < 0) {
		code = run_connect(&run, false, error);
		if (code)
			return code;
	}
	query.timeout_ms = left_ms(alarm);
	code = run_call(&run, &query, &reply, error);
	if (code)
		return code;
	if (!reply.uses_cuda) {
		log_info("process %d has the CUDA driver loaded but does not use it", (int)pid);
		return 0;
	}
	code = check_runs(pid, error);
	if (code)
		return code;
	query.wants_state = 1;
	query.timeout_ms = left_ms(alarm);
	code = run_call(&run, &query, &reply, error);
	if (code)
		return code;
	if (reply.state != CU_PROCESS_STATE_RUNNING && reply.state != CU_PROCESS_STATE_LOCKED &&
	    reply.state != CU_PROCESS_STATE_CHECKPOINTED)
		return fail(error, -EIO, "CUDA of process %d is in the driver's state %d, from which there is no dump",
			    (int)pid, reply.state);
	if (!in_inventory) {
		if (add_inventory_plugin(PLUGIN_NAME))
			return fail(error, -ENOMEM, "CRIU could not add " PLUGIN_NAME " to its inventory");
		in_inventory = true;
	}
	process = track_process(pid, &reply, error);
	if (!process)
		return -ENOMEM;
	if (process->initial_state != CU_PROCESS_STATE_RUNNING) {
		log_info("process %d was %s already and is left so", (int)pid,
			 process->initial_state == CU_PROCESS_STATE_LOCKED ? "locked" : "checkpointed");
		return 0;
	}

	lock.timeout_ms = left_ms(alarm);
	log_info("locking CUDA of process %d, within %u ms", (int)pid, lock.timeout_ms);
	process->locked = true; /* a failed LOCK may have left it locked: dump_end unlocks */
	return run_call(&run, &lock, &reply, error);
}

int dump_pause_devices(int pid)
{
	struct criu_alarm alarm;
	struct process_maps maps;
	struct error_text error;
	int code;

	code = process_maps_read(pid, &maps, &error);
	if (code == -ESRCH || (!code && !maps.has_cuda_library))
		return -ENOTSUP;
	/* CRIU asks again for a process that it could not seize at once. */
	if (!code && find_process(pid))
		return 0;
	if (!code) {
		criu_alarm_suspend(&alarm);
		code = pause_process(pid, &alarm, &error);
		criu_alarm_resume(&alarm);
	}
	if (code && !run.pool.lost && is_gone(pid)) {
		log_info("process %d ended before it could be paused", pid);
		return -ENOTSUP;
	}
	if (code) {
		run_fail(&run, &error);
		return -1;
	}
	return 0;
}

/* CUDA that starts between PAUSE_DEVICES and the freezing of the process would be missing in the image. */
static int check_untracked(pid_t pid, const struct process_maps *maps, struct error_text *error)
{
	struct pool_request query = {.type = POOL_QUERY, .pid = pid};
	struct pool_reply reply;
	int code;

	if (!maps->has_cuda_library)
		return 0;
	if (run.pool.socket < 0) {
		code = run_connect(&run, false, error);
		if (code)
			return code;
	}
	code = run_call(&run, &query, &reply, error);
	if (code)
		return code;
	if (reply.uses_cuda)
		return fail(error, -EAGAIN, "process %d began to use CUDA while the dump began: dump it again",
			    (int)pid);
	return 0;
}

/* What an earlier run took away and could not bring back is in that run's image, and would be missing in this one. */
static int check_in_place(pid_t pid, const struct agent *agent, struct error_text *error)
{
	if (!agent->has_page || agent->page.state == AGENT_STATE_MAPPED)
		return 0;
	return fail(error, -EINVAL,
		    "the device memory of process %d is not in place since an earlier run failed: restore it from that "
		    "run's image instead",
		    (int)pid);
}

static int checkpoint_process(struct dumped_process *process, const struct process_maps *maps, struct error_text *error)
{
	struct pool_request request = {.type = POOL_CHECKPOINT, .pid = process->pid};
	struct pool_reply reply;
	struct agent agent;
	int code;

	agent_open(&agent, process->pid, maps);
	code = check_in_place(process->pid, &agent, error);
	if (!code && agent.has_page && agent.page.needs_agent && !agent.usable)
		code = fail(error, -EOPNOTSUPP,
			    "process %d was restored, and the driver cannot save its memory without the agent, which "
			    "cannot "
			    "be reached: %s",
			    (int)process->pid, agent.note);
	if (code || process->initial_state == CU_PROCESS_STATE_CHECKPOINTED)
		goto out;
	snprintf(request.note, sizeof(request.note), "%s", agent.note);
	process->checkpointed = true;
	code = run_call_with_threads(&run, &request, process->restore_thread, &agent, &reply, error);
	if (code)
		goto out;
	if (reply.mode == POOL_MODE_OFFLOAD)
		log_info("process %d: %" PRIu64 " bytes of device memory are in the GPU image", (int)process->pid,
			 reply.bytes);
	else
		log_warning("process %d: native mode, device memory travels in the process image: %s",
			    (int)process->pid, reply.reason);
out:
	agent_close(&agent);
	return code;
}

int dump_checkpoint_devices(int pid)
{
	struct dumped_process *process = find_process(pid);
	struct process_maps maps;
	struct error_text error;
	struct criu_alarm alarm;
	int code;

	code = process_maps_read(pid, &maps, &error);
	if (!code && !process && !maps.has_cuda_library)
		return -ENOTSUP;
	if (!code) {
		criu_alarm_suspend(&alarm);
		code = process ? checkpoint_process(process, &maps, &error) : check_untracked(pid, &maps, &error);
		criu_alarm_resume(&alarm);
	}
	if (code) {
		run_fail(&run, &error);
		return -1;
	}
	return 0;
}

/* Makes sure that a pool answers; one that ended is replaced by a fresh one, for which the GPU image is enough. */
static int ensure_pool(struct error_text *error)
{
	if (run.pool.socket >= 0)
		return 0;
	if (run.pool.abandoned)
		return fail(error, -EBUSY,
			    "the pool hangs and may still hold the process: it brings it back when it can");
	return run_connect(&run, true, error);
}

static int bring_back_once(const struct dumped_process *process, struct error_text *error)
{
	struct pool_request request = {.type = POOL_UNLOCK, .pid = process->pid};
	struct agent agent = {.control = -1};
	struct process_maps maps;
	struct pool_reply reply;
	int code;

	code = ensure_pool(error);
	if (code)
		return code;
	if (process->checkpointed) {
		code = process_maps_read(process->pid, &maps, error);
		if (code)
			return code;
		agent_open(&agent, process->pid, &maps);
		request = run_resume_request(process->pid, process->initial_state, &agent);
	}
	code = run_call_with_threads(&run, &request, process->restore_thread, &agent, &reply, error);
	agent_close(&agent);
	return code;
}

/*
 * Every task is still stopped, and whether the tree will live is not known here (--leave-running, a failed step, a
 * script of the user's). So each process gets its GPU back, always: its memory is still in the pool, which makes that
 * cheap.
 */
static void bring_back(const struct dumped_process *process, int criu_result)
{
	struct error_text error;
	bool was_lost = false;
	int code;

	if (!process->locked && !process->checkpointed)
		return;
	if (is_gone(process->pid) || process->start_time != process_start_time(process->pid))
		return;
	code = bring_back_once(process, &error);
	was_lost = code && run.pool.lost && !run.pool.abandoned;
	if (was_lost)
		log_warning("%s: once more with a fresh pool", error.text);
	if (code && !run.pool.abandoned)
		code = bring_back_once(process, &error);
	if (!code) {
		log_info("process %d has its GPU back", (int)process->pid);
		return;
	}
	if (criu_result)
		run_fail(&run, &error);
	else
		log_error("%s", error.text);
	run.note = error;
	if (criu_result && run.pool.socket >= 0) {
		/* Not while CRIU holds its threads: the driver would wait for them, and CRIU for the pool. */
		run.left_to_pool = true;
		log_error("process %d could not get its GPU back yet: the pool tries again when CRIU has let it go, "
			  "see the pool's log",
			  (int)process->pid);
		return;
	}
	log_error("process %d could not get its GPU back: if it is to go on, end it and restore it from an image",
		  (int)process->pid);
}

void dump_end(int criu_result)
{
	struct dumped_process *process, *next;

	for (process = processes; process; process = process->next)
		bring_back(process, criu_result);
	run_end(&run, criu_result);
	for (process = processes; process; process = next) {
		next = process->next;
		free(process);
	}
	processes = NULL;
}
