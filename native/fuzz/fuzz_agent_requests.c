/* SPDX-License-Identifier: MIT */
/*
 * Requests to the agent, between calls of the application that it lives in. The driver is this file's: addresses are
 * numbers, and its calls fail as the input says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"
#include "agent/base/fork_handler.h"
#include "agent/control/control_thread.h"
#include "agent/control/offload.h"
#include "agent/control/published_page.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/allocation_table.h"
#include "agent/sharing/sharing_thread.h"
#include "fuzz/fuzz_input.h"
#include "protocol/message_socket.h"

#define GRANULARITY (2u << 20)
#define PIECES_MAX 6

static struct fuzz_input input;
static struct real_driver driver;
static CUdeviceptr next_address;
static CUmemGenericAllocationHandle next_handle;

static CUresult next_result(void)
{
	return fuzz_byte(&input) % 8 == 7 ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-parameter"
#define FAILING_FUNCTION(symbol)                             \
	static CUresult failing_##symbol PARAMETERS_##symbol \
	{                                                    \
		return CUDA_ERROR_NOT_SUPPORTED;             \
	}
#define FAILING_INTERPOSED(name, symbol, version, per_thread) FAILING_FUNCTION(symbol)
INTERPOSED_FUNCTIONS(FAILING_INTERPOSED)
CALLED_FUNCTIONS(FAILING_FUNCTION)

static CUresult create(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
		       unsigned long long flags)
{
	*handle = ++next_handle;
	return next_result();
}

static CUresult release_handle(CUmemGenericAllocationHandle handle)
{
	return CUDA_SUCCESS;
}

static CUresult reserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr hint,
			unsigned long long flags)
{
	*address = next_address;
	next_address += (bytes + GRANULARITY - 1) / GRANULARITY * GRANULARITY;
	return next_result();
}

static CUresult free_address(CUdeviceptr address, size_t bytes)
{
	return CUDA_SUCCESS;
}

static CUresult map(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
		    unsigned long long flags)
{
	return next_result();
}

static CUresult unmap(CUdeviceptr address, size_t bytes)
{
	return next_result();
}

static CUresult set_access(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
	return next_result();
}

static CUresult export_handle(void *shareable, CUmemGenericAllocationHandle handle, int type, unsigned long long flags)
{
	CUresult result = next_result();

	if (result == CUDA_SUCCESS)
		*(int *)shareable = memfd_create("fuzz", MFD_CLOEXEC);
	return result;
}

static CUresult import_handle(CUmemGenericAllocationHandle *handle, void *shareable, int type)
{
	*handle = ++next_handle;
	return next_result();
}

static CUresult get_uuid(CUuuid *uuid, CUdevice device)
{
	memset(uuid, 0, sizeof(*uuid));
	return next_result();
}

static CUresult get_count(int *count)
{
	*count = 1;
	return CUDA_SUCCESS;
}

static CUresult get_attribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
	*value = 1;
	return CUDA_SUCCESS;
}

static CUresult get_device(CUdevice *device)
{
	*device = 0;
	return CUDA_SUCCESS;
}

static CUresult get_current(CUcontext *context)
{
	*context = (CUcontext)(uintptr_t)1;
	return CUDA_SUCCESS;
}

static CUresult set_current(CUcontext context)
{
	return CUDA_SUCCESS;
}

static CUresult get_granularity(size_t *granularity, const CUmemAllocationProp *properties, int option)
{
	*granularity = GRANULARITY;
	return CUDA_SUCCESS;
}

static CUresult create_stream(CUstream *stream, unsigned int flags)
{
	*stream = (CUstream)(uintptr_t)3;
	return next_result();
}

static CUresult use_stream(CUstream stream)
{
	return next_result();
}

static CUresult copy(CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	return next_result();
}

static CUresult synchronize(void)
{
	return CUDA_SUCCESS;
}
#pragma clang diagnostic pop

const struct real_driver *real_driver(void)
{
	return &driver;
}

bool agent_is_enabled(void)
{
	return true;
}

size_t agent_minimum_bytes(void)
{
	return GRANULARITY;
}

void agent_complain(const char *format, ...)
{
	(void)format;
}

void control_thread_start(void)
{
}

void fork_handler_add(enum fork_part part, void (*forget)(void))
{
	(void)part;
	(void)forget;
}

void published_page_need_agent(void)
{
}

int sharing_pause(void)
{
	return 0;
}

void sharing_resume(void)
{
}

static void prepare(void)
{
#define FAIL(symbol) driver.symbol = failing_##symbol;
#define FAIL_INTERPOSED(name, symbol, version, per_thread) FAIL(symbol)
	INTERPOSED_FUNCTIONS(FAIL_INTERPOSED)
	CALLED_FUNCTIONS(FAIL)
	driver.cuMemCreate = create;
	driver.cuMemRelease = release_handle;
	driver.cuMemAddressReserve = reserve;
	driver.cuMemAddressFree = free_address;
	driver.cuMemMap = map;
	driver.cuMemUnmap = unmap;
	driver.cuMemSetAccess = set_access;
	driver.cuMemExportToShareableHandle = export_handle;
	driver.cuMemImportFromShareableHandle = import_handle;
	driver.cuDeviceGetUuid_v2 = get_uuid;
	driver.cuDeviceGetCount = get_count;
	driver.cuDeviceGetAttribute = get_attribute;
	driver.cuCtxGetDevice = get_device;
	driver.cuCtxGetCurrent = get_current;
	driver.cuCtxSetCurrent = set_current;
	driver.cuCtxSynchronize = synchronize;
	driver.cuMemGetAllocationGranularity = get_granularity;
	driver.cuStreamCreate = create_stream;
	driver.cuStreamSynchronize = use_stream;
	driver.cuStreamDestroy_v2 = use_stream;
	driver.cuMemcpyDtoDAsync_v2 = copy;
	driver.loaded = driver.has_virtual_memory = true;
}

/* What the application has. */
static struct piece {
	CUdeviceptr address; /* 0: not mapped */
	CUmemGenericAllocationHandle handle;
	uint64_t bytes;
	bool plain;
} pieces[PIECES_MAX];

