/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "agent/device_access.h"
#include "agent/offload.h"
#include "agent/real_driver.h"

#define STREAM_NON_BLOCKING 1u /* CU_STREAM_NON_BLOCKING: apart from what a capture under way forbids */

/* A scratch mapping of imported memory that could not be unmapped: with it the driver's restore would fail. */
static struct {
	CUdeviceptr address;
	size_t bytes; /* 0: none */
} stuck;

int replace_memory_tidy(struct error_text *error)
{
	CUresult result;

	if (!stuck.bytes)
		return 0;
	result = real_driver()->cuMemUnmap(stuck.address, stuck.bytes);
	if (result != CUDA_SUCCESS)
		return fail(
			error, -EOPNOTSUPP,
			"cuMemUnmap failed with CUDA error %d for memory of before the last restore, and the process "
			"cannot be dumped while that is mapped; try again",
			result);
	real_driver()->cuMemAddressFree(stuck.address, 2 * stuck.bytes);
	stuck.bytes = 0;
	return 0;
}

struct failed_call {
	const char *name;
	CUresult result;
};

/* Notes the first call that failed. */
static bool succeeded(struct failed_call *failed, const char *name, CUresult result)
{
	if (result == CUDA_SUCCESS)
		return true;
	if (!failed->name)
		*failed = (struct failed_call){name, result};
	return false;
}

#define CALL(name, ...) succeeded(failed, #name, driver->name(__VA_ARGS__))

static bool copy_in_current_context(CUdeviceptr destination, CUdeviceptr source, size_t bytes,
				    struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();
	CUstream stream;
	bool copied;

	if (!CALL(cuStreamCreate, &stream, STREAM_NON_BLOCKING))
		return false;
	copied = CALL(cuMemcpyDtoDAsync_v2, destination, source, bytes, stream) && CALL(cuStreamSynchronize, stream);
	driver->cuStreamDestroy_v2(stream);
	return copied;
}

/* In the context in which the memory was made; where that is gone, in the device's primary context. */
static bool copy(const struct physical_memory *memory, CUdeviceptr destination, CUdeviceptr source,
		 struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();
	CUdevice device = memory->properties.location.id;
	CUcontext context = memory->context;
	bool retained = false;
	bool copied = false;

	if (!context || driver->cuCtxSetCurrent(context) != CUDA_SUCCESS) {
		retained = CALL(cuDevicePrimaryCtxRetain, &context, device);
		if (!retained || !CALL(cuCtxSetCurrent, context))
			goto out;
	}
	copied = copy_in_current_context(destination, source, memory->bytes, failed);
out:
	driver->cuCtxSetCurrent(NULL);
	if (retained)
		driver->cuDevicePrimaryCtxRelease_v2(device);
	return copied;
}

/* Copies through two scratch mappings, whatever mappings and access the application has. */
static bool copy_contents(const struct physical_memory *memory, CUmemGenericAllocationHandle fresh,
			  struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();
	uint64_t device = (uint64_t)1 << memory->properties.location.id;
	size_t bytes = memory->bytes;
	CUdeviceptr scratch;
	bool copied = false;

	if (!CALL(cuMemAddressReserve, &scratch, 2 * bytes, 0, 0, 0))
		return false;
	if (!CALL(cuMemMap, scratch, bytes, 0, memory->real, 0))
		goto free_scratch;
	if (!CALL(cuMemMap, scratch + bytes, bytes, 0, fresh, 0))
		goto unmap_source;
	if (succeeded(failed, "cuMemSetAccess", access_set(scratch, bytes, 0, device)) &&
	    succeeded(failed, "cuMemSetAccess", access_set(scratch + bytes, bytes, 0, device)))
		copied = copy(memory, scratch + bytes, scratch, failed);
	/* A mapping that stays would keep the old memory from being given back: count it as a failure. */
	copied = CALL(cuMemUnmap, scratch + bytes, bytes) && copied;
unmap_source:
	if (!CALL(cuMemUnmap, scratch, bytes)) {
		stuck.address = scratch;
		stuck.bytes = bytes;
		return false;
	}
free_scratch:
	driver->cuMemAddressFree(scratch, 2 * bytes);
	return copied;
}

int replace_imported_memory(struct physical_memory *memory, struct error_text *error)
{
	const struct real_driver *driver = real_driver();
	CUmemAllocationProp properties = memory->properties;
	CUmemGenericAllocationHandle old = memory->real;
	CUmemGenericAllocationHandle fresh;
	struct failed_call first = {0};
	struct failed_call *failed = &first;

	properties.requestedHandleTypes |= CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	if (!CALL(cuMemCreate, &fresh, memory->bytes, &properties, 0))
		goto failed;
	if (!copy_contents(memory, fresh, failed))
		goto release_fresh;
	if (!succeeded(failed, "cuMemUnmap", unmap_everywhere(memory)) ||
	    !succeeded(failed, "cuMemMap", map_everywhere(memory, fresh)))
		goto put_back;
	driver->cuMemRelease(old);
	memory->real = fresh;
	memory_set_imported(memory, false);
	return 0;

put_back:
	/* Mappings of the fresh memory must go first; those of the old one that are still there go too, and come back. */
	if (unmap_everywhere(memory) != CUDA_SUCCESS || map_everywhere(memory, old) != CUDA_SUCCESS)
		return fail(
			error, -EOPNOTSUPP,
			"%s failed with CUDA error %d, and so did putting %zu MiB of device memory back; the process "
			"cannot be dumped and will fail when it uses that memory",
			failed->name, failed->result, memory->bytes >> 20);
release_fresh:
	driver->cuMemRelease(fresh);
failed:
	return fail(
		error, -EOPNOTSUPP,
		"%s failed with CUDA error %d while %zu MiB of device memory of this restored process were copied to "
		"fresh memory; leave that much free on the device and try again",
		failed->name, failed->result, memory->bytes >> 20);
}
