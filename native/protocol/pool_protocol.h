/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_POOL_PROTOCOL_H
#define REKINDLE_PROTOCOL_POOL_PROTOCOL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/phases.h"
#include "support/error_text.h"

/*
 * How the plugin, and every other client, speaks with the pool process over a SEQPACKET socket: one request, one reply,
 * in order (while it takes long, messages before it that say so, see still_working). A connection stands for one run of
 * CRIU (or one client of the C API). When it closes before POOL_FINISH the pool takes the run for dead: it brings back
 * every process of that run whose memory it still holds, and drops the rest; of a dump it undoes the checkpoint, unless
 * that is settled (store/checkpoint_folder.h).
 */

#define POOL_PROTOCOL_VERSION 14u
/* What everybody says of a pool that answers otherwise. */
#define POOL_OF_ANOTHER_VERSION \
	"The pool speaks another version of the protocol: install all parts from the same release, and restart it"

/*
 * A process is named by descriptors, as its number may be another one's in the pool's pid namespace, and later on in any.
 * Requests about a process (QUERY, COPY_AHEAD, LOCK, CHECKPOINT, RESUME, UNLOCK) carry [0] a pidfd of it and [1] the lock on it, see
 * process/process_lock.h, which the pool keeps until the run is over; with has_agent also [2] the control socket of its
 * agent. `pid` is what the client calls it, for messages, images and statistics.
 */
#define POOL_PROCESS_DESCRIPTORS 3

enum pool_request_type {
	/* First on every connection: version, stage, settings of this run. Descriptors: [0] the folder of CRIU's images
	 * (readable and, on dump, writable), [1] the work folder, where stats-rekindle.json goes; on dump [2] the folder
	 * that is locked for the run (store/checkpoint_folder.h), which the pool puts in order again after a failure, and in
	 * image_id the id that the checkpoint gets: where that one is settled the pool undoes nothing of it; where parent says
	 * so also [3] another folder, in which a process's parent image may lie (pool/run/parent_image.h). A
	 * client without a run (POOL_STAGE_CLIENT) sends none. */
	POOL_HELLO = 1,
	/*
	 * RESTORE stage: start filling device memory from every GPU image in the folder, at once, in the background. Where
	 * HELLO chose GPUs, whether they are there, of the right type and have room is judged before the reply.
	 */
	POOL_PREFETCH = 2,
	/*
	 * Does the process use CUDA? The reply has `uses_cuda`, the restore thread's id as the process itself sees it, and the
	 * driver's state of it.
	 */
	POOL_QUERY = 3,
	/* Lock the process's CUDA (it runs; waits for submitted work), timeout_ms at most. */
	POOL_LOCK = 4,
	/*
	 * Save the process's device memory; the process is locked, every thread stopped but the restore thread and the
	 * agent's. The reply says the mode used and why.
	 * On return the process is CHECKPOINTED, its GPU image is complete (offload mode; see POOL_CHECK), or
	 * contents are in the process itself (native mode). On failure the process is locked, and whole.
	 */
	POOL_CHECKPOINT = 5,
	/*
	 * Bring the process's device memory back: driver restore, unlock, map (from memory the pool still holds, else from
	 * the prefetched, else from the image). The restore thread and the agent's may run.
	 * initial_state: the driver's state that the process had before LOCK; it is left in that state.
	 * Used after a restore, and after a dump for every process of the run (it may go on living: --leave-running).
	 */
	POOL_RESUME = 6,
	/* Take back POOL_LOCK on a process that was not checkpointed. */
	POOL_UNLOCK = 7,
	/*
	 * The run is over: criu_result is CRIU's (0 or negative). Statistics are written. After a failed dump the GPU images
	 * of the run are removed, unless images_stay says otherwise. Held memory is dropped, but not that of a process which could not be brought back after a
	 * dump that succeeded: the pool tries that again when the connection has closed. Nor that of a dump that parks: `bytes`
	 * of the reply stay for the next restore from the folder, or `reason` says why they do not.
	 */
	POOL_FINISH = 8,
	/* Statistics of the pool itself (struct pool_status in the reply). */
	POOL_STATUS = 9,
	/* Ask the pool to end once its runs have ended. */
	POOL_STOP = 10,
	/* CLIENT stage: forget what PREFETCH filled for the folder in descriptor [0]. (PREFETCH in CLIENT stage carries the
	 * folder as descriptor [0] too; a later restore of the same images adopts what it filled, or copies from it where it is in
	 * pinned memory.) */
	POOL_DROP = 11,
	/* RESTORE stage, when every process of the tree has had its RESUME: fails where a GPU image of the checkpoint was
	 * given to none of them, so that some process runs without its memory. */
	POOL_COMPLETE = 12,
	/* DUMP stage: are the GPU images of the run on the disk as they were written? They are flushed and read back while
	 * CRIU goes on. Waits timeout_ms at most; -EINPROGRESS, with how many bytes were read so far, where that takes
	 * longer. FINISH of a dump that succeeded waits for it as well. */
	POOL_CHECK = 13,
	/*
	 * Waits for what `begin` has begun for `pid`, and has the reply that CHECKPOINT or RESUME would have had; after a LOCK it
	 * is no failure that GPU work did not end in time: `state` says whether the process is locked. No
	 * descriptors. Until then nothing else can be asked about the process, nor COMPLETE or CHECK; FINISH waits for all.
	 */
	POOL_AWAIT = 14,
	/* CLIENT stage: how many bytes of what PREFETCH fills for the folder in descriptor [0] are still to come. -ENOENT where
	 * nothing is held for it, and the failure where the filling failed. */
	POOL_PREFETCHED = 15,
	/*
	 * What lies in device memory or pinned memory, or is being filled (struct pool_resident in the reply): of the folders
	 * whose GPU images the pool has, the one that came after the one with the number `after`, 0 for the first. `found` is 0 after the last one.
	 */
	POOL_RESIDENT = 16,
	/* The GPU whose ordinal is `after` (struct pool_gpu in the reply). `found` is 0 where there are no more. */
	POOL_GPU = 17,
	/*
	 * DUMP stage: copy the process's device memory while it runs, before LOCK; CHECKPOINT then copies what has changed. With
	 * the control socket of its agent, and with `begin`. Where that cannot be done AWAIT succeeds all the same, and `bytes` of
	 * its reply is 0; it fails where the dump would, with the process untouched.
	 */
	POOL_COPY_AHEAD = 18,
};

