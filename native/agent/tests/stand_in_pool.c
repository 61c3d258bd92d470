/* SPDX-License-Identifier: MIT */
#include "agent/tests/stand_in_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/message_socket.h"

#define REPLY_MS 20000

const struct agent_page *agent_find_page(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long address = 0;
	char line[512];

	if (!maps)
		abort();
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "/memfd:" AGENT_PAGE_NAME " (deleted)"))
			address = strtoul(line, NULL, 16);
	fclose(maps);
	return (const struct agent_page *)address;
}

const struct agent_page *agent_wait_for_page(void)
{
	const struct agent_page *page;
	int attempt;

	for (attempt = 0; attempt < 5000; attempt++) {
		page = agent_find_page();
		if (page && page->magic == AGENT_PAGE_MAGIC && !page->waiting && page->thread_id)
			return page;
		usleep(1000);
	}
	abort();
}

static int control(void)
{
	return agent_wait_for_page()->control_descriptor;
}

/* A number for each request, also for those of which nobody waits for the answer. */
static uint64_t next_id(void)
{
	static uint64_t last;

	return ++last;
}

/* The next message that answers request_id. */
static int receive(uint64_t request_id, struct agent_message *message, int *fds, size_t *count)
{
	for (;;) {
		int late[MESSAGE_DESCRIPTORS_MAX];
		size_t late_count = MESSAGE_DESCRIPTORS_MAX;
		ssize_t received = message_receive(control(), message, sizeof(*message), late, &late_count, REPLY_MS);

		if (received < 0)
			return (int)received;
		if (received != sizeof(*message) || (late_count && message->request_id == request_id && !fds))
			return -EPROTO;
		if (message->request_id == request_id) {
			if (fds) {
				memcpy(fds, late, late_count * sizeof(late[0]));
				*count = late_count;
			}
			return 0;
		}
		while (late_count)
			close(late[--late_count]);
	}
}

static int ask(struct agent_message *request, const int *fds, size_t fd_count, struct agent_message *reply)
{
	int result;

	request->request_id = next_id();
	result = message_send(control(), request, sizeof(*request), fds, fd_count);
	if (!result)
		result = receive(request->request_id, reply, NULL, NULL);
	return result ? result : reply->result;
}

static int ask_for_memory(uint32_t type, struct saved_memory *saved, struct agent_message *reply)
{
	static struct agent_message request;
	int result;

	memset(&request, 0, sizeof(request));
	memset(saved, 0, sizeof(*saved));
	request.type = type;
	request.request_id = next_id();
	result = message_send(control(), &request, sizeof(request), NULL, 0);
	for (;;) {
		int fds[MESSAGE_DESCRIPTORS_MAX];
		size_t count = MESSAGE_DESCRIPTORS_MAX;
		size_t index;

		if (!result)
			result = receive(request.request_id, reply, fds, &count);
		if (result)
			return result;
		if (reply->type == AGENT_REPLY)
			return reply->result;
		if ((reply->type != AGENT_ALLOCATIONS && reply->type != AGENT_HOST_ALLOCATIONS &&
		     reply->type != AGENT_IMPORTS) ||
		    reply->count != count || saved->count + count > SAVED_MAX)
			return -EPROTO;
		for (index = 0; index < count; index++) {
			saved->allocations[saved->count].allocation = reply->allocations[index];
			saved->allocations[saved->count].on_host = reply->type == AGENT_HOST_ALLOCATIONS;
			saved->allocations[saved->count].node = reply->last;
			saved->allocations[saved->count++].descriptor = fds[index];
		}
	}
}

int agent_export(struct saved_memory *saved, struct agent_message *reply)
{
	return ask_for_memory(AGENT_EXPORT, saved, reply);
}

int agent_offer(struct saved_memory *saved, struct agent_message *reply)
{
	return ask_for_memory(AGENT_OFFER, saved, reply);
}

