/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_RUN_H
#define REKINDLE_PLUGIN_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "plugin/agent_page.h"
#include "plugin/pool_connection.h"
#include "settings/settings.h"
#include "support/error_text.h"

#define PLUGIN_NAME "cuda_plugin"

/* One run of CRIU: a dump or a restore. A CRIU process does one, and has one thread. */
struct run {
	uint32_t stage; /* enum pool_stage */
	struct settings settings;
	uint64_t began;	 /* CLOCK_MONOTONIC at plugin init */
	int work_folder; /* CRIU's work folder, which is its current one at init */
	struct pool_connection pool;
	pid_t *stop_at_end; /* a SIGSTOP for these processes was kept from them */
	size_t stop_at_end_count;
	bool left_to_pool;	/* a process that could not be brought back while CRIU holds it */
	struct error_text note; /* what whoever started the run has to know though it succeeded */
	bool failed;		/* in our part; failure has the first sentence */
	struct error_text failure;
};

/* Reads the settings and opens the work folder. */
int run_begin(struct run *run, uint32_t stage, struct error_text *error);

/* Reaches or starts the pool and says hello. With fresh_private never an existing pool. */
int run_connect(struct run *run, bool fresh_private, struct error_text *error);

/* A request about one process during which the driver's restore thread and the agent's (where usable) may run. */
int run_call_with_threads(struct run *run, struct pool_request *request, pid_t restore_thread,
			  const struct agent *agent, struct pool_reply *reply, struct error_text *error);

/* A request about one process that needs no thread to run. */
int run_call(struct run *run, struct pool_request *request, struct pool_reply *reply, struct error_text *error);

/* Fills what RESUME says about the process and its agent. */
struct pool_request run_resume_request(pid_t pid, int initial_state, const struct agent *agent);

/* Writes error to CRIU's log and keeps it as the reason of the run's failure, the first one only. */
void run_fail(struct run *run, const struct error_text *error);

/* Says to the pool, or where that is gone writes into the statistics itself, how the run ended. Closes everything. */
void run_end(struct run *run, int criu_result);

unsigned int run_timeout_ms(const struct run *run);

#endif