/* Whether what has not changed since a process's last image is linked, and where that image is looked for. */
enum pool_parent {
	POOL_PARENT_IN_FOLDER = 0, /* in the folder that is locked for the run */
	POOL_PARENT_NONE = 1,	   /* all is written */
	POOL_PARENT_GIVEN = 2,	   /* as for 0, and in descriptor [3] */
};

/* Where device memory of images is kept for a later restore. */
enum pool_tier {
	POOL_TIER_FILES = 0,  /* nowhere but in the images */
	POOL_TIER_DEVICE = 1, /* in device memory, which a restore takes */
	POOL_TIER_PINNED = 2, /* in pinned memory of the host, which restores copy from */
	/* HELLO of a dump whose tree ends with it: as DEVICE, and written into no file where that can be, see run_park.c. */
	POOL_TIER_EPHEMERAL = 3,
};

enum pool_stage { POOL_STAGE_DUMP = 1, POOL_STAGE_RESTORE = 2, POOL_STAGE_CLIENT = 3 };

struct pool_request {
	uint32_t type;	     /* enum pool_request_type */
	uint32_t version;    /* HELLO: POOL_PROTOCOL_VERSION */
	uint32_t stage;	     /* HELLO: enum pool_stage */
	int32_t pid;	     /* as the client sees it */
	uint32_t timeout_ms; /* LOCK, 0: no limit; CHECK; elsewhere only how long the plugin waits for the reply */
	/* QUERY: fill `state` of the reply; the process's restore thread must be running, it answers */
	uint32_t wants_state;
	uint32_t has_agent;	 /* COPY_AHEAD, CHECKPOINT, RESUME: descriptor [2] is there */
	uint32_t agent_released; /* RESUME: the agent's page says AGENT_STATE_RELEASED */
	int32_t initial_state;	 /* RESUME: CUprocessState */
	int32_t criu_result;	 /* FINISH */
	uint32_t parallel;	 /* HELLO: 0 = CRIU_CUDA_PARALLEL_RESTORE=0, one worker and no overlap */
	uint32_t verify;	 /* HELLO: 1 = verify checksums on restore */
	uint32_t started_by_us;	 /* HELLO: 1 = the client started this pool for this run (pool "cold") */
	uint8_t image_id[16];	 /* RESUME: from the agent's page; HELLO of a dump: the checkpoint's */
	/* COPY_AHEAD, LOCK, CHECKPOINT, RESUME: 1 = the reply says only that it is under way, and AWAIT has how it went. The processes of a
	 * tree are worked on side by side so, REKINDLE_SIDE_BY_SIDE at once; locked are all of them at once. */
	uint32_t begin;
	uint64_t hook_nanoseconds; /* HELLO: CLOCK_MONOTONIC when plugin init began, for the overlap figures */
	/* CHECKPOINT: why the plugin found no usable agent, empty otherwise; FINISH: what failed in the plugin; HELLO: the name
	 * of the run, empty where the C API did not start it */
	char note[256];
	char device_map[1024]; /* HELLO: the GPUs that a restore or a PREFETCH takes, see settings/device_map.h */
	uint64_t after;	       /* RESIDENT, GPU: how far the client has come */
	uint32_t
		tier; /* enum pool_tier. HELLO of a dump: where its device memory stays, see FINISH; PREFETCH of a client */
	uint32_t parent; /* HELLO of a dump: enum pool_parent */
	/* FINISH of a dump: 1 = its images stay as they are, also where it failed: CRIU may end the processes all the same */
	uint32_t images_stay;
	uint32_t reserved;
	/*
	 * What comes for it carries the same number. The client's, and another one for each request where it may stop waiting
	 * for a reply, or where somebody else asks on its connection, as rekindle-seal does: it may end in between.
	 */
	uint64_t number;
};
/* What is added changes size or order, and POOL_PROTOCOL_VERSION with it. */
static_assert(sizeof(struct pool_request) == 1392, "struct pool_request is 1392 bytes");
static_assert(offsetof(struct pool_request, timeout_ms) == 16, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, image_id) == 52, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, begin) == 68, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, hook_nanoseconds) == 72, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, device_map) == 336, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, after) == 1360, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, tier) == 1368, "struct pool_request keeps its order");
static_assert(offsetof(struct pool_request, number) == 1384, "struct pool_request keeps its order");

