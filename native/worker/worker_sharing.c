/* SPDX-License-Identifier: MIT */
#include "worker/worker_sharing.h"

#include <errno.h>
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
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sharing->ends))
		return fail(error, -errno, "socketpair: %s", errno_text(errno));
	return 0;
}

static int map(struct worker_sharing *sharing, const struct cuda_driver *driver, CUmemGenericAllocationHandle handle,
	       CUdevice device, struct error_text *error)
{
	CUmemAccessDesc access = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};

	CHECK(cuMemAddressReserve(&sharing->address, SHARED_BYTES, 0, 0, 0));
	CHECK(cuMemMap(sharing->address, SHARED_BYTES, 0, handle, 0));
	CHECK(cuMemSetAccess(sharing->address, SHARED_BYTES, &access, 1));
	return 0;
}

static int hand_out(struct worker_sharing *sharing, const struct cuda_driver *driver, CUdevice device,
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

	CHECK(cuMemCreate(&handle, SHARED_BYTES, &properties, 0));
	result = map(sharing, driver, handle, device, error);
	for (child = 0; child < sharing->children && result == 0; child++) {
		CHECK(cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
		result = message_send(sharing->ends[1], &child, sizeof(child), &descriptor, 1);
		close(descriptor);
		if (result)
			return fail(error, result, "handing memory out: %s", errno_text(-result));
	}
	return result;
}

static int take(struct worker_sharing *sharing, const struct cuda_driver *driver, CUdevice device,
		struct error_text *error)
{
	CUmemGenericAllocationHandle handle;
	int descriptor = -1;
	size_t count = 1;
	unsigned int number;
	CUresult result;

	if (message_receive(sharing->ends[0], &number, sizeof(number), &descriptor, &count, -1) != sizeof(number) ||
	    count != 1)
		return fail(error, -EPROTO, "the root has handed out no memory");
	result = driver->cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)descriptor,
							CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	close(descriptor);
	if (result != CUDA_SUCCESS)
		return fail(error, -EIO, "importing the root's memory failed: %s", cuda_result_name(driver, result));
	return map(sharing, driver, handle, device, error);
}

int worker_sharing_start(struct worker_sharing *sharing, const struct cuda_driver *driver, CUdevice device,
			 bool is_root, struct error_text *error)
{
	int result;

	sharing->is_root = is_root;
	/* A root that ends leaves nobody waiting, and one whose child has not come yet leaves the message in the queue. */
	close(sharing->ends[is_root ? 0 : 1]);
	result = is_root ? hand_out(sharing, driver, device, error) : take(sharing, driver, device, error);
	close(sharing->ends[is_root ? 1 : 0]);
	return result;
}

int worker_sharing_step(struct worker_sharing *sharing, const struct cuda_driver *driver, bool *goes_on,
			struct error_text *error)
{
	unsigned char number;

	*goes_on = true;
	if (sharing->is_root) {
		CHECK(cuMemsetD8(sharing->address, ++sharing->last, 1));
		return 0;
	}
	CHECK(cuMemcpyDtoH(&number, sharing->address, 1));
	*goes_on = number != sharing->last;
	sharing->last = number;
	return 0;
}
