/* SPDX-License-Identifier: MIT */
#include "api/inspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/driver_states.h"
#include "api/criu/environment.h"
#include "api/call/report.h"
#include "api/call/request.h"
#include "inspect/inspection.h"
#include "process/process_handle.h"
#include "support/clock.h"
#include "support/log.h"
#include "support/plain_text.h"

static int out_of_memory(struct rekindle_error *error)
{
	return report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Out of memory");
}

/* criu gets the flags as options. */
static void read_options(struct inspection_options *options, uint32_t flags, const char *const *arguments,
			 uint32_t argument_count)
{
	inspection_options_read(options, arguments, argument_count, getenv("HOME"), getenv("CRIU_CONFIG_FILE"));
	options->connections |= (flags & (REKINDLE_TCP_ESTABLISHED | REKINDLE_TCP_CLOSE)) != 0;
	options->links |= (flags & REKINDLE_LINK_REMAP) != 0;
	options->shell_job |= (flags & REKINDLE_SHELL_JOB) != 0;
	options->file_locks |= (flags & REKINDLE_FILE_LOCKS) != 0;
	options->datagrams |= (flags & REKINDLE_EXTERNAL_UNIX_SOCKETS) != 0;
}

static int look(struct inspection *inspection, int32_t pid, uint32_t flags, const char *const *arguments,
		uint32_t argument_count, struct rekindle_error *error)
{
	struct inspection_options options;
	struct error_text text;
	int code;

	read_options(&options, flags, arguments, argument_count);
	code = inspection_run(inspection, pid, &options, &text);
	return code ? report(error, code_of_errno(code), REKINDLE_PHASE_NONE, "%s", text.text) : REKINDLE_OK;
}

/* What only the driver tells, and what it makes of the process. */
static int take_state(struct inspection *inspection, const struct inspected_process *process, int state)
{
	bool is_used = state != REKINDLE_CUDA_NONE && state != REKINDLE_CUDA_LOADED && state != REKINDLE_CUDA_INHERITED;

	if (is_used && process->stopped)
		return inspection_add(inspection, OBSTACLE_STOPPED, process->pid,
				      "let it run (SIGCONT) and dump it then",
				      "process %d (%s) is stopped (SIGSTOP), and its CUDA cannot be locked then",
				      (int)process->pid, process->name);
	if (state == REKINDLE_CUDA_CHECKPOINTED && process->needs_agent)
		return inspection_add(
			inspection, OBSTACLE_SUSPENDED, process->pid, "resume it there, and dump it while it runs",
			"CUDA of process %d (%s), which was restored, shares device memory or has memory of the host that the "
			"driver made, was suspended by another program, and a dump of that could not be restored",
			(int)process->pid, process->name);
	return 0;
}

static int take_states(struct inspection *inspection, const struct settings *settings, int *states)
{
	int code = 0;

	driver_states_ask(inspection, settings, states);
	for (size_t i = 0; !code && i < inspection->process_count; i++)
		code = take_state(inspection, &inspection->processes[i], states[i]);
	return code;
}

/* That takes a program of its own, so it is only asked where it has to say whether a stopped process uses CUDA. */
static int look_at_stopped(struct inspection *inspection, const struct rekindle_environment *environment,
			   struct rekindle_error *error)
{
	struct settings settings;
	int *states = NULL;
	bool asks = false;
	int result;

	for (size_t i = 0; i < inspection->process_count; i++)
		asks |= inspection->processes[i].stopped && inspection->processes[i].has_cuda_library;
	result = asks ? environment_settings(&settings, environment, error) : REKINDLE_OK;
	if (!asks || result)
		return result;
	states = calloc(inspection->process_count, sizeof(*states));
	if (!states || take_states(inspection, &settings, states))
		result = out_of_memory(error);
	free(states);
	return result;
}

/* What is in the way of one run is what another one has done: that is to be said then. */
static int check_is_free(int32_t pid, struct rekindle_error *error)
{
	struct process_handle handle = PROCESS_HANDLE_NONE;
	struct error_text text;
	int code = process_handle_open(&handle, pid, &text);

	process_handle_close(&handle);
	return code ? report(error, code_of_errno(code), REKINDLE_PHASE_NONE, "%s", text.text) : REKINDLE_OK;
}

