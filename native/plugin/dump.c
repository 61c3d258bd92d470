/* SPDX-License-Identifier: MIT */
#include "plugin/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "plugin/criu_alarm.h"
#include "plugin/criu_plugin_abi.h"
#include "plugin/dump_ahead.h"
#include "plugin/dump_checks.h"
#include "plugin/dump_folder.h"
#include "plugin/dump_lock.h"
#include "plugin/dump_tree.h"
#include "plugin/inherited_devices.h"
#include "plugin/run.h"
#include "plugin/tree_check.h"
#include "process/process_handle.h"
#include "process/process_maps.h"
#include "process/process_status.h"
#include "process/process_tree.h"
#include "process/thread_control.h"
#include "protocol/seal_order.h"
#include "store/checkpoint_gpu_images.h"
#include "support/clock.h"
#include "support/log.h"

/* What LOCK leaves of CRIU's freeze timeout, so that its end is ours and not the alarm's. */
#define ALARM_MARGIN_MS 1000u

static struct plugin_run run;
static struct dump_folder folder;
static struct dumped_process *processes;
static bool in_inventory;

/* CRIU's cgroup freezer would keep the driver's threads from running; to be changed only where there may be a driver. */
static bool driver_may_be_present(void)
{
	return run.settings.cuda_driver[0] || !access("/proc/driver/nvidia", F_OK) || !access("/dev/nvidiactl", F_OK) ||
	       !access("/dev/dxg", F_OK);
}

int dump_begin(void)
{
	struct error_text error;
	int code;

	processes = NULL;
	in_inventory = false;
	inherited_devices_begin();
	folder = DUMP_FOLDER_NONE;
	code = run_begin(&run, POOL_STAGE_DUMP, &error);
	if (!code)
		code = dump_folder_begin(&folder, &run.settings, &error);
	if (code) {
		run_fail(&run, code, &error);
		run_end(&run, code);
		dump_folder_end(&folder, false, RUN_REST_OURS);
		return -1;
	}
	run.folder_lock = folder.lock;
	memcpy(run.checkpoint_id, folder.order->checkpoint_id, sizeof(run.checkpoint_id));
	if (driver_may_be_present() && set_compel_interrupt_only_mode)
		set_compel_interrupt_only_mode();
	return 0;
}

static struct dumped_process *find_process(pid_t pid)
{
	for (struct dumped_process *process = processes; process; process = process->next)
		if (process->handle.pid == pid && !process_handle_has_ended(&process->handle))
			return process;
	return NULL;
}

static int track_process(pid_t pid, struct dumped_process **tracked, struct error_text *error)
{
	struct dumped_process *process = calloc(1, sizeof(*process));
	int code;

	if (!process)
		return fail(error, -ENOMEM, "Out of memory");
	code = process_handle_open(&process->handle, pid, error);
	if (code) {
		free(process);
		return code;
	}
	process->agent.control = -1;
	process->next = processes;
	processes = process;
	*tracked = process;
	return 0;
}

/* For whoever finds the process as a run left it that was killed together with its pool and their guardian. */
static void log_way_back(pid_t pid)
{
	char images[PATH_MAX];

	dump_folder_path(folder.lock, images);
	log_info("should this run be killed and process %d stand still: rekindled --revive %d --images %s", (int)pid,
		 (int)pid, images);
}

/* What CRIU's alarm leaves, and our own limit where that is shorter. */
static unsigned int left_ms(const struct criu_alarm *alarm)
{
	unsigned int limit = run_timeout_ms(&run), left = criu_alarm_left_ms(alarm, ALARM_MARGIN_MS, limit);

	return left < limit ? left : limit;
}

/* All that comes before its lock. */
static int look_at(struct dumped_process *process, const struct process_maps *maps, const struct criu_alarm *alarm,
		   struct error_text *error)
{
	struct pool_request query = {.type = POOL_QUERY, .timeout_ms = left_ms(alarm)};
	pid_t pid = process->handle.pid;
	struct pool_reply reply;
	int code;

