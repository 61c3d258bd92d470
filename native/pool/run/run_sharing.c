/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pool/run/pool_run.h"
#include "process/agent_page.h"
#include "process/process_status.h"
#include "process/process_tree.h"

/*
 * Device memory that processes share. What the owner handed out, and what came to whoever imported it, is one open file,
 * however it travelled: the kernel tells that of two descriptors (kcmp).
 */

/* Are they one open file? A process that is gone has none. */
static bool is_same_file(pid_t process, int theirs, int ours)
{
	return syscall(SYS_kcmp, process, getpid(), KCMP_FILE, theirs, ours) == 0;
}

/* All of this pool's own kind. */
static int check_kernel(struct error_text *error)
{
	if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 0) >= 0 || errno == EBADF)
		return 0;
	return fail(error, -EOPNOTSUPP,
		    "Device memory that processes share can only be saved where the kernel compares open files (kcmp: "
		    "%s): let the pool use it",
		    errno_text(errno));
}

/* ---- within the run ---- */

/* Whose it is, and which of its pieces; NULL: nobody's that is dumped as well. */
static const struct held_memory *find_owner(const struct run *run, int descriptor, const struct run_process **owner)
{
	uint32_t i;
	size_t at;

	for (at = 0; at < run->process_count; at++) {
		const struct run_process *process = run->processes[at];

		for (i = 0; process->shares && i < process->own_count; i++) {
			if (!is_same_file(getpid(), process->memory[i].descriptor, descriptor))
				continue;
			*owner = process;
			return &process->memory[i];
		}
	}
	return NULL;
}

/* ---- outside of it ---- */

/* A process with an agent that is not dumped, and what that shares. */
struct bystander {
	pid_t pid;
	char name[PROCESS_NAME_MAX];
	struct agent_kept kept[AGENT_KEPT_MAX];
};

static bool find_user(pid_t pid, uid_t *user)
{
	char path[32];
	struct stat status;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &status))
		return false;
	*user = status.st_uid;
	return true;
}

/* Others must not be able to hold the dump up, whose memory may take for ever to be read. */
static bool is_of_a_user(const struct run *run, pid_t pid)
{
	uid_t user, other;
	size_t at;

	if (!find_user(pid, &user))
		return false;
	for (at = 0; at < run->process_count && user; at++)
		if (run->processes[at]->shares && find_user(run->processes[at]->target.pid, &other) && other == user)
			return true;
	return user == 0;
}

static bool is_of_run(const struct run *run, pid_t pid)
{
	size_t at;

	for (at = 0; at < run->process_count; at++)
		if (run->processes[at]->target.pid == pid && run->processes[at]->shares)
			return true;
	return false;
}

/* False: it shares nothing that anybody could know of. */
static bool look_at(struct bystander *bystander, pid_t pid)
{
	struct iovec here = {.iov_base = bystander->kept, .iov_len = sizeof(bystander->kept)}, there = here;
	struct process_maps maps;
	struct agent agent;
	bool shares;

	if (process_maps_read(pid, &maps, NULL) || !maps.agent_page_count)
		return false;
	agent_open(&agent, pid, &maps);
	there.iov_base = (void *)(uintptr_t)agent.page.kept_address;
	shares = agent.has_page && agent.page.kept_address &&
		 process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(bystander->kept);
	agent_close(&agent);
	bystander->pid = pid;
	if (shares && process_name_read(pid, bystander->name))
		strcpy(bystander->name, "?");
	return shares;
}

/* Has it imported this memory (imported), or does it own it? */
static bool has(const struct bystander *bystander, int descriptor, bool imported)
{
	uint32_t i;

	for (i = 0; i < AGENT_KEPT_MAX; i++)
		if (bystander->kept[i].descriptor > 0 && (bystander->kept[i].imported != 0) == imported &&
		    is_same_file(bystander->pid, bystander->kept[i].descriptor, descriptor))
			return true;
	return false;
}

/* What a process of the run shares with it. */
static int check_bystander(const struct run *run, const struct bystander *bystander, struct error_text *error)
{
	size_t at;
	uint32_t i;

	for (at = 0; at < run->process_count; at++) {
		const struct run_process *process = run->processes[at];

		for (i = 0; process->shares && i < process->memory_count; i++) {
			bool own = i < process->own_count;

			if (!has(bystander, process->memory[i].descriptor, own))
				continue;
			return fail(
				error, -EOPNOTSUPP,
				own ? "Process %d shares device memory with process %d (%s), which has it mapped "
				      "and is not dumped with it: dump the tree that holds both, or end the sharing"
				    : "Process %d has imported device memory of process %d (%s), which is not dumped "
				      "with it: dump the tree that holds both, or end the sharing",
				process->pid, (int)bystander->pid, bystander->name);
		}
	}
	return 0;
}

static int check_bystanders(const struct run *run, struct error_text *error)
{
	struct bystander *bystander = malloc(sizeof(*bystander));
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	int result = 0;
	pid_t pid;

	if (!bystander || !folder)
		result = fail(error, -errno, "Other processes cannot be looked at: %s", errno_text(errno));
	while (result == 0 && (entry = readdir(folder))) {
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid > 0 && pid != getpid() && !is_of_run(run, pid) && is_of_a_user(run, pid) &&
		    look_at(bystander, pid))
			result = check_bystander(run, bystander, error);
	}
	if (folder)
		closedir(folder);
	free(bystander);
	return result;
}

/* ---- all of it ---- */

struct gpu_image_holder run_sharing_holder(const struct run_process *process)
{
	struct process_facts facts;

	if (process_facts_read(process->target.pid, &facts))
		return (struct gpu_image_holder){.pid = 0};
	return (struct gpu_image_holder){.pid = process->target.pid, .start_time = facts.start_time};
}

static int match_process(struct run *run, struct run_process *process, struct error_text *error)
{
	const struct run_process *owner = NULL;
	const struct held_memory *owned;
	struct held_memory *import;
	uint32_t i;

	for (i = process->own_count; i < process->memory_count; i++) {
		import = &process->memory[i];
		owned = find_owner(run, import->descriptor, &owner);
		if (!owned)
			return fail(error, -EOPNOTSUPP,
				    "Process %d has imported device memory (at 0x%llx) whose owner is not dumped with "
				    "it, or cannot save it: dump the tree that holds both, or end the sharing",
				    process->pid, (unsigned long long)import->address);
		import->bytes = owned->bytes;
		import->device = owned->device;
		memcpy(process->imports[i - process->own_count].image_id, owner->next_image_id,
		       sizeof(owner->next_image_id));
		process->imports[i - process->own_count].allocation_id = owned->allocation_id;
		process->imports[i - process->own_count].owner = run_sharing_holder(owner);
	}
	return 0;
}

int run_sharing_match(struct run *run, struct error_text *error)
{
	int result = check_kernel(error);
	size_t at;

	if (result == 0)
		result = check_bystanders(run, error);
	for (at = 0; at < run->process_count && result == 0; at++)
		if (run->processes[at]->shares)
			result = match_process(run, run->processes[at], error);
	return result;
}
