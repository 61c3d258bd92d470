/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_POOL_RUN_H
#define REKINDLE_POOL_POOL_RUN_H

#include "image/gpu_image.h"
#include "pool/agent_client.h"
#include "pool/pool.h"
#include "pool/prefetch.h"

/* One run of CRIU, or one client: what a connection stands for. Only the connection's thread touches it. */

#define RUN_PHASES_MAX 16

struct run_phase {
	const char *name;
	uint64_t start, duration, bytes;
};

struct run_process {
	int32_t pid;
	int pidfd;     /* -1 where the process had ended already */
	int agent;     /* its agent's control socket, -1: none */
	uint32_t mode; /* enum pool_mode */
	char reason[256];
	bool locked;	   /* by us, and not given back yet */
	bool was_locked;   /* it was locked before we came */
	bool checkpointed; /* by us, and not given back yet */
	bool released;	   /* its device memory is in our hands or in the image */
	uint8_t image_id[16];
	bool image_written;
	struct held_memory *memory; /* the application's own memory, from the dump */
	uint32_t memory_count;
	/* For the statistics. */
	uint64_t device_bytes, image_bytes;
	uint32_t allocations;
	struct run_phase phases[RUN_PHASES_MAX];
	uint32_t phase_count;
};

struct run {
	struct pool *pool;
	int socket;			  /* the connection; not owned */
	uint32_t stage;			  /* enum pool_stage, 0 before HELLO */
	int folder, work, progress;	  /* descriptors, -1: none */
	uint64_t bytes_done, bytes_total; /* as the progress file says */
	bool parallel, verify, warm, started_by_us;
	bool counted; /* in pool->runs */
	bool cleaned; /* older GPU images of the folder are gone */
	bool finished;
	bool closing; /* the other side is gone, or it is being finished: nobody is left to cancel for */
	uint64_t hook_time, hello_time, first_resume, last_resume;
	struct prefetch *prefetch;
	bool report_due; /* a process came back: CRIU may say the end of the run only when the tree ends */
	struct prefetch_image *to_give; /* mapped by the application: let go of it after the reply */
	struct run_process **processes;
	size_t process_count;
	char gpu_name[96];
	uint32_t phase;		 /* enum rekindle_phase_kind, what is being done */
	struct error_text error; /* the first failure, for the statistics, its code and phase */
	int error_code;
	uint32_t error_phase;
};

void run_init(struct run *run, struct pool *pool, int socket);
/* Answers one request. descriptors that are taken are set to -1. */
void run_request(struct run *run, const struct pool_request *request, int *descriptors, size_t count,
		 struct pool_reply *reply);
/*
 * Ends the run: after a failed dump every process gets its memory back and the images of the run are removed;
 * statistics are written and what is held is dropped.
 */
void run_finish(struct run *run, int criu_result, const char *criu_note);
/* Work that can wait until the reply is out. */
void run_after_reply(struct run *run);
/* The connection has closed: brings back what the run still holds, unless it is finished, and lets go of everything. */
void run_close(struct run *run);
/* Brings the progress file up to date. Returns whether something is going on in the background that it shows. */
bool run_watch_background(struct run *run);

/* ---- for the parts of a run ---- */

struct run_process *run_process_find(struct run *run, int32_t pid);
/* Finds it or makes it. NULL when memory is out. */
struct run_process *run_process_get(struct run *run, int32_t pid);
/* To speak with the process's agent, where it has one. */
struct agent_client run_agent(const struct run *run, const struct run_process *process);
void run_phase_put(struct run_process *process, const char *name, uint64_t start, uint64_t end, uint64_t bytes);
/* The phase ends now. */
void run_phase_add(struct run_process *process, const char *name, uint64_t start, uint64_t bytes);
/* Has the other side closed the connection, while we work on its request? */
bool run_is_abandoned(const struct run *run);
/* phase: enum rekindle_phase_kind. */
void run_progress(struct run *run, uint32_t phase, uint64_t done, uint64_t total);
/* Nothing more will happen for the run. */
void run_progress_ended(struct run *run);
/* A manifest for the process, with the devices of this machine. NULL when memory is out. */
struct gpu_image *run_make_image(struct run *run, const struct run_process *process, uint32_t mode,
				 uint32_t allocations);

/*
 * Names a finished image. The first one of a run first removes what earlier dumps left in the folder: a dump that fails
 * before that leaves the older image, of which CRIU's part is then still there too, as it was.
 */
int run_commit_image(struct run *run, struct gpu_image *image, struct error_text *error);

/* checkpoint.c: process is locked, see POOL_CHECKPOINT. note: why there is no agent. */
int run_checkpoint(struct run *run, struct run_process *process, const char *note, struct error_text *error);
/* offload.c: the agent's way; *native_works tells, after a failure, whether the driver can save the process instead. */
int run_offload(struct run *run, struct run_process *process, bool *native_works, struct error_text *error);
/* resume.c: see POOL_RESUME. released, image_id: what the agent's page says. */
struct resume_request {
	bool released;
	const uint8_t *image_id;
	CUprocessState initial_state;
};
int run_resume(struct run *run, struct run_process *process, const struct resume_request *request,
	       struct error_text *error);
/* Lets go of the application's memory that the pool holds. */
void run_process_drop_memory(struct run_process *process);

/* statistics.c: stats-rekindle.json in the work folder. Logs what goes wrong. */
void run_write_statistics(struct run *run, int criu_result, const char *criu_note);

#endif
