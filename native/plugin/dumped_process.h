/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMPED_PROCESS_H
#define REKINDLE_PLUGIN_DUMPED_PROCESS_H

#include "plugin/run.h"

/* How far the dump of a process has got. It goes forward only; what was begun counts, however it went. */
enum dump_progress {
	DUMP_TAKEN,	       /* other runs are kept from it; it uses no CUDA, as far as is known */
	DUMP_USES_CUDA,	       /* its state is known */
	DUMP_LOCK_TRIED,       /* one that failed may have locked it all the same */
	DUMP_AT_REST,	       /* it is locked, and stays so */
	DUMP_SAVING_TRIED,     /* its turn in CHECKPOINT_DEVICES has come */
	DUMP_CHECKPOINT_TRIED, /* its memory may be away */
};

/* What goes on in its name at the pool, beside the other processes. */
enum pool_turn { NO_TURN, TURN_IS_NEXT, TURN_UNDER_WAY };

/* The root of the tree, and each process of it that has the CUDA driver. */
struct dumped_process {
	struct dumped_process *next;
	struct process_handle handle;
	enum dump_progress progress;
	pid_t restore_thread;
	int initial_state; /* CUprocessState before we touched it */
	struct standstill standstill;
	/* While it is saved, or brought back. */
	struct agent agent;
	enum pool_turn turn;
	struct run_call call;
	bool back_tried; /* together with the others; this is how that went */
	bool is_back;	 /* it has what the dump had taken from it */
	bool is_ended;	 /* by us, and gets nothing back */
	int back_code;
	struct error_text back_error;
};

void dumped_process_reached(struct dumped_process *process, enum dump_progress progress);

bool dumped_process_uses_cuda(const struct dumped_process *process);
/* It runs, and is not locked for good yet. */
bool dumped_process_is_to_be_locked(const struct dumped_process *process);
/* Its turn to be saved has not come. */
bool dumped_process_is_to_be_saved(const struct dumped_process *process);
/* It has to get its memory back, and not only to be unlocked. */
bool dumped_process_lacks_memory(const struct dumped_process *process);
/* There is something to give back. */
bool dumped_process_lacks_something(const struct dumped_process *process);

#endif
