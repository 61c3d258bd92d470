/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_COPY_AHEAD_H
#define REKINDLE_POOL_RUN_COPY_AHEAD_H

#include "pool/run/image_copy.h"

/*
 * Device memory of a process that runs, copied into the files of its image to be; when it stands, only what has changed is
 * copied again.
 *
 * Why the image is exact, whatever the process writes in between. Of each chunk two hashes of 128 bits are compared
 * (hash/chunk_hash.h). One is of the bytes that are in the file: the copy worker computes it from the very block of pinned
 * memory that it writes to the file, when the device has done with that block, so that it does not matter that such a
 * block may be a mixture of several moments of the chunk. So is the checksum of the manifest, by which what the disk has is
 * checked afterwards. The other is of the device memory while nothing runs that could write to it, computed on the GPU at the
 * moment at which a dump without all this would have copied it. Where the two are the same, so are the bytes, and the
 * chunk's place in the file, its checksum and whether it is zero are kept; else the chunk is copied now, over what is there.
 *
 * What was allocated or freed meanwhile needs no care for that: only contents at their places in the files are compared,
 * and the list under the lock is the one that counts. Who is at which place is chosen so that as much as can stays where it
 * is. What nobody has any more leaves no trace in the manifest.
 *
 * Until the process is locked nothing was taken from it, and a failure leaves it as if nobody had come. As long as the copy
 * goes on, device memory that the program frees is not free yet.
 */

struct copy_ahead;

/*
 * Copies what the process's agent offers. 0 where process->ahead has it, and also where the dump has to do without, for
 * which the log has the reason; a failure is one that the dump itself would meet as well.
 */
int run_copy_ahead(struct run *run, struct run_process *process, struct error_text *error);
/* Lets go of it, and of files that have not become an image's. */
void run_drop_ahead(struct run *run, struct run_process *process);

/* ---- when the process stands: ahead is not NULL ---- */

/* Puts what was exported into an order in which as much as can has the place that it had. */
void copy_ahead_arrange(const struct copy_ahead *ahead, struct agent_offers *offers);
/* What was begun. */
const struct gpu_image *copy_ahead_image(const struct copy_ahead *ahead);
/* Hands over the data files, at the size that the image needs now. */
int copy_ahead_take_data(struct copy_ahead *ahead, const struct gpu_image *image, struct gpu_image_data *data,
			 struct error_text *error);
/*
 * Of a copy that is prepared: fills in the chunks that have not changed, and leaves the others wanted. Returns how many bytes
 * were compared. Where the GPU fails to tell, all count as changed.
 */
uint64_t copy_ahead_sift(struct copy_ahead *ahead, struct image_copy *copy);

#endif
