/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_MEMORY_PREFETCH_H
#define REKINDLE_POOL_MEMORY_PREFETCH_H

#include "pool/device/gpu_match.h"
#include "pool/memory/held_memory.h"
#include "pool/memory/memory_hashes.h"
#include "process/target.h"
#include "store/gpu_image.h"

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
	size_t ready, told; /* of the chunks, those whose memory is there, and those that the job knows of */
	struct copy_job *job;
};

/* Threads that export memory, see prefetch_export.c. */
#define PREFETCH_EXPORTERS 4

struct prefetch_exporter {
	struct prefetch *prefetch;
	unsigned int number;
	pthread_t thread;
};

/* The pieces that one of them is at. */
struct export_part {
	uint32_t from, count;
	bool left_out;
};

/* The image of one process. */
struct prefetch_image {
	struct gpu_image *image;
	struct gpu_image_data data;
	/* One for each allocation, the first `made` of them there; then one for each import, see prefetch_wait_imports. */
	struct held_memory *memory;
	struct held_range range; /* that it is mapped in */
	bool guest;		 /* for what another image has imported of it only */
	int lock; /* its manifest, where it is parked, or processes are brought back that share memory; else -1 */
	struct memory_hashes hashes; /* of what is parked, as it was dumped */
	struct target process;	     /* whose memory it was; without a pidfd where it has not got it any more */
	struct prefetch_job *jobs;   /* one for each device */
	unsigned int job_count;
	uint64_t bytes;

	/* Under the prefetch's lock. */
	enum prefetch_state state;
	const void *claimant; /* who maps it, or has tried to; it is for nobody else */
	bool taken;	      /* a process has mapped it */
	bool was_resident;    /* all of it was there when a restore adopted it */
	bool was_pinned;      /* all of it was copied from pinned memory */
	bool released;	      /* the pool lets go of the memory that a process has taken, */
	bool dropped;	      /* and has done so */
	uint32_t made;	      /* pieces, in order */
	uint32_t exported;    /* likewise, of those that were made, where the prefetch has exporters */
	uint32_t export_next; /* the first that none of them has taken */
	struct export_part exporting[PREFETCH_EXPORTERS];
	uint64_t leader;		/* the number of the prefetch that it follows; 0: none, see prefetch_follow.c */
	unsigned int followers;		/* images of other prefetches that follow this one, */
	unsigned int copiers;		/* and are copying from its memory just now */
	int export_result;		/* not 0: there will be no more of them, */
	struct error_text export_error; /* for this reason */
	uint64_t began, ended;		/* of the filling */
	_Atomic uint64_t followed;	/* bytes that came from the memory of the one that it follows, */
	uint64_t follow_began, follow_ended; /* in this time; the prefetch's thread's */
	int result;
	struct error_text error;
};

struct prefetch_options {
	bool verify;
	bool overlap;		/* false: begin only when prefetch_allow is called */
	unsigned int workers;	/* most at once, 0: all */
	const uint8_t *only_id; /* only the image with this id, NULL: all */
	bool goes_first;	/* where the GPU is full, what is kept for later restores makes room */
	bool ahead;		/* for no run yet; other images make room for it that are not being filled */
	bool pinned;		/* into pinned memory of the host, see prefetch_tiers.c */
	bool has_memory;	/* what the images have in no file is there */
	bool may_move;		/* onto GPUs that device_map chooses, or that have room where the same ones have none */
	const char *device_map; /* NULL: no choice; copied */
};

/* Who takes what is kept may have gone before it is there. */
struct prefetch_taker {
	bool (*has_gone)(const void *context);
	const void *context;
};

