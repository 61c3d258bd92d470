/* SPDX-License-Identifier: MIT */
#include "api/criu/orphans.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/call/report.h"
#include "rekindle.h"
#include "support/log.h"

/* Exit statuses that wait to be taken. */
#define ENDED_MAX 64
/* One that has ended is not this program's child yet, or its tracer's first. */
#define NOT_YET_MS 20

struct orphan {
	pid_t pid;
	int pidfd;
	uint64_t start_time;
	bool root;
	bool ended; /* only a root stays after its end: its status waits to be taken */
	int status;
};

/*
 * The lock is for all of it. The reaper, a thread that is started with the first orphan and stays, waits for the ends of
 * all of them; changed tells it of new ones. ended is signalled after each end.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct orphan *entries;
	size_t count;
	int changed; /* an eventfd; 0: there is no reaper yet */
} orphans = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool orphans_come_here(void)
{
	int subreaper = 0;

	return getpid() == 1 || (!prctl(PR_GET_CHILD_SUBREAPER, &subreaper) && subreaper);
}

static void forget(size_t index)
{
	if (orphans.entries[index].pidfd >= 0)
		close(orphans.entries[index].pidfd);
	orphans.entries[index] = orphans.entries[--orphans.count];
}

/* Is there still something to wait for, or to be taken? */
static bool reap_one(struct orphan *orphan)
{
	struct process_facts facts;

	if (orphan->ended)
		return true;
	/* The program may have waited for it itself, and its id may be another child's by now. */
	if (process_facts_read(orphan->pid, &facts) || facts.start_time != orphan->start_time)
		return false;
	if (facts.state != 'Z' || facts.parent != getpid())
		return true;
	if (waitpid(orphan->pid, &orphan->status, WNOHANG) != orphan->pid)
		return true;
	orphan->ended = true;
	return orphan->root;
}

static void reap_all(void)
{
	size_t i;

	for (i = orphans.count; i-- > 0;)
		if (!reap_one(&orphans.entries[i]))
			forget(i);
	pthread_cond_broadcast(&orphans.ended);
}

void orphans_reap(void)
{
	pthread_mutex_lock(&orphans.lock);
	reap_all();
	pthread_mutex_unlock(&orphans.lock);
}

/* What the reaper waits for: the eventfd and the ends of all that live. NULL where memory is out. */
static struct pollfd *list_ends(nfds_t *count)
{
	struct pollfd *ends;
	size_t i;

	pthread_mutex_lock(&orphans.lock);
	ends = calloc(orphans.count + 1, sizeof(*ends));
	*count = 0;
	if (ends)
		ends[(*count)++] = (struct pollfd){.fd = orphans.changed, .events = POLLIN};
	for (i = 0; ends && i < orphans.count; i++)
		if (!orphans.entries[i].ended)
			ends[(*count)++] = (struct pollfd){.fd = orphans.entries[i].pidfd, .events = POLLIN};
	pthread_mutex_unlock(&orphans.lock);
	return ends;
}

static void *reap_for_ever(void *unused)
{
	struct pollfd *ends;
	eventfd_t value;
	nfds_t count;

	(void)unused;
	for (;;) {
		ends = list_ends(&count);
		/* A descriptor that was closed meanwhile, or is another's by now, costs a round. */
		if (ends && poll(ends, count, -1) > 0 && !(ends[0].revents & POLLIN))
			usleep(NOT_YET_MS * 100);
		else if (ends)
			eventfd_read(orphans.changed, &value);
		else
			usleep(NOT_YET_MS * 1000);
		free(ends);
		orphans_reap();
	}
	return NULL;
}

/* Where it cannot be started, those who look for ids reap. */
static void start_reaper(void)
{
	pthread_condattr_t monotonic;
	sigset_t all, before;
	pthread_t thread;
	int result;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&orphans.ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	orphans.changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = orphans.changed < 0 ? errno : pthread_create(&thread, NULL, reap_for_ever, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result)
		log_warning("no thread waits for restored processes (%s): their ids stay taken until the next restore",
			    errno_text(result));
	else
		pthread_detach(thread);
}

