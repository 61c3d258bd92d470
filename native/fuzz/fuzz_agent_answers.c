/* SPDX-License-Identifier: MIT */
/*
 * What an agent answers to the pool. The socket is not there: the functions that would use it are this file's, and the
 * answers come from the input.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz_input.h"
#include "pool/agent/agent_client.h"
#include "protocol/message_socket.h"

static struct fuzz_input answers;
static uint64_t request_id;
static bool asked;

int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout_ms);
int __wrap_message_send_until(int socket, const void *message, size_t size, const int *fds, size_t fd_count,
			      uint64_t deadline);
ssize_t __wrap_message_receive_keeping(int socket, void *message, size_t capacity, int *fds, size_t *fd_count,
				       int timeout_ms);

int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout_ms)
{
	(void)count;
	(void)timeout_ms;
	polled[0].revents = POLLIN;
	return 1;
}

int __wrap_message_send_until(int socket, const void *message, size_t size, const int *fds, size_t fd_count,
			      uint64_t deadline)
{
	(void)socket;
	(void)fds;
	(void)deadline;
	if (size != sizeof(struct agent_message) || fd_count > MESSAGE_DESCRIPTORS_MAX)
		abort();
	request_id = ((const struct agent_message *)message)->request_id;
	asked = true;
	return 0;
}

/* The kinds that may be device memory, and one that may not. */
static int make_descriptor(uint8_t kind)
{
	if (kind % 8 == 7)
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kind % 2)
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	return memfd_create("fuzz", MFD_CLOEXEC);
}

static void make_allocation(struct agent_allocation *allocation, uint8_t shape)
{
	uint64_t number = 0;

	fuzz_bytes(&answers, &number, 3);
	allocation->allocation_id = number;
	allocation->bytes = shape & 16 ? number << 40 : (number % 64 + (shape & 32 ? 0 : 1)) << 21;
	allocation->address = number << 20;
	allocation->device.bytes[0] = shape & 64;
}

ssize_t __wrap_message_receive_keeping(int socket, void *message, size_t capacity, int *fds, size_t *fd_count,
				       int timeout_ms)
{
	struct agent_message *answer = message;
	uint8_t shape, kinds;
	uint32_t i;

	(void)socket;
	(void)capacity;
	(void)timeout_ms;
	*fd_count = 0;
	if (!asked)
		return -ETIMEDOUT; /* nothing is left of an earlier conversation */
	if (answers.size == 0)
		return -ECONNRESET;
	memset(answer, 0, sizeof(*answer));
	shape = fuzz_byte(&answers);
	kinds = fuzz_byte(&answers);
	answer->type = shape & 1 ? AGENT_REPLY : shape & 2 ? AGENT_ALLOCATIONS : fuzz_byte(&answers);
	answer->count = shape & 4 ? kinds % 4u : fuzz_byte(&answers);
	answer->request_id = shape & 8 ? request_id ^ kinds : request_id;
	fuzz_bytes(&answers, &answer->result, shape & 128 ? 4 : 0);
	if (kinds & 64)
		memset(answer->error.text, kinds, sizeof(answer->error.text));
	for (i = 0; i < answer->count && i < AGENT_ALLOCATIONS_MAX && answers.size; i++)
		make_allocation(&answer->allocations[i], shape);
	for (i = 0; i < (kinds & 32 ? kinds % 8u : answer->count) && i < MESSAGE_DESCRIPTORS_MAX; i++)
		if (answer->type == AGENT_ALLOCATIONS || answer->type == AGENT_IMPORTS)
			fds[(*fd_count)++] = make_descriptor(kinds);
	return kinds & 128 && shape & 128 ? shape : (ssize_t)sizeof(*answer);
}

static const struct agent_allocation *allocation_at(const struct agent_export *export, uint32_t i)
{
	return i < export->own.count ? &export->own.allocations[i]
				     : &export->imports.allocations[i - export->own.count];
}

/* What the pool would write, and look for. */
static void check_export(const struct pool *pool, const struct agent_export *export, bool some_taken)
{
	uint64_t bytes[2] = {0, 0};
	uint32_t i, j;

	for (i = 0; i < export->own.count; i++) {
		if ((export->own.descriptors[i] < 0 && !some_taken) || export->own.allocations[i].bytes == 0)
			abort();
		bytes[export->own.allocations[i].device.bytes[0] ? 1 : 0] += export->own.allocations[i].bytes;
	}
	for (i = 0; i < export->imports.count; i++)
		if (export->imports.descriptors[i] < 0)
			abort();
	for (i = 0; i < export->own.count + export->imports.count; i++)
		for (j = 0; j < i; j++)
			if (allocation_at(export, i)->allocation_id == allocation_at(export, j)->allocation_id)
				abort();
	if (bytes[0] > pool->devices[0].memory_bytes)
		abort();
}

/* Takes the first descriptor of each part. */
static void take_some(void *context, struct agent_export *export, uint32_t from, uint64_t bytes)
{
	(void)context;
	(void)bytes;
	if (from >= export->own.count || export->own.descriptors[from] < 0)
		abort();
	close(export->own.descriptors[from]);
	export->own.descriptors[from] = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pool pool = {.device_count = 1, .devices = {{.memory_bytes = 1ull << 33}}};
	struct agent_client agent = {.socket = -1, .process = -1, .timeout_ms = 60000};
	const struct agent_listener listener = {.hear = take_some};
	struct agent_export export;
	struct error_text error;
	uint8_t image_id[16] = {0}, which;
	bool answered;
	int first, last;

	fuzz_be_silent();
	answers = (struct fuzz_input){data, size};
	asked = false;
	first = dup(STDIN_FILENO);
	close(first);
	which = fuzz_byte(&answers);
	if (which % 4 == 0) {
		agent_release_all(&agent, image_id, which / 4, &error);
	} else if (which % 4 == 1) {
		agent_map_all(&agent, NULL, 0, &error);
	} else if (agent_export_all(&agent, &pool, which % 4 == 3 ? &listener : NULL, &export, &answered, &error) ==
		   0) {
		if (!answered)
			abort();
		check_export(&pool, &export, which % 4 == 3);
		agent_export_free(&export);
	}
	/* Every descriptor is closed, those of other threads in a moment. */
	last = dup(STDIN_FILENO);
	close(last);
	if (last > first + 4096)
		abort();
	return 0;
}
