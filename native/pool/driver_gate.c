/* SPDX-License-Identifier: MIT */
#include "pool/driver_gate.h"

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

#include "plugin/agent_page.h"
#include "plugin/process_status.h"
#include "pool/driver_checkpoint.h"
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

#define WRITE_PHASE 1u
#define WRITE_LOCKED 2u
#define ONE_READER 8u
#define READERS(word) ((word) / ONE_READER)
#define WAITS_FOR_READERS 3u /* write_phase_futex in the write phase while readers wait */
#define FUTEX_OF_LOCK offsetof(struct gate_lock, write_phase_futex)

#define LOCK_AGAIN_MS 10000u

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

/* The address of the lock for whose write phase a stopped thread waits, or 0. */
static uint64_t lock_waited_for(pid_t pid, pid_t thread)
{
	unsigned long long address, operation, value;
	char path[64];
	long call = -1;
	int found;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, thread);
	file = fopen(path, "re");
	if (!file)
		return 0;
	found = fscanf(file, "%ld %llx %llx %llx", &call, &address, &operation, &value);
	fclose(file);
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

/* Finds the one lock that the restore thread holds and for which stopped threads wait; address 0 where none does. */
static int find_gate(pid_t pid, pid_t writer, uint64_t *address, struct gate_lock *lock)
{
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
		at = isdigit((unsigned char)entry->d_name[0]) ? lock_waited_for(pid, (pid_t)atoi(entry->d_name)) : 0;
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
	return result;
}

/* The agent's page in the process, to note there what is taken out. -ENOENT: it has none. */
static int find_page(pid_t pid, uint64_t *address, struct agent_page *page, struct error_text *error)
{
	struct process_maps maps;
	struct agent agent;
	int result;

	result = process_maps_read(pid, &maps, error);
	if (result)
		return result;
	agent_open(&agent, pid, &maps);
	agent_close(&agent);
	if (!agent.has_page)
		return fail(error, -ENOENT, "Process %d has no agent any more", pid);
	*address = agent.page_address;
	*page = agent.page;
	return 0;
}

static int note(pid_t pid, uint64_t page_address, const struct agent_page *page)
{
	return write_memory(pid, page_address + offsetof(struct agent_page, gate_address), &page->gate_address,
			    sizeof(*page) - offsetof(struct agent_page, gate_address));
}

static int hide(pid_t pid, pid_t restore_thread, struct error_text *error)
{
	uint64_t address, page_address;
	struct thread_status thread;
	struct agent_page page;
	struct gate_lock lock;
	uint32_t word;
	bool known;
	int result;

	/* glibc notes the writer's id as the process sees it. */
	if (thread_status_read(pid, restore_thread, &thread))
		return fail(error, -ESRCH, "The CUDA driver's thread of process %d has ended", pid);
	known = find_gate(pid, thread.namespace_id, &address, &lock) == 0;
	if (known && !address)
		return 0;
	result = find_page(pid, &page_address, &page, error);
	if (result)
		return result;
	if (!known)
		return fail(error, page.needs_agent ? -EOPNOTSUPP : -EBUSY,
			    "A thread of process %d waits in the CUDA driver in an unknown way; dump it again", pid);
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
			    "The memory of process %d cannot be written", pid);
	log_info("Process %d: %u CUDA calls wait for the end of the dump", pid, page.gate_readers);
	return 0;
}

bool driver_gate_has_notes(pid_t pid)
{
	struct agent_page page = {.gate_readers = 0};
	struct error_text error;
	uint64_t page_address;

	return find_page(pid, &page_address, &page, &error) == 0 && page.gate_readers;
}

int driver_gate_show(pid_t pid, struct error_text *error)
{
	struct agent_page page;
	struct gate_lock lock;
	uint64_t page_address;
	uint32_t waiting;
	int result;

	result = find_page(pid, &page_address, &page, error);
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
	return result ? fail(error, result, "The memory of process %d cannot be written", pid) : 0;
}

int driver_gate_unlock(struct pool *pool, pid_t pid, struct error_text *error)
{
	struct driver_process process;
	struct error_text other;
	int result;

	result = driver_process_query(pool, pid, &process, error);
	if (result)
		return result == -EBUSY ? -EIO : result;
	result = hide(pid, process.restore_thread, error);
	if (result == 0) {
		result = driver_process_unlock(pool, pid, error);
		if (result == -EBUSY)
			result = -EIO; /* the driver's; ours means something else */
	}
	/* Whatever failed, nothing stays taken out. */
	if (result && driver_gate_show(pid, &other))
		return fail(error, -EIO, "%s", other.text);
	return result;
}

int driver_gate_lock(struct pool *pool, pid_t pid, struct error_text *error)
{
	unsigned int timeout_ms = pool->settings.timeout_seconds * 1000;
	struct error_text other;
	int result;

	result = driver_process_lock(pool, pid, timeout_ms < LOCK_AGAIN_MS ? timeout_ms : LOCK_AGAIN_MS, error);
	if (result == -ETIMEDOUT)
		fail(error, result,
		     "The CUDA driver could not lock process %d again, as one of its threads is in the middle of a "
		     "call; "
		     "dump it again",
		     pid);
	/* Locked or not, whoever waited must find the lock as it was. */
	if (driver_gate_show(pid, result ? &other : error) && !result) {
		result = -EIO;
		driver_process_unlock(pool, pid, &other);
	}
	return result;
}