struct pool_status {
	uint64_t restores, checkpoints; /* processes since the pool started */
	uint64_t bytes_to_device, bytes_from_device;
	uint64_t ring_bytes;	    /* pinned staging ring */
	uint32_t workers, contexts; /* copy workers; warm contexts */
	uint32_t runs;		    /* runs under way */
	uint32_t simulated;	    /* 1: simulated driver */
	int32_t driver_version;
	int32_t pid;
	uint64_t started_nanoseconds; /* CLOCK_MONOTONIC */
	uint64_t device_bytes_held;   /* physical device memory that the pool holds now */
	/* Of the restores, those of processes with device memory in a GPU image: all of it lay in device memory when the restore
	 * asked for it, or some of it still had to be read. */
	uint64_t images_resident, images_read;
	uint64_t images_pinned;	    /* likewise: all of it was copied from pinned memory */
	uint64_t pinned_bytes_held; /* of images, kept in pinned memory now, or on their way there */
	/* Images of a folder that nobody had taken yet, and that made room: moved from device memory to pinned memory, or given
	 * up, so that the next restore reads the files. */
	uint64_t moved_to_pinned, given_up;
	uint64_t expired, expired_bytes; /* folders whose images nobody has taken in time, and their bytes of memory */
};
static_assert(sizeof(struct pool_status) == 144, "struct pool_status is 144 bytes");
static_assert(offsetof(struct pool_status, ring_bytes) == 32, "struct pool_status keeps its order");
static_assert(offsetof(struct pool_status, started_nanoseconds) == 64, "struct pool_status keeps its order");
static_assert(offsetof(struct pool_status, images_resident) == 80, "struct pool_status keeps its order");

enum pool_resident_state { POOL_RESIDENT_FILLING = 1, POOL_RESIDENT_FILLED = 2, POOL_RESIDENT_FAILED = 3 };

/* The GPU images of a folder in device memory, or in pinned memory of the host. */
struct pool_resident {
	uint64_t number; /* a later one has a higher one, and none has 0 */
	uint64_t bytes;	 /* of memory, without what processes have taken and the pool has let go of */
	uint64_t bytes_filled;
	uint64_t since_nanoseconds; /* CLOCK_MONOTONIC: when it was asked for */
	uint32_t images;	    /* one for each process */
	uint32_t state;		    /* enum pool_resident_state */
	uint32_t taken;		    /* 1: it is a run's; 0: it waits for one */
	uint32_t parked;	    /* 1: a dump has left it there; 0: it was read */
	uint32_t tier;		    /* enum pool_tier, DEVICE or PINNED */
	uint32_t reserved;
	/* The folder as the pool saw it when it was asked for; "" where that is longer, or not known. */
	char directory[1024];
};
static_assert(sizeof(struct pool_resident) == 1080, "struct pool_resident is 1080 bytes");
static_assert(offsetof(struct pool_resident, images) == 32, "struct pool_resident keeps its order");
static_assert(offsetof(struct pool_resident, directory) == 56, "struct pool_resident keeps its order");

