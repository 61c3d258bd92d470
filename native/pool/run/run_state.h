/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_RUN_STATE_H
#define REKINDLE_POOL_RUN_RUN_STATE_H

#include <stdbool.h>

/*
 * The states of a run and of the processes in it; run_state.c has every way from one to another. Who may call them: see
 * pool_run.h.
 */

struct run;
struct run_process;

/* What the run has taken from a process, and has to give back before that may run. */
enum taken {
	TAKEN_NOTHING,
	TAKEN_LOCK,	 /* its CUDA is locked by us; a lock that failed may hold all the same */
	TAKEN_MEMORY,	 /* its device memory is in our hands or in the image, whoever has locked it */
	TAKEN_BY_DRIVER, /* the driver has checkpointed it */
	TAKEN_ALL,	 /* its memory, and then it was checkpointed */
};

/* Whether RESUME came for a process. */
enum way_back { NOT_ASKED_BACK, ASKED_BACK, IS_BACK };

/* How a CHECKPOINT by way of the agent went. */
enum save_outcome {
	SAVED,
	LEFT_TO_DRIVER, /* the process is as it was, and the driver can save it instead */
	NOT_SAVED,
};

/* Where a restore found the device memory of a process. */
enum image_origin {
	NO_IMAGE,
	IMAGE_WAS_RESIDENT, /* in device memory, all of it */
	IMAGE_WAS_PINNED,   /* in pinned memory, all of it */
	IMAGE_WAS_READ,	    /* some of it was still to be read */
};

enum run_life {
	RUN_OPEN,
	RUN_ENDING,	 /* the other side is gone, or it is being finished: nobody is left to cancel for */
	RUN_LEFT_BEHIND, /* it is finished, and a process still waits for what was taken from it */
	RUN_OVER,
};

/* ---- ways ---- */

/* By us: in a moment in which nobody had locked it. */
void process_note_lock(struct run_process *process);
/* Somebody else has it locked, and is to find it so. */
void process_note_foreign_lock(struct run_process *process);
/* It could not be locked again, or was unlocked before anything else was taken. */
void process_note_unlock(struct run_process *process);
void process_note_release(struct run_process *process);
/* What was released is in its place again, and nothing else has changed. */
void process_note_memory_back(struct run_process *process);
void process_note_checkpoint(struct run_process *process);
/* The driver has given back what it had, and the lock. */
void process_note_driver_restore(struct run_process *process);
void process_note_all_back(struct run_process *process);
/* As another pool has left it, or a guardian finds it. */
void process_note_left_by_another(struct run_process *process, bool without_memory, bool was_locked);

/* ---- questions ---- */

bool process_lacks_memory(const struct run_process *process);
/* Has the driver checkpointed it? */
bool process_is_with_driver(const struct run_process *process);
/* RESUME came for it, and has not done all that it has to do. */
bool process_waits_for_its_way_back(const struct run_process *process);
bool run_has_waiting_processes(const struct run *run);
/* Does it end, or has it ended, so that nobody is left to cancel it for? */
bool run_is_ending(const struct run *run);
bool run_is_finished(const struct run *run);

#endif
