/* SPDX-License-Identifier: MIT */
#include "worker/worker_sharing.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/message_socket.h"

#define SHARED_BYTES ((size_t)2 << 20)

#define CHECK(call)                                                                                               \
	do {                                                                                                      \
		CUresult check_result = driver->call;                                                             \
		if (check_result != CUDA_SUCCESS)                                                                 \
			return fail(error, -EIO, "%s failed: %s", #call, cuda_result_name(driver, check_result)); \
	} while (0)

int worker_sharing_prepare(struct worker_sharing *sharing, unsigned int children, struct error_text *error)
{
	sharing->children = children;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sharing->ends) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sharing->ends + 2))
		return fail(error, -errno, "socketpair: %s", errno_text(errno));
	return 0;
}

/* The host's for the processor as well. */
static int map(struct worker_sharing *sharing, const struct cuda_driver *driver, int number,
	       CUmemGenericAllocationHandle handle, CUdevice device, struct error_text *error)
{
	CUmemAccessDesc access[2] = {
		{{.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
		{{.type = CU_MEM_LOCATION_TYPE_HOST_NUMA}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
	};
	CUdeviceptr *address = &sharing->addresses[number];

	CHECK(cuMemAddressReserve(address, SHARED_BYTES, 0, 0, 0));
	CHECK(cuMemMap(*address, SHARED_BYTES, 0, handle, 0));
	CHECK(cuMemSetAccess(*address, SHARED_BYTES, access, number ? 2 : 1));
	return 0;
}

static int hand_out(struct worker_sharing *sharing, const struct cuda_driver *driver, int number, CUdevice device,
		    struct error_text *error)
{
	CUmemAllocationProp properties = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
	};
	CUmemGenericAllocationHandle handle;
	int result, descriptor;
	unsigned int child;

	if (number)
		properties.location = (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_HOST_NUMA};
	CHECK(cuMemCreate(&handle, SHARED_BYTES, &properties, 0));
	result = map(sharing, driver, number, handle, device, error);
	for (child = 0; child < sharing->children && result == 0; child++) {
		CHECK(cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
		result = message_send(sharing->ends[number ? 3 : 1], &child, sizeof(child), &descriptor, 1);
		close(descriptor);
		if (result)
			return fail(error, result, "handing memory out: %s", errno_text(-result));
	}
	return result;
}

static int take(struct worker_sharing *sharing, const struct cuda_driver *driver, int number, CUdevice device,
		struct error_text *error)
{
	CUmemGenericAllocationHandle handle;
	int descriptor = -1;
	size_t count = 1;
	unsigned int child;
	CUresult result;

	if (message_receive(sharing->ends[number ? 2 : 0], &child, sizeof(child), &descriptor, &count, -1) !=
		    sizeof(child) ||
	    count != 1)
		return fail(error, -EPROTO, "the root has handed out no memory");
	result = driver->cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)descriptor,
							CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	close(descriptor);
	if (result != CUDA_SUCCESS)
		return fail(error, -EIO, "importing the root's memory failed: %s", cuda_result_name(driver, result));
	return map(sharing, driver, number, handle, device, error);
}

int worker_sharing_start(struct worker_sharing *sharing, const struct cuda_driver *driver, CUdevice device,
			 bool is_root, struct error_text *error)
{
	int result = 0, number;

	sharing->is_root = is_root;
	for (number = 0; number < 2 && result == 0; number++) {
		int *ends = &sharing->ends[2 * number];

		/* A root that ends leaves nobody waiting, and one whose child has not come yet leaves the message in the queue. */
		close(ends[is_root ? 0 : 1]);
		result = is_root ? hand_out(sharing, driver, number, device, error)
				 : take(sharing, driver, number, device, error);
		close(ends[is_root ? 1 : 0]);
	}
	return result;
}

int worker_sharing_step(struct worker_sharing *sharing, const struct cuda_driver *driver, bool *goes_on,
			struct error_text *error)
{
	unsigned char seen[2];
	int number;

	*goes_on = true;
	for (number = 0; number < 2 && sharing->is_root; number++)
		CHECK(cuMemsetD8(sharing->addresses[number], ++sharing->last[number], 1));
	if (sharing->is_root)
		return 0;
	for (number = 0; number < 2; number++) {
		CHECK(cuMemcpyDtoH(&seen[number], sharing->addresses[number], 1));
		*goes_on &= seen[number] != sharing->last[number];
	}
	/* Another number in one of them only is seen again the next time. */
	if (*goes_on)
		memcpy(sharing->last, seen, sizeof(seen));
	return 0;
}