struct prefetch {
	struct pool *pool;
	struct prefetch_options options;
	pthread_t thread;
	struct prefetch_image *images;
	size_t count;
	uint64_t bytes;		      /* of all images */
	_Atomic uint64_t pieces_made; /* of memory, so far */
	struct prefetch *next_kept;
	uint64_t asked_for;	 /* the last time, by a client, or when it was parked; under the pool's lock */
	atomic_bool called_back; /* somebody wants it where it is: it moves no further, see prefetch_kept.c */
	bool parked;		 /* a dump has left it, see prefetch_park.c, */
	bool goes_to_pinned;	 /* for pinned memory */
	bool in_pool;		 /* some of it is in no file: it makes room for nobody, see gpu_image_leave_in_pool */
	bool compares_again;	 /* a restore that failed had it; under the prefetch's lock */
	bool was_kept;		 /* it has been in the list of what is kept; under the pool's lock */
	atomic_bool is_outdated; /* it is good for nobody any more */
	atomic_bool background;	 /* nobody waits for it: its copies come after those of runs, see prefetch_hurry */
	struct prefetch_exporter exporters[PREFETCH_EXPORTERS];
	char device_map[1024];

	/* For who asks what is in device memory, see prefetch_resident.c. The first three under the pool's lock. */
	struct prefetch *next;
	uint64_t number;
	bool adopted;
	unsigned int lookers; /* likewise: at its files; nobody ends it meanwhile */
	bool pinned;	      /* it is in pinned memory of the host, or is filled there */
	uint64_t since;
	char directory[sizeof(((struct pool_resident *)0)->directory)];

	pthread_mutex_t gpus_lock; /* held while they are matched, which may wait */
	bool gpus_known;
	struct gpu_match gpus;
	int gpus_result;
	struct error_text gpus_error;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool allowed, cancelled;
	unsigned int exporter_count;
	uint32_t exports_left; /* descriptors that may still be made ahead */
	bool drops;	       /* what was taken is to be let go of */
	bool brings_back;      /* what a dump has taken: of the memory that is shared, some may be in its place */
	bool shares;	       /* some image has imports */
};

/* Reads the images of the folder, and begins nothing: see prefetch_free. */
int prefetch_make(struct pool *pool, int folder, const struct prefetch_options *options, struct prefetch **prefetch,
		  struct error_text *error);
/* Begins with what was made; where that fails, it is as it was. */
int prefetch_begin(struct prefetch *prefetch, struct error_text *error);
/* Both. Returns 0 also where the folder has no GPU image; count is 0 then. folder is needed during the call only. */
int prefetch_start(struct pool *pool, int folder, const struct prefetch_options *options, struct prefetch **prefetch,
		   struct error_text *error);
/* Lets a prefetch without overlap begin. */
void prefetch_allow(struct prefetch *prefetch);
/* The image with this id, or NULL. */
struct prefetch_image *prefetch_find(struct prefetch *prefetch, const uint8_t image_id[16]);
/* It is for this one, and not for another that is brought back at the same time. Fails where somebody else was faster. */
int prefetch_claim(struct prefetch *prefetch, struct prefetch_image *image, const void *claimant,
		   struct error_text *error);
/* Notes that a process has mapped the image, all of it. Who still copies from it is waited for, and not for long. */
void prefetch_mark_taken(struct prefetch *prefetch, struct prefetch_image *image);
/* Somebody waits for it from now on. */
void prefetch_hurry(struct prefetch *prefetch);
/* Waits until nobody copies from it; it is in no list any more, and cancelled. */
void prefetch_await_copiers(struct prefetch *prefetch);
/* An image with device memory in it that no process has mapped and one should have, or NULL. */
const struct gpu_image *prefetch_find_untaken(struct prefetch *prefetch);
/*
 * Waits timeout_ms until memory is being made and filled, see prefetch_wait_pieces. -EINPROGRESS when it is not there yet.
 */
int prefetch_wait_memory(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error);
/* Likewise for the end of the filling. */
int prefetch_wait_filled(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error);
/* Likewise, and for the end of all copies for the other images, filled or not. */
int prefetch_wait_copied(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error);
/* For the prefetch's thread. With result the sentence is the image's. */
void prefetch_set_state(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state state, int result,
			const struct error_text *error);
bool prefetch_is_cancelled(struct prefetch *prefetch);
/* Is all of it filled, so that no file of an image is open any more? */
bool prefetch_is_filled(struct prefetch *prefetch);
/* Likewise for a state or a later one, of an image of which others may have mapped what there is. */
int prefetch_wait_state(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state wanted,
			int timeout_ms, struct error_text *error);
