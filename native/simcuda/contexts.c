/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "simcuda/simcuda.h"

static struct CUctx_st contexts[CONTEXTS_MAX];
static CUcontext primary_contexts[DEVICES_MAX];
static unsigned int primary_flags[DEVICES_MAX];

bool context_is_valid(CUcontext context)
{
	return context >= contexts && context < contexts + CONTEXTS_MAX && context->used;
}

void contexts_forget(void)
{
	memset(contexts, 0, sizeof(contexts));
	memset(primary_contexts, 0, sizeof(primary_contexts));
	current_forget();
}

static CUresult context_add(CUdevice device, unsigned int flags, CUcontext *added)
{
	if (device_error(device) != CUDA_SUCCESS)
		return device_error(device);
	for (size_t i = 0; i < CONTEXTS_MAX; i++) {
		if (contexts[i].used)
			continue;
		contexts[i] = (struct CUctx_st){.used = true, .device = device, .flags = flags};
		*added = &contexts[i];
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_OUT_OF_MEMORY;
}

static void context_remove(CUcontext context)
{
	streams_destroy_of_context(context);
	pthread_mutex_lock(&table_mutex);
	memory_free_of_context(context);
	context->used = false;
	if (context->primary)
		primary_contexts[context->device] = NULL;
	pthread_mutex_unlock(&table_mutex);
}

CUresult simulated_cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	CUresult result = CUDA_SUCCESS;

	if (!context)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	if (!primary_contexts[device]) {
		result = context_add(device, primary_flags[device], &primary_contexts[device]);
		if (result == CUDA_SUCCESS)
			primary_contexts[device]->primary = true;
	}
	if (result == CUDA_SUCCESS) {
		primary_contexts[device]->references++;
		*context = primary_contexts[device];
	}
	pthread_mutex_unlock(&table_mutex);
	return result;
}

CUresult simulated_cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	CUcontext last = NULL;
	CUresult result = CUDA_SUCCESS;

	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	if (!primary_contexts[device])
		result = CUDA_ERROR_INVALID_CONTEXT;
	else if (--primary_contexts[device]->references == 0)
		last = primary_contexts[device];
	pthread_mutex_unlock(&table_mutex);
	if (last)
		context_remove(last);
	return result;
}

/* Frees what the context holds; the context itself stays for those who retained it. */
CUresult simulated_cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	CUcontext context;

	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	context = primary_contexts[device];
	pthread_mutex_unlock(&table_mutex);
	if (!context)
		return CUDA_SUCCESS;
	streams_destroy_of_context(context);
	pthread_mutex_lock(&table_mutex);
	memory_free_of_context(context);
	pthread_mutex_unlock(&table_mutex);
	return CUDA_SUCCESS;
}

CUresult simulated_cuDevicePrimaryCtxRelease(CUdevice device)
{
	return simulated_cuDevicePrimaryCtxRelease_v2(device);
}

CUresult simulated_cuDevicePrimaryCtxReset(CUdevice device)
{
	return simulated_cuDevicePrimaryCtxReset_v2(device);
}

CUresult simulated_cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags)
{
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	primary_flags[device] = flags;
	if (primary_contexts[device])
		primary_contexts[device]->flags = flags;
	pthread_mutex_unlock(&table_mutex);
	return CUDA_SUCCESS;
}

CUresult simulated_cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active)
{
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	if (flags)
		*flags = primary_flags[device];
	if (active)
		*active = primary_contexts[device] != NULL;
	pthread_mutex_unlock(&table_mutex);
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device)
{
	CUresult result;

	if (!context || !current_has_room())
		return CUDA_ERROR_INVALID_VALUE;
	if (!device_is_valid(device))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&table_mutex);
	result = context_add(device, flags, context);
	pthread_mutex_unlock(&table_mutex);
	if (result == CUDA_SUCCESS) {
		(*context)->references = 1;
		current_push(*context);
	}
	return result;
}

CUresult simulated_cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *parameters, int count, unsigned int flags,
				  CUdevice device)
{
	(void)parameters;
	return count ? CUDA_ERROR_NOT_SUPPORTED : simulated_cuCtxCreate_v2(context, flags, device);
}

CUresult simulated_cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *parameters, unsigned int flags,
				  CUdevice device)
{
	return parameters ? CUDA_ERROR_NOT_SUPPORTED : simulated_cuCtxCreate_v2(context, flags, device);
}

CUresult simulated_cuCtxDestroy_v2(CUcontext context)
{
	if (!context_is_valid(context) || context->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (current_context() == context)
		current_pop(&context);
	context_remove(context);
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxDestroy(CUcontext context)
{
	return simulated_cuCtxDestroy_v2(context);
}

/* Uses are counted for those who know no primary context. */
CUresult simulated_cuCtxAttach(CUcontext *context, unsigned int flags)
{
	if (!context || flags)
		return CUDA_ERROR_INVALID_VALUE;
	*context = current_context();
	if ((*context)->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	(*context)->references++;
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxDetach(CUcontext context)
{
	if (context != current_context() || context->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	return --context->references ? CUDA_SUCCESS : simulated_cuCtxDestroy_v2(context);
}

/* One way only: this context may use the other one's memory. */
CUresult simulated_cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	CUcontext context = current_context();
	uint32_t bit;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context_is_valid(peer))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (peer->device == context->device)
		return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
	bit = (uint32_t)1 << peer->device;
	if (context->peers & bit)
		return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
	context->peers |= bit;
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxDisablePeerAccess(CUcontext peer)
{
	CUcontext context = current_context();

	if (!context_is_valid(peer))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!(context->peers & (uint32_t)1 << peer->device))
		return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
	context->peers &= ~((uint32_t)1 << peer->device);
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxPushCurrent_v2(CUcontext context)
{
	if (!context_is_valid(context))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!current_has_room())
		return CUDA_ERROR_INVALID_VALUE;
	current_push(context);
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxPopCurrent_v2(CUcontext *context)
{
	CUcontext popped;

	if (!current_pop(&popped))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (context)
		*context = popped;
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxSetCurrent(CUcontext context)
{
	CUcontext replaced;

	if (context && !context_is_valid(context))
		return CUDA_ERROR_INVALID_CONTEXT;
	current_pop(&replaced);
	if (context)
		current_push(context);
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxGetCurrent(CUcontext *context)
{
	if (!context)
		return CUDA_ERROR_INVALID_VALUE;
	*context = current_context();
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxGetDevice_v2(CUdevice *device, CUcontext context)
{
	context = context ? context : current_context();
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context_is_valid(context))
		return CUDA_ERROR_INVALID_CONTEXT;
	*device = context->device;
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxGetDevice(CUdevice *device)
{
	return simulated_cuCtxGetDevice_v2(device, NULL);
}

CUresult simulated_cuCtxSynchronize_v2(CUcontext context)
{
	context = context ? context : current_context();
	if (!context_is_valid(context))
		return CUDA_ERROR_INVALID_CONTEXT;
	streams_synchronise_context(context);
	return device_error(context->device);
}

CUresult simulated_cuCtxSynchronize(void)
{
	return simulated_cuCtxSynchronize_v2(NULL);
}

CUresult simulated_cuCtxGetFlags(unsigned int *flags)
{
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = current_context()->flags;
	return CUDA_SUCCESS;
}

CUresult simulated_cuCtxGetApiVersion(CUcontext context, unsigned int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	if (context && !context_is_valid(context))
		return CUDA_ERROR_INVALID_CONTEXT;
	*version = 3020;
	return CUDA_SUCCESS;
}
