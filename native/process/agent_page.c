/* SPDX-License-Identifier: MIT */
#include "process/agent_page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "process/process_status.h"
#include "protocol/socket_mark.h"
#include "support/plain_text.h"

/* Returns 0 or a negative errno code. */
static int read_page(pid_t pid, uint64_t address, struct agent_page *page)
{
	struct iovec here = {.iov_base = page, .iov_len = sizeof(*page)};
	struct iovec there = {.iov_base = (void *)address, .iov_len = sizeof(*page)};
	ssize_t length = process_vm_readv(pid, &here, 1, &there, 1, 0);

	if (length < 0)
		return -errno;
	return length == (ssize_t)sizeof(*page) ? 0 : -EIO;
}

/* A page can be someone else's: a child that was forked from a process with an agent may still map its parent's. */
static bool is_page_of(const struct agent_page *page, pid_t namespace_id)
{
	return page->magic == AGENT_PAGE_MAGIC && page->process_id == namespace_id;
}

/* Looked at before it is taken: closing some other kind of file of the program's may wait for as long as it likes. */
static bool is_socket(pid_t pid, int number)
{
	static const char socket[] = "socket:";
	char path[64], target[sizeof(socket)] = "";

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, number);
	return readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, socket);
}

static bool has_no_name(int (*ask)(int, struct sockaddr *, socklen_t *), int descriptor)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	return !ask(descriptor, (struct sockaddr *)&address, &length) && length == sizeof(address.sun_family);
}

/*
 * One of a pair that the process itself has made, as its agent does. The program can name, and mark, any of its
 * descriptors: its connection to another user's service, over which root must not speak.
 */
static bool is_pair_of(int descriptor, pid_t pid)
{
	struct ucred maker;
	socklen_t length = sizeof(maker);

	return has_no_name(getsockname, descriptor) && has_no_name(getpeername, descriptor) &&
	       !getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &maker, &length) && maker.pid == pid;
}

/* Returns our duplicate of a socket of process pid, or a negative errno code: -ESTALE where it is another file by now. */
static int take_socket(pid_t pid, int number, enum socket_mark mark)
{
	int process, descriptor;

	if (!is_socket(pid, number))
		return -ESTALE;
	process = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process < 0)
		return -errno;
	descriptor = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	if (descriptor < 0)
		descriptor = errno == EBADF ? -ESTALE : -errno;
	close(process);
	if (descriptor >= 0 && (!socket_is_marked(descriptor, mark) || !is_pair_of(descriptor, pid))) {
		close(descriptor);
		descriptor = -ESTALE;
	}
	return descriptor;
}

/* Both ends must be there: without its own the agent would never answer. */
static int take_control(pid_t pid, const struct agent_page *page)
{
	int own = take_socket(pid, page->agent_descriptor, SOCKET_MARK_AGENT);

	if (own < 0)
		return own;
	close(own);
	return take_socket(pid, page->control_descriptor, SOCKET_MARK_OUTSIDE);
}

#define note(agent, ...) snprintf((agent)->note, sizeof((agent)->note), __VA_ARGS__)

static const char *const why_there_is_no_page[] = {
	[AGENT_ABSENT] = "the process runs without " AGENT_LIBRARY,
	[AGENT_DISABLED] = "the process was started with REKINDLE_AGENT=0, which turns " AGENT_LIBRARY " off",
	[AGENT_IDLE] =
		AGENT_LIBRARY " is loaded, and the process has allocated no device memory yet that it looks after",
	[AGENT_UNASKED] = AGENT_LIBRARY
	" is loaded, and no CUDA call of the process has come to it: those that were made went past it, by "
	"dlmopen, by RTLD_DEEPBIND, or by a library before it in LD_PRELOAD that calls the driver itself",
};

/* The variables that the process was started with: the agent looks there too, and what it changes later comes too late. */
static bool is_switched_off(pid_t pid)
{
	char path[64], *entry = NULL;
	size_t capacity = 0;
	bool off = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!off && getdelim(&entry, &capacity, '\0', file) >= 0)
		off = !strcmp(entry, AGENT_SWITCH "=0");
	free(entry);
	fclose(file);
	return off;
}

static enum agent_presence presence_of(pid_t pid, const struct process_maps *maps)
{
	if (maps->agent_page_count)
		return AGENT_PRESENT;
	if (!maps->has_agent_library)
		return AGENT_ABSENT;
	if (is_switched_off(pid))
		return AGENT_DISABLED;
	return maps->has_cuda_library ? AGENT_UNASKED : AGENT_IDLE;
}