/*
 * Likewise until what the image has imported is filled, wherever it is from; from then on memory has it behind the
 * allocations.
 */
int prefetch_wait_imports(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			  struct error_text *error);
/*
 * What is parked is somebody's once its process is gone and it was compared: waits for that, as long as there is a taker.
 * False: it is not to be had yet, or never.
 */
bool prefetch_await_check(struct prefetch *prefetch, const struct prefetch_taker *taker);
/*
 * Lets go of the memory that processes have mapped, once nothing is being filled any more: the driver may wait for all
 * copies before it unmaps. It is done by the prefetch's thread. Returns whether there is some of which it has not let go yet.
 */
bool prefetch_drop_taken(struct prefetch *prefetch);
/* For the prefetch's thread: does so now, where it was asked. */
void prefetch_drop_asked(struct prefetch *prefetch);
/* Grows as long as anything is being done. */
uint64_t prefetch_progress(struct prefetch *prefetch);
uint64_t prefetch_bytes_done(struct prefetch *prefetch);
/* When the filling of all images began and ended, 0 while not known. */
void prefetch_times(struct prefetch *prefetch, uint64_t *began, uint64_t *ended);

/* ---- prefetch_fill.c: for the prefetch's thread ---- */

/* Makes the memory of an image, which is being filled from its first piece on. */
int prefetch_fill_begin(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error);
/* Waits until it is filled, or has failed. */
void prefetch_fill_end(struct prefetch *prefetch, struct prefetch_image *image);

/* ---- prefetch_follow.c: many from one image. For the prefetch's thread ---- */

/* Follows another one of the same image, where there is one, and if it does what it can (image->leader). */
void prefetch_follow_begin(struct prefetch *prefetch, struct prefetch_image *image);
/* Copies what that has, for as long as it has more; what is left is for the image's jobs. */
void prefetch_follow(struct prefetch *prefetch, struct prefetch_image *image);
/* Follows nobody any more. */
void prefetch_follow_end(struct prefetch *prefetch, struct prefetch_image *image);

/* ---- prefetch_export.c ---- */

/* From now on, pieces are exported as soon as they are made: somebody is going to map them. */
void prefetch_begin_exports(struct prefetch *prefetch);
/*
 * Waits timeout_ms until more pieces than the first `at` are there to be mapped; *there says how many. Their contents are not
 * complete. -EINPROGRESS where there are no more yet.
 */
int prefetch_wait_pieces(struct prefetch *prefetch, const struct prefetch_image *image, uint32_t at, uint32_t *there,
			 int timeout_ms, struct error_text *error);

/* ---- prefetch_sharing.c: memory of which several processes have a part ---- */

/* To bring one process back: reads the images that have something to do with its shared memory, as guests. */
int prefetch_load_guests(struct prefetch *prefetch, int folder, const struct gpu_image_name *names, size_t count,
			 struct error_text *error);
/*
 * Whoever brings back a process that shares memory holds this, one after the other, whatever pool or guardian it is: each
 * looks whether another process has the memory, and only then makes it. False where somebody else has it.
 */
bool prefetch_lock_shared(struct prefetch *prefetch);
/* Does some image of the prefetch import it? */
bool prefetch_is_imported(const struct prefetch *prefetch, const struct gpu_image *image, uint32_t allocation);
/* Is it to be made, or only somebody else's? */
bool prefetch_is_wanted(const struct prefetch *prefetch, const struct prefetch_image *image, uint32_t allocation);
/*
 * Of a process that is brought back: takes the memory from another one that has it in its place, as that is the one which
 * both shared. Returns 1 where it did, 0 where nobody has it, a negative errno code on failure.
 */
int prefetch_adopt_memory(struct prefetch *prefetch, const struct prefetch_image *image, uint32_t allocation,
			  struct held_memory *memory, struct error_text *error);

/* ---- prefetch_end.c ---- */

