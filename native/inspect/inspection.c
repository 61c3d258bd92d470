/* SPDX-License-Identifier: MIT */
#include "inspect/inspection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "inspect/inspection_internal.h"
#include "process/process_tree.h"
#include "support/plain_text.h"

#define IMPORT_US 2000

static int look_at_tracer(const struct look *look)
{
	pid_t pid = look->process->pid, tracer = process_find_tracer(pid);
	char name[PROCESS_NAME_MAX] = "?";

	if (tracer <= 0 || tracer == getpid())
		return 0;
	process_name_read(tracer, name);
	return inspection_add(look->inspection, OBSTACLE_TRACER, pid,
			      strcmp(name, "criu") ? "end that one, or let it detach"
						   : "another dump or restore is under way: wait until it has ended",
			      "process %d is traced by process %d (%s)", (int)pid, (int)tracer, name);
}

/* CRIU asks it of the root only: where that leads a session, the leader of none is outside. */
static int look_at_session(const struct look *look)
{
	struct process_facts facts;
	pid_t pid = look->process->pid;

	if (!look->options->known || look->options->shell_job || look->process != look->inspection->processes ||
	    process_facts_read(pid, &facts) || facts.session == pid)
		return 0;
	return inspection_add(
		look->inspection, OBSTACLE_SESSION, pid,
		"dump and restore it with --shell-job, or start it in a session of its own: 'rekindle run' "
		"and setsid do that",
		"process %d (%s) leads no session: it is a job of a shell, or part of another session", (int)pid,
		look->process->name);
}

static uint32_t read_counter(pid_t pid, uint64_t address)
{
	uint32_t value = 0;
	struct iovec here = {.iov_base = &value, .iov_len = sizeof(value)};
	struct iovec there = {.iov_base = (void *)address, .iov_len = sizeof(value)};

	if (!address || process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)sizeof(value))
		return 0;
	return value;
}

static int look_at_page(const struct look *look, const struct agent *agent)
{
	struct inspected_process *process = look->process;
	pid_t pid = process->pid;
	char remedy[192];

	process->needs_agent = agent->page.needs_agent;
	if (agent->page.state != AGENT_STATE_MAPPED || agent->page.out_of_place) {
		snprintf(remedy, sizeof(remedy),
			 "run \"rekindled --revive %d --images\" with the folder of that run, or end the process and "
			 "restore it from there",
			 (int)pid);
		return inspection_add(
			look->inspection, OBSTACLE_RELEASED_MEMORY, pid, remedy,
			"the device memory of process %d (%s) is not in place since an earlier run failed", (int)pid,
			process->name);
	}
	if (agent->page.needs_agent && !agent->usable)
		return inspection_add(
			look->inspection, OBSTACLE_LOST_AGENT, pid, "end it and restore it from its image",
			"process %d (%s) was restored, shares device memory, or has memory of the host that the driver made, and the driver cannot "
			"save that without the agent: %s",
			(int)pid, process->name, agent->note);
	/* An import that is just under way counts too, also one that fails then. */
	if (read_counter(pid, agent->page.foreign_address) && !usleep(IMPORT_US) &&
	    read_counter(pid, agent->page.foreign_address))
		return inspection_add(
			look->inspection, OBSTACLE_IMPORTED_MEMORY, pid,
			"end the sharing, or free it, before the dump (NCCL: NCCL_NVLS_ENABLE=0, or "
			"REKINDLE_AGENT_MINIMUM=1K with NCCL_CUMEM_ENABLE=0)",
			"process %d (%s) has imported device memory of another process, or made memory of the host, "
			"that cannot be followed there, and so not be restored",
			(int)pid, process->name);
	return 0;
}

static int say_unknown(const struct look *look, const struct agent *agent)
{
	struct error_text error;

	agent_must_be_known(agent, look->process->pid, &error);
	return inspection_add(look->inspection, OBSTACLE_LOST_AGENT, look->process->pid, "look at it again", "%s",
			      error.text);
}

