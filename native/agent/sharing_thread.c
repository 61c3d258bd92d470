/* SPDX-License-Identifier: MIT */
#include "agent/sharing_thread.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent_settings.h"
#include "agent/agent_thread.h"
#include "agent/legacy_ipc.h"
#include "agent/plain_allocation.h"
#include "agent/real_driver.h"
#include "agent/virtual_memory.h"
#include "protocol/message_socket.h"

static_assert(IPC_PIECES_MAX <= MESSAGE_DESCRIPTORS_MAX, "the pieces of a reply fit one message");

#define PEER_SECONDS 2 /* one that neither asks nor reads must not keep the others waiting */
#define BACKLOG 128

/* Guards what follows, for the first call only; never held across a driver call. */
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint8_t own_name[IPC_EXPORTER_BYTES];
static int listener = -1;

/* A piece of the allocation as a handle of handle_use_begin, which keeps it alive; 0 where it is gone. */
static CUmemGenericAllocationHandle find_piece(const struct ipc_request *request, size_t index)
{
	CUdeviceptr address = request->address + index * PIECE_BYTES;
	const struct physical_memory *memory = NULL;
	CUmemGenericAllocationHandle handle = 0;
	const struct mapping *mapping;

	table_lock();
	mapping = mapping_containing(address);
	if (mapping)
		memory = &table.memories[mapping->memory];
	/* The pieces of an allocation have ids in a row, and no id is ever used again. */
	if (memory && memory->shared && memory->allocation_id == request->allocation_id + index)
		handle = virtual_handle(memory);
	table_unlock();
	return handle;
}

static CUresult export_piece(const struct ipc_request *request, size_t index, int *descriptor)
{
	CUmemGenericAllocationHandle handle = find_piece(request, index);
	struct handle_use use;

	if (!handle)
		return CUDA_ERROR_INVALID_HANDLE;
	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_INVALID_HANDLE : use.result;
	use.result = real_driver()->cuMemExportToShareableHandle(descriptor, use.real,
								 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	handle_use_end(&use);
	return use.result;
}

/* Fills the sizes. False where there is no such allocation (any more). */
static bool find_allocation(const struct ipc_request *request, struct ipc_reply *reply)
{
	const struct plain_allocation *allocation;
	bool found;

	table_lock();
	allocation = plain_containing(request->address);
	found = allocation && allocation->address == request->address && !allocation->leaving && !allocation->opens;
	if (found) {
		reply->bytes = allocation->bytes;
		reply->reserved = allocation->reserved;
	}
	table_unlock();
	return found;
}

static void answer(int connection)
{
	struct ipc_reply reply = {.result = CUDA_ERROR_INVALID_HANDLE};
	struct ipc_request request;
	ssize_t received = message_receive(connection, &request, sizeof(request), NULL, NULL, PEER_SECONDS * 1000);
	int descriptors[IPC_PIECES_MAX];
	size_t pieces = 0;
	int result;

	if (received != sizeof(request) || request.magic != LEGACY_IPC_MAGIC)
		return;
	if (find_allocation(&request, &reply)) {
		reply.result = CUDA_SUCCESS;
		pieces = pieces_of(reply.reserved);
	}
	do {
		reply.first += reply.count;
		reply.count = 0;
		while (reply.result == CUDA_SUCCESS && reply.count < IPC_PIECES_MAX &&
		       reply.first + reply.count < pieces) {
			reply.result =
				(int32_t)export_piece(&request, reply.first + reply.count, &descriptors[reply.count]);
			if (reply.result == CUDA_SUCCESS)
				reply.count++;
		}
		result = message_send(connection, &reply, sizeof(reply), descriptors, reply.count);
		for (uint32_t index = 0; index < reply.count; index++)
			close(descriptors[index]);
	} while (!result && reply.result == CUDA_SUCCESS && reply.first + reply.count < pieces);
}

static void *sharing_thread(void *unused)
{
	int socket = listener;

	(void)unused;
	for (;;) {
		struct timeval timeout = {.tv_sec = PEER_SECONDS};
		int connection = accept4(socket, NULL, NULL, SOCK_CLOEXEC);

		if (connection < 0 && (errno == EBADF || errno == ENOTSOCK || errno == EINVAL))
			break;
		if (connection < 0) {
			/* No descriptor is free, for example. */
			nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
			continue;
		}
		setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		if (ipc_peer_is_trusted(connection))
			answer(connection);
		close(connection);
	}
	agent_complain("the program closed the agent's socket; other processes cannot open its device memory any more");
	return NULL;
}

static int start(void)
{
	struct sockaddr_un address;
	socklen_t length;
	int result;

	if (getrandom(own_name, sizeof(own_name), 0) != sizeof(own_name))
		return -EIO;
	length = ipc_socket_address(&address, own_name);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0)
		return -errno;
	if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, BACKLOG) < 0)
		result = -errno;
	else
		result = agent_thread_create(sharing_thread, "rekindle-ipc");
	if (result) {
		close(listener);
		listener = -1;
	}
	return result;
}

int sharing_thread_start(uint8_t exporter[IPC_EXPORTER_BYTES])
{
	int result = 0;

	pthread_mutex_lock(&start_mutex);
	if (listener < 0)
		result = start();
	memcpy(exporter, own_name, sizeof(own_name));
	pthread_mutex_unlock(&start_mutex);
	return result;
}

bool sharing_thread_is_own(const uint8_t exporter[IPC_EXPORTER_BYTES])
{
	bool own;

	pthread_mutex_lock(&start_mutex);
	own = listener >= 0 && !memcmp(exporter, own_name, sizeof(own_name));
	pthread_mutex_unlock(&start_mutex);
	return own;
}

void sharing_thread_after_fork(void)
{
	pthread_mutex_init(&start_mutex, NULL);
	if (listener >= 0)
		close(listener);
	listener = -1;
}