void agent_save(struct saved_memory *saved)
{
	size_t index;

	for (index = 0; index < saved->count; index++) {
		struct saved_allocation *allocation = &saved->allocations[index];
		size_t bytes = allocation->allocation.bytes;
		size_t done = 0;

		allocation->contents =
			mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (allocation->contents == MAP_FAILED)
			abort();
		while (done < bytes) {
			ssize_t length = pread(allocation->descriptor, (char *)allocation->contents + done,
					       bytes - done, (off_t)done);

			if (length <= 0)
				abort();
			done += (size_t)length;
		}
		close(allocation->descriptor);
		allocation->descriptor = -1;
	}
}

int agent_release(struct agent_message *reply)
{
	static struct agent_message request;

	memset(&request, 0, sizeof(request));
	request.type = AGENT_RELEASE;
	memcpy(request.image_id, "0123456789abcdef", 16);
	return ask(&request, NULL, 0, reply);
}

/* What simcuda takes for its memory. */
static int fresh_memory(const struct saved_allocation *allocation)
{
	size_t bytes = allocation->allocation.bytes;
	char name[64];
	unsigned int device;
	size_t done = 0;
	int descriptor;

	if (sscanf((const char *)allocation->allocation.device.bytes, "SIMULATED-GPU-%2u", &device) != 1)
		abort();
	if (allocation->on_host)
		snprintf(name, sizeof(name), "simcuda-memory-of-node-%u", allocation->node);
	else
		snprintf(name, sizeof(name), "simcuda-memory-of-device-%u", device);
	descriptor = memfd_create(name, MFD_CLOEXEC);
	if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes))
		abort();
	while (done < bytes) {
		ssize_t length = pwrite(descriptor, (char *)allocation->contents + done, bytes - done, (off_t)done);

		if (length <= 0)
			abort();
		done += (size_t)length;
	}
	return descriptor;
}

static int map(struct saved_memory *saved, size_t skipped, bool to_the_end, struct agent_message *reply)
{
	static struct agent_message request;
	size_t next = skipped;
	int result;

	do {
		int fds[AGENT_ALLOCATIONS_MAX];
		uint32_t index;

		memset(&request, 0, sizeof(request));
		request.type = AGENT_MAP;
		while (next < saved->count && request.count < AGENT_ALLOCATIONS_MAX) {
			request.allocations[request.count] = saved->allocations[next].allocation;
			fds[request.count++] = fresh_memory(&saved->allocations[next++]);
		}
		request.last = to_the_end && next == saved->count;
		result = ask(&request, fds, request.count, reply);
		for (index = 0; index < request.count; index++)
			close(fds[index]);
	} while (!result && next < saved->count);
	return result;
}

int agent_map(struct saved_memory *saved, size_t skipped, struct agent_message *reply)
{
	return map(saved, skipped, true, reply);
}

int agent_map_all_but_the_end(struct saved_memory *saved, struct agent_message *reply)
{
	return map(saved, 0, false, reply);
}

void agent_forget(struct saved_memory *saved)
{
	size_t index;

	for (index = 0; index < saved->count; index++) {
		if (saved->allocations[index].contents)
			munmap(saved->allocations[index].contents, saved->allocations[index].allocation.bytes);
		else
			close(saved->allocations[index].descriptor);
	}
	saved->count = 0;
}

int agent_send_raw(const void *bytes, size_t size, struct agent_message *reply)
{
	/* The requests of these tests have no number. */
	int result = message_send(control(), bytes, size, NULL, 0);

	if (!result)
		result = receive(0, reply, NULL, NULL);
	return result ? result : reply->result;
}

void agent_export_and_go(void)
{
	static struct agent_message request;

	memset(&request, 0, sizeof(request));
	request.type = AGENT_EXPORT;
	request.request_id = next_id();
	if (message_send(control(), &request, sizeof(request), NULL, 0))
		abort();
}
