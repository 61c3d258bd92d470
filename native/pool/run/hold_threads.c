/* SPDX-License-Identifier: MIT */
#include "pool/run/hold_threads.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/agent/agent_look.h"
#include "pool/device/driver_checkpoint.h"
#include "process/process_status.h"
#include "process/thread_control.h"
#include "support/clock.h"
#include "support/log.h"

#define WATCH_MS 20
#define STEP_MICROSECONDS 2000

struct held_thread {
	pid_t tid;
	int signal; /* it had stopped for: delivered when it goes on, 0 for none */
};

struct thread_hold {
	struct target target; /* not owned */
	pid_t restore_thread, agent_thread;
	uint64_t page_address;		   /* of the agent, in the process */
	struct agent_page_threads program; /* the threads to hold, count 0: all but those two */
	int client;
	bool continues;
	uint64_t patience; /* nanoseconds */
	int end;	   /* eventfd: let go */
	pthread_t thread;

	/* The thread's own, which is the tracer. */
	struct released_thread unfiltered[2]; /* the driver's and the agent's, which run */
	struct held_thread *threads;
	size_t count;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done; /* held, or failed: result and error are valid */
	int result;
	struct error_text error;
};

static int find_agent(struct thread_hold *hold, const struct driver_process *process, struct error_text *error)
{
	struct agent agent;
	int result = agent_look(&agent, &hold->target, error);

	if (result)
		return result;
	hold->agent_thread = agent.has_page ? agent.thread : -1;
	hold->page_address = agent.page_address;
	agent_close(&agent);
	if (!process->uses_cuda || hold->agent_thread <= 0)
		return fail(error, -ESRCH, "The agent's thread of process %d is gone", hold->target.named);
	return 0;
}

static void write_notes(const struct thread_hold *hold, const struct agent_page_threads *notes)
{
	struct iovec here = {.iov_base = (void *)(uintptr_t)notes, .iov_len = sizeof(*notes)};
	struct iovec there = {.iov_base = (void *)(hold->page_address + AGENT_PAGE_THREADS_OFFSET),
			      .iov_len = sizeof(*notes)};

	if (!target_has_ended(&hold->target))
		process_vm_writev(hold->target.pid, &here, 1, &there, 1, 0);
}

static void read_notes(struct thread_hold *hold)
{
	struct iovec here = {.iov_base = &hold->program, .iov_len = sizeof(hold->program)};
	struct iovec there = {.iov_base = (void *)(hold->page_address + AGENT_PAGE_THREADS_OFFSET),
			      .iov_len = sizeof(hold->program)};

	if (process_vm_readv(hold->target.pid, &here, 1, &there, 1, 0) != (ssize_t)sizeof(hold->program) ||
	    hold->program.count > AGENT_PAGE_THREADS_MAX)
		hold->program.count = 0;
}

/* The threads as they are, CRIU having stopped them. Of more than fit nothing is noted, and all of them are held. */
static void note_threads(struct thread_hold *hold)
{
	struct agent_page_threads *notes = &hold->program;
	struct thread_status status;
	struct dirent *entry;
	char path[64];
	DIR *entries;

	snprintf(path, sizeof(path), "/proc/%d/task", hold->target.pid);
	entries = opendir(path);
	while (entries && (entry = readdir(entries))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    thread_status_read(hold->target.pid, (pid_t)atoi(entry->d_name), &status))
			continue;
		if (notes->count == AGENT_PAGE_THREADS_MAX) {
			notes->count = 0;
			break;
		}
		notes->ids[notes->count++] = status.namespace_id;
	}
	if (entries)
		closedir(entries);
	write_notes(hold, notes);
}

static bool is_of_program(const struct thread_hold *hold, pid_t thread)
{
	struct thread_status status;
	uint32_t i;

	if (thread == hold->restore_thread || thread == hold->agent_thread)
		return false;
	if (!hold->program.count || thread_status_read(hold->target.pid, thread, &status))
		return true;
	for (i = 0; i < hold->program.count; i++)
		if (hold->program.ids[i] == status.namespace_id)
			return true;
	return false;
}

static bool is_held(const struct thread_hold *hold, pid_t thread)
{
	size_t i;

	for (i = 0; i < hold->count; i++)
		if (hold->threads[i].tid == thread)
			return true;
	return false;
}

