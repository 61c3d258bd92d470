/* SPDX-License-Identifier: MIT */
#include "pool/device/driver_gate.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "pool/device/driver_checkpoint.h"
#include "process/agent_page.h"
#include "process/process_status.h"
#include "support/clock.h"
#include "support/log.h"

/* pthread_rwlock_t of glibc 2.25 and later on x86-64 (sysdeps/nptl/bits/struct_rwlock.h, nptl/pthread_rwlock_common.c). */
struct gate_lock {
	uint32_t readers; /* bits below and, from bit 3 on, how many readers hold the lock or wait for it */
	uint32_t writers;
	uint32_t write_phase_futex; /* 1: write phase, 2: somebody waits */
	uint32_t writers_futex;
	uint32_t padding[2];
	int32_t writer; /* thread id of the writer, as the process sees it */
	int32_t shared;
};
static_assert(sizeof(struct gate_lock) <= sizeof(pthread_rwlock_t), "struct gate_lock is the head of pthread_rwlock_t");
static_assert(offsetof(struct gate_lock, writer) == offsetof(pthread_rwlock_t, __data.__cur_writer) &&
		      offsetof(struct gate_lock, write_phase_futex) ==
			      offsetof(pthread_rwlock_t, __data.__wrphase_futex),
	      "struct gate_lock has the offsets of pthread_rwlock_t");

#define HELD_MS 5000u  /* longest that a thread may be on its way from one stop to the next */
#define RUNNING_MS 20u /* after which one that nobody holds is not */
#define WRITE_PHASE 1u
#define WRITE_LOCKED 2u
#define ONE_READER 8u
#define READERS(word) ((word) / ONE_READER)
#define WAITS_FOR_READERS 3u /* write_phase_futex in the write phase while readers wait */
#define FUTEX_OF_LOCK offsetof(struct gate_lock, write_phase_futex)

/* How far a pool came: between note and deed it may die. */
enum gate_phase { NOTED = 1, TAKEN_OUT = 2, BEING_PUT_BACK = 3 };

static int read_memory(pid_t pid, uint64_t address, void *data, size_t bytes)
{
	struct iovec here = {.iov_base = data, .iov_len = bytes};
	struct iovec there = {.iov_base = (void *)address, .iov_len = bytes};

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)bytes ? 0 : -EFAULT;
}

static int write_memory(pid_t pid, uint64_t address, const void *data, size_t bytes)
{
	struct iovec here = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
	struct iovec there = {.iov_base = (void *)address, .iov_len = bytes};

	return process_vm_writev(pid, &here, 1, &there, 1, 0) == (ssize_t)bytes ? 0 : -EFAULT;
}

/* Of a thread that is on its way from one stop to the next, for which the kernel does not tell what it waits for. */
#define ON_ITS_WAY UINT64_MAX

/* The address of the lock for whose write phase a stopped thread waits, 0, or ON_ITS_WAY. */
static uint64_t lock_waited_for(pid_t pid, pid_t thread)
{
	unsigned long long address, operation, value;
	char path[64], line[256] = "";
	long call = -1;
	int found;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, thread);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	if (!strncmp(line, "running", strlen("running")))
		return ON_ITS_WAY;
	found = sscanf(line, "%ld %llx %llx %llx", &call, &address, &operation, &value);
	operation &= (unsigned int)FUTEX_CMD_MASK;
	if (found != 4 || call != SYS_futex || (operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET) ||
	    value != WAITS_FOR_READERS || address < FUTEX_OF_LOCK)
		return 0;
	return address - FUTEX_OF_LOCK;
}

static bool is_held_by(const struct gate_lock *lock, pid_t writer)
{
	return (lock->readers & (WRITE_PHASE | WRITE_LOCKED)) == (WRITE_PHASE | WRITE_LOCKED) && lock->writer == writer;
}

/* Is it held, or about to be? Else it runs, and waits for nothing. */
static bool is_held(pid_t pid, pid_t thread)
{
	struct thread_status status;

	return !thread_status_read(pid, thread, &status) && (status.tracer || thread_stands_still(&status));
}

/* Threads of which the kernel does not tell just now what they wait for. */
struct on_their_way {
	bool any, held;
};

/* Finds the one lock that the restore thread holds and for which stopped threads wait; address 0 where none does. */
static int look_for_gate(pid_t pid, const struct driver_process *process, pid_t agent_thread, uint64_t *address,
			 struct gate_lock *lock, struct on_their_way *way)
{
	/* glibc notes the writer's id as the process sees it. */
	pid_t writer = process->restore_thread_own, thread;
	struct gate_lock candidate;
	struct dirent *entry;
	char path[64];
	uint64_t at;
	int result = 0;
	DIR *threads;