	code = check_is_not_traced(pid, error);
	if (!code && run.pool.socket < 0)
		code = run_connect(&run, false, error);
	if (!code)
		code = run_call_process(&run, &process->handle, &query, &reply, error);
	if (code)
		return code;
	if (!reply.uses_cuda) {
		log_info("process %d has the CUDA driver loaded but does not use it", (int)pid);
		return 0;
	}
	code = check_agent(pid, CU_PROCESS_STATE_RUNNING, maps, error);
	if (!code)
		code = check_runs(pid, error);
	if (code)
		return code;
	process->restore_thread = thread_find_by_namespace_id(pid, reply.restore_thread_id);
	if (process->restore_thread < 0)
		return fail(error, -ESRCH, "the CUDA driver's thread %d of process %d is gone", reply.restore_thread_id,
			    (int)pid);
	query.wants_state = 1;
	query.timeout_ms = left_ms(alarm);
	code = run_call_unfiltered(&run, &process->handle, process->restore_thread, &query, &reply, error);
	if (code)
		return code;
	if (reply.state != CU_PROCESS_STATE_RUNNING && reply.state != CU_PROCESS_STATE_LOCKED &&
	    reply.state != CU_PROCESS_STATE_CHECKPOINTED)
		return fail(error, -EIO, "CUDA of process %d is in the driver's state %d, from which there is no dump",
			    (int)pid, reply.state);
	code = check_agent(pid, reply.state, maps, error);
	if (code)
		return code;
	if (!in_inventory) {
		if (add_inventory_plugin(PLUGIN_NAME))
			return fail(error, -ENOMEM, "CRIU could not add " PLUGIN_NAME " to its inventory");
		in_inventory = true;
	}
	dumped_process_reached(process, DUMP_USES_CUDA);
	process->initial_state = reply.state;
	if (process->initial_state == CU_PROCESS_STATE_RUNNING)
		log_way_back(pid);
	else
		log_info("process %d was %s already and is left so", (int)pid,
			 process->initial_state == CU_PROCESS_STATE_LOCKED ? "locked" : "checkpointed");
	return 0;
}

/* Those below the root, before anything is stopped: processes that wait for each other have to be locked together. */
static int look_at_descendants(pid_t root, const struct criu_alarm *alarm, struct error_text *error)
{
	struct dumped_process *process;
	struct process_facts *below;
	struct process_maps maps;
	size_t count, i;
	int code = 0;

	below = process_descendants(root, &count);
	for (i = 0; i < count && !code; i++) {
		if (process_maps_read(below[i].process, &maps, error) || !maps.has_cuda_library)
			continue; /* CRIU asks about it again */
		process = NULL;
		code = track_process(below[i].process, &process, error);
		if (!code)
			code = look_at(process, &maps, alarm, error);
		/* That ended meanwhile. CRIU asks about it again where it has not. */
		if (code && !run.pool.lost &&
		    (code == -ESRCH || (process && process_handle_has_ended(&process->handle))))
			code = 0;
	}
	free(below);
	return code;
}

/* Before any of them is stopped. CRIU's limit is for the time after that. */
static int copy_ahead(struct criu_alarm *alarm, struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	int code = dump_copy_ahead(&run, processes, error);

	criu_alarm_put_off(alarm, monotonic_nanoseconds() - began);
	return code;
}

/* Looks at a process, with the root at the whole tree, and locks what uses CUDA. -ESRCH: the process itself has ended. */
static int pause_process(struct dumped_process *process, const struct process_maps *maps, bool is_root,
			 struct error_text *error)
{
	struct criu_alarm alarm;
	unsigned int limit;
	bool is_gone;
	int code = 0;

