/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_POOL_RUN_H
#define REKINDLE_POOL_RUN_POOL_RUN_H

#include "pool/agent/agent_client.h"
#include "pool/device/pool.h"
#include "pool/memory/image_check.h"
#include "pool/memory/prefetch.h"
#include "pool/run/hold_threads.h"
#include "pool/run/run_state.h"
#include "process/target.h"
#include "report/kept_records.h"
#include "report/run_record.h"
#include "store/gpu_image.h"

/*
 * One run of CRIU, or one client: what a connection stands for. Only the connection's thread touches it, and, of one
 * process, the thread of the work that is under way for it; what all of them write is under the run's mutex.
 */

/* Whose memory a process has imported. */
struct run_import {
	uint8_t image_id[16];	/* of the image that its owner gets */
	uint64_t allocation_id; /* there */
	struct gpu_image_holder owner;
};

struct run_process {
	int32_t pid; /* as the client calls it: for messages, images and statistics */
	struct target target;
	int lock;		  /* the run's lock on it */
	bool watched;		  /* by the run's guardian */
	bool untouched;		  /* as long as it is only copied while it runs: not even its lock was tried */
	int agent;		  /* its agent's control socket, -1: none */
	struct run_work *work;	  /* that is under way for it, or not collected yet; NULL: none */
	struct thread_hold *hold; /* NULL: none is under way */
	enum taken taken;
	bool was_to_be_saved;  /* by this pool */
	bool was_locked;       /* by somebody else, who is to find it so */
	bool locked_meanwhile; /* likewise, while it was unlocked for its agent: opened only where it lacks memory */
	bool may_be_unlocked;  /* likewise, and by a pool that is gone, for its agent; it has stood still since then */
	uint64_t lock_began;   /* CLOCK_MONOTONIC, the first time */
	uint64_t stands_from;  /* likewise, since when it cannot go on; 0: it can */
	enum way_back way_back;
	enum image_origin origin; /* of what the last RESUME has mapped */
	bool image_written;
	bool image_found;	     /* likewise, by a pool that is gone; whether it shares memory its image says */
	bool brought_back;	     /* in run_bring_back() */
	struct image_check *check;   /* of the image's data, NULL where there is nothing to check */
	uint8_t image_id[16];	     /* of that image */
	struct copy_ahead *ahead;    /* what was copied while it ran, until that is an image's; see copy_ahead.h */
	struct parent_image *parent; /* NULL: none, or not looked for; see parent_image.h */
	/* From the dump: the application's own memory, own_count of it, and then what it has imported, of which only the
	 * descriptor is held. */
	struct held_memory *memory;
	uint32_t memory_count, own_count;
	struct held_range range;     /* that it is mapped in */
	struct run_import *imports;  /* one for each of the latter */
	uint8_t next_image_id[16];   /* of the image in the making */
	struct memory_hashes hashes; /* of its own memory when it stood */
	bool has_shared;	     /* others have some of it, or it has some of theirs */
	bool in_pool;		     /* its image has none of its memory: see run_park.c */
	uint64_t in_pool_bytes;	     /* of the budget; run->mutex */
	/* Of a CHECKPOINT under way, under the run's mutex: memory has all that its agent has exported; the process shares
	 * some of it, and waits for the others of the run; it does, and its image is not complete yet. */
	bool has_exported, shares, lacks_image;
	uint32_t phase; /* enum phase, what is being done for it */
	uint64_t bytes_done, bytes_total;
	/* For the statistics. */
	uint64_t image_bytes, linked_bytes;
	uint64_t resident_bytes; /* of a restore: found in device memory, or copied from pinned memory */
	struct process_record record;
};