	*address = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	if (!threads)
		return -errno;
	while (result == 0 && (entry = readdir(threads))) {
		thread = isdigit((unsigned char)entry->d_name[0]) ? (pid_t)atoi(entry->d_name) : 0;
		/* Those two work. */
		if (!thread || thread == process->restore_thread || thread == agent_thread)
			continue;
		at = lock_waited_for(pid, thread);
		if (at == ON_ITS_WAY) {
			way->any = true;
			way->held |= is_held(pid, thread);
			continue;
		}
		/* Locks of the program itself have other writers. */
		if (!at || at == *address || read_memory(pid, at, &candidate, sizeof(candidate)) ||
		    !is_held_by(&candidate, writer))
			continue;
		if (*address || !READERS(candidate.readers)) {
			result = -EBUSY;
		} else {
			*address = at;
			*lock = candidate;
		}
	}
	closedir(threads);
	/* Counted with the others, and to be handed the lock all the same: somebody locked the process while it worked. */
	if (result == 0 && *address && lock_waited_for(pid, agent_thread) == *address)
		result = -EBUSY;
	return result;
}

/*
 * When criu dies the kernel lets go of what it has stopped, and the SIGSTOP that waits in it, or the pool, stops it again.
 * A thread that was overlooked then would be handed the lock, and keep the driver from it for good.
 */
static int find_gate(pid_t pid, const struct driver_process *process, pid_t agent_thread, uint64_t *address,
		     struct gate_lock *lock)
{
	uint64_t began = monotonic_nanoseconds(), passed;
	const struct timespec pause = {.tv_nsec = 500000};
	struct on_their_way way;
	int result;

	for (;;) {
		way = (struct on_their_way){.any = false};
		result = look_for_gate(pid, process, agent_thread, address, lock, &way);
		passed = (monotonic_nanoseconds() - began) / 1000000u;
		if (result || !way.any || passed > (way.held ? HELD_MS : RUNNING_MS))
			return result ? result : way.held ? -EBUSY : 0;
		nanosleep(&pause, NULL);
	}
}

/* The agent's page in the process, to note there what is taken out. -ENOENT: it has none. */
static int find_page(const struct target *target, uint64_t *address, struct agent_page *page, pid_t *agent_thread,
		     struct error_text *error)
{
	struct process_maps maps;
	struct agent agent;
	int result;

	result = target_must_live(target, error);
	if (result == 0)
		result = process_maps_read(target->pid, &maps, error);
	if (result)
		return result;
	agent_open(&agent, target->pid, &maps);
	agent_close(&agent);
	result = agent_must_be_known(&agent, target->pid, error);
	if (result)
		return result;
	if (!agent.has_page)
		return fail(error, -ENOENT, "Process %d has no agent any more", target->named);
	*address = agent.page_address;
	*page = agent.page;
	if (agent_thread)
		*agent_thread = agent.thread;
	return 0;
}

static int note(pid_t pid, uint64_t page_address, const struct agent_page *page)
{
	return write_memory(pid, page_address + offsetof(struct agent_page, gate_address), &page->gate_address,
			    offsetof(struct agent_page, foreign_address) - offsetof(struct agent_page, gate_address));
}

static int hide(const struct target *target, const struct driver_process *process, struct error_text *error)
{
	pid_t pid = target->pid, agent_thread = 0;
	uint64_t address, page_address;
	struct agent_page page;
	struct gate_lock lock = {.readers = 0};
	uint32_t word;
	bool known;
	int result;

	result = find_page(target, &page_address, &page, &agent_thread, error);
	if (result && result != -ENOENT)
		return result;
	known = find_gate(pid, process, agent_thread, &address, &lock) == 0;
	if (known && !address)
		return 0;
	if (result)
		return result;
	if (!known)
		return fail(error, page.needs_agent ? -EOPNOTSUPP : -EBUSY,
			    "A thread of process %d waits in the CUDA driver in an unknown way; dump it again",
			    target->named);
	page.gate_address = address;
	page.gate_readers = READERS(lock.readers);
	page.gate_phase = NOTED;
	word = lock.readers % ONE_READER;
	result = note(pid, page_address, &page);
	if (result == 0)
		result = write_memory(pid, address, &word, sizeof(word));
	page.gate_phase = TAKEN_OUT;
	if (result == 0)
		result = note(pid, page_address, &page);
	if (result)
		return fail(error, page.needs_agent ? -EOPNOTSUPP : -EBUSY,
			    "The memory of process %d cannot be written", target->named);
	log_info("Process %d: %u CUDA calls wait for the end of the dump", target->named, page.gate_readers);
	return 0;
}

