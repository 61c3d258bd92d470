/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_POOL_PROTOCOL_H
#define REKINDLE_PROTOCOL_POOL_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * How the plugin, and every other client, speaks with the pool process over a SEQPACKET socket: one request, one reply,
 * in order. A connection stands for one run of CRIU (or one client of the C API). When it closes before POOL_FINISH the
 * pool takes the run for dead: it brings back every process of that run whose memory it still holds, and drops the rest.
 */

#define POOL_PROTOCOL_VERSION 1u

enum pool_request_type {
	/* First on every connection: version, stage, settings of this run. Descriptors: [0] the folder of CRIU's images
	 * (readable and, on dump, writable), [1] the work folder, where stats-rekindle.json goes. A client without a run
	 * (POOL_STAGE_CLIENT) sends none. */
	POOL_HELLO = 1,
	/* RESTORE stage: start filling device memory from every GPU image in the folder, at once, in the background. */
	POOL_PREFETCH = 2,
	/* Does the process use CUDA? The reply has `uses_cuda`, the restore thread's id and the driver's state of it. */
	POOL_QUERY = 3,
	/* Lock the process's CUDA (it runs; waits for submitted work), timeout_ms at most. */
	POOL_LOCK = 4,
	/*
	 * Save the process's device memory; the process is locked, every thread stopped but the restore thread and the
	 * agent's. Descriptor [0], where has_agent: the control socket of its agent. The reply says the mode used and why.
	 * On return the process is CHECKPOINTED, its GPU image is complete, flushed and verified (offload mode), or
	 * contents are in the process itself (native mode). On failure the process is locked, and whole.
	 */
	POOL_CHECKPOINT = 5,
	/*
	 * Bring the process's device memory back: driver restore, unlock, map (from memory the pool still holds, else from
	 * the prefetched, else from the image). The restore thread and the agent's may run. Descriptor [0] as above.
	 * initial_state: the driver's state that the process had before LOCK; it is left in that state.
	 * Used after a restore, and after a dump for every process of the run (it may go on living: --leave-running).
	 */
	POOL_RESUME = 6,
	/* Take back POOL_LOCK on a process that was not checkpointed. */
	POOL_UNLOCK = 7,
	/*
	 * The run is over: criu_result is CRIU's (0 or negative). Statistics are written. After a failed dump the GPU images
	 * of the run are removed. Held memory is dropped.
	 */
	POOL_FINISH = 8,
	/* Statistics of the pool itself (struct pool_status in the reply). */
	POOL_STATUS = 9,
	/* Ask the pool to end once its runs have ended. */
	POOL_STOP = 10,
	/* CLIENT stage: forget what PREFETCH filled for the folder in descriptor [0]. (PREFETCH in CLIENT stage carries the
	 * folder as descriptor [0] too; a later restore of the same images adopts what it filled.) */
	POOL_DROP = 11,
};

enum pool_stage { POOL_STAGE_DUMP = 1, POOL_STAGE_RESTORE = 2, POOL_STAGE_CLIENT = 3 };

enum pool_mode {
	POOL_MODE_NONE = 0,    /* the process does not use CUDA */
	POOL_MODE_OFFLOAD = 1, /* device memory of 2 MiB and more outside the process image */
	POOL_MODE_NATIVE = 2,  /* the driver put the contents into the process's own memory */
};

struct pool_request {
	uint32_t type;	     /* enum pool_request_type */
	uint32_t version;    /* HELLO: POOL_PROTOCOL_VERSION */
	uint32_t stage;	     /* HELLO: enum pool_stage */
	int32_t pid;	     /* as the pool sees it (the plugin's and the pool's pid namespace are one) */
	uint32_t timeout_ms; /* LOCK, 0: no limit; elsewhere only how long the plugin waits for the reply */
	uint32_t
		wants_state; /* QUERY: fill `state` of the reply; the process's restore thread must be running, it answers */
	uint32_t has_agent;	   /* CHECKPOINT, RESUME: descriptor [0] is there */
	uint32_t agent_released;   /* RESUME: the agent's page says AGENT_STATE_RELEASED */
	int32_t initial_state;	   /* RESUME: CUprocessState */
	int32_t criu_result;	   /* FINISH */
	uint32_t parallel;	   /* HELLO: 0 = CRIU_CUDA_PARALLEL_RESTORE=0, one worker and no overlap */
	uint32_t verify;	   /* HELLO: 1 = verify checksums on restore */
	uint32_t started_by_us;	   /* HELLO: 1 = the client started this pool for this run (pool "cold") */
	uint8_t image_id[16];	   /* RESUME: from the agent's page */
	uint64_t hook_nanoseconds; /* HELLO: CLOCK_MONOTONIC when plugin init began, for the overlap figures */
	char note
		[256]; /* CHECKPOINT: why the plugin found no usable agent, empty otherwise; FINISH: what failed in the plugin */
};

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
};

struct pool_reply {
	int32_t result; /* 0 or a negative errno code; error has the sentence */
	uint32_t version;
	uint32_t uses_cuda;	   /* QUERY: 0 = surely not; a failed query is a negative result, never 0 */
	int32_t restore_thread_id; /* QUERY */
	int32_t state;		   /* QUERY with wants_state: CUprocessState */
	uint32_t mode;		   /* CHECKPOINT, RESUME: enum pool_mode */
	uint32_t pool_warm;	   /* HELLO: 1 = context and ring were there already */
	uint64_t bytes;		   /* CHECKPOINT, RESUME: device bytes moved outside the process image */
	char reason[256];	   /* CHECKPOINT, RESUME: why native mode, empty for offload */
	struct error_text error;
	struct pool_status status;
};

/*
 * Where a file of this name stands in the work folder (the C API makes it, sizeof(struct pool_progress) zero bytes), the
 * pool maps it and keeps it up to date while it works on the run. Read without locks; figures are for display.
 */
#define POOL_PROGRESS_FILE "rekindle.progress"

struct pool_progress {
	uint32_t phase; /* enum rekindle_phase_kind of rekindle.h */
	/* 1: the pool has nothing more to do for the run: it is finished, or CRIU died and every process is back. Set last.
	 * Whoever kills CRIU waits for it. */
	uint32_t ended;
	uint64_t bytes_done;
	uint64_t bytes_total;
};
static_assert(sizeof(struct pool_progress) == 24, "struct pool_progress is 24 bytes");

/*
 * stats-rekindle.json, which the pool writes into the work folder when a run is over (a temporary name, then renamed),
 * also after a failure. One object; numbers are integers unless said otherwise; times are CLOCK_MONOTONIC nanoseconds;
 * a member that does not apply may be left out; readers ignore members that they do not know.
 *
 *   "kind": "checkpoint" or "restore"      "succeeded": true or false
 *   "failure": the sentence                "failure_code": negative errno code    "failure_phase": enum rekindle_phase_kind
 *   "start", "duration": from plugin init to the end       "overlap": GPU copying hidden behind CRIU's own work
 *   "device_bytes", "image_bytes"          "pool_warm", "simulated": true or false
 *   "driver_version"                       "gpu_name": string      "note": string
 *   "processes": [ { "pid", "mode": "none", "offload" or "native", "reason": string, "device_bytes", "allocations",
 *       "phases": [ { "phase": "start", "lock", "copy_out", "release", "driver_checkpoint", "criu", "prefetch",
 *           "driver_restore" or "map", "start", "duration", "bytes", "gigabytes_per_second": real } ] } ]
 *
 * A process that does not use CUDA is not listed.
 */
#define POOL_STATISTICS_FILE "stats-rekindle.json"

#endif
