/* SPDX-License-Identifier: MIT */
#include "agent/sharing/sharing_thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"
#include "agent/base/agent_thread.h"
#include "agent/base/fork_handler.h"
#include "agent/memory/handle_use.h"
#include "agent/memory/plain_allocation.h"
#include "agent/sharing/legacy_ipc.h"
#include "agent/sharing/memory_export.h"
#include "protocol/message_socket.h"
#include "protocol/peer_trust.h"
#include "protocol/socket_mark.h"

static_assert(IPC_PIECES_MAX <= MESSAGE_DESCRIPTORS_MAX, "the pieces of a reply fit one message");

#define PEER_SECONDS 2 /* one that neither asks nor reads must not keep the others waiting */
#define BACKLOG 128
#define NAME_ATTEMPTS 100  /* of a millisecond each */
#define CLAIM_ATTEMPTS 200 /* likewise */

/*
 * The socket, changed and read by whoever has set `claimed`. Not a mutex: the agent's thread must get past a thread that
 * is stopped while it holds this. Held across system calls only.
 */
static atomic_bool claimed;
static struct {
	int number;	/* -1: none */
	bool listening; /* else it has no name at present */
	bool named;
	uint8_t name[IPC_EXPORTER_BYTES];
	uint8_t first_name[IPC_EXPORTER_BYTES]; /* in handles of before a restore */
} listener = {.number = -1};

static void wait_a_millisecond(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool claim(int attempts)
{
	bool expected = false;

	while (!atomic_compare_exchange_strong(&claimed, &expected, true)) {
		if (attempts && !--attempts)
			return false;
		expected = false;
		wait_a_millisecond();
	}
	return true;
}

static void unclaim(void)
{
	atomic_store(&claimed, false);
}

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
	if (memory && memory->exported && memory->allocation_id == request->allocation_id + index)
		handle = virtual_handle(memory);
	table_unlock();
	return handle;
}