	criu_alarm_suspend(&alarm);
	if (maps->has_cuda_library)
		code = look_at(process, maps, &alarm, error);
	is_gone = code == -ESRCH;
	if (!code && is_root)
		code = look_at_descendants(process->handle.pid, &alarm, error);
	if (!code && is_root && run.settings.copy_while_running && !run_leaves_no_files(&run))
		code = copy_ahead(&alarm, error);
	limit = left_ms(&alarm);
	if (!code)
		code = dump_lock_tree(&run, processes, limit, error);
	criu_alarm_resume(&alarm);
	return code == -ESRCH && !is_gone ? -EIO : code;
}

/*
 * The root of the tree comes first, and is taken whether it uses CUDA or not: whoever comes second is told before it
 * has stopped anything.
 */
int dump_pause_devices(int pid)
{
	struct dumped_process *process = NULL;
	struct process_maps maps;
	struct error_text error;
	bool is_root = !processes;
	int code;

	code = process_maps_read(pid, &maps, &error);
	if ((code == -ESRCH && !is_root) || (!code && processes && !maps.has_cuda_library))
		return -ENOTSUP;
	if (!code)
		process = find_process(pid);
	/* CRIU asks again for a process that it could not seize at once, and for what was seen with the root. */
	if (process && (dumped_process_uses_cuda(process) || !maps.has_cuda_library))
		return 0;
	if (!code && !process)
		code = track_process(pid, &process, &error);
	/* Nothing of it is stopped yet. */
	if (!code && is_root)
		code = tree_check(pid, &error);
	if (!code && (is_root || maps.has_cuda_library))
		code = pause_process(process, &maps, is_root, &error);
	if (code == -ESRCH || (code && process && !run.pool.lost && process_handle_has_ended(&process->handle))) {
		if (is_root) {
			/* CRIU would go on, dump a zombie, and end by a BUG() of its own that nobody cleans up after. */
			code = fail(&error, -ESRCH, "process %d, which is to be dumped, has ended", pid);
			run_fail(&run, code, &error);
			return -1;
		}
		log_info("process %d ended before it could be paused", pid);
		return -ENOTSUP;
	}
	if (code) {
		run_fail(&run, code, &error);
		return -1;
	}
	return maps.has_cuda_library ? 0 : -ENOTSUP;
}

/* CUDA that starts between PAUSE_DEVICES and the freezing of the process would be missing in the image. */
static int check_untracked(pid_t pid, const struct process_handle *tracked, struct error_text *error)
{
	struct pool_request query = {.type = POOL_QUERY};
	struct process_handle handle = PROCESS_HANDLE_NONE;
	struct pool_reply reply;
	int code = 0;

	if (!tracked)
		code = process_handle_open(&handle, pid, error);
	if (!code && run.pool.socket < 0)
		code = run_connect(&run, false, error);
	if (!code)
		code = run_call_process(&run, tracked ? tracked : &handle, &query, &reply, error);
	process_handle_close(&handle);
	if (code)
		return code;
	if (reply.uses_cuda)
		return fail(error, -EAGAIN, "process %d began to use CUDA while the dump began: dump it again",
			    (int)pid);
	return 0;
}

/*
 * Did a process that it descends from use CUDA when it forked it? One that has executed a program since has its libraries
 * elsewhere, and whatever it has of a device is its own.
 */
static bool has_inherited(pid_t pid, const struct process_maps *maps)
{
	struct process_facts facts;
	struct process_maps theirs;

	while (!process_facts_read(pid, &facts) && facts.parent > 0) {
		const struct dumped_process *ancestor = find_process(facts.parent);

		if (ancestor && dumped_process_uses_cuda(ancestor))
			return !process_maps_read(facts.parent, &theirs, NULL) &&
			       theirs.cuda_library == maps->cuda_library;
		pid = facts.parent;
	}
	return false;
}

