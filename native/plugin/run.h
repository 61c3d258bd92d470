/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_RUN_H
#define REKINDLE_PLUGIN_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/pool_connection.h"
#include "process/agent_page.h"
#include "process/process_handle.h"
#include "process/standstill.h"
#include "process/thread_control.h"
#include "settings/settings.h"
#include "support/error_text.h"

#define PLUGIN_NAME "cuda_plugin"

/* One run of CRIU: a dump or a restore. A CRIU process does one, and has one thread. */
struct plugin_run {
	uint32_t stage; /* enum pool_stage */
	struct settings settings;
	uint64_t began;	 /* CLOCK_MONOTONIC at plugin init */
	int work_folder; /* CRIU's work folder, which is its current one at init */
	struct pool_connection pool;
	int parent_folder;	   /* of a dump: what REKINDLE_PARENT names, -1: nothing */
	int folder_lock;	   /* of a dump: the folder, see plugin/dump_folder.h; not owned */
	uint8_t checkpoint_id[16]; /* likewise */
	struct run_call *calls;	   /* that are under way, see below */
	int *stop_at_end;	   /* pidfds of processes from which a SIGSTOP was kept */
	size_t stop_at_end_count;
	bool lost_a_pool;	/* whose guardian may still have the locks, and need them */
	bool left_in_pool;	/* the device memory of this dump is in no file, and its processes are ended */
	bool left_to_pool;	/* a process that could not be brought back while CRIU holds it */
	struct error_text note; /* what whoever started the run has to know though it succeeded */
	bool failed;		/* in our part; failure has the first sentence */
	bool images_stay;	/* of a dump that failed, too: CRIU knows nothing of it */
	int failure_code;
	struct error_text failure;
};

/* Reads the settings and opens the work folder. */
int run_begin(struct plugin_run *run, uint32_t stage, struct error_text *error);

/* Reaches or starts the pool and says hello. With fresh_private never an existing pool. */
int run_connect(struct plugin_run *run, bool fresh_private, struct error_text *error);
/* Is the device memory of this dump to stay in a pool only, and does CRIU end the tree, so that it can? */
bool run_leaves_no_files(const struct plugin_run *run);

/* A request that is about no process. */
int run_call(struct plugin_run *run, struct pool_request *request, struct pool_reply *reply, struct error_text *error);

/* A request about one process that needs no thread to run. */
int run_call_process(struct plugin_run *run, const struct process_handle *process, struct pool_request *request,
		     struct pool_reply *reply, struct error_text *error);

/*
 * A CHECKPOINT, a RESUME or an UNLOCK of one process, during which the driver's restore thread and the agent's (where
 * usable) may run. On a dump the others stand still whatever becomes of CRIU, and do so on after the call where nobody can
 * say that the process may run: the pool was lost in the middle, or could not bring back what it had taken.
 */
struct run_threads {
	pid_t restore_thread;
	const struct agent *agent;
	struct standstill *standstill; /* NULL on a restore, where the kernel ends what CRIU held when it dies */
};

/* One that is under way; several of different processes are so side by side. */
struct run_call {
	const struct process_handle *process;
	struct standstill *standstill;
	uint32_t type;
	struct released_thread released[2];
	bool is_awaited; /* the pool is at it */
	int code;
	struct pool_reply reply;
	struct error_text error;
	struct run_call *next;
};

/*
 * Begins it, CHECKPOINT or RESUME. What fails here is told by run_call_end, which has to follow in any case, and without
 * which the threads run on. process and standstill stay where they are until then.
 */
void run_call_begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		    const struct run_threads *threads, struct pool_request *request);
/* Waits for the end of it, and stops the threads. call->reply has the answer. */
int run_call_end(struct plugin_run *run, struct run_call *call, struct error_text *error);

/*
 * Adds how one of several went to how all did. The first failure counts, but one that only found no pool any more gives way
 * to what became of the pool; the others are logged.
 */
void run_add_result(int *code, struct error_text *error, int one, const struct error_text *one_error);

/*
 * LOCK of a process that runs, whatever its program's filter forbids the driver's thread. Begun for several processes that
 * may wait for each other; run_lock_end has to follow for each. Whether it is locked then, call->reply.state says.
 */
struct run_lock_limits {
	unsigned int driver_ms; /* for the GPU work of the process */
	unsigned int pool_ms;	/* for the pool's answers */
};
void run_lock_begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		    pid_t restore_thread, const struct run_lock_limits *limits);
int run_lock_end(struct plugin_run *run, struct run_call *call, const struct run_lock_limits *limits,
		 struct error_text *error);

/*
 * COPY_AHEAD of a process that runs, whatever its program's filter forbids the agent's thread; several go on side by side.
 * run_ahead_end has to follow for each. call->reply.bytes: how much was copied.
 */
void run_ahead_begin(struct plugin_run *run, struct run_call *call, const struct process_handle *process,
		     const struct agent *agent);
int run_ahead_end(struct plugin_run *run, struct run_call *call, struct error_text *error);

/* A request that the driver's thread in the running process answers, whatever the program's filter forbids it. */
int run_call_unfiltered(struct plugin_run *run, const struct process_handle *process, pid_t restore_thread,
			struct pool_request *request, struct pool_reply *reply, struct error_text *error);

/* One that nothing else goes on beside. */
int run_call_with_threads(struct plugin_run *run, const struct process_handle *process,
			  const struct run_threads *threads, struct pool_request *request, struct pool_reply *reply,
			  struct error_text *error);

/* Fills what RESUME says about the process and its agent. */
struct pool_request run_resume_request(int initial_state, const struct agent *agent);

/* Writes error to CRIU's log and keeps it, with its code, as the reason of the run's failure, the first one only. */
void run_fail(struct plugin_run *run, int code, const struct error_text *error);

/* Who has to see to what is left of a run when it ends. */
enum run_rest {
	RUN_REST_OURS,	/* the plugin: no pool heard of the end */
	RUN_REST_POOLS, /* a pool is still at it, and holds the locks */
	RUN_REST_NONE,	/* a pool has seen to all of it, and holds nothing any more */
};

/*
 * Says to the pool, or where that is gone writes into the statistics itself, how the run ended. Closes everything.
 */
enum run_rest run_end(struct plugin_run *run, int criu_result);

unsigned int run_timeout_ms(const struct plugin_run *run);

#endif