/* A file's name, as the process gave it. */
static void note_passed_over(struct agent *agent)
{
	char file[sizeof(agent->page.passed_over)];

	copy_text(file, sizeof(file), agent->page.passed_over);
	if (file[0])
		note(agent, AGENT_PASSES_OVER, file);
}

/* What has ended has no page, and no memory that could be lost. */
static void note_unknown(struct agent *agent, int code, const char *what)
{
	if (code == -ESRCH)
		return;
	agent->unknown = -code;
	note(agent, "%s: %s", what, errno_text(-code));
}

/* Of several, of parents and its own, the process's own. */
static void find_page(struct agent *agent, pid_t pid, const struct process_maps *maps)
{
	struct thread_status leader;
	int code = thread_status_read(pid, pid, &leader);

	note(agent, "no agent page of the process is valid (a child of a process with an agent?)");
	if (code)
		note_unknown(agent, code, "the process's own id cannot be read from /proc");
	for (size_t index = 0; !code && index < maps->agent_page_count && !agent->has_page; index++) {
		agent->page_address = maps->agent_pages[index];
		code = read_page(pid, agent->page_address, &agent->page);
		if (code)
			note_unknown(agent, code, "the agent's page in the process cannot be read");
		agent->has_page = !code && is_page_of(&agent->page, leader.namespace_id);
	}
	if (agent->has_page) {
		agent->unknown = 0;
		agent->note[0] = '\0';
	}
}

void agent_open(struct agent *agent, pid_t pid, const struct process_maps *maps)
{

	memset(agent, 0, sizeof(*agent));
	agent->control = -1;
	agent->presence = presence_of(pid, maps);
	if (agent->presence != AGENT_PRESENT) {
		note(agent, "%s", why_there_is_no_page[agent->presence]);
		return;
	}
	find_page(agent, pid, maps);
	if (!agent->has_page)
		return;
	if (agent->page.protocol_version != AGENT_PROTOCOL_VERSION) {
		note(agent, "its agent speaks protocol version %u and this plugin %u: install the same version of both",
		     agent->page.protocol_version, AGENT_PROTOCOL_VERSION);
		return;
	}
	if (agent->page.waiting) {
		/* As if there were none: nothing in it is of use to anybody, and nobody notes anything in it. */
		agent->has_page = false;
		agent->presence = AGENT_IDLE;
		note(agent, "%s", why_there_is_no_page[AGENT_IDLE]);
		return;
	}
	agent->thread = agent->page.thread_id ? thread_find_by_namespace_id(pid, agent->page.thread_id) : 0;
	if (agent->thread < 0) {
		note(agent, "the agent's thread %d is gone", agent->page.thread_id);
		return;
	}
	agent->control = agent->thread ? take_control(pid, &agent->page) : -ESTALE;
	if (agent->control == -ESTALE)
		note(agent,
		     "the program has closed the agent's sockets (descriptors %d and %d), which it did not open, or "
		     "has put files of its own in their place",
		     agent->page.agent_descriptor, agent->page.control_descriptor);
	else if (agent->control < 0)
		note(agent, "the agent's control socket (descriptor %d of the process) cannot be taken: %s",
		     agent->page.control_descriptor, errno_text(-agent->control));
	if (agent->control < 0) {
		agent->control = -1;
		return;
	}
	agent->usable = true;
	note_passed_over(agent);
}

void agent_close(struct agent *agent)
{
	if (agent->control >= 0)
		close(agent->control);
	agent->control = -1;
	agent->usable = false;
}

int agent_must_be_known(const struct agent *agent, pid_t pid, struct error_text *error)
{
	if (!agent->unknown)
		return 0;
	return fail(error, -EIO, "whether process %d has all of its device memory cannot be seen (%s): try again",
		    (int)pid, agent->note);
}

bool agent_is_at_work(const struct agent *agent, pid_t pid)
{
	unsigned long long descriptor;
	char path[64], line[64] = "";
	bool waits, was_read;
	long call;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)agent->thread);
	file = fopen(path, "re");
	if (!file)
		return false;
	was_read = fgets(line, sizeof(line), file);
	fclose(file);
	waits = sscanf(line, "%ld %llx", &call, &descriptor) == 2 && call == SYS_recvmsg &&
		(int)descriptor == agent->page.agent_descriptor;
	return was_read && !waits;
}