int inspect_before_dump(const struct criu_run *run, const struct rekindle_environment *environment,
			struct rekindle_error *error)
{
	struct inspection inspection;
	struct error_text text;
	int result;

	result = look(&inspection, run->pid, run->flags, run->arguments, run->argument_count, error);
	if (!result)
		result = look_at_stopped(&inspection, environment, error);
	if (!result && inspection.obstacle_count) {
		result = check_is_free(run->pid, error);
		inspection_describe(&inspection, &text);
		if (!result)
			result = report(error,
					inspection_is_busy(&inspection) ? REKINDLE_ERROR_BUSY
									: REKINDLE_ERROR_INCOMPATIBLE,
					REKINDLE_PHASE_NONE, "%s", text.text);
	}
	inspection_free(&inspection);
	return result;
}

static int agent_state(const struct inspected_process *process)
{
	switch (process->presence) {
	case AGENT_ABSENT:
		return REKINDLE_AGENT_NONE;
	case AGENT_DISABLED:
		return REKINDLE_AGENT_DISABLED;
	case AGENT_UNASKED:
	case AGENT_IDLE:
		return REKINDLE_AGENT_IDLE;
	case AGENT_PRESENT:
		break;
	}
	return process->agent_usable ? REKINDLE_AGENT_READY : REKINDLE_AGENT_UNREACHABLE;
}

static void give_process(const struct inspected_process *process, int state, struct rekindle_inspected_process *given)
{
	*given = (struct rekindle_inspected_process){
		.pid = process->pid,
		.parent_pid = process->parent,
		.cuda_state = state,
		.agent_state = agent_state(process),
		.threads = process->threads,
	};
	copy_text(given->name, sizeof(given->name), process->name);
	copy_text(given->agent_note, sizeof(given->agent_note), process->agent_note);
}

static void give_obstacle(const struct obstacle *obstacle, struct rekindle_obstacle *given)
{
	*given = (struct rekindle_obstacle){.kind = (int32_t)obstacle->kind, .pid = obstacle->pid};
	copy_text(given->what, sizeof(given->what), obstacle->what);
	copy_text(given->remedy, sizeof(given->remedy), obstacle->remedy);
}

int rekindle_inspect_process(const struct rekindle_environment *environment,
			     const struct rekindle_inspect_request *request, struct rekindle_inspection *inspection,
			     struct rekindle_inspected_process *processes, uint32_t process_capacity,
			     struct rekindle_obstacle *obstacles, uint32_t obstacle_capacity,
			     struct rekindle_error *error)
{
	uint64_t start = monotonic_nanoseconds();
	struct inspection found = {.processes = NULL};
	struct settings settings;
	int *states = NULL;
	int result;

	if (inspection)
		memset(inspection, 0, sizeof(*inspection));
	result = request_check(request, request ? request->structure_size : 0, sizeof(*request),
			       "rekindle_inspect_request", error);
	if (!result)
		result = request_check_dump(request->flags, request->argument_count, request->arguments, error);
	if (!result && request->pid < 1)
		result = report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
				"pid is %d: name the root of a process tree.", request->pid);
	if (!result)
		result = environment_settings(&settings, environment, error);
	if (!result)
		result = environment_check_privileges(error);
	if (!result)
		result = look(&found, request->pid, request->flags, request->arguments, request->argument_count, error);
	if (result)
		goto out;
	states = calloc(found.process_count + 1, sizeof(*states));
	if (!states || take_states(&found, &settings, states)) {
		result = out_of_memory(error);
		goto out;
	}
	for (size_t i = 0; i < found.process_count && i < process_capacity; i++)
		give_process(&found.processes[i], states[i], &processes[i]);
	for (size_t i = 0; i < found.obstacle_count && i < obstacle_capacity; i++)
		give_obstacle(&found.obstacles[i], &obstacles[i]);
	if (inspection)
		*inspection = (struct rekindle_inspection){.process_count = (uint32_t)found.process_count,
							   .obstacle_count = (uint32_t)found.obstacle_count,
							   .duration = monotonic_nanoseconds() - start};
out:
	free(states);
	inspection_free(&found);
	return result;
}