static void use_memory(struct piece *piece, uint8_t how)
{
	CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
					  .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};

	if (piece->plain) {
		if (cuMemFree_v2(piece->address) == CUDA_SUCCESS)
			*piece = (struct piece){.plain = false};
	} else if (piece->handle && piece->address) {
		if (cuMemUnmap(piece->address, piece->bytes) == CUDA_SUCCESS)
			piece->address = 0;
	} else if (piece->handle) {
		if (cuMemRelease(piece->handle) == CUDA_SUCCESS)
			piece->handle = 0;
	} else if (how % 2) {
		piece->bytes = GRANULARITY;
		piece->plain = cuMemAlloc_v2(&piece->address, piece->bytes) == CUDA_SUCCESS;
	} else {
		piece->bytes = (how % 3 + 1u) * GRANULARITY;
		if (cuMemCreate(&piece->handle, piece->bytes, &properties, 0) != CUDA_SUCCESS) {
			piece->handle = 0;
			return;
		}
		if (reserve(&piece->address, piece->bytes, 0, 0, 0) != CUDA_SUCCESS ||
		    cuMemMap(piece->address, piece->bytes, 0, piece->handle, 0) != CUDA_SUCCESS)
			piece->address = 0;
	}
}

/* Takes what the agent sends, and closes what comes with it. */
static void drain(int socket)
{
	int descriptors[MESSAGE_DESCRIPTORS_MAX];
	size_t count = MESSAGE_DESCRIPTORS_MAX;
	struct agent_message message;

	while (message_receive(socket, &message, sizeof(message), descriptors, &count, 0) > 0) {
		while (count)
			close(descriptors[--count]);
		count = MESSAGE_DESCRIPTORS_MAX;
	}
}

static void request(struct agent_page *page, const int *sockets, uint8_t type)
{
	static struct agent_message message, reply;
	int descriptors[MESSAGE_DESCRIPTORS_MAX];
	uint8_t shape = fuzz_byte(&input);
	size_t count, i;

	memset(&message, 0, sizeof(message));
	message.type = type;
	message.last = shape & 1;
	message.count = shape & 2 ? fuzz_byte(&input) : shape >> 5;
	for (i = 0; i < message.count && i < AGENT_ALLOCATIONS_MAX; i++)
		message.allocations[i] = (struct agent_allocation){.allocation_id = fuzz_byte(&input),
								   .bytes = (fuzz_byte(&input) % 4u) * GRANULARITY};
	count = shape & 4 ? fuzz_byte(&input) : message.count;
	if (count > MESSAGE_DESCRIPTORS_MAX)
		count = MESSAGE_DESCRIPTORS_MAX;
	for (i = 0; i < count; i++)
		descriptors[i] = memfd_create("fuzz", MFD_CLOEXEC);
	offload_answer(page, sockets[0], &message, descriptors, count, &reply);
	if (reply.type != AGENT_REPLY || reply.result > 0 || !memchr(reply.error.text, 0, sizeof(reply.error.text)) ||
	    (page->state != AGENT_STATE_MAPPED && page->state != AGENT_STATE_RELEASED))
		abort();
	while (count)
		close(descriptors[--count]);
	drain(sockets[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_page page = {.state = AGENT_STATE_MAPPED};
	int sockets[2], first, last;
	uint8_t what;

	if (!driver.loaded)
		prepare();
	first = dup(STDIN_FILENO);
	close(first);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		abort();
	table_after_fork(); /* forgets everything */
	memset(pieces, 0, sizeof(pieces));
	next_address = 1ull << 40;
	next_handle = 0x1000;
	input = (struct fuzz_input){data, size};
	while (input.size) {
		what = fuzz_byte(&input);
		if (what % 16 < 12)
			use_memory(&pieces[what % PIECES_MAX], what / 16);
		else
			request(&page, sockets, what / 16 ? (uint8_t)(what / 16 % 6) : fuzz_byte(&input));
	}
	close(sockets[0]);
	close(sockets[1]);
	last = dup(STDIN_FILENO);
	close(last);
	if (last != first)
		abort(); /* a descriptor is left open */
	return 0;
}
