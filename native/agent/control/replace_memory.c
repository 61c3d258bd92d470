/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "agent/control/offload.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/device_access.h"
#include "agent/memory/in_place.h"

#define STREAM_NON_BLOCKING 1u /* CU_STREAM_NON_BLOCKING: apart from what a capture under way forbids */

/* Two scratch mappings side by side, of imported memory and of the fresh one, that could not all be unmapped. */
static struct {
	CUdeviceptr address;
	size_t bytes; /* of each; 0: none */
	bool old_mapped, fresh_mapped;
} stuck;

/* What the last piece of an export has left for the next, which is of its size and context as a rule. */
static struct {
	CUdeviceptr address; /* of two times bytes, nothing mapped there */
	size_t bytes;	     /* 0: none */
	CUcontext context;
	CUstream stream; /* NULL: none */
} spare;

static void end_spare_stream(void)
{
	if (spare.stream && real_driver()->cuCtxSetCurrent(spare.context) == CUDA_SUCCESS)
		real_driver()->cuStreamDestroy_v2(spare.stream);
	spare.stream = NULL;
}

static void end_spare_addresses(void)
{
	if (spare.bytes)
		real_driver()->cuMemAddressFree(spare.address, 2 * spare.bytes);
	spare.bytes = 0;
}

void replace_memory_end(void)
{
	end_spare_addresses();
	if (!spare.stream)
		return;
	end_spare_stream();
	real_driver()->cuCtxSetCurrent(NULL);
}

/* Unmaps what is still mapped; *result is that of the imported memory's. */
static void unmap_stuck(CUresult *result)
{
	const struct real_driver *driver = real_driver();

	*result = CUDA_SUCCESS;
	if (stuck.fresh_mapped && driver->cuMemUnmap(stuck.address + stuck.bytes, stuck.bytes) == CUDA_SUCCESS)
		stuck.fresh_mapped = false;
	if (stuck.old_mapped)
		*result = driver->cuMemUnmap(stuck.address, stuck.bytes);
	if (*result == CUDA_SUCCESS)
		stuck.old_mapped = false;
	if (stuck.old_mapped || stuck.fresh_mapped)
		return;
	driver->cuMemAddressFree(stuck.address, 2 * stuck.bytes);
	stuck.bytes = 0;
}