struct run {
	struct pool *pool;
	int socket;			  /* the connection; not owned */
	uint64_t request_number;	  /* of the one that is answered; under mutex */
	int client;			  /* pidfd of the process at its other end, -1: not known */
	uint32_t stage;			  /* enum pool_stage, 0 before HELLO */
	int folder, work, progress, lock; /* descriptors, -1: none */
	int parent;			  /* of a dump: another folder for images that processes come from, likewise */
	/* over phase, progress and figures, the words to the client, the failure, the list of processes */
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* a work has ended */
	unsigned int working;	/* works that have their turn */
	bool locks_wait;	/* until the last one has been begun */
	bool saves_wait;	/* likewise, CHECKPOINTs */
	bool sharing_known;	/* whose memory is whose, and what came of it: */
	int sharing_result;
	struct error_text sharing_error;
	uint64_t bytes_done, bytes_total; /* as the progress file says */
	bool parallel, verify, warm, started_by_us;
	bool may_link;	       /* of a dump: data of a process's parent image, see parent_image.h */
	enum pool_tier tier;   /* likewise: where its device memory is to stay */
	uint64_t parked_bytes; /* what came of that: so much does, */
	char park_note[256];   /* or nothing, and why */
	char device_map[1024]; /* of a restore or a client: the GPUs that it takes */
	bool counted;	       /* in pool->runs */
	enum run_life life;
	bool answering;	    /* somebody waits for the reply to a request */
	uint64_t last_word; /* when they were last told that there is progress */
	bool images_stay; /* those of a failed dump too, after its processes were brought back, and the folder is as it is */
	bool lost;	  /* the other side has gone before it was finished, or the connection to it */
	bool client_stays;	   /* lives on although it is lost: the folder of a dump is in its hands */
	uint8_t checkpoint_id[16]; /* of a dump */
	bool settled;		   /* the checkpoint is good and in its place, and nothing of it is undone */
	bool is_complete;	   /* a restore: CRIU has been told that all processes have their memory */
	uint64_t hook_time, hello_time, first_resume, last_resume;
	struct prefetch *prefetch;
	struct guardian *guardian; /* NULL: none */
	ino_t statistics_file;	   /* as the run found the file of statistics, or wrote it last; 0: there was none */
	struct timespec statistics_time;
	struct kept_record kept;
	bool report_due; /* a process came back: CRIU may say the end of the run only when the tree ends */
	struct run_process **processes;
	size_t process_count;
	char gpu_name[96];
	uint32_t phase;		 /* enum phase, what is being done */
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
/* Is the checkpoint of a dump in its place for good? Then nothing of it is undone, and its images are read from there. */
void run_look_whether_settled(struct run *run);
/*
 * Gives back to every process of a dump that failed what it had, and removes their images. Returns 0, or -EIO where a
 * process could not be brought back: its image stays.
 */
int run_bring_back(struct run *run);
/* A process that is whole without its image of a dump that failed: removes what the run has left of that. */
void run_remove_left_images(const struct run *run, pid_t named);
/* Is there nothing in its folder but what this run has written, or a pool of it that is gone? */
bool run_has_a_folder_of_its_own(const struct run *run);
/* After a dump that failed the folder is as before it, unless its checkpoint is settled. */
void run_put_folder_in_order(const struct run *run);
/* The client has gone: brings back what a dump that succeeded has left behind, where it lives on. Its images stay. */
void run_look_after_left_behind(struct run *run);
/* Work that can wait until the reply is out. */
void run_after_reply(struct run *run);
/* Likewise, of a run that is over: lets go of the memory that is held for its processes, which takes its time. */
void run_drop_rest(struct run *run);
/* No further request can be received, or answered: whoever waits for an answer learns that at once. */
void run_lose_connection(struct run *run);
/* The connection has closed: brings back what the run still holds, unless it is finished, and lets go of everything. */
void run_close(struct run *run);
/*
 * Between requests: brings the progress file up to date, and lets go of memory that processes have taken. Returns
 * whether there will be more of that in a moment.
 */
bool run_watch_background(struct run *run);

/* ---- for the parts of a run ---- */

/* Finds it or makes it, taking over target and lock where it succeeds. NULL when memory is out. */
struct run_process *run_process_get(struct run *run, struct target *target, int *lock);
/* The run is over for the process, and other runs may have it. */
/* With is_last nobody else has a use for its lock. */
void run_process_let_go(struct run_process *process, bool is_last);
/* Closes what is there to be closed, and notes that it is. */
void close_if_open(int *descriptor);
/* To speak with the process's agent, where it has one. */
struct agent_client run_agent(const struct run *run, const struct run_process *process);
void run_phase_put(struct run_process *process, enum phase kind, uint64_t start, uint64_t end, uint64_t bytes);
/* The phase ends now. */
void run_phase_add(struct run_process *process, enum phase kind, uint64_t start, uint64_t bytes);
/* Has the other side closed the connection, while we work on its request? */
bool run_is_abandoned(const struct run *run);
/* Likewise, or has whoever started CRIU cancelled the run? */
bool run_is_unwanted(struct run *run);
/* Is a work under way, or not collected yet? See run_work.c. */
bool run_is_working(const struct run *run);
/* Something has been done: whoever waits for the reply hears of it, now and then. */
void run_say_progress(struct run *run);
/*
 * phase: enum phase. With a process these are its phase and its figures, and shown is the sum of all; without one they are
 * the run's.
 */
void run_progress(struct run *run, struct run_process *process, uint32_t phase, uint64_t done, uint64_t total);
/* The GPU that the statistics name. */
void run_note_gpu(struct run *run, const struct pool_device *device);
/* The first failure is the run's, for its statistics. process: whose, NULL for none. */
void run_keep_error(struct run *run, const struct run_process *process, int code, const struct error_text *error);
/* Nothing more will happen for the run. */
void run_progress_ended(struct run *run);
/* That of the run of this name in the work folder; where it has none, or one of another run, nothing is shown. */
void run_open_progress(struct run *run, const char *name);
/* A manifest for the process, with the devices of this machine. NULL when memory is out. */
struct gpu_image *run_make_image(struct run *run, const struct run_process *process, uint32_t mode,
				 uint32_t allocations);

/* Finishes the image of a process and keeps its id. */
int run_commit_image(struct run *run, struct run_process *process, struct gpu_image *image, struct error_text *error);
/*
 * Are the images of all processes on the disk as they were written? Waits timeout_ms at most, then -EINPROGRESS; without
 * a limit (-1) until nobody wants to know any more.
 */
int run_check_images(struct run *run, int timeout_ms, struct error_text *error);
uint64_t run_checked_bytes(const struct run *run);
/* Removes the image that the process was written into. */
void run_remove_image(const struct run *run, struct run_process *process);

/* dump_process.c: process is locked, see POOL_CHECKPOINT. note: why there is no agent. */
int run_checkpoint(struct run *run, struct run_process *process, const char *note, struct error_text *error);
/* dump_offload.c: the agent's way. Unless it is SAVED, *code and error say why not. */
enum save_outcome run_offload(struct run *run, struct run_process *process, int *code, struct error_text *error);
/* resume.c: see POOL_RESUME. released, image_id: what the agent's page says. */
struct resume_request {
	bool released;
	const uint8_t *image_id;
	CUprocessState initial_state;
};
int run_resume(struct run *run, struct run_process *process, const struct resume_request *request,
	       struct error_text *error);
/* Ends the check of the process's image, wherever it is. */
void run_process_end_check(struct run_process *process);
/*
 * run_park.c: of a dump that is whole, what is to stay for the next restore; says why where nothing does. Fails only where
 * some of it is in no file, and is lost.
 */
int run_park(struct run *run);
/* Was it asked for that device memory is in this pool only, and can that be at all? Says why not. */
bool run_wants_to_stay_in_pool(struct run *run);
/* Can this process's? Then its guardian has it as well. bytes: how much it is; its hashes were noted. */
int run_leave_in_pool(struct run *run, struct run_process *process, bool shares, uint64_t bytes,
		      struct error_text *error);
/* Is the run's client gone after its checkpoint came into its place and its processes ended, with their memory here only? */
bool run_is_left_in_pool_only(const struct run *run);
/* All is saved: if some of it is in no file, can it be parked? */
int run_check_left_in_pool(const struct run *run, struct error_text *error);
/* A restore that failed has taken what is in no file: it is kept again, for the next one. */
void run_keep_again(struct run *run);
/* Lets go of the application's memory that the pool holds. */
void run_process_drop_memory(struct run_process *process);

/*
 * run_work.c: a COPY_AHEAD, a CHECKPOINT or a RESUME, in a thread of its own. At most REKINDLE_SIDE_BY_SIDE of a run have their turn at
 * once, the others wait for it. A LOCK has no turn: processes that wait for each other come to rest together or not at all.
 */
struct run_order {
	bool resume, lock, ahead; /* none: checkpoint */
	unsigned int timeout_ms;  /* of a LOCK */
	struct resume_request request;
	uint8_t image_id[16]; /* request's */
	char note[256];	      /* CHECKPOINT: why there is no agent */
};
int run_work_begin(struct run *run, struct run_process *process, const struct run_order *order,
		   struct error_text *error);
/* run_turn.c: waits until it is this thread's turn to work, which ends with run->working. */
void run_take_turn(struct run *run);
/* Somebody else may have it, until it is taken again. */
void run_leave_turn(struct run *run);
/*
 * On the thread of a CHECKPOINT: its process has exported its memory. One that shares some of it waits, without its turn,
 * until all others have, and fails where something is shared with a process that is not dumped with it.
 */
int run_meet(struct run *run, struct run_process *process, bool shares, struct error_text *error);
/*
 * The same once more when its image is complete, before the process gives its memory up: until the images of all that share
 * are. Whoever brings one of them back, should this pool die, finds in the images of the others who else has its memory.
 */
int run_meet_again(struct run *run, struct run_process *process, struct error_text *error);
/* run_sharing.c: finds out whose memory is whose. All processes that share have exported theirs, and wait. */
int run_sharing_match(struct run *run, struct error_text *error);
/* What names the process to a pool that brings it back. */
struct gpu_image_holder run_sharing_holder(const struct run_process *process);
/* Waits for its end. Returns how it went. */
int run_work_collect(struct run *run, struct run_process *process, struct pool_reply *reply);
/* Waits for all that is under way; what failed is logged. */
void run_work_collect_all(struct run *run);

/*
 * run_lock.c: CUDA of the process, within timeout_ms (0: no limit); -ETIMEDOUT where its GPU work did not end. together:
 * at the same moment as others, which is when the client waits for the first one.
 */
int run_lock(struct run *run, struct run_process *process, unsigned int timeout_ms, bool together,
	     struct error_text *error);

/* run_statistics.c: stats-rekindle.json in the work folder. Logs what goes wrong. */
void run_write_statistics(struct run *run, int criu_result, const char *criu_note);
/* Of an earlier run, or none. */
void run_note_statistics_file(struct run *run);

#endif
