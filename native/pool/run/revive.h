/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_REVIVE_H
#define REKINDLE_POOL_RUN_REVIVE_H

#include <stdbool.h>

#include "pool/device/pool.h"
#include "process/target.h"

/* A process that a run whose CRIU and pool are gone has left behind, locked, without its device memory or stopped. */
struct abandoned_process {
	struct target target; /* not owned */
	int lock;	      /* the caller has it, and it stays the caller's */
	int folder;	      /* where its GPU image is, -1: not known */
	bool was_locked;      /* before that run */
	/* Of its guardian, which knows the run: */
	int folder_lock;    /* that run's lock on the folder, -1: none */
	bool others_follow; /* and have their memory in the folder, which is put in order after the last one */
	bool one_has_ended; /* of the tree: what was dumped of it may be all that there is of it */
	bool images_stay;   /* also its own: they say what it shares with the others, who may not be back yet */
	/* Its device memory where no file has it, a descriptor for each allocation of its image; NULL: none. Not owned. */
	const int *memory;
	uint32_t memory_count;
	uint8_t checkpoint_id[16]; /* what that run gave its checkpoint */
};

/* Is it as that run would have left it, had it ended? Says no where it cannot be told. */
bool revive_is_needed(struct pool *pool, const struct abandoned_process *process);
/*
 * It is whole, or has ended, or was brought back by the pool that is gone: what that has left in the folder goes. Touches no
 * process.
 */
void revive_folder(struct pool *pool, const struct abandoned_process *process);
/*
 * Gives it back its memory and lets it go on, and removes its GPU image where that belongs to no complete checkpoint.
 * Returns 0, or a negative errno code, with the reason in the log.
 */
int revive(struct pool *pool, const struct abandoned_process *process);

#endif
