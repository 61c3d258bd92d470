/* SPDX-License-Identifier: MIT */
/*
 * An application for the pool's tests: test-application AGENT-DESCRIPTOR OUTSIDE-DESCRIPTOR COMMAND-DESCRIPTOR
 * ALLOCATIONS MIB BEHAVIOUR. It holds exportable device memory with known contents, has a plain agent that speaks
 * agent_protocol.h on one socketpair, and answers commands of one byte on another: 'c' the checksum of all contents,
 * 'w' writes other contents, 's' how many signals were lost. BEHAVIOUR is how the agent misbehaves, "none" for not at all;
 * "offer-unknown", "offer-silent": what is asked of it while it runs it does not know, or does not answer; "offer-odd": it
 * offers only every second piece; "offer-gone": some of what it offers is gone when it is stopped;
 * "looks-late": when its memory gets its access all contents have to be there;
 * "two-devices": every second piece is on the second device; "signals": the main thread gets one signal after the other.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include "driver/cuda_driver.h"
#include "protocol/agent_protocol.h"
#include "pool/tests/test_application.h"
#include "protocol/message_socket.h"
#include "protocol/socket_mark.h"

#define MEBIBYTE 1048576u

struct piece {
	CUdeviceptr address;
	uint64_t bytes;
	CUmemGenericAllocationHandle handle;
	bool mapped, imported; /* mapped: it may still lack its access */
	int device;
};

static struct cuda_driver driver;
static CUcontext context;
static CUuuid uuids[2];
static struct piece *pieces;
static uint32_t piece_count;
static int agent_socket, agent_outside;
static struct agent_page *agent_page;
static const char *behaviour;
static uint64_t first_checksum; /* of what was there at the start; "looks-late" */
static uint64_t request_id;	/* of the request that is being answered */

static void check(CUresult status, const char *call)
{
	if (status == CUDA_SUCCESS)
		return;
	fprintf(stderr, "test-application: %s: %s\n", call, cuda_result_name(&driver, status));
	_exit(3);
}

/* Every second one, with these behaviours, or all. */
static bool is_of_host(const struct piece *piece)
{
	return !strcmp(behaviour, "numa-all") || (!strncmp(behaviour, "numa", 4) && (piece - pieces) % 2);
}

static void give_access(const struct piece *piece)
{
	CUmemAccessDesc access = {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE},
				  .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

	/* The program copies by the first one's context. */
	for (access.location.id = 0; access.location.id <= piece->device; access.location.id++)
		check(driver.cuMemSetAccess(piece->address, piece->bytes, &access, 1), "cuMemSetAccess");
}

static void map(struct piece *piece)
{
	check(driver.cuMemMap(piece->address, piece->bytes, 0, piece->handle, 0), "cuMemMap");
	piece->mapped = true;
}

static void create(struct piece *piece)
{
	CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
					  .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
					  .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = piece->device}};

	if (is_of_host(piece))
		properties.location = (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_HOST_NUMA};
	check(driver.cuMemCreate(&piece->handle, piece->bytes, &properties, 0), "cuMemCreate");
	piece->imported = false;
}

static void unmap(struct piece *piece)
{
	check(driver.cuMemUnmap(piece->address, piece->bytes), "cuMemUnmap");
	check(driver.cuMemRelease(piece->handle), "cuMemRelease");
	piece->mapped = false;
}

/* Imported memory cannot be exported again: the contents move to memory of our own. */
static void make_own(struct piece *piece)
{
	char *contents = malloc(piece->bytes);

	check(driver.cuMemcpyDtoH(contents, piece->address, piece->bytes), "cuMemcpyDtoH");
	unmap(piece);
	create(piece);
	map(piece);
	give_access(piece);
	check(driver.cuMemcpyHtoD(piece->address, contents, piece->bytes), "cuMemcpyHtoD");
	free(contents);
}

static uint64_t checksum(void)
{
	uint64_t sum = 0;
	char *contents;
	uint32_t i;

	for (i = 0; i < piece_count; i++) {
		contents = malloc(pieces[i].bytes);
		check(driver.cuMemcpyDtoH(contents, pieces[i].address, pieces[i].bytes), "cuMemcpyDtoH");
		sum = sum * 31 + XXH3_64bits(contents, pieces[i].bytes);
		free(contents);
	}
	return sum;
}