int replace_memory_tidy(struct error_text *error)
{
	CUresult result;

	if (!stuck.bytes)
		return 0;
	unmap_stuck(&result);
	if (result == CUDA_SUCCESS)
		return 0;
	/* With it the driver's restore would fail. */
	return fail(error, -EOPNOTSUPP,
		    "cuMemUnmap failed with CUDA error %d for memory of before the last restore, and the process "
		    "cannot be dumped while that is mapped; try again",
		    result);
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

/* The context is current. */
static bool copy_in_context(CUcontext context, CUdeviceptr destination, CUdeviceptr source, size_t bytes,
			    struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();

	if (spare.stream && spare.context != context) {
		end_spare_stream();
		if (!CALL(cuCtxSetCurrent, context))
			return false;
	}
	if (!spare.stream && !CALL(cuStreamCreate, &spare.stream, STREAM_NON_BLOCKING)) {
		spare.stream = NULL;
		return false;
	}
	spare.context = context;
	if (CALL(cuMemcpyDtoDAsync_v2, destination, source, bytes, spare.stream) &&
	    CALL(cuStreamSynchronize, spare.stream))
		return true;
	/* Before what it may still use is unmapped. */
	end_spare_stream();
	return false;
}

/* False where the context is gone, or is another device's: the scratch mappings are for the memory's own device only. */
static bool enter_context(CUcontext context, CUdevice device)
{
	const struct real_driver *driver = real_driver();
	CUdevice its;

	return context && driver->cuCtxSetCurrent(context) == CUDA_SUCCESS &&
	       driver->cuCtxGetDevice(&its) == CUDA_SUCCESS && its == device;
}

/* In the context in which the memory was made; where that will not do, in the device's primary context. */
static bool copy(const struct physical_memory *memory, CUdeviceptr destination, CUdeviceptr source,
		 struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();
	CUdevice device = memory_device(memory);
	CUcontext context = memory->context;
	bool retained = false;
	bool copied = false;

	if (!enter_context(context, device)) {
		retained = CALL(cuDevicePrimaryCtxRetain, &context, device);
		if (!retained || !CALL(cuCtxSetCurrent, context))
			goto out;
	}
	copied = copy_in_context(context, destination, source, memory->bytes, failed);
out:
	/* The stream goes with its context. */
	if (retained)
		end_spare_stream();
	driver->cuCtxSetCurrent(NULL);
	if (retained)
		driver->cuDevicePrimaryCtxRelease_v2(device);
	return copied;
}

static bool find_addresses(size_t bytes, CUdeviceptr *scratch, struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();

	if (spare.bytes == bytes) {
		*scratch = spare.address;
		spare.bytes = 0;
		return true;
	}
	end_spare_addresses();
	return CALL(cuMemAddressReserve, scratch, 2 * bytes, 0, 0, 0);
}

/* Where the application has all of the memory mapped, once, and its device can read it; 0: nowhere. */
static CUdeviceptr find_source(const struct physical_memory *memory, uint64_t device)
{
	struct mapping_walk walk = mapping_walk(memory);
	const struct mapping *mapping = mapping_next(&walk);

	return memory->mappings == 1 && mapping && mapping->mapped && !mapping->offset &&
			       mapping->bytes == memory->bytes &&
			       (mapping->read_devices | mapping->write_devices) & device
		       ? mapping->address
		       : 0;
}

/* Copies through scratch mappings, whatever mappings and access the application has. */
static bool copy_contents(const struct physical_memory *memory, CUmemGenericAllocationHandle fresh,
			  struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();
	uint64_t device = (uint64_t)1 << memory_device(memory);
	size_t bytes = memory->bytes;
	CUdeviceptr scratch, source = find_source(memory, device);
	bool fresh_mapped = false, old_mapped = false, copied;

	/* There is one place only for what sticks; before this the attempt to end it has failed. */
	if (stuck.bytes)
		return succeeded(failed, "cuMemUnmap", CUDA_ERROR_ALREADY_MAPPED);
	if (!find_addresses(bytes, &scratch, failed))
		return false;
	if (!source)
		old_mapped = CALL(cuMemMap, scratch, bytes, 0, memory->real, 0);
	if (source || old_mapped)
		fresh_mapped = CALL(cuMemMap, scratch + bytes, bytes, 0, fresh, 0);
	copied = fresh_mapped &&
		 (source || succeeded(failed, "cuMemSetAccess", access_set(scratch, bytes, 0, device))) &&
		 succeeded(failed, "cuMemSetAccess", access_set(scratch + bytes, bytes, 0, device)) &&
		 copy(memory, scratch + bytes, source ? source : scratch, failed);
	/* A mapping that stays would keep its memory from being given back: it counts as a failure. */
	if (fresh_mapped)
		fresh_mapped = !CALL(cuMemUnmap, scratch + bytes, bytes);
	if (old_mapped)
		old_mapped = !CALL(cuMemUnmap, scratch, bytes);
	if (!old_mapped && !fresh_mapped) {
		spare.address = scratch;
		spare.bytes = bytes;
		return copied;
	}
	stuck.address = scratch;
	stuck.bytes = bytes;
	stuck.old_mapped = old_mapped;
	stuck.fresh_mapped = fresh_mapped;
	return false;
}

/* As it was made; of the host's, on the node that it is on now, which a restore may have had to choose anew. */
static bool make_fresh(const struct physical_memory *memory, CUmemGenericAllocationHandle *fresh,
		       struct failed_call *failed)
{
	const struct real_driver *driver = real_driver();
	CUmemAllocationProp properties = memory->properties, now = {0};

	properties.requestedHandleTypes |= CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	if (memory->host) {
		if (!CALL(cuMemGetAllocationPropertiesFromHandle, &now, memory->real))
			return false;
		properties.location = now.location;
	}
	return CALL(cuMemCreate, fresh, memory->bytes, &properties, 0);
}

int replace_imported_memory(struct agent_page *page, struct physical_memory *memory, struct error_text *error)
{
	const struct real_driver *driver = real_driver();
	CUmemGenericAllocationHandle old = memory->real;
	CUmemGenericAllocationHandle fresh;
	struct failed_call first = {0};
	struct failed_call *failed = &first;
	bool put_back;

	if (!make_fresh(memory, &fresh, failed))
		goto failed;
	if (!copy_contents(memory, fresh, failed))
		goto release_fresh;
	page->out_of_place = 1;
	if (offload_is_withdrawn(page)) {
		page->out_of_place = 0;
		driver->cuMemRelease(fresh);
		return fail(error, -ECANCELED, "nobody waits for the export any more");
	}
	if (!succeeded(failed, "cuMemUnmap", unmap_everywhere(memory)) ||
	    !succeeded(failed, "cuMemMap", map_everywhere(memory, fresh)))
		goto put_back;
	page->out_of_place = 0;
	driver->cuMemRelease(old);
	memory->real = fresh;
	memory_set_imported(memory, false);
	return 0;

put_back:
	/* Mappings of the fresh memory must go first; those of the old one that are still there go too, and come back. */
	put_back = unmap_everywhere(memory) == CUDA_SUCCESS && map_everywhere(memory, old) == CUDA_SUCCESS;
	driver->cuMemRelease(fresh); /* it lives on where it could not be unmapped */
	if (!put_back)
		return fail(error, -EOPNOTSUPP,
			    "%s failed with CUDA error %d, and so did putting %zu MiB of device memory back; the "
			    "process cannot be dumped and will fail when it uses that memory",
			    failed->name, failed->result, memory->bytes >> 20);
	page->out_of_place = 0;
	goto failed;
release_fresh:
	driver->cuMemRelease(fresh);
failed:
	return fail(error, -EOPNOTSUPP,
		    "%s failed with CUDA error %d while %zu MiB of device memory of this restored process were copied "
		    "to fresh memory; leave that much free on the device and try again",
		    failed->name, failed->result, memory->bytes >> 20);
}
