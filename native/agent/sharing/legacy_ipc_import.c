/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"
#include "agent/memory/kept_descriptors.h"
#include "agent/memory/plain_allocation.h"
#include "agent/sharing/legacy_ipc.h"
#include "protocol/message_socket.h"
#include "protocol/peer_trust.h"
#include "support/clock.h"

/* The other side of sharing_thread.c. */

#define EXPORTER_SECONDS 10 /* it may be stopped, for a dump for instance */
/* While it is dumped or restored it has no socket: only one that is away for longer has ended. */
#define AWAY_NANOSECONDS 2000000000ull
#define PAUSE_NANOSECONDS 10000000l

/* The connection to the exporter, or -1 with *result: INVALID_HANDLE where it has no socket. */
static int connect_exporter(const uint8_t exporter[IPC_EXPORTER_BYTES], CUresult *result)
{
	struct timeval timeout = {.tv_sec = EXPORTER_SECONDS};
	int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	socklen_t length = ipc_socket_address(&address, exporter);
	int connected;

	*result = CUDA_ERROR_MAP_FAILED;
	if (connection < 0)
		return -1;
	/* Bounds connect as well. */
	setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	do
		connected = connect(connection, (struct sockaddr *)&address, length);
	while (connected < 0 && errno == EINTR);
	if (!connected && peer_is_trusted(connection))
		return connection;
	if (connected && errno == ECONNREFUSED)
		*result = CUDA_ERROR_INVALID_HANDLE;
	close(connection);
	return -1;
}

/* Reserves the addresses at the first reply; later ones must speak of the same allocation. */
static CUresult check_reply(const struct ipc_reply *reply, size_t descriptors, struct pieces *pieces)
{
	size_t count = pieces_of(reply->reserved);

	if (reply->result != CUDA_SUCCESS)
		return (CUresult)reply->result;
	if (!reply->reserved || reply->bytes > reply->reserved || count > PIECES_MAX || !reply->count ||
	    reply->count != descriptors || reply->first != pieces->created || reply->first + reply->count > count)
		return CUDA_ERROR_MAP_FAILED;
	if (pieces->bytes)
		return pieces->bytes == reply->reserved ? CUDA_SUCCESS : CUDA_ERROR_MAP_FAILED;
	pieces->bytes = reply->reserved;
	return real_driver()->cuMemAddressReserve(&pieces->address, pieces->bytes, 0, 0, 0);
}

static CUresult import_piece(struct pieces *pieces, int descriptor)
{
	const struct real_driver *driver = real_driver();
	size_t index = pieces->created;
	CUresult result;

	result = driver->cuMemImportFromShareableHandle(&pieces->handles[index], (void *)(intptr_t)descriptor,
							CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	if (result != CUDA_SUCCESS)
		return result;
	pieces->kept[index] = kept_add(descriptor, true, 0);
	pieces->created++;
	result = driver->cuMemMap(pieces->address + index * PIECE_BYTES, piece_bytes(pieces->bytes, index), 0,
				  pieces->handles[index], 0);
	if (result == CUDA_SUCCESS)
		pieces->mapped++;
	return result;
}

static CUresult import_batch(int connection, struct pieces *pieces, size_t *bytes, bool *gone)
{
	struct ipc_reply reply;
	int descriptors[IPC_PIECES_MAX];
	size_t count = IPC_PIECES_MAX;
	size_t index;
	CUresult result;
	ssize_t received =
		message_receive(connection, &reply, sizeof(reply), descriptors, &count, EXPORTER_SECONDS * 1000);

	*gone = received == -ECONNRESET;
	if (*gone)
		return CUDA_ERROR_INVALID_HANDLE;
	if (received < 0)
		return CUDA_ERROR_MAP_FAILED;
	result = received == sizeof(reply) ? check_reply(&reply, count, pieces) : CUDA_ERROR_MAP_FAILED;
	for (index = 0; index < count; index++) {
		if (result == CUDA_SUCCESS)
			result = import_piece(pieces, descriptors[index]);
		close(descriptors[index]);
	}
	if (result == CUDA_SUCCESS)
		*bytes = reply.bytes;
	return result;
}

/* *gone: the exporter has no socket, or had it no longer when it was to answer. */
static CUresult import_once(const struct ipc_handle *handle, CUdevice device, struct pieces *pieces, size_t *bytes,
			    bool *gone)
{
	struct ipc_request request = {
		.magic = LEGACY_IPC_MAGIC,
		.allocation_id = handle->origin.allocation_id,
		.address = handle->address,
	};
	CUresult result;
	int connection;

	memset(pieces, 0, sizeof(*pieces));
	*gone = false;
	connection = connect_exporter(handle->origin.exporter, &result);
	if (connection < 0) {
		*gone = result == CUDA_ERROR_INVALID_HANDLE;
		return result;
	}
	result = CUDA_ERROR_INVALID_HANDLE;
	*gone = message_send(connection, &request, sizeof(request), NULL, 0) != 0;
	if (*gone)
		goto out;
	do
		result = import_batch(connection, pieces, bytes, gone);
	while (result == CUDA_SUCCESS && pieces->created < pieces_of(pieces->bytes));
	if (result == CUDA_SUCCESS)
		result = access_set(pieces->address, pieces->bytes, 0, (uint64_t)1 << device);
	if (result != CUDA_SUCCESS && pieces->address)
		pieces_undo(pieces);
out:
	close(connection);
	return result;
}

CUresult ipc_import(const struct ipc_handle *handle, CUdevice device, struct pieces *pieces, size_t *bytes)
{
	uint64_t deadline = monotonic_nanoseconds() + AWAY_NANOSECONDS;
	CUresult result;
	bool gone;

	for (;;) {
		result = import_once(handle, device, pieces, bytes, &gone);
		if (!gone || monotonic_nanoseconds() >= deadline)
			return result;
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NANOSECONDS}, NULL);
	}
}