static bool is_ended(const struct thread_hold *hold)
{
	struct pollfd polled = {.fd = hold->end, .events = POLLIN};

	return poll(&polled, 1, 0) > 0;
}

/* Whether there is no use in waiting any longer. */
static bool is_over(const struct thread_hold *hold, uint64_t deadline)
{
	return monotonic_nanoseconds() > deadline || target_has_ended(&hold->target) || is_ended(hold);
}

/* Waits until a seized thread has stopped; the signal that it stopped for is kept for later. */
static int wait_stopped(struct thread_hold *hold, struct held_thread *thread, uint64_t deadline)
{
	pid_t got;
	int status;

	for (;;) {
		got = waitpid(thread->tid, &status, __WALL | WNOHANG);
		if (got < 0 && errno != EINTR)
			return errno == ECHILD ? 0 : -errno;
		if (got == thread->tid && !WIFSTOPPED(status))
			return 0; /* it has ended */
		if (got == thread->tid) {
			thread->signal = status >> 16 ? 0 : WSTOPSIG(status);
			/* One of those that kept the process from running. */
			if (thread->signal == SIGSTOP && hold->continues)
				thread->signal = 0;
			return 0;
		}
		if (is_over(hold, deadline))
			return fail(&hold->error, -ETIMEDOUT, "thread %d did not stop: it hangs in the kernel",
				    thread->tid);
		usleep(STEP_MICROSECONDS);
	}
}

static int cannot_seize(struct thread_hold *hold, pid_t tid)
{
	struct thread_status status;
	char name[PROCESS_NAME_MAX] = "?";
	int code = -errno;

	if (code != -EPERM || thread_status_read(hold->target.pid, tid, &status) || !status.tracer)
		return fail(&hold->error, code, "thread %d cannot be stopped: %s", tid, errno_text(-code));
	process_name_read(status.tracer, name);
	return fail(&hold->error, -EBUSY, "process %d (%s) traces it", status.tracer, name);
}

static int add(struct thread_hold *hold, pid_t tid)
{
	struct held_thread *threads = realloc(hold->threads, (hold->count + 1) * sizeof(*threads));

	if (!threads)
		return fail(&hold->error, -ENOMEM, "Out of memory");
	hold->threads = threads;
	threads[hold->count++] = (struct held_thread){.tid = tid};
	return 0;
}

/* A thread that ended meanwhile is no failure. */
static int hold_one(struct thread_hold *hold, pid_t tid, uint64_t deadline)
{
	int result;

	/* A CRIU that is just dying may still trace it. */
	while (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0) {
		if (errno == ESRCH)
			return 0;
		if (errno != EPERM || is_over(hold, deadline))
			return cannot_seize(hold, tid);
		usleep(STEP_MICROSECONDS);
	}
	result = add(hold, tid);
	if (result) {
		ptrace(PTRACE_DETACH, tid, NULL, NULL);
		return result;
	}
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
		return errno == ESRCH ? 0 : cannot_seize(hold, tid);
	return wait_stopped(hold, &hold->threads[hold->count - 1], deadline);
}

/* One pass over the threads; *found: new ones that were held. */
static int hold_new_ones(struct thread_hold *hold, uint64_t deadline, bool *found)
{
	char path[64];
	struct dirent *entry;
	int result = 0;
	pid_t tid;
	DIR *entries;

	*found = false;
	snprintf(path, sizeof(path), "/proc/%d/task", hold->target.pid);
	entries = opendir(path);
	if (!entries)
		return fail(&hold->error, -errno, "%s: %s", path, errno_text(errno));
	while (result == 0 && (entry = readdir(entries))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		tid = (pid_t)atoi(entry->d_name);
		if (is_held(hold, tid) || !is_of_program(hold, tid))
			continue;
		*found = true;
		result = hold_one(hold, tid, deadline);
	}
	closedir(entries);
	return result;
}

static void let_go(struct thread_hold *hold)
{
	size_t i;

	for (i = 0; i < 2; i++)
		thread_filter_again(&hold->unfiltered[i], (unsigned int)(hold->patience / 1000000u));
	for (i = 0; i < hold->count; i++)
		ptrace(PTRACE_DETACH, hold->threads[i].tid, NULL, (void *)(intptr_t)hold->threads[i].signal);
	hold->count = 0;
}

