/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/agent/agent_look.h"
#include "pool/device/driver_checkpoint.h"
#include "pool/device/driver_gate.h"
#include "pool/run/copy_ahead.h"
#include "pool/run/guardian.h"
#include "pool/run/hold_threads.h"
#include "pool/run/pool_run.h"
#include "pool/run/shared_images.h"
#include "store/checkpoint_folder.h"
#include "store/folder_lock.h"
#include "support/log.h"

/* As whoever reads it can name it: not the hidden folder of a dump, which is gone or has another name then. */
static bool folder_path(int folder, char path[PATH_MAX])
{
	char link[48], *hidden;
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
	length = readlink(link, path, PATH_MAX - 1);
	path[length > 0 ? length : 0] = '\0';
	hidden = strstr(path, "/" CHECKPOINT_NEW_FOLDER);
	if (hidden)
		*hidden = '\0';
	return length > 0;
}

/*
 * Holds the threads of a process whose CRIU is gone; it has stood still since then, and goes on now. False: it cannot be
 * held.
 */
static bool hold(struct run *run, struct run_process *process, struct error_text *error)
{
	if (!process->hold)
		process->hold = thread_hold_begin(run->pool, &process->target, -1, true, error);
	if (process->hold && thread_hold_wait(process->hold, error) == 0)
		return true;
	thread_hold_end(process->hold);
	process->hold = NULL;
	return false;
}

static bool is_unlocked(struct run *run, const struct run_process *process)
{
	CUprocessState state;

	return driver_process_state(run->pool, &process->target, &state, NULL) || state == CU_PROCESS_STATE_RUNNING;
}

static int give_back(struct run *run, struct run_process *process, struct error_text *error)
{
	struct resume_request request = {
		.released = process_lacks_memory(process),
		.image_id = process->image_id,
		.initial_state = process->was_locked ? CU_PROCESS_STATE_LOCKED : CU_PROCESS_STATE_RUNNING,
	};

	if (process->was_locked && process->taken == TAKEN_NOTHING)
		return 0;
	/* Locking again, after its agent's work, is only for a process whose threads are held, see driver_gate.h. */
	if (!process->hold && process->agent >= 0)
		request.initial_state = CU_PROCESS_STATE_RUNNING;
	return run_resume(run, process, &request, error);
}

/* What to do about a process that could not be brought back. */
static void tell_remedy(const struct run *run, const struct run_process *process, const struct error_text *error)
{
	char path[PATH_MAX], command[PATH_MAX + 64] = "";

	if (process_lacks_memory(process) && process->in_pool) {
		log_error(
			"Process %d could not be brought back: %s. Its device memory is in no file (REKINDLE_PARK=ephemeral): its "
			"guardian tries it once more where it has it; else an older checkpoint is all that there is",
			process->pid, error->text);
		return;
	}
	if (process_lacks_memory(process) && folder_path(run->folder, path))
		snprintf(command, sizeof(command), " --images %s", path);
	log_error("Process %d could not be brought back%s: %s. When that is mended: rekindled --revive %d%s",
		  process->pid, process_lacks_memory(process) ? "; its GPU image stays in the folder" : "", error->text,
		  process->target.pid, command);
}

static bool lacks_memory(const struct run_process *process)
{
	return process_lacks_memory(process) || agent_has_memory_out_of_place(&process->target);
}

/* It may be that its word got lost and not it. */
static bool client_is_there(const struct run *run)
{
	struct pollfd client = {.fd = run->socket, .events = POLLRDHUP};

	return run->socket >= 0 && poll(&client, 1, 0) == 0;
}

void run_lose_connection(struct run *run)
{
	if (run->socket >= 0)
		shutdown(run->socket, SHUT_RDWR);
}

/*
 * A client of which only the connection was lost goes on with another pool, and its dump may yet succeed: until it has ended
 * its processes are in its hands, and the folder is. That of a restore may stay as long as what it has restored: a moment
 * shows whether it is dying, which closes the connection first.
 */
static void wait_for_client(struct run *run)
{
	struct pollfd end = {.fd = run->client, .events = POLLIN};
	int limit_ms = run->stage == POOL_STAGE_DUMP ? (int)run->pool->settings.timeout_seconds * 1000 : 1000;

	run->client_stays = run->client >= 0 && poll(&end, 1, limit_ms) <= 0;
}

static bool is_ours(const struct run_process *process)
{
	return process->taken != TAKEN_NOTHING || lacks_memory(process);
}

/*
 * It stands still, and is not held when it goes on. So what was taken out of the driver's lock comes back first: a thread
 * that waits there and is not counted would give back what it has not got.
 */
static void let_go_on(const struct run_process *process)
{
	struct error_text error;

	if (driver_gate_show(&process->target, &error))
		log_warning("%s", error.text);
	target_signal(&process->target, SIGCONT);
}