/* Cancels what is under way and lets go of everything. NULL is allowed. */
void prefetch_end(struct prefetch *prefetch);
/* Likewise, of one whose thread has not been started. */
void prefetch_free(struct prefetch *prefetch);
/* Lets go of an image's memory; nothing of it is being filled any more. */
void prefetch_image_release(struct prefetch_image *image);

/* ---- prefetch_room_wait.c ---- */

/* Of one who needs room; zeros at first. */
struct room_wait {
	struct prefetch *prefetch; /* it is for this one, which may be cancelled; NULL: for none */
	uint64_t deadline;	   /* for all that makes room together; 0: it has not begun */
	bool yields;		   /* it is that of nobody but others who wait */
};

/* It begins now, where it has not yet. */
void prefetch_room_wait_begin(const struct pool *pool, struct room_wait *wait);
/* -ETIMEDOUT after the deadline, -ECANCELED where nobody wants the room any more. */
int prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error);

/* ---- prefetch_room.c: which GPUs, and room on them ---- */

/*
 * Which GPU stands for which, for all images of the prefetch; the first call finds out, and starts the driver. *match is
 * the prefetch's own.
 */
int prefetch_match_gpus(struct prefetch *prefetch, const struct gpu_match **match, struct error_text *error);
/* Makes memory, and room for it. */
int prefetch_make_room(struct prefetch *prefetch, struct held_memory *memory, struct error_text *error);
/* Of images that are there already: what is kept makes room for what the driver restores beside them. */
void prefetch_make_room_for_driver(struct prefetch *prefetch);

/* ---- prefetch_tiers.c: what is kept makes room ---- */

/*
 * What has been kept in device memory without use for the longest time goes to pinned memory, or is given up: its images are
 * on the disk. only_idle: nothing that is being filled, which the thread of one that is kept would wait for in vain. wait: begins
 * here; what cannot be moved before its deadline is given up. False: there is nothing left.
 */
bool prefetch_free_device(struct pool *pool, bool only_idle, struct room_wait *wait);
/* Likewise, of what is kept in pinned memory; it is given up. */
bool prefetch_free_pinned(struct pool *pool);
/* So much is to be parked: others make room where that is more than REKINDLE_PARK_BUDGET; -ENOSPC where it is by itself. */
int prefetch_keep_to_budget(struct pool *pool, uint64_t bytes, struct error_text *error);
/* Is so much to be had beside what cannot make room? -ENOSPC likewise. */
int prefetch_check_park_budget(struct pool *pool, uint64_t bytes, struct error_text *error);
/* Is so much to be had in pinned memory at all? -ENOSPC where REKINDLE_PINNED_BUDGET is less. */
int prefetch_check_pinned_budget(const struct pool *pool, uint64_t bytes, struct error_text *error);
/* With the tiers' lock: what was made and has not begun is filled there. Others are given up for it. -ENOSPC as above. */
int prefetch_reserve_pinned(struct prefetch *prefetch, struct error_text *error);
/* For its own thread: what is kept goes to pinned memory, unless somebody has taken it. */
int prefetch_move_to_pinned(struct prefetch *prefetch, struct error_text *error);

/* ---- prefetch_pinned.c: from device memory to pinned memory ---- */

/* NUMA node of the host that is nearest to the device. */
uint32_t prefetch_node_of(const struct pool_device *device);
/*
 * Copies all of it, compares it with the images' hashes, and lets go of the device memory. It is filled, and in nobody's hands.
 * -ECANCELED where somebody wants it as it is, or nobody the room any more. Where it fails it is as it was.
 */
int prefetch_pin(struct prefetch *prefetch, const struct room_wait *wait, struct error_text *error);

/* ---- prefetch_park.c: left by a dump for a later restore ---- */

struct parked_memory {
	const uint8_t *image_id;
	struct held_memory *memory; /* one for each allocation of the image */
	uint32_t count;
	struct memory_hashes hashes; /* of when it stood still */
	struct target process;	     /* pidfd -1: it has not got its memory back */
};

/*
 * Keeps memory of which all images in the folder are, and which nobody has but the processes; those are about to end. pinned:
 * it goes to pinned memory when they have. What it has taken over of `parked` is empty then, also where it fails. folder is
 * needed during the call only.
 */
