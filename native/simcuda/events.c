/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda.h"

static struct CUevent_st events[EVENTS_MAX];

bool event_is_valid(CUevent event)
{
	return event >= events && event < events + EVENTS_MAX && event->used;
}

CUresult simulated_cuEventCreate(CUevent *event, unsigned int flags)
{
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!event)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&work_mutex);
	for (size_t i = 0; i < EVENTS_MAX; i++) {
		if (events[i].used)
			continue;
		events[i].used = true;
		events[i].flags = flags;
		events[i].completed_at = 0;
		*event = &events[i];
		result = CUDA_SUCCESS;
		break;
	}
	pthread_mutex_unlock(&work_mutex);
	return result;
}

static void wait_for(CUevent event)
{
	uint64_t ticket = event->recorded;

	while (event->completed < ticket)
		wakeup_wait(&work_done, &work_mutex);
}

/* Waits for a pending record first, so that the entry can be used again. */
CUresult simulated_cuEventDestroy_v2(CUevent event)
{
	if (!event_is_valid(event))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&work_mutex);
	wait_for(event);
	event->used = false;
	pthread_mutex_unlock(&work_mutex);
	return CUDA_SUCCESS;
}

CUresult simulated_cuEventRecord(CUevent event, CUstream stream)
{
	struct operation operation = {
		.kind = OPERATION_RECORD_EVENT, .event = event, .delay_nanoseconds = take_stream_delay()};

	if (!event_is_valid(event))
		return CUDA_ERROR_INVALID_HANDLE;
	return stream_submit(stream, &operation);
}

CUresult simulated_cuEventQuery(CUevent event)
{
	CUresult result;

	if (!event_is_valid(event))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&work_mutex);
	result = event->completed < event->recorded ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
	pthread_mutex_unlock(&work_mutex);
	return result;
}

CUresult simulated_cuEventSynchronize(CUevent event)
{
	if (!event_is_valid(event))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&work_mutex);
	wait_for(event);
	pthread_mutex_unlock(&work_mutex);
	return CUDA_SUCCESS;
}

CUresult simulated_cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
	CUresult result = CUDA_SUCCESS;

	if (!milliseconds)
		return CUDA_ERROR_INVALID_VALUE;
	if (!event_is_valid(start) || !event_is_valid(end))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&work_mutex);
	if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING)
		result = CUDA_ERROR_INVALID_HANDLE;
	else if (start->completed < start->recorded || end->completed < end->recorded)
		result = CUDA_ERROR_NOT_READY;
	else if (!start->completed_at || !end->completed_at)
		result = CUDA_ERROR_INVALID_HANDLE;
	else
		*milliseconds = (float)((double)(int64_t)(end->completed_at - start->completed_at) / 1e6);
	pthread_mutex_unlock(&work_mutex);
	return result;
}

CUresult simulated_cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end)
{
	return simulated_cuEventElapsedTime(milliseconds, start, end);
}

CUresult simulated_cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
	struct operation operation = {
		.kind = OPERATION_WAIT_EVENT, .event = event, .delay_nanoseconds = take_stream_delay()};

	(void)flags;
	if (!event_is_valid(event))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&work_mutex);
	operation.ticket = event->recorded;
	pthread_mutex_unlock(&work_mutex);
	return stream_submit(stream, &operation);
}