static bool is_expected(const struct process_facts *process)
{
	size_t i;

	for (i = 0; i < orphans.count; i++)
		if (!orphans.entries[i].ended && orphans.entries[i].pid == process->process &&
		    orphans.entries[i].start_time == process->start_time)
			return true;
	return false;
}

/* Who had the id before is gone; an exit status that nobody has taken yet is kept, but not without end. */
static void make_room(pid_t pid)
{
	size_t ended = 0;
	size_t i;

	for (i = orphans.count; i-- > 0;)
		if (orphans.entries[i].ended ? ++ended > ENDED_MAX : orphans.entries[i].pid == pid)
			forget(i);
}

void orphans_expect(const struct process_facts *process, bool root)
{
	struct orphan *grown;

	pthread_mutex_lock(&orphans.lock);
	if (is_expected(process)) {
		pthread_mutex_unlock(&orphans.lock);
		return;
	}
	if (!orphans.changed)
		start_reaper();
	make_room(process->process);
	grown = realloc(orphans.entries, (orphans.count + 1) * sizeof(*grown));
	if (grown) {
		orphans.entries = grown;
		grown[orphans.count++] = (struct orphan){
			.pid = process->process,
			.pidfd = (int)syscall(SYS_pidfd_open, process->process, 0),
			.start_time = process->start_time,
			.root = root,
		};
	}
	eventfd_write(orphans.changed, 1);
	pthread_mutex_unlock(&orphans.lock);
}

/* The root that has the id, or had it last. start_time: the one of that birth; 0: any. */
static struct orphan *find_root(pid_t pid, uint64_t start_time)
{
	struct orphan *found = NULL;
	size_t i;

	for (i = 0; i < orphans.count; i++) {
		struct orphan *orphan = &orphans.entries[i];

		if (orphan->root && orphan->pid == pid && (!start_time || orphan->start_time == start_time) &&
		    (!found || orphan->start_time > found->start_time))
			found = orphan;
	}
	return found;
}

static struct timespec deadline_after(int timeout_ms)
{
	struct timespec deadline;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += timeout_ms / 1000;
	deadline.tv_nsec += timeout_ms % 1000 * 1000000l;
	if (deadline.tv_nsec >= 1000000000l) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000l;
	}
	return deadline;
}

int orphans_wait(pid_t pid, int timeout_ms, int *status)
{
	struct timespec deadline = deadline_after(timeout_ms < 0 ? 0 : timeout_ms);
	struct orphan *orphan;
	uint64_t start_time = 0;
	int result = 0;

	pthread_mutex_lock(&orphans.lock);
	reap_all();
	/* Another one may have been restored under its id meanwhile. */
	while ((orphan = find_root(pid, start_time)) && !orphan->ended && !result) {
		start_time = orphan->start_time;
		result = timeout_ms < 0 ? pthread_cond_wait(&orphans.ended, &orphans.lock)
					: pthread_cond_timedwait(&orphans.ended, &orphans.lock, &deadline);
	}
	if (!orphan) {
		result = -ESRCH;
	} else if (!orphan->ended) {
		result = -result;
	} else {
		*status = orphan->status;
		forget((size_t)(orphan - orphans.entries));
		result = 0;
	}
	pthread_mutex_unlock(&orphans.lock);
	return result;
}

int rekindle_wait(int32_t pid, int32_t timeout_ms, int32_t *exit_status, struct rekindle_error *error)
{
	int status = 0;
	int result = orphans_wait(pid, timeout_ms, &status);

	if (result == -ETIMEDOUT)
		return report(error, REKINDLE_ERROR_TIMEOUT, REKINDLE_PHASE_NONE, "Process %d runs still.", pid);
	if (result)
		return report(error, REKINDLE_ERROR_NO_SUCH_PROCESS, REKINDLE_PHASE_NONE,
			      "Process %d is no restored process that is a child of this one and whose status was not "
			      "taken before.",
			      pid);
	if (exit_status)
		*exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return REKINDLE_OK;
}
