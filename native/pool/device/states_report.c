/* SPDX-License-Identifier: MIT */
#include "pool/device/states_report.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool/device/driver_checkpoint.h"
#include "process/agent_page.h"
#include "process/process_status.h"

/* The agent's own, where that one and no other is there, forbids nothing that an answer needs. */
static bool is_filtered(pid_t pid, const struct thread_status *thread)
{
	struct process_maps maps;
	struct error_text error;
	struct agent agent;
	bool is_agents;

	if (!thread->seccomp_mode)
		return false;
	if (thread->seccomp_filters != 1 || process_maps_read(pid, &maps, &error))
		return true;
	agent_open(&agent, pid, &maps);
	is_agents = agent.has_page && agent.page.filters;
	agent_close(&agent);
	return !is_agents;
}

static bool can_answer(pid_t pid, pid_t thread)
{
	struct thread_status status;

	return !thread_status_read(pid, pid, &status) && status.state != 'T' && process_find_tracer(pid) == 0 &&
	       !thread_status_read(pid, thread, &status) && !is_filtered(pid, &status);
}

static int ask(struct pool *pool, pid_t pid, int *state, struct error_text *error)
{
	struct driver_process process;
	struct target target;
	CUprocessState known;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), result;

	if (pidfd < 0)
		return fail(error, -errno, "Process %d cannot be opened: %s", (int)pid, errno_text(errno));
	result = target_open(&target, pidfd, pid, error);
	if (result) {
		close(pidfd);
		return result;
	}
	*state = PROCESS_STATE_UNUSED;
	result = driver_process_query(pool, &target, &process, error);
	if (!result && process.uses_cuda) {
		*state = PROCESS_STATE_UNKNOWN;
		if (can_answer(pid, process.restore_thread)) {
			result = driver_process_state(pool, &target, &known, error);
			*state = (int)known;
		}
	}
	target_close(&target);
	return result;
}

int process_states_print(const struct settings *settings, char *const *pids, int count, FILE *output,
			 struct error_text *error)
{
	struct pool *pool;
	int result, state = PROCESS_STATE_UNKNOWN;

	result = pool_create(&pool, settings, error);
	if (result)
		return result;
	for (int i = 0; !result && i < count; i++) {
		pid_t pid = atoi(pids[i]);

		/* One that cannot be had is no reason to say nothing of the others. */
		result = ask(pool, pid, &state, error);
		if (result != -ESRCH)
			fprintf(output, PROCESS_STATE_LINE "\n", (int)pid, result ? PROCESS_STATE_UNKNOWN : state);
		result = 0;
	}
	pool_destroy(pool);
	return result;
}
