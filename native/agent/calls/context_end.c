/* SPDX-License-Identifier: MIT */
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/allocation_table.h"
#include "agent/memory/device_access.h"
#include "agent/memory/plain_allocation.h"

/* Contexts that begin make their device reach our memory; contexts that end take the memory made in them along. */

/* The primary context of the device, NULL where it is not active. */
static CUcontext active_primary_context(CUdevice device)
{
	const struct real_driver *driver = real_driver();
	CUcontext context = NULL;
	unsigned int flags;
	int active = 0;

	if (!table.plain_count || driver->cuDevicePrimaryCtxGetState(device, &flags, &active) != CUDA_SUCCESS ||
	    !active)
		return NULL;
	if (driver->cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS)
		return NULL;
	driver->cuDevicePrimaryCtxRelease_v2(device);
	return context;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	CUresult result = real_driver()->cuDevicePrimaryCtxRetain(context, device);

	if (result == CUDA_SUCCESS) {
		access_add_device(device);
		result = access_complete();
		if (result != CUDA_SUCCESS)
			real_driver()->cuDevicePrimaryCtxRelease_v2(device);
	}
	return result;
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	CUresult result = real_driver()->cuCtxEnablePeerAccess(peer, flags);
	CUdevice device;

	if (result == CUDA_SUCCESS && real_driver()->cuCtxGetDevice(&device) == CUDA_SUCCESS) {
		access_add_device(device);
		result = access_complete();
	}
	return result;
}

static CUresult release_primary(CUdevice device, CUresult (*release)(CUdevice))
{
	const struct real_driver *driver = real_driver();
	CUcontext context = active_primary_context(device);
	CUresult result = release(device);
	unsigned int flags;
	int active = 1;

	if (result == CUDA_SUCCESS && context &&
	    driver->cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS && !active)
		plain_free_of_context(context);
	return result;
}

static CUresult reset_primary(CUdevice device, CUresult (*reset)(CUdevice))
{
	CUcontext context = active_primary_context(device);
	CUresult result = reset(device);

	if (result == CUDA_SUCCESS && context)
		plain_free_of_context(context);
	return result;
}

static CUresult destroy(CUcontext context, CUresult (*destroy_it)(CUcontext))
{
	CUresult result = destroy_it(context);

	if (result == CUDA_SUCCESS && context)
		plain_free_of_context(context);
	return result;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
	return release_primary(device, real_driver()->cuDevicePrimaryCtxRelease);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	return release_primary(device, real_driver()->cuDevicePrimaryCtxRelease_v2);
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
	return reset_primary(device, real_driver()->cuDevicePrimaryCtxReset);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	return reset_primary(device, real_driver()->cuDevicePrimaryCtxReset_v2);
}

CUresult cuCtxDestroy(CUcontext context)
{
	return destroy(context, real_driver()->cuCtxDestroy);
}

CUresult cuCtxDestroy_v2(CUcontext context)
{
	return destroy(context, real_driver()->cuCtxDestroy_v2);
}

/* Counts a use less. It takes the current context only, which is current no more where that was the last use. */
CUresult cuCtxDetach(CUcontext context)
{
	const struct real_driver *driver = real_driver();
	CUresult result = driver->cuCtxDetach(context);
	CUcontext current = context;

	if (result == CUDA_SUCCESS && context && driver->cuCtxGetCurrent(&current) == CUDA_SUCCESS &&
	    current != context)
		plain_free_of_context(context);
	return result;
}
