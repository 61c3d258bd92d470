/* SPDX-License-Identifier: MIT */
#include <stdbool.h>

#include "agent/control/control_thread.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/plain_allocation.h"

#define PITCH_BYTES ((size_t)512)

/* False where the driver is to allocate. */
static bool allocate(CUdeviceptr *address, size_t bytes)
{
	if (!plain_allocate(address, bytes))
		return false;
	control_thread_start();
	return true;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
	if (address && allocate(address, bytes))
		return CUDA_SUCCESS;
	return real_driver()->cuMemAlloc_v2(address, bytes);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
			    unsigned int element_bytes)
{
	size_t row = (width + PITCH_BYTES - 1) / PITCH_BYTES * PITCH_BYTES;
	bool valid = address && pitch && row >= width && width && height && row <= (size_t)-1 / height &&
		     (element_bytes == 4 || element_bytes == 8 || element_bytes == 16);

	if (!valid || !allocate(address, row * height))
		return real_driver()->cuMemAllocPitch_v2(address, pitch, width, height, element_bytes);
	*pitch = row;
	return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr address)
{
	bool ours = false;
	CUresult result = plain_free(address, false, &ours);

	return ours ? result : real_driver()->cuMemFree_v2(address);
}

/* Waits for the whole context, of which the stream is a part. */
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
	bool ours = false;
	CUresult result = plain_free(address, false, &ours);

	return ours ? result : real_driver()->cuMemFreeAsync(address, stream);
}

CUresult cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream)
{
	bool ours = false;
	CUresult result = plain_free(address, false, &ours);

	return ours ? result : real_driver()->cuMemFreeAsync_ptsz(address, stream);
}
