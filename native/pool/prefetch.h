/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_PREFETCH_H
#define REKINDLE_POOL_PREFETCH_H

#include "image/gpu_image.h"
#include "pool/gpu_match.h"
#include "pool/held_memory.h"

/*
 * Device memory that is filled from the GPU images of a folder in the background. Manifests are read, and judged, when
 * it starts; everything that needs the driver is done by its own thread. One image after the other, each by all
 * workers.
 */

enum prefetch_state { PREFETCH_WAITING, PREFETCH_FILLING, PREFETCH_FILLED, PREFETCH_FAILED };

struct prefetch_job {
	struct pool_device *device;
	struct copy_chunk *chunks;
	size_t chunk_count;
	struct copy_job *job;
};

/* The image of one process. */
struct prefetch_image {
	struct gpu_image *image;
	int data; /* its data file, -1 where it has none */
	struct gpu_match match;
	struct held_memory *memory; /* one for each allocation, all there from PREFETCH_FILLING on */
	struct prefetch_job *jobs;  /* one for each device */
	unsigned int job_count;
	uint64_t bytes;

	/* Under the prefetch's lock. */
	enum prefetch_state state;
	bool given;	       /* the application has it; nothing is held any more */
	uint64_t began, ended; /* of the filling */
	int result;
	struct error_text error;
};

struct prefetch_options {
	bool verify;
	bool overlap;		/* false: begin only when prefetch_allow is called */
	unsigned int workers;	/* most at once, 0: all */
	const uint8_t *only_id; /* only the image with this id, NULL: all */
	bool goes_first;	/* where the GPU is full, what is kept for later restores makes room */
};

struct prefetch {
	struct pool *pool;
	struct prefetch_options options;
	pthread_t thread;
	struct prefetch_image *images;
	size_t count;
	uint64_t bytes; /* of all images */
	struct prefetch *next_kept;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool allowed, cancelled;
};

/* Returns 0 also where the folder has no GPU image; count is 0 then. folder is needed during the call only. */
int prefetch_start(struct pool *pool, int folder, const struct prefetch_options *options, struct prefetch **prefetch,
		   struct error_text *error);
/* Lets a prefetch without overlap begin. */
void prefetch_allow(struct prefetch *prefetch);
/* The image with this id, or NULL. */
struct prefetch_image *prefetch_find(struct prefetch *prefetch, const uint8_t image_id[16]);
bool prefetch_has_failed(struct prefetch *prefetch, const struct prefetch_image *image);
/* Waits until memory is there and being filled; the contents are not complete yet. */
int prefetch_wait_memory(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error);
/* Waits timeout_ms for the end of the filling; -EINPROGRESS when it goes on. */
int prefetch_wait_filled(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error);
/* Lets go of the memory of an image that the application has mapped. */
void prefetch_give(struct prefetch *prefetch, struct prefetch_image *image);
uint64_t prefetch_bytes_done(struct prefetch *prefetch);
/* When the filling of all images began and ended, 0 while not known. */
void prefetch_times(struct prefetch *prefetch, uint64_t *began, uint64_t *ended);
/* Cancels what is under way and lets go of everything. NULL is allowed. */
void prefetch_end(struct prefetch *prefetch);

/* ---- prefetch_kept.c: filled ahead for a later restore ---- */

/* Fills the images of a folder and keeps them; a folder whose images are kept already is left alone. */
int prefetch_keep(struct pool *pool, int folder, uint64_t *bytes, struct error_text *error);
/* Takes what is kept for exactly the images in the folder, or NULL. The caller owns it then. */
struct prefetch *prefetch_adopt(struct pool *pool, int folder, bool verify);
/* Drops what is kept for exactly the images in the folder, or everything with folder NULL. Returns how many. */
int prefetch_drop_kept(struct pool *pool, const int *folder);
/* Drops one of those that are kept; false where there is none. Not for a kept one's thread, which would wait for
 * itself. */
bool prefetch_drop_one_kept(struct pool *pool);
bool prefetch_any_kept(struct pool *pool);

#endif
