/* SPDX-License-Identifier: MIT */
#include "plugin/agent_page.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "plugin/process_status.h"

static bool read_page(pid_t pid, uint64_t address, struct agent_page *page)
{
	struct iovec here = {.iov_base = page, .iov_len = sizeof(*page)};
	struct iovec there = {.iov_base = (void *)address, .iov_len = sizeof(*page)};

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(*page);
}

/* A page can be someone else's: a child that was forked from a process with an agent may still map its parent's. */
static bool is_page_of(const struct agent_page *page, pid_t namespace_id)
{
	return page->magic == AGENT_PAGE_MAGIC && page->process_id == namespace_id;
}

/* Returns our duplicate of descriptor number of process pid, or a negative errno code. */
static int take_descriptor(pid_t pid, int number)
{
	int process = (int)syscall(SYS_pidfd_open, pid, 0);
	int descriptor, type = 0;
	socklen_t length = sizeof(type);

	if (process < 0)
		return -errno;
	descriptor = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	if (descriptor < 0)
		descriptor = -errno;
	close(process);
	if (descriptor >= 0 &&
	    (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) || type != SOCK_SEQPACKET)) {
		close(descriptor);
		descriptor = -ENOTSOCK;
	}
	return descriptor;
}

#define note(agent, ...) snprintf((agent)->note, sizeof((agent)->note), __VA_ARGS__)

void agent_open(struct agent *agent, pid_t pid, const struct process_maps *maps)
{
	struct thread_status leader;

	memset(agent, 0, sizeof(*agent));
	agent->control = -1;
	if (!maps->agent_page_count) {
		note(agent, "the process runs without librekindle-preload.so");
		return;
	}
	if (thread_status_read(pid, pid, &leader)) {
		note(agent, "the process's own id cannot be read from /proc");
		return;
	}
	for (size_t index = 0; index < maps->agent_page_count && !agent->has_page; index++) {
		agent->page_address = maps->agent_pages[index];
		agent->has_page = read_page(pid, agent->page_address, &agent->page) &&
				  is_page_of(&agent->page, leader.namespace_id);
	}
	if (!agent->has_page) {
		note(agent, "no agent page of the process is valid (a child of a process with an agent?)");
		return;
	}
	if (agent->page.protocol_version != AGENT_PROTOCOL_VERSION) {
		note(agent, "its agent speaks protocol version %u and this plugin %u: install the same version of both",
		     agent->page.protocol_version, AGENT_PROTOCOL_VERSION);
		return;
	}
	agent->thread = thread_find_by_namespace_id(pid, agent->page.thread_id);
	if (agent->thread < 0) {
		note(agent, "the agent's thread %d is gone", agent->page.thread_id);
		return;
	}
	agent->control = take_descriptor(pid, agent->page.control_descriptor);
	if (agent->control < 0) {
		note(agent, "the agent's control socket (descriptor %d of the process) cannot be taken: %s",
		     agent->page.control_descriptor, strerror(-agent->control));
		agent->control = -1;
		return;
	}
	agent->usable = true;
}

void agent_close(struct agent *agent)
{
	if (agent->control >= 0)
		close(agent->control);
	agent->control = -1;
	agent->usable = false;
}