/* A process that the run left behind: gets back what it had before the run. True when it is whole. */
static bool bring_back(struct run *run, struct run_process *process)
{
	bool ours = is_ours(process), held;
	struct error_text error;
	int result = 0;

	if (!ours && (!run->lost || (run->settled && client_is_there(run))))
		return true;
	held = hold(run, process, &error);
	/* Without an agent there is nothing to hold it for. */
	if (!held && process->agent >= 0 && !target_is_ending(&process->target))
		log_warning("%s", error.text);
	/* Without its memory it must not run; with it, it may as well, if it keeps it. */
	if (!held && ((process->agent >= 0 && !agent_withdraw(&process->target)) || lacks_memory(process)))
		result = -EBUSY;
	else if (!held)
		let_go_on(process);
	if (result == 0 && ours)
		result = give_back(run, process, &error);
	/* It waits for its memory at the driver's lock, or, where that is open, stopped. */
	if (result && process->hold && lacks_memory(process) && is_unlocked(run, process))
		target_signal(&process->target, SIGSTOP);
	thread_hold_end(process->hold);
	process->hold = NULL;
	if (result == 0 && ours)
		log_warning("Process %d was brought back: its dump %s", process->pid,
			    run->settled ? "had left it behind" : "did not end");
	if (result == 0 || target_is_ending(&process->target))
		return true; /* where it is gone, nothing is lost with its image */
	tell_remedy(run, process, &error);
	return false;
}

static bool all_live(const struct run *run)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (target_is_ending(&run->processes[i]->target))
			return false;
	return true;
}

/* Of a client that is lost: it was told all, and the kernel has ended none, as it does where CRIU dies before it lets go. */
static bool is_restored(const struct run *run)
{
	return run->stage == POOL_STAGE_RESTORE && run->process_count && !run_has_waiting_processes(run) &&
	       all_live(run);
}

/*
 * CRIU died in the middle of a restore. As long as it has to be told about any process it has let none of them go; the
 * kernel ends those that it held, see process/restored_tree.h, and this ends what it did not hold, or not any more: a tree
 * comes back whole or not at all.
 */
static void end_unfinished_restore(struct run *run)
{
	bool unfinished = run_has_waiting_processes(run) || (!run->client_stays && !all_live(run));
	size_t i;

	for (i = 0; unfinished && i < run->process_count; i++)
		if (run->processes[i]->way_back != NOT_ASKED_BACK &&
		    target_signal(&run->processes[i]->target, SIGKILL) == 0)
			log_error("Process %d was ended: CRIU died before its restore was complete",
				  run->processes[i]->pid);
}

/* Where the dump writes. One that cannot be looked at may be the other one: nothing is removed on the strength of that. */
enum place { PLACE_UNKNOWN, PLACE_FOLDER, PLACE_HIDDEN };

static enum place place_of_dump(const struct run *run)
{
	struct stat images, around;

	if (fstat(run->folder, &images) || fstat(run->lock, &around))
		return PLACE_UNKNOWN;
	return images.st_dev == around.st_dev && images.st_ino == around.st_ino ? PLACE_FOLDER : PLACE_HIDDEN;
}

bool run_has_a_folder_of_its_own(const struct run *run)
{
	enum place place = run->lock < 0 ? PLACE_UNKNOWN : place_of_dump(run);

	return place == PLACE_HIDDEN || (place == PLACE_FOLDER && !checkpoint_folder_is_complete(run->lock));
}

void run_put_folder_in_order(const struct run *run)
{
	bool directly;
	struct error_text error;

	if (run->lock < 0 || run->client_stays || run->images_stay)
		return;
	if (run->settled) {
		if (!client_is_there(run) && checkpoint_folder_tidy(run->lock, &error))
			log_warning("%s; the next dump into this folder does it", error.text);
		return;
	}
	directly = place_of_dump(run) == PLACE_FOLDER;
	/* Another run's, which has written there since: this one's client lived on, and gave the folder up. */
	if (directly && checkpoint_folder_is_complete(run->lock) &&
	    !checkpoint_folder_holds(run->lock, run->checkpoint_id))
		return;
	if (checkpoint_folder_abandon(run->lock, directly, &error))
		log_error("%s; the next dump into this folder does it", error.text);
}

static bool is_needed(const struct run *run, const struct shared_images *images)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (!run->processes[i]->brought_back && run->processes[i]->image_written &&
		    shared_images_have(images, run->processes[i]->image_id))
			return true;
	return images->needed;
}

/* With all that belong together with it; none of them as long as a process needs one. */
static void remove_image(const struct run *run, const struct gpu_image_name *name)
{
	struct shared_images images = {.count = 0};
	struct error_text error;
	size_t i;

	if (name->has_id && shared_images_find(run->folder, name->id, &images, &error)) {
		log_warning("GPU images stay in the folder: %s", error.text);
		return;
	}
	if (images.count == 0)
		gpu_image_remove(run->folder, name);
	for (i = 0; i < images.count && !is_needed(run, &images); i++)
		gpu_image_remove(run->folder, &images.names[i]);
	shared_images_free(&images);
}