bool driver_gate_keeps_agent(struct pool *pool, const struct target *target)
{
	struct driver_process process;
	struct agent_page page;
	struct error_text error;
	struct gate_lock lock;
	uint64_t page_address, address;
	CUprocessState state;
	pid_t agent_thread;

	if (find_page(target, &page_address, &page, &agent_thread, &error))
		return false;
	address = lock_waited_for(target->pid, agent_thread);
	if (!address || address == ON_ITS_WAY || driver_process_query(pool, target, &process, &error) ||
	    read_memory(target->pid, address, &lock, sizeof(lock)) || !is_held_by(&lock, process.restore_thread_own))
		return false;
	/* The driver may hold it for a moment, and find that it cannot lock the process. */
	return driver_process_state(pool, target, &state, &error) == 0 && state != CU_PROCESS_STATE_RUNNING;
}

int driver_gate_look(const struct target *target, bool *has_notes, struct error_text *error)
{
	struct agent_page page = {.gate_readers = 0};
	uint64_t page_address;
	int result = find_page(target, &page_address, &page, NULL, error);

	*has_notes = page.gate_readers != 0;
	return result == -ENOENT ? 0 : result; /* nobody could have noted anything */
}

int driver_gate_show(const struct target *target, struct error_text *error)
{
	pid_t pid = target->pid;
	struct agent_page page;
	struct gate_lock lock;
	uint64_t page_address;
	uint32_t waiting;
	int result;

	result = find_page(target, &page_address, &page, NULL, error);
	if (result == -ENOENT)
		return 0; /* nobody could have noted anything */
	if (result || !page.gate_readers)
		return result;
	waiting = page.gate_readers * ONE_READER;
	result = read_memory(pid, page.gate_address, &lock, sizeof(lock));
	/* Where a pool died between note and deed, the count tells; else the agent itself may be counted. */
	if (result == 0 && (page.gate_phase == TAKEN_OUT || READERS(lock.readers) == 0)) {
		page.gate_phase = BEING_PUT_BACK;
		result = note(pid, page_address, &page);
		if (lock.readers & WRITE_LOCKED) {
			lock.write_phase_futex |= WAITS_FOR_READERS;
		} else {
			/* Theirs, as if unlocking had handed it over. */
			lock.readers &= ~WRITE_PHASE;
			lock.write_phase_futex = 0;
		}
		lock.readers += waiting;
		if (result == 0)
			result = write_memory(pid, page.gate_address + FUTEX_OF_LOCK, &lock.write_phase_futex,
					      sizeof(lock.write_phase_futex));
		if (result == 0)
			result = write_memory(pid, page.gate_address, &lock.readers, sizeof(lock.readers));
	}
	page.gate_address = 0;
	page.gate_readers = 0;
	page.gate_phase = 0;
	if (result == 0)
		result = note(pid, page_address, &page);
	return result ? fail(error, result, "The memory of process %d cannot be written", target->named) : 0;
}

int driver_gate_unlock(struct pool *pool, const struct target *target, struct error_text *error)
{
	struct driver_process process;
	struct error_text other;
	int result;

	result = driver_process_query(pool, target, &process, error);
	if (result)
		return result == -EBUSY ? -EIO : result;
	result = hide(target, &process, error);
	if (result == 0) {
		result = driver_process_unlock(pool, target, error);
		if (result == -EBUSY)
			result = -EIO; /* the driver's; ours means something else */
	}
	/* Whatever failed, nothing stays taken out. */
	if (result && driver_gate_show(target, &other))
		return fail(error, -EIO, "%s", other.text);
	return result;
}

int driver_gate_lock(struct pool *pool, const struct target *target, struct error_text *error)
{
	struct error_text other;
	int result;

	result = driver_process_lock(pool, target, pool->settings.timeout_seconds * 1000, error);
	if (result == -ETIMEDOUT)
		fail(error, result,
		     "The CUDA driver could not lock process %d again, as one of its threads is in the middle of a "
		     "call; dump it again",
		     target->named);
	/* Locked or not, whoever waited must find the lock as it was. */
	if (driver_gate_show(target, result ? &other : error) && !result) {
		result = -EIO;
		driver_process_unlock(pool, target, &other);
	}
	return result;
}