struct pool_gpu {
	int32_t device;	     /* its ordinal in the pool */
	uint32_t warm;	     /* 1: the pool has a warm context on it */
	uint64_t bytes_held; /* physical device memory that the pool holds now; contexts take more */
	uint64_t memory_bytes, free_bytes;
	uint32_t free_known; /* 0: nobody says what is free, and free_bytes is 0 */
	uint32_t reserved;
	uint8_t uuid[16];
	char name[96];
};
static_assert(sizeof(struct pool_gpu) == 152, "struct pool_gpu is 152 bytes");
static_assert(offsetof(struct pool_gpu, free_known) == 32, "struct pool_gpu keeps its order");
static_assert(offsetof(struct pool_gpu, uuid) == 40, "struct pool_gpu keeps its order");

struct pool_reply {
	int32_t result; /* 0 or a negative errno code; error has the sentence */
	uint32_t version;
	uint32_t uses_cuda;	   /* QUERY: 0 = surely not; a failed query is a negative result, never 0 */
	int32_t restore_thread_id; /* QUERY */
	int32_t state;		   /* QUERY with wants_state, RESUME that failed, AWAIT of a LOCK: CUprocessState */
	uint32_t mode;		   /* CHECKPOINT, RESUME: enum pool_mode */
	uint32_t pool_warm;	   /* HELLO: 1 = context and ring were there already */
	/* 1: not the reply yet: something got done since the request, or the last such message, so whoever waits for as long
	 * as nothing is done begins to count anew. */
	uint32_t still_working;
	uint64_t
		bytes; /* CHECKPOINT, RESUME: device bytes moved outside the process image; CHECK: bytes read; FINISH: parked */
	char reason[256]; /* CHECKPOINT, RESUME: why native mode, empty for offload; FINISH: why nothing is parked */
	char moved[768];  /* RESUME: which GPUs stand for others, and why; empty where all are those of the dump */
	struct error_text error;
	/* FINISH, 1: the pool tries to bring a process back when the connection has closed, and keeps the run's locks until
	 * then. 0: it has let go of everything. */
	uint32_t left_behind;
	uint32_t found; /* RESIDENT, GPU: 1 = there is one, and the reply has it */
	struct pool_status status;
	struct pool_resident resident;
	struct pool_gpu gpu;
	uint64_t number; /* the request's */
};
static_assert(sizeof(struct pool_reply) == 2968, "struct pool_reply is 2968 bytes");
static_assert(offsetof(struct pool_reply, still_working) == 28, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, bytes) == 32, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, reason) == 40, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, moved) == 296, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, left_behind) == 1576, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, status) == 1584, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, resident) == 1728, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, gpu) == 2808, "struct pool_reply keeps its order");
static_assert(offsetof(struct pool_reply, number) == 2960, "struct pool_reply keeps its order");

/*
 * Where a file of this name stands in the work folder (the C API makes it, sizeof(struct pool_progress) zero bytes), the
 * pool maps it and keeps it up to date while it works on the run. Read without locks; figures are for display.
 */
#define POOL_PROGRESS_FILE "rekindle.progress"
/* Of criu's environment, where the C API started it: the name of the run, which no other one of the machine has. */
#define POOL_RUN_VARIABLE "_REKINDLE_RUN"
#define POOL_RUN_NAME_MAX 40 /* with its NUL */

struct pool_progress {
	uint32_t phase; /* enum phase */
	/* 1: the pool has nothing more to do for the run: it is finished, or CRIU died and every process is back. Set last.
	 * Whoever kills CRIU waits for it. */
	uint32_t ended;
	uint64_t bytes_done;
	uint64_t bytes_total;
	/* Not the pool's: whoever started CRIU sets it to 1 to end the dump. The pool ends its part in order while CRIU still
	 * holds the process, and says so in its reply. */
	uint32_t cancel;
	uint32_t reserved;
	/* Nor is this: whose file it is. Of one that another run has left, or has made meanwhile, the pool takes nothing. */
	char run[POOL_RUN_NAME_MAX];
};
static_assert(sizeof(struct pool_progress) == 72, "struct pool_progress is 72 bytes");
static_assert(offsetof(struct pool_progress, bytes_done) == 8, "struct pool_progress keeps its order");
static_assert(offsetof(struct pool_progress, cancel) == 24, "struct pool_progress keeps its order");
#define POOL_PROGRESS_WRITTEN offsetof(struct pool_progress, cancel) /* by the pool */

#endif