static void reply(int result, uint32_t count, const char *text)
{
	struct agent_message message = {
		.type = AGENT_REPLY, .result = result, .count = count, .request_id = request_id};

	snprintf(message.error.text, sizeof(message.error.text), "%s", text);
	message_send(agent_socket, &message, sizeof(message), NULL, 0);
}

static void send_batch(struct agent_message *message, const int *descriptors)
{
	if (message->count)
		message_send(agent_socket, message, sizeof(*message), descriptors,
			     strcmp(behaviour, "export-few") ? message->count : 0);
	while (message->count)
		close(descriptors[--message->count]);
}

/* Does it offer that one, while it runs? */
static bool is_offered(uint32_t i)
{
	return !pieces[i].imported && !is_of_host(&pieces[i]) && (i % 2 || strcmp(behaviour, "offer-odd"));
}

/* What the agent says that an export will have. */
static uint64_t announced_bytes(void)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < piece_count && strcmp(behaviour, "export-untold"); i++)
		bytes += pieces[i].bytes;
	return strcmp(behaviour, "export-more") ? bytes : bytes - pieces[0].bytes;
}

static void export_pieces(bool offered)
{
	int descriptors[AGENT_ALLOCATIONS_MAX];
	struct agent_message message = {.type = AGENT_ALLOCATIONS, .request_id = request_id};
	uint32_t i, j, count = 0;

	if (!offered)
		message.bytes = announced_bytes();
	for (i = 0; i < piece_count; i++) {
		if (offered && !is_offered(i))
			continue;
		if (pieces[i].imported)
			make_own(&pieces[i]);
		if ((message.type == AGENT_HOST_ALLOCATIONS) != is_of_host(&pieces[i])) {
			send_batch(&message, descriptors);
			message.type = is_of_host(&pieces[i]) ? AGENT_HOST_ALLOCATIONS : AGENT_ALLOCATIONS;
			message.last = strcmp(behaviour, "numa-elsewhere") ? 0 : 7;
		}
		j = message.count++;
		count++;
		message.allocations[j] = (struct agent_allocation){.allocation_id = i + 1,
								   .bytes = pieces[i].bytes,
								   .address = pieces[i].address,
								   .device = uuids[pieces[i].device]};
		/* Of this number there will be none. */
		if (offered && !strcmp(behaviour, "offer-gone") && i % 3 == 1)
			message.allocations[j].allocation_id = 1000 + i;
		if (!strcmp(behaviour, "export-twice"))
			message.allocations[j].allocation_id = 1;
		if (!strcmp(behaviour, "export-size"))
			message.allocations[j].bytes = 12345;
		check(driver.cuMemExportToShareableHandle(&descriptors[j], pieces[i].handle,
							  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
		      "export");
		if (message.count == AGENT_ALLOCATIONS_MAX)
			send_batch(&message, descriptors);
	}
	send_batch(&message, descriptors);
	reply(0, count, "");
}

static int export_first_piece(void)
{
	int descriptor;

	check(driver.cuMemExportToShareableHandle(&descriptor, pieces[0].handle,
						  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
	      "export");
	return descriptor;
}

static void on_export(void)
{
	struct hostile_agent hostile = {
		.socket = agent_socket,
		.outside = agent_outside,
		.request_id = request_id,
		.device = uuids[0],
		.address = pieces[0].address,
		.bytes = pieces[0].bytes,
		.export = export_first_piece,
	};

	if (!strcmp(behaviour, "export-fails"))
		reply(-EIO, 0, "no export today");
	else if (!strcmp(behaviour, "export-unsupported"))
		reply(-EOPNOTSUPP, 0, "memory that nobody can save");
	else if (!strcmp(behaviour, "export-garbage"))
		message_send(agent_socket, "?", 1, NULL, 0);
	else if (!strcmp(behaviour, "export-dies"))
		_exit(0);
	else if (!strncmp(behaviour, "hostile-", 8))
		hostile_export(behaviour + 8, &hostile);
	else if (!strcmp(behaviour, "export-hangs"))
		agent_page->out_of_place = 1; /* for ever */
	else if (strcmp(behaviour, "export-silent") && strcmp(behaviour, "silent"))
		export_pieces(false);
}

static void on_offer(void)
{
	if (!strcmp(behaviour, "offer-unknown"))
		reply(-EPROTO, 0, "no such request");
	else if (strcmp(behaviour, "offer-silent"))
		export_pieces(true);
}

static void on_release(const struct agent_message *message)
{
	uint32_t i;

	if (!strcmp(behaviour, "release-silent"))
		return;
	memcpy(agent_page->image_id, message->image_id, sizeof(agent_page->image_id));
	for (i = 0; i < piece_count; i++) {
		if (!strcmp(behaviour, "release-fails") && i == piece_count / 2) {
			behaviour = "none";
			reply(-EIO, i, "stopped in the middle");
			return;
		}
		unmap(&pieces[i]);
	}
	reply(0, piece_count, "");
}

static void on_map(const struct agent_message *message, const int *descriptors)
{
	struct piece *piece;
	uint32_t i;

	if (!strcmp(behaviour, "map-fails")) {
		reply(-EIO, 0, "no map today");
		return;
	}
	if (!strcmp(behaviour, "release-silent")) {
		behaviour = "none"; /* from now on */
		return;
	}
	if (!strcmp(behaviour, "map-few") && message->count > 20) {
		reply(-EMFILE, 0, "too many at once");
		return;
	}
	for (i = 0; i < message->count; i++) {
		piece = &pieces[message->allocations[i].allocation_id - 1];
		if (piece->mapped && agent_page->withdrawn) { /* as where others have it, too */
			reply(-ECANCELED, i, "nobody waits for the memory");
			return;
		}
		if (piece->mapped)
			continue;
		check(driver.cuMemImportFromShareableHandle(&piece->handle, (void *)(intptr_t)descriptors[i],
							    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
		      "import");
		piece->imported = true;
		map(piece);
	}
	for (i = 0; message->last && i < piece_count; i++) {
		if (!pieces[i].mapped) {
			reply(-ENODATA, 0, "an allocation is missing");
			return;
		}
		give_access(&pieces[i]);
	}
	if (message->last)
		agent_page->withdrawn = 0;
	if (message->last && !strcmp(behaviour, "looks-late") && checksum() != first_checksum)
		reply(-EIO, 0, "access before all contents");
	else
		reply(0, message->count, "");
}

/* As if the one who asked before had gone while the agent was busy. */
static void answer_somebody_else(void)
{
	struct agent_message message = {.type = AGENT_ALLOCATIONS, .count = 1};
	int descriptor = memfd_create("late", MFD_CLOEXEC);

	getrandom(&message.request_id, sizeof(message.request_id), 0);
	message.allocations[0] =
		(struct agent_allocation){.allocation_id = 1, .bytes = 2 * MEBIBYTE, .device = uuids[0]};
	message_send(agent_socket, &message, sizeof(message), &descriptor, 1);
	close(descriptor);
	request_id = message.request_id;
	reply(-EIO, 0, "an answer for somebody else");
}

/* Publishes the page by which the agent's thread is found. */
static void publish_page(int outside)
{
	int file = memfd_create(AGENT_PAGE_NAME, MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, 4096) < 0)
		_exit(3);
	agent_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (agent_page == MAP_FAILED)
		_exit(3);
	close(file);
	*agent_page = (struct agent_page){.magic = AGENT_PAGE_MAGIC,
					  .protocol_version = AGENT_PROTOCOL_VERSION,
					  .state = AGENT_STATE_MAPPED,
					  .process_id = getpid(),
					  .thread_id = gettid(),
					  .control_descriptor = outside,
					  .agent_descriptor = agent_socket};
}

/* Else a lock could meet its first call, before there is a page. */
static sem_t agent_is_ready;

static void *agent_main(void *unused)
{
	int descriptors[MESSAGE_DESCRIPTORS_MAX];
	struct agent_message message;
	size_t count;

	check(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	publish_page(agent_outside);
	sem_post(&agent_is_ready);
	for (;;) {
		count = MESSAGE_DESCRIPTORS_MAX;
		if (message_receive(agent_socket, &message, sizeof(message), descriptors, &count, -1) < 0)
			return unused;
		if (!strcmp(behaviour, "late-answers"))
			answer_somebody_else();
		request_id = message.request_id;
		if (message.type == AGENT_EXPORT)
			on_export();
		else if (message.type == AGENT_OFFER)
			on_offer();
		else if (message.type == AGENT_RELEASE)
			on_release(&message);
		else if (message.type == AGENT_MAP && strcmp(behaviour, "export-hangs") && strcmp(behaviour, "silent"))
			on_map(&message, descriptors);
		while (count)
			close(descriptors[--count]);
	}
}

/* Every third piece starts with zeros. */
static void write_contents(uint32_t seed)
{
	uint32_t i, at, *contents;

	for (i = 0; i < piece_count; i++) {
		contents = calloc(1, pieces[i].bytes);
		for (at = i % 3 == 0 ? (uint32_t)(pieces[i].bytes / 8) : 0; at < pieces[i].bytes / 4; at++)
			contents[at] = (seed + i) * 2654435761u + at * 40503u;
		check(driver.cuMemcpyHtoD(pieces[i].address, contents, pieces[i].bytes), "cuMemcpyHtoD");
		free(contents);
	}
}

#define SIGNALS_ON_THEIR_WAY 100u

static _Atomic uint64_t signals_sent, signals_handled;
static atomic_bool signals_pause, sender_at_work;

static void on_signal(int number)
{
	(void)number;
	signals_handled++;
}

static void *send_signals(void *main_thread)
{
	const union sigval none = {.sival_int = 0};

	for (;;) {
		sender_at_work = true;
		if (signals_pause || signals_sent - signals_handled >= SIGNALS_ON_THEIR_WAY) {
			sender_at_work = false;
			usleep(10);
			continue;
		}
		/* Counted before it can come; the queue takes only so many. */
		signals_sent++;
		if (pthread_sigqueue(*(pthread_t *)main_thread, SIGRTMIN, none))
			signals_sent--;
		sender_at_work = false;
	}
	return NULL;
}

static void begin_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	static pthread_t main_thread;
	pthread_t sender;

	main_thread = pthread_self();
	sigaction(SIGRTMIN, &action, NULL);
	if (pthread_create(&sender, NULL, send_signals, &main_thread))
		_exit(3);
}

static uint64_t lost_signals(void)
{
	uint64_t lost;

	signals_pause = true;
	while (sender_at_work)
		usleep(10);
	for (int i = 0; i < 30000 && signals_sent != signals_handled; i++)
		usleep(1000);
	lost = signals_sent - signals_handled;
	signals_pause = false;
	return lost;
}

int main(int count, char **arguments)
{
	uint32_t i, seed = 1;
	struct error_text error;
	pthread_t thread;
	uint64_t sum;
	char command;
	int commands;

	if (count != 7)
		return 2;
	agent_socket = atoi(arguments[1]);
	agent_outside = atoi(arguments[2]);
	if (socket_mark(agent_socket, SOCKET_MARK_AGENT) || socket_mark(agent_outside, SOCKET_MARK_OUTSIDE))
		return 3;
	commands = atoi(arguments[3]);
	piece_count = (uint32_t)atoi(arguments[4]);
	behaviour = arguments[6];
	if (cuda_driver_open(&driver, getenv("REKINDLE_CUDA_DRIVER"), &error)) {
		fprintf(stderr, "test-application: %s\n", error.text);
		return 3;
	}
	check(driver.cuInit(0), "cuInit");
	check(driver.cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
	check(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	check(driver.cuDeviceGetUuid(&uuids[0], 0), "cuDeviceGetUuid");
	if (!strcmp(behaviour, "two-devices"))
		check(driver.cuDeviceGetUuid(&uuids[1], 1), "cuDeviceGetUuid");
	pieces = calloc(piece_count, sizeof(*pieces));
	for (i = 0; i < piece_count; i++) {
		pieces[i].bytes = (uint64_t)atoi(arguments[5]) * MEBIBYTE;
		pieces[i].device = !strcmp(behaviour, "two-devices") && i % 2;
		check(driver.cuMemAddressReserve(&pieces[i].address, pieces[i].bytes, 0, 0, 0), "cuMemAddressReserve");
		create(&pieces[i]);
		map(&pieces[i]);
		give_access(&pieces[i]);
	}
	write_contents(seed);
	if (!strcmp(behaviour, "looks-late"))
		first_checksum = checksum();
	sem_init(&agent_is_ready, 0, 0);
	if (pthread_create(&thread, NULL, agent_main, NULL))
		return 3;
	while (sem_wait(&agent_is_ready) < 0)
		;
	if (!strcmp(behaviour, "signals"))
		begin_signals();
	while (recv(commands, &command, 1, 0) == 1) {
		if (command == 'w')
			write_contents(++seed);
		sum = command == 's' ? lost_signals() : checksum();
		if (send(commands, &sum, sizeof(sum), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}
