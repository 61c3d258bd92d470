/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_PARENT_IMAGE_H
#define REKINDLE_POOL_RUN_PARENT_IMAGE_H

#include "pool/run/pool_run.h"

/*
 * The parent of an image that a dump makes: the one that the process was restored from, or that it was dumped into before.
 * What has not changed since then is neither copied nor written again (store/gpu_image.h, gpu_image_link).
 *
 * Which image that is the process itself says: its agent's page keeps the id of the image that its memory was last released
 * to, and survives the dump with the process. It is looked for in the folder that is dumped into, where it is part of the
 * older checkpoint, and in one that the run names (REKINDLE_PARENT). The process may write to that page. So an image is
 * nobody's parent but of a process that is the same to itself (own_pid), it lies in a folder that root or the caller has
 * named, its data files are those of the user that this pool is, and what is taken over of it is what the process has in its
 * memory anyway, hash by hash. What a linked file has beside that no restore reads.
 *
 * Why the image is exact: as with what was copied ahead (copy_ahead.h), two hashes of 128 bits are compared. One is
 * the parent's, of the device memory as it stood when the parent was made, or of the bytes that were copied of it, and is of
 * that chunk of that allocation of that size. The other is of the device memory while nothing runs that could write to it.
 *
 * Why it is on the disk and would restore: the parent is part of a complete checkpoint, which is complete only when the disk
 * has given back all of its chunks as they were written; its files are opened, of their size, and not written to by anybody. What
 * a disk has lost since then shows when the image is verified or restored, as it would of the parent.
 */

struct parent_image;

/* Looks for it; process->parent stays NULL where there is none, and the log says why where there was reason to expect one. */
void run_find_parent(struct run *run, struct run_process *process);
void run_drop_parent(struct run_process *process);
/*
 * Its memory stands still, and is mapped here: computes process->hashes, and notes them in the image for the next dump. Where
 * the GPU cannot do it there are none.
 */
void run_note_hashes(struct run *run, struct run_process *process, struct gpu_image *image);
/*
 * Of a process that runs: looks for its parent, and whether at least half of the image's allocations, of which this is the memory,
 * is as the parent has it. Then little is left to be copied when it stands; else it has no parent any more. What it writes
 * meanwhile makes the answer no more than a guess, on which nothing but time depends.
 */
bool run_parent_serves(struct run *run, struct run_process *process, const struct gpu_image *image,
		       const struct held_memory *memory);
/*
 * The image's allocations are placed, and nothing is written yet: takes over what has not changed. Where that cannot be done it
 * is an image of its own, and the log says why. Fails only where memory is out.
 */
int parent_image_inherit(const struct parent_image *parent, struct run *run, struct gpu_image *image,
			 const struct memory_hashes *hashes, struct error_text *error);

#endif
