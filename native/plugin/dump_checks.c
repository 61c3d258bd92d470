/* SPDX-License-Identifier: MIT */
#include "plugin/dump_checks.h"

#include <errno.h>
#include <unistd.h>

#include "driver/cuda_abi.h"
#include "process/process_status.h"

/* A thread of the process itself tells the driver its state: asked of one that SIGSTOP holds, the driver waits for
 * ever. */
int check_runs(pid_t pid, struct error_text *error)
{
	struct thread_status status;

	if (thread_status_read(pid, pid, &status) || status.state != 'T')
		return 0;
	return fail(error, -EBUSY,
		    "process %d is stopped (SIGSTOP), and its CUDA cannot be locked then: let it run (SIGCONT) and "
		    "dump it again; where a dump of it was killed, run \"rekindled --revive %d --images\" with the "
		    "folder of that dump instead",
		    (int)pid, (int)pid);
}

/* CRIU could not stop it, and the driver's thread in it may be stopped, for which the driver would wait for ever. */
int check_is_not_traced(pid_t pid, struct error_text *error)
{
	pid_t tracer = process_find_tracer(pid);
	char name[PROCESS_NAME_MAX] = "?";

	if (tracer <= 0 || tracer == getpid())
		return 0;
	process_name_read(tracer, name);
	return fail(error, -EBUSY, "process %d is traced by process %d (%s): end that one, or let it detach, first",
		    (int)pid, (int)tracer, name);
}

/* What an earlier run took away and could not bring back is in that run's image, and would be missing in this one. */
static int is_in_place(pid_t pid, const struct agent *agent, struct error_text *error)
{
	if (!agent->has_page || (agent->page.state == AGENT_STATE_MAPPED && !agent->page.out_of_place))
		return 0;
	return fail(error, -EINVAL,
		    "the device memory of process %d is not in place since an earlier run failed: run \"rekindled "
		    "--revive %d --images\" with the folder of that run, or end the process and restore it from there",
		    (int)pid, (int)pid);
}

/*
 * Memory that a restore brought was imported, and what the driver itself saves of it it does not restore. Somebody who
 * did not know that has suspended the process: what is suspended must go on first, for the agent to work on it.
 */
static int can_be_saved(pid_t pid, int state, const struct agent *agent, struct error_text *error)
{
	if (!agent->has_page || !agent->page.needs_agent)
		return 0;
	if (!agent->usable)
		return fail(
			error, -EOPNOTSUPP,
			"process %d was restored, shares device memory, or has memory of the host that the driver made, and the driver cannot save that without "
			"the agent, which cannot be reached: %s",
			(int)pid, agent->note);
	if (state != CU_PROCESS_STATE_CHECKPOINTED)
		return 0;
	return fail(
		error, -EBUSY,
		"CUDA of process %d, which was restored or shares device memory, was suspended by another program (cuda-checkpoint, or "
		"the process's own engine), and a dump of that could not be restored: resume it there, and dump "
		"it while it runs",
		(int)pid);
}

int check_open_agent(pid_t pid, int state, const struct agent *agent, struct error_text *error)
{
	int code = agent_must_be_known(agent, pid, error);

	if (!code)
		code = is_in_place(pid, agent, error);
	return code ? code : can_be_saved(pid, state, agent, error);
}

int check_agent(pid_t pid, int state, const struct process_maps *maps, struct error_text *error)
{
	struct agent agent;
	int code;

	agent_open(&agent, pid, maps);
	code = check_open_agent(pid, state, &agent, error);
	agent_close(&agent);
	return code;
}