static int look_at_agent(const struct look *look)
{
	struct inspected_process *process = look->process;
	struct process_maps maps;
	struct error_text error;
	struct agent agent;
	int code;

	code = process_maps_read(process->pid, &maps, &error);
	if (code)
		return code == -ENOMEM ? code : 0;
	process->has_cuda_library = maps.has_cuda_library;
	agent_open(&agent, process->pid, &maps);
	process->agent_usable = agent.usable;
	process->presence = agent.presence;
	copy_text(process->agent_note, sizeof(process->agent_note), agent.note);
	code = agent.has_page ? look_at_page(look, &agent) : agent.unknown ? say_unknown(look, &agent) : 0;
	agent_close(&agent);
	return code;
}

static int add_process(struct inspection *inspection, const struct process_facts *facts)
{
	struct inspected_process *process = &inspection->processes[inspection->process_count];
	struct thread_status status;

	if (facts->ending || thread_status_read(facts->process, facts->process, &status))
		return 0;
	*process = (struct inspected_process){
		.pid = facts->process,
		.parent = facts->parent,
		.threads = status.threads,
		.stopped = facts->state == 'T',
	};
	copy_text(process->name, sizeof(process->name), facts->name);
	inspection->process_count++;
	return 0;
}

static int find_processes(struct inspection *inspection, pid_t root, struct error_text *error)
{
	struct process_facts *descendants, facts;
	size_t count = 0;
	int code;

	code = process_facts_read(root, &facts);
	if (code || facts.ending)
		return fail(error, code ? code : -ESRCH, "process %d cannot be looked at: %s", (int)root,
			    errno_text(code ? -code : ESRCH));
	descendants = process_descendants(root, &count);
	inspection->processes = calloc(count + 1, sizeof(*inspection->processes));
	code = inspection->processes ? add_process(inspection, &facts) : -ENOMEM;
	for (size_t i = 0; !code && i < count; i++)
		code = add_process(inspection, &descendants[i]);
	free(descendants);
	return code ? fail(error, code, "Out of memory") : 0;
}

static int look_at(struct look *look)
{
	int code;

	look->pidfd = (int)syscall(SYS_pidfd_open, look->process->pid, 0);
	if (look->pidfd < 0)
		return 0;
	code = look_at_tracer(look);
	if (!code)
		code = look_at_session(look);
	if (!code)
		code = look_at_descriptors(look);
	if (!code)
		code = look_at_mappings(look);
	if (!code)
		code = look_at_agent(look);
	close(look->pidfd);
	return code;
}

static bool has_our_mounts(pid_t pid)
{
	struct stat own, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	return !stat("/proc/self/ns/mnt", &own) && !stat(path, &its) && own.st_ino == its.st_ino &&
	       own.st_dev == its.st_dev;
}

int inspection_run(struct inspection *inspection, pid_t root, const struct inspection_options *options,
		   struct error_text *error)
{
	struct mount_set mounts = {NULL, 0};
	struct ends ends = {NULL, 0};
	struct look look = {.inspection = inspection, .options = options, .mounts = &mounts, .ends = &ends};
	int code;

	memset(inspection, 0, sizeof(*inspection));
	code = find_processes(inspection, root, error);
	if (code)
		return code;
	/* CRIU then reads its own list, which a process that has changed its root does not see. */
	if (has_our_mounts(root))
		code = mount_set_add(&mounts, getpid());
	for (size_t i = 0; !code && i < inspection->process_count; i++)
		code = mount_set_add(&mounts, inspection->processes[i].pid);
	mount_set_sort(&mounts);
	for (size_t i = 0; !code && i < inspection->process_count; i++) {
		look.process = &inspection->processes[i];
		code = look_at(&look);
	}
	if (!code)
		code = look_at_ends(&look);
	ends_free(&ends);
	mount_set_free(&mounts);
	return code ? fail(error, code, "Out of memory") : 0;
}

void inspection_free(struct inspection *inspection)
{
	free(inspection->processes);
	free(inspection->obstacles);
	memset(inspection, 0, sizeof(*inspection));
}