int dump_checkpoint_devices(int pid)
{
	struct dumped_process *process = find_process(pid);
	bool uses_cuda = process && dumped_process_uses_cuda(process);
	struct process_maps maps;
	struct error_text error;
	struct criu_alarm alarm;
	int code;

	code = process_maps_read(pid, &maps, &error);
	if (!code && !uses_cuda && !maps.has_cuda_library) {
		inherited_devices_note(pid, false);
		return -ENOTSUP;
	}
	if (!code) {
		criu_alarm_suspend(&alarm);
		code = uses_cuda ? dump_save_tree(&run, processes, pid, &error)
				 : check_untracked(pid, process ? &process->handle : NULL, &error);
		criu_alarm_resume(&alarm);
	}
	if (!code)
		inherited_devices_note(pid, !uses_cuda && has_inherited(pid, &maps));
	dump_folder_set_pool(&folder, run.pool.socket);
	if (code) {
		run_fail(&run, code, &error);
		return -1;
	}
	return 0;
}

/* Not one by one: of memory that they share, the image of one may be all that another has. */
static bool all_are_whole(void)
{
	for (struct dumped_process *process = processes; process; process = process->next)
		if (dumped_process_lacks_something(process) && !process->is_back &&
		    !process_handle_has_ended(&process->handle))
			return false;
	return true;
}

/*
 * A stock CRIU does not say whether the tree will live (--leave-running, a script of the user's). While no pool of this run
 * is there, or one has failed, all goes the way that does not depend on it.
 */
static bool tree_will_end(int criu_result)
{
	return !criu_result && criu_tasks_will_end && criu_tasks_will_end() && !run.failed && !run.lost_a_pool &&
	       run.pool.socket >= 0;
}

/* What is in a pool only is a checkpoint as long as the pool has it and the processes have not. */
static int check_left_in_pool(bool *ends, struct error_text *error)
{
	struct pool_request check = {.type = POOL_CHECK};
	struct error_text why = {""};
	bool ended = *ends;
	struct pool_reply reply;

	if (strcmp(run.settings.park, PARK_EPHEMERAL) || !gpu_images_are_in_pool(criu_get_image_dir()))
		return 0;
	run.left_in_pool = true;
	if (!ended)
		fail(&why, -ECANCELED, "%s",
		     run.pool.socket < 0 || run.lost_a_pool ? "its pool is gone" : "its processes go on");
	else if (!run_call(&run, &check, &reply, &why))
		return 0;
	else if (run.pool.lost)
		fail(&why, -ECANCELED, "its pool is gone");
	*ends = run.left_in_pool = false;
	return fail(
		error, -ECANCELED,
		"the device memory of this dump is in no file (REKINDLE_PARK=ephemeral), and %.300s: the dump is undone",
		why.text);
}

void dump_end(int criu_result)
{
	struct dumped_process *process, *next;
	struct error_text error;
	enum run_rest rest;
	bool ends;
	int code;

	/* Where the last step failed, CRIU says success here and failure to who started it. */
	code = criu_result ? 0 : dump_folder_sealed(&folder, &error);
	if (code)
		run_fail(&run, code, &error);
	/* Where the images stay CRIU has not heard of it, and ends the processes: they are not this plugin's to undo. */
	run.images_stay = folder.keep_images;
	if (!run.images_stay && code)
		criu_result = code;
	/* The checkpoint in its place is all that there is of a process that was ended. */
	ends = tree_will_end(criu_result);
	code = criu_result ? 0 : check_left_in_pool(&ends, &error);
	if (code) {
		criu_result = code;
		run_fail(&run, code, &error);
	}
	if (ends && dump_folder_commit(&folder))
		dump_end_tree(processes);
	dump_bring_back_tree(&run, processes, criu_result);
	if (!criu_result && !ends)
		dump_folder_commit(&folder);
	rest = run_end(&run, criu_result);
	if (criu_result && rest == RUN_REST_OURS && all_are_whole())
		for (process = processes; process; process = process->next)
			dump_folder_drop_images(&folder, process->handle.pid);
	dump_folder_end(&folder, !criu_result, rest);
	for (process = processes; process; process = next) {
		next = process->next;
		standstill_leave(&process->standstill);
		if (rest == RUN_REST_NONE)
			process_handle_release(&process->handle);
		else
			process_handle_close(&process->handle);
		free(process);
	}
	processes = NULL;
}