void run_remove_left_images(const struct run *run, pid_t named)
{
	struct gpu_image_name *names = NULL;
	struct error_text error;
	size_t count = 0, i;

	if (gpu_image_list(run->folder, &names, &count, &error))
		log_warning("%s", error.text);
	for (i = 0; i < count; i++)
		if (names[i].pid == named)
			remove_image(run, &names[i]);
	free(names);
	gpu_image_remove_unfinished(run->folder, named);
}

/* Images of a failed dump would only mislead; the only copy of somebody's memory would not. */
static void drop_images_of(struct run *run, struct run_process *process)
{
	struct gpu_image_name name = {.pid = process->pid, .has_id = true};

	memcpy(name.id, process->image_id, sizeof(name.id));
	if (process->image_written && !run->settled && (process->has_shared || process->image_found)) {
		run_process_end_check(process);
		remove_image(run, &name);
	} else if (process->image_written && !run->settled)
		run_remove_image(run, process);
	else if (!run->settled && run_has_a_folder_of_its_own(run))
		run_remove_left_images(run, process->pid);
	else /* what a pool that died in the middle of it has left */
		gpu_image_remove_unfinished(run->folder, process->pid);
}

int run_bring_back(struct run *run)
{
	bool all = true;
	size_t i;

	for (i = 0; i < run->process_count; i++) {
		run->processes[i]->brought_back = bring_back(run, run->processes[i]);
		all &= run->processes[i]->brought_back;
	}
	/* Not before: the image of one says what it shares with the next. */
	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->brought_back && !run->images_stay && !run->client_stays)
			drop_images_of(run, run->processes[i]);
	run_put_folder_in_order(run);
	return all ? 0 : -EIO;
}

/*
 * Whoever hears that the run has ended may remove or unmount the folders, or begin another run. With is_last no client
 * uses the locks: that of a restore has closed its own. Memory that is held may wait until the reply is out (run_drop_rest).
 */
static void let_go(struct run *run, bool is_last)
{
	size_t i;

	guardian_dismiss(run);
	for (i = 0; i < run->process_count; i++) {
		run_drop_ahead(run, run->processes[i]);
		run_process_end_check(run->processes[i]);
		run_process_let_go(run->processes[i], is_last);
	}
	run_after_reply(run);
	if (run->prefetch && !prefetch_is_filled(run->prefetch)) {
		prefetch_end(run->prefetch);
		run->prefetch = NULL;
	}
	run_progress_ended(run);
	close_if_open(&run->folder);
	close_if_open(&run->work);
	close_if_open(&run->parent);
	close_if_open(&run->progress);
	if (is_last)
		folder_unlock(run->lock);
	else
		close_if_open(&run->lock);
	run->lock = -1;
}

void run_look_whether_settled(struct run *run)
{
	run->settled = run->stage == POOL_STAGE_DUMP && run->lock >= 0 &&
		       checkpoint_folder_is_settled(run->lock, run->checkpoint_id);
	/* The hidden folder goes, or has gone: the images are in the one around it. */
	if (run->settled && dup3(run->lock, run->folder, O_CLOEXEC) < 0)
		log_warning("The folder of images cannot be opened again: %s", errno_text(errno));
}

void run_finish(struct run *run, int criu_result, const char *criu_note)
{
	run_work_collect_all(run);
	run->life = RUN_ENDING;
	run->lost = criu_result == -ECONNRESET;
	if (run->lost)
		wait_for_client(run);
	if (run->lost || criu_result >= 0)
		run_look_whether_settled(run);
	if (run->stage == POOL_STAGE_RESTORE && run->lost)
		end_unfinished_restore(run);
	if (run->stage == POOL_STAGE_DUMP && criu_result < 0) {
		if (run_is_left_in_pool_only(run))
			criu_result = 0;
		else
			run_bring_back(run);
	}
	if (run->stage == POOL_STAGE_DUMP && criu_result == 0 && !run_has_waiting_processes(run))
		criu_result = run_park(run);
	/* Only the word is missing that it is so. */
	if (run->lost && (run->settled || is_restored(run)))
		criu_result = 0;
	if (run->work >= 0)
		run_write_statistics(run, criu_result, criu_note);
	if (run->stage == POOL_STAGE_DUMP && criu_result >= 0 && run_has_waiting_processes(run))
		run->life = RUN_LEFT_BEHIND;
	else
		run->life = RUN_OVER;
	if (run->stage == POOL_STAGE_RESTORE && criu_result < 0 && !run->is_complete)
		run_keep_again(run);
	if (run->life == RUN_OVER)
		let_go(run, run->stage == POOL_STAGE_RESTORE);
}

void run_look_after_left_behind(struct run *run)
{
	size_t i;

	if (run->life != RUN_LEFT_BEHIND)
		return;
	run->lost = true;
	for (i = 0; i < run->process_count; i++)
		bring_back(run, run->processes[i]);
	run->life = RUN_OVER;
	/* CRIU lives, and may not be through with the folder. */
	let_go(run, false);
}