static int hold_all(struct thread_hold *hold)
{
	uint64_t deadline = monotonic_nanoseconds() + hold->patience;
	bool found = true;
	int result = 0;

	while (result == 0 && found)
		result = hold_new_ones(hold, deadline, &found);
	if (result == 0) {
		thread_unfilter(&hold->unfiltered[0], hold->target.pid, hold->restore_thread);
		thread_unfilter(&hold->unfiltered[1], hold->target.pid, hold->agent_thread);
	}
	/* The two that are not held, and what is left of the signals. */
	if (result == 0 && hold->continues)
		target_signal(&hold->target, SIGCONT);
	return result;
}

static void *hold_main(void *argument)
{
	struct thread_hold *hold = argument;
	struct pollfd polled[2] = {
		{.fd = hold->end, .events = POLLIN},
		{.fd = hold->client, .events = POLLRDHUP},
	};
	bool watched;
	int result;

	while (hold->client >= 0 && !polled[0].revents && !(polled[1].revents & (POLLRDHUP | POLLHUP | POLLERR)))
		poll(polled, 2, -1);
	if (polled[0].revents)
		return NULL;
	result = hold_all(hold);
	if (result)
		let_go(hold);
	pthread_mutex_lock(&hold->lock);
	hold->result = result;
	hold->done = true;
	pthread_cond_broadcast(&hold->changed);
	pthread_mutex_unlock(&hold->lock);
	watched = hold->unfiltered[0].running || hold->unfiltered[1].running;
	while (poll(polled, 1, watched ? WATCH_MS : -1) <= 0) {
		thread_watch(&hold->unfiltered[0]);
		thread_watch(&hold->unfiltered[1]);
	}
	let_go(hold);
	return NULL;
}

static void hold_free(struct thread_hold *hold)
{
	if (hold->end >= 0)
		close(hold->end);
	pthread_mutex_destroy(&hold->lock);
	pthread_cond_destroy(&hold->changed);
	free(hold->threads);
	free(hold);
}

struct thread_hold *thread_hold_begin(struct pool *pool, const struct target *target, int client, bool continues,
				      struct error_text *error)
{
	struct thread_hold *hold = calloc(1, sizeof(*hold));
	struct driver_process process;
	int result;

	if (!hold) {
		fail(error, -ENOMEM, "Out of memory");
		return NULL;
	}
	hold->target = *target;
	hold->client = client;
	hold->continues = continues;
	hold->patience = pool->settings.timeout_seconds * UINT64_C(1000000000);
	pthread_mutex_init(&hold->lock, NULL);
	pthread_cond_init(&hold->changed, NULL);
	hold->end = eventfd(0, EFD_CLOEXEC);
	result = driver_process_query(pool, target, &process, error);
	if (result == 0) {
		hold->restore_thread = process.restore_thread;
		result = find_agent(hold, &process, error);
	}
	if (result == 0) {
		/* Those of another pool, which died while it worked on the process, say what it found. */
		read_notes(hold);
		if (!hold->program.count && client >= 0)
			note_threads(hold);
	}
	if (result == 0 && (hold->end < 0 || pthread_create(&hold->thread, NULL, hold_main, hold)))
		result = fail(error, -EAGAIN, "Could not start a thread to hold process %d", target->named);
	if (result == 0)
		return hold;
	hold_free(hold);
	return NULL;
}

int thread_hold_wait(struct thread_hold *hold, struct error_text *error)
{
	int result;

	pthread_mutex_lock(&hold->lock);
	while (!hold->done)
		pthread_cond_wait(&hold->changed, &hold->lock);
	result = hold->result;
	pthread_mutex_unlock(&hold->lock);
	if (result == 0)
		return 0;
	if (target_has_ended(&hold->target))
		return target_must_live(&hold->target, error);
	return fail(error, result, "The threads of process %d could not be held: %s", hold->target.named,
		    hold->error.text);
}

void thread_hold_end(struct thread_hold *hold)
{
	static const struct agent_page_threads none;
	uint64_t one = 1;

	if (!hold)
		return;
	while (write(hold->end, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(hold->thread, NULL);
	write_notes(hold, &none);
	hold_free(hold);
}