static CUresult export_piece(const struct ipc_request *request, size_t index, int *descriptor)
{
	CUmemGenericAllocationHandle handle = find_piece(request, index);
	struct handle_use use;
	bool restored;

	if (!handle)
		return CUDA_ERROR_INVALID_HANDLE;
	handle_use_begin(&use, handle);
	if (use.result != CUDA_SUCCESS)
		return use.result == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_INVALID_HANDLE : use.result;
	use.result = memory_export(&use, descriptor, &restored);
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

static void complain_of_new_name(void)
{
	agent_complain(
		"another process has the name of this one's socket, as where one image is restored twice: handles of "
		"device memory that it gave out before the restore cannot be opened any more");
}

/* Binds the socket to the name. That may be on its way out with a socket that has just been closed. */
static int bind_name(void)
{
	struct sockaddr_un address;
	socklen_t length = ipc_socket_address(&address, listener.name);
	int attempt;

	for (attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
		if (!bind(listener.number, (struct sockaddr *)&address, length))
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
		wait_a_millisecond();
	}
	return -EADDRINUSE;
}

/* Claimed. */
static int choose_name(void)
{
	if (getrandom(listener.name, sizeof(listener.name), 0) != sizeof(listener.name))
		return -EIO;
	if (!listener.named)
		memcpy(listener.first_name, listener.name, sizeof(listener.name));
	listener.named = true;
	return 0;
}

/* Gives the socket a name, its old one where that is free, and listens. Claimed. */
static int listen_again(bool *renamed)
{
	int result = listener.named ? 0 : choose_name();

	if (!result)
		result = bind_name();
	if (result == -EADDRINUSE) {
		result = choose_name();
		*renamed = !result;
		if (!result)
			result = bind_name();
	}
	if (result == -EINVAL)
		result = 0; /* it has its name, from an attempt that failed in listen */
	if (!result && listen(listener.number, BACKLOG) < 0)
		result = -errno;
	listener.listening = !result;
	return result;
}

static int make_socket(void)
{
	int number = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int result;

	if (number < 0)
		return -errno;
	result = socket_mark(number, SOCKET_MARK_SHARING);
	if (!result)
		return number;
	close(number);
	return result;
}

void sharing_resume(void)
{
	bool renamed = false;

	if (!claim(CLAIM_ATTEMPTS))
		return;
	if (socket_is_marked(listener.number, SOCKET_MARK_SHARING) && !listener.listening)
		listen_again(&renamed);
	unclaim();
	if (renamed)
		complain_of_new_name();
}

/* Puts a socket without a name at the listener's number. Claimed. */
static int take_name_away(void)
{
	int plain = make_socket();
	int result = 0;

	if (plain == -EMFILE) {
		/* With every number taken, the one that becomes free is given out. */
		close(listener.number);
		plain = make_socket();
	}
	if (plain < 0 || plain == listener.number)
		return plain < 0 ? plain : 0;
	/* Whoever waits in it holds it open, and with it the name. */
	shutdown(listener.number, SHUT_RDWR);
	if (dup3(plain, listener.number, O_CLOEXEC) < 0)
		result = -errno;
	close(plain);
	return result;
}

/* A connection that was accepted has the name of the socket that it came to. */
static bool is_connection(int number, const struct sockaddr_un *name, socklen_t length)
{
	struct sockaddr_un own;
	socklen_t own_length = sizeof(own);

	return number != listener.number && !getsockname(number, (struct sockaddr *)&own, &own_length) &&
	       own_length == length && !memcmp(&own, name, length);
}

static int end_connection(int number)
{
	int plain = make_socket(), result = 0;

	if (plain < 0)
		return plain;
	if (dup3(plain, number, O_CLOEXEC) < 0)
		result = -errno;
	close(plain);
	return result;
}

/*
 * CRIU dumps no connection with a process of another tree. Whoever it is meets an end, and opens anew. Found by its name, as
 * the thread that has accepted it may be stopped before it knows so itself. Without malloc, which such a thread may hold.
 */
static int hang_up(void)
{
	struct sockaddr_un name;
	socklen_t length = ipc_socket_address(&name, listener.name);
	int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;
	static _Alignas(struct dirent64) char entries[4096];
	ssize_t bytes = 0;

	if (folder < 0)
		return -errno;
	while (!result && (bytes = getdents64(folder, entries, sizeof(entries))) > 0)
		for (ssize_t at = 0; !result && at < bytes;) {
			const struct dirent64 *entry = (const void *)(entries + at);
			int number = atoi(entry->d_name);

			at += entry->d_reclen;
			if (*entry->d_name != '.' && is_connection(number, &name, length))
				result = end_connection(number);
		}
	close(folder);
	return result;
}

int sharing_pause(void)
{
	int result = 0;

	if (!claim(CLAIM_ATTEMPTS))
		return -EBUSY;
	if (listener.listening && socket_is_marked(listener.number, SOCKET_MARK_SHARING)) {
		result = take_name_away();
		listener.listening = false;
		if (!result)
			result = hang_up();
	}
	unclaim();
	return result;
}

static void *sharing_thread(void *argument)
{
	int number = (int)(intptr_t)argument;

	/* What comes while it waits comes to its own socket, whatever the program has put at the number meanwhile. */
	while (socket_is_marked(number, SOCKET_MARK_SHARING)) {
		struct timeval timeout = {.tv_sec = PEER_SECONDS};
		int connection = accept4(number, NULL, NULL, SOCK_CLOEXEC);

		if (connection < 0 && errno == EINVAL)
			sharing_resume(); /* the dump is over, or the one who made it has gone */
		if (connection < 0) {
			/* No descriptor is free, for example. */
			nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
			continue;
		}
		setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		if (peer_is_trusted(connection))
			answer(connection);
		close(connection);
	}
	agent_complain(
		"the program closed the agent's socket; until it asks for another handle, other processes cannot open "
		"its device memory");
	return NULL;
}

/* Claimed. *fresh: a thread is wanted for the socket. */
static int open_listener(bool *fresh, bool *renamed)
{
	int result;

	*fresh = *renamed = false;
	if (socket_is_marked(listener.number, SOCKET_MARK_SHARING))
		return listener.listening ? 0 : listen_again(renamed);
	listener.listening = false;
	listener.number = make_socket();
	if (listener.number < 0) {
		result = listener.number;
		listener.number = -1;
		return result;
	}
	result = listen_again(renamed);
	if (result) {
		close(listener.number);
		listener.number = -1;
	}
	*fresh = result == 0;
	return result;
}

/* In a forked child: closes the parent's socket; the child's own will have another name. */
static void forget(void)
{
	socket_close_marked(listener.number, SOCKET_MARK_SHARING);
	memset(&listener, 0, sizeof(listener));
	listener.number = -1;
	unclaim();
}

int sharing_thread_start(uint8_t exporter[IPC_EXPORTER_BYTES])
{
	bool fresh, renamed;
	int number, result;

	fork_handler_add(FORK_SHARING, forget);
	claim(0);
	result = open_listener(&fresh, &renamed);
	number = listener.number;
	memcpy(exporter, listener.name, sizeof(listener.name));
	unclaim();
	if (renamed)
		complain_of_new_name();
	if (result || !fresh)
		return result;
	/* Without the claim: it takes memory, in which the program may have a hand. */
	result = agent_thread_create(sharing_thread, (void *)(intptr_t)number, "rekindle-ipc");
	if (result) {
		claim(0);
		socket_close_marked(listener.number, SOCKET_MARK_SHARING);
		listener.number = -1;
		listener.listening = false;
		unclaim();
	}
	return result;
}

bool sharing_thread_is_own(const uint8_t exporter[IPC_EXPORTER_BYTES])
{
	bool own;

	claim(0);
	own = listener.named && (!memcmp(exporter, listener.name, sizeof(listener.name)) ||
				 !memcmp(exporter, listener.first_name, sizeof(listener.first_name)));
	unclaim();
	return own;
}
