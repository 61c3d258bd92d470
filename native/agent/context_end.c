/* SPDX-License-Identifier: MIT */
#include "agent/allocation_table.h"
#include "agent/device_access.h"
#include "agent/interposed.h"
#include "agent/plain_allocation.h"
#include "agent/real_driver.h"

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

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	const struct real_driver *driver = real_driver();
	CUcontext context = active_primary_context(device);
	CUresult result = driver->cuDevicePrimaryCtxRelease_v2(device);
	unsigned int flags;
	int active = 1;

	if (result == CUDA_SUCCESS && context &&
	    driver->cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS && !active)
		plain_free_of_context(context);
	return result;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	CUcontext context = active_primary_context(device);
	CUresult result = real_driver()->cuDevicePrimaryCtxReset_v2(device);

	if (result == CUDA_SUCCESS && context)
		plain_free_of_context(context);
	return result;
}

CUresult cuCtxDestroy_v2(CUcontext context)
{
	CUresult result = real_driver()->cuCtxDestroy_v2(context);

	if (result == CUDA_SUCCESS && context)
		plain_free_of_context(context);
	return result;
}