int prefetch_park(struct pool *pool, int folder, bool pinned, struct parked_memory *parked, size_t count,
		  uint64_t *bytes, struct error_text *error);

/*
 * What a restore has adopted that failed, and that is in no file, is kept again. Whose memory it was for that restore is in its
 * images (process); it is compared when those have ended.
 */
void prefetch_keep_again(struct prefetch *prefetch);

/* ---- prefetch_kept.c: there ahead for a later restore ---- */

/* Fills the images of a folder and keeps them; a folder whose images are kept there already is left alone. */
int prefetch_keep(struct pool *pool, int folder, const char *device_map, enum pool_tier tier, uint64_t *bytes,
		  struct error_text *error);
/* How much of that is still to come, wherever it goes. Fails where nothing is kept for the folder, or where filling failed. */
int prefetch_kept_remaining(struct pool *pool, int folder, const char *device_map, uint64_t *bytes,
			    struct error_text *error);
/*
 * Takes what is kept in device memory for exactly the images in the folder on those GPUs, or NULL. The caller owns it then.
 * Where the taker has gone meanwhile it is kept as it was.
 */
struct prefetch *prefetch_adopt(struct pool *pool, int folder, const char *device_map, bool verify,
				const struct prefetch_taker *taker);
/* Is what these images have in no file in the hands of another restore just now? */
bool prefetch_is_lent(struct pool *pool, int folder);
/* Drops what is kept for exactly the images in the folder. -ENOENT: there is nothing. */
int prefetch_drop_kept(struct pool *pool, int folder, struct error_text *error);
/* Likewise everything. */
void prefetch_drop_all(struct pool *pool);
/* Drops what is outdated, and what a client has asked for that nobody took for REKINDLE_PREFETCH_EXPIRY. */
void prefetch_drop_outdated(struct pool *pool);

/* ---- prefetch_kept_list.c: the list of that ---- */

/* Also while some is on its way from one kind of memory to another. */
bool prefetch_any_kept(struct pool *pool);
/* It is kept from now on, among the others in order of their last use. */
void prefetch_keep_this(struct prefetch *prefetch);
/* Likewise of the one with this number, where it is kept. */
void prefetch_note_use(struct pool *pool, uint64_t number);
/* With the tiers' lock: not any more, but on its way (pool->moving). False: it was not, somebody has taken it. */
bool prefetch_take_this(struct prefetch *prefetch);
/* Likewise of the one that fits and was used before all others, or NULL. fits is asked under the pool's lock. */
struct prefetch *prefetch_take_oldest(struct pool *pool, bool (*fits)(struct prefetch *prefetch));
/* Both, until prefetch_keep_this, or prefetch_moves_no_more. */
struct prefetch *prefetch_take_oldest_to_move(struct pool *pool, bool (*fits)(struct prefetch *prefetch));
void prefetch_moves_no_more(struct pool *pool);
/* Has some image of it? */
bool prefetch_has_failed(struct prefetch *prefetch);
/*
 * Is one that is parked of an image that was removed, or replaced by a newer one? It is outdated then. It asks the file
 * system: not with the pool's lock, for which everybody would wait with it.
 */
bool prefetch_look_whether_gone(struct prefetch *prefetch);
/* Likewise of all that are parked. */
void prefetch_look_for_gone(struct pool *pool);

/* ---- prefetch_list.c: all there are ---- */

/* Notes the folder and the time. */
void prefetch_note_origin(struct prefetch *prefetch, int folder);
/* It is in the list from now on. */
void prefetch_list(struct prefetch *prefetch);
/* No longer; nobody looks at it any more when this returns. */
void prefetch_unlist(struct prefetch *prefetch);
/* A run has it from now on. */
void prefetch_note_adoption(struct prefetch *prefetch);

/* ---- prefetch_resident.c: what they have in device memory ---- */

/* The first one after the one with this number that has device memory. False: there is none. */
bool prefetch_next_resident(struct pool *pool, uint64_t after, struct pool_resident *resident);

#endif
