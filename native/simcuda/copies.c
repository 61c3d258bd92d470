/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "simcuda/simcuda.h"

/*
 * Copies and fills. Addresses are checked when the call is made, with the access that the device has on which it runs; the
 * bytes move on the stream.
 */

#define HOST 0
#define READ 1
#define WRITE 2
#define EITHER 4 /* host or device, as the address says */

static CUresult check_device_range(CUdeviceptr address, size_t bytes, bool write, CUdevice device)
{
	CUresult result = CUDA_SUCCESS;
	CUdeviceptr end = address + bytes;

	pthread_mutex_lock(&table_mutex);
	while (address < end && result == CUDA_SUCCESS) {
		struct mapping *mapping = mapping_at(address);

		if (!mapping) {
			result = CUDA_ERROR_INVALID_VALUE;
			break;
		}
		if (!mapping_access(mapping, device) ||
		    (write && mapping_access(mapping, device) != CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
			result = CUDA_ERROR_INVALID_VALUE;
		address = mapping->address + mapping->bytes;
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

static bool is_device_address(const void *pointer)
{
	bool is_device;

	pthread_mutex_lock(&table_mutex);
	is_device = mapping_at((CUdeviceptr)(uintptr_t)pointer) != NULL;
	pthread_mutex_unlock(&table_mutex);
	return is_device;
}

static CUresult check_side(const void *pointer, size_t bytes, int kind, CUdevice device, bool *pageable)
{
	if ((kind & EITHER) && !is_device_address(pointer))
		kind = HOST;
	if (kind == HOST) {
		if (!pointer)
			return CUDA_ERROR_INVALID_VALUE;
		if (!host_range_is_pinned(pointer, bytes))
			*pageable = true;
		return CUDA_SUCCESS;
	}
	return check_device_range((CUdeviceptr)(uintptr_t)pointer, bytes, kind & WRITE, device);
}

static CUresult check_copy(void *destination, int to, const void *source, int from, size_t bytes, CUdevice device,
			   bool *pageable)
{
	CUresult result = check_side(destination, bytes, to, device, pageable);

	return result == CUDA_SUCCESS ? check_side(source, bytes, from, device, pageable) : result;
}

static CUresult copy_now(void *destination, int to, const void *source, int from, size_t bytes)
{
	CUdevice device = current_context()->device;
	bool pageable = false;
	CUresult result;

	if (!bytes)
		return CUDA_SUCCESS;
	result = check_copy(destination, to, source, from, bytes, device, &pageable);
	if (result != CUDA_SUCCESS)
		return result;
	streams_synchronise_default();
	if (device_error(device) != CUDA_SUCCESS)
		return device_error(device);
	memmove(destination, source, bytes);
	return CUDA_SUCCESS;
}

static CUresult copy_on_stream(void *destination, int to, const void *source, int from, size_t bytes, CUstream stream)
{
	struct operation operation = {.kind = OPERATION_COPY,
				      .destination = destination,
				      .source = source,
				      .bytes = bytes,
				      .delay_nanoseconds = take_stream_delay()};
	bool pageable = false;
	CUdevice device;
	CUresult result = stream_device(stream, &device);

	if (result != CUDA_SUCCESS || !bytes)
		return result;
	result = check_copy(destination, to, source, from, bytes, device, &pageable);
	if (result != CUDA_SUCCESS)
		return result;
	operation.to_device = is_device_address(destination);
	operation.from_device = is_device_address(source);
	result = stream_submit(stream, &operation);
	/* Pageable memory is staged by a real driver, so the caller may use it again at once. */
	if (result == CUDA_SUCCESS && pageable)
		result = stream_wait_idle(stream);
	return result;
}

#define POINTER(address) ((void *)(uintptr_t)(address))

CUresult simulated_cuMemcpy(CUdeviceptr destination, CUdeviceptr source, size_t bytes)
{
	return copy_now(POINTER(destination), WRITE | EITHER, POINTER(source), READ | EITHER, bytes);
}

CUresult simulated_cuMemcpyAsync(CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	return copy_on_stream(POINTER(destination), WRITE | EITHER, POINTER(source), READ | EITHER, bytes, stream);
}

CUresult simulated_cuMemcpyHtoD_v2(CUdeviceptr destination, const void *source, size_t bytes)
{
	return copy_now(POINTER(destination), WRITE, source, HOST, bytes);
}

CUresult simulated_cuMemcpyDtoH_v2(void *destination, CUdeviceptr source, size_t bytes)
{
	return copy_now(destination, HOST, POINTER(source), READ, bytes);
}

CUresult simulated_cuMemcpyDtoD_v2(CUdeviceptr destination, CUdeviceptr source, size_t bytes)
{
	return copy_now(POINTER(destination), WRITE, POINTER(source), READ, bytes);
}

CUresult simulated_cuMemcpyHtoDAsync_v2(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	return copy_on_stream(POINTER(destination), WRITE, source, HOST, bytes, stream);
}

CUresult simulated_cuMemcpyDtoHAsync_v2(void *destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	return copy_on_stream(destination, HOST, POINTER(source), READ, bytes, stream);
}

CUresult simulated_cuMemcpyDtoDAsync_v2(CUdeviceptr destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	return copy_on_stream(POINTER(destination), WRITE, POINTER(source), READ, bytes, stream);
}

static CUresult set(CUdeviceptr destination, unsigned int width, unsigned int value, size_t count, bool wait,
		    CUstream stream)
{
	struct operation operation = {.kind = OPERATION_SET,
				      .destination = POINTER(destination),
				      .width = width,
				      .value = value,
				      .bytes = count * width,
				      .to_device = true,
				      .delay_nanoseconds = take_stream_delay()};
	CUdevice device;
	CUresult result = stream_device(stream, &device);

	if (result != CUDA_SUCCESS || !count)
		return result;
	if (destination % width)
		return CUDA_ERROR_INVALID_VALUE;
	result = check_device_range(destination, count * width, true, device);
	if (result == CUDA_SUCCESS)
		result = stream_submit(stream, &operation);
	if (result == CUDA_SUCCESS && wait)
		result = stream_wait_idle(stream);
	return result;
}

CUresult simulated_cuMemsetD8_v2(CUdeviceptr destination, unsigned char value, size_t count)
{
	return set(destination, 1, value, count, true, NULL);
}

CUresult simulated_cuMemsetD16_v2(CUdeviceptr destination, unsigned short value, size_t count)
{
	return set(destination, 2, value, count, true, NULL);
}

CUresult simulated_cuMemsetD32_v2(CUdeviceptr destination, unsigned int value, size_t count)
{
	return set(destination, 4, value, count, true, NULL);
}

CUresult simulated_cuMemsetD8Async(CUdeviceptr destination, unsigned char value, size_t count, CUstream stream)
{
	return set(destination, 1, value, count, false, stream);
}

CUresult simulated_cuMemsetD16Async(CUdeviceptr destination, unsigned short value, size_t count, CUstream stream)
{
	return set(destination, 2, value, count, false, stream);
}

CUresult simulated_cuMemsetD32Async(CUdeviceptr destination, unsigned int value, size_t count, CUstream stream)
{
	return set(destination, 4, value, count, false, stream);
}

CUresult simulated_cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data)
{
	struct operation operation = {
		.kind = OPERATION_CALL, .function = function, .data = data, .delay_nanoseconds = take_stream_delay()};

	return function ? stream_submit(stream, &operation) : CUDA_ERROR_INVALID_VALUE;
}
