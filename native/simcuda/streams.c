/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "simcuda/simcuda.h"
#include "support/clock.h"

/* Each stream is a thread with a queue of its own. One mutex guards all of them. */

pthread_mutex_t work_mutex = PTHREAD_MUTEX_INITIALIZER;
struct wakeup work_done;

static struct CUstream_st streams[STREAMS_MAX];
static size_t streams_end;

/* Whether the operation has to wait still; work_mutex is held. */
static bool operation_is_blocked(const struct operation *operation)
{
	if (operation->kind == OPERATION_WAIT_EVENT)
		return operation->event->completed < operation->ticket;
	if (operation->kind == OPERATION_WAIT_STREAM)
		return operation->stream->completed < operation->ticket;
	return false;
}

static void carry_out(CUdevice device, const struct operation *operation)
{
	switch (operation->kind) {
	case OPERATION_COPY:
		memmove(operation->destination, operation->source, operation->bytes);
		break;
	case OPERATION_SET:
		if (operation->width == 1) {
			memset(operation->destination, (int)operation->value, operation->bytes);
			break;
		}
		for (size_t i = 0; i < operation->bytes; i += operation->width)
			memcpy((char *)operation->destination + i, &operation->value, operation->width);
		break;
	case OPERATION_CALL:
		operation->function(operation->data);
		break;
	case OPERATION_HASH:
		if (!hash_carry_out(operation))
			device_break(device, CUDA_ERROR_ILLEGAL_ADDRESS);
		break;
	case OPERATION_RECORD_EVENT:
	case OPERATION_WAIT_EVENT:
	case OPERATION_WAIT_STREAM:
		break;
	}
}

/* Work whose memory is gone breaks the device, and a broken one does no work. */
static void run(CUdevice device, const struct operation *operation)
{
	if (device_error(device) != CUDA_SUCCESS)
		return;
	if ((operation->to_device && !device_range_is_mapped(operation->destination, operation->bytes)) ||
	    (operation->from_device && !device_range_is_mapped(operation->source, operation->bytes)))
		device_break(device, CUDA_ERROR_ILLEGAL_ADDRESS);
	else
		carry_out(device, operation);
}

static bool any_is_running(void)
{
	for (size_t i = 0; i < streams_end; i++)
		if (streams[i].used && streams[i].running)
			return true;
	return false;
}

/* A function that an application has submitted counts as work too. */
void streams_hold(void)
{
	pthread_mutex_lock(&work_mutex);
	while (any_is_running())
		wakeup_wait(&work_done, &work_mutex);
}

void streams_go_on(void)
{
	pthread_mutex_unlock(&work_mutex);
}

static void *stream_thread(void *argument)
{
	CUstream stream = argument;

	pthread_mutex_lock(&work_mutex);
	for (;;) {
		struct operation operation;

		while (stream->completed == stream->submitted && !stream->ending) {
			stream->parked = true;
			wakeup_wait(&stream->work, &work_mutex);
		}
		stream->parked = false;
		if (stream->completed == stream->submitted)
			break;
		operation = stream->queue[stream->completed % STREAM_QUEUE_LENGTH];
		while (operation_is_blocked(&operation))
			wakeup_wait(&work_done, &work_mutex);
		pthread_mutex_unlock(&work_mutex);
		spend_delay(operation.delay_nanoseconds);
		pthread_mutex_lock(&work_mutex);
		stream->running = true;
		pthread_mutex_unlock(&work_mutex);
		run(stream->context->device, &operation);
		pthread_mutex_lock(&work_mutex);
		stream->running = false;
		if (operation.kind == OPERATION_RECORD_EVENT && operation.event->completed < operation.ticket) {
			operation.event->completed = operation.ticket;
			operation.event->completed_at = monotonic_nanoseconds();
		}
		stream->completed++;
		wakeup_all(&work_done);
	}
	pthread_mutex_unlock(&work_mutex);
	return NULL;
}

static CUresult stream_add(CUcontext context, unsigned int flags, CUstream *added)
{
	CUstream stream = NULL;
	sigset_t all, old;
	int failed;

	for (size_t i = 0; i < STREAMS_MAX && !stream; i++) {
		if (!streams[i].used) {
			stream = &streams[i];
			if (i >= streams_end)
				streams_end = i + 1;
		}
	}
	if (!stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stream->used = true;
	stream->flags = flags;
	stream->blocking = !(flags & CU_STREAM_NON_BLOCKING);
	stream->parked = stream->ending = stream->running = false;
	stream->context = context;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	failed = pthread_create(&stream->thread, NULL, stream_thread, stream);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (failed) {
		stream->used = false;
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	pthread_setname_np(stream->thread, "simcuda-stream");
	*added = stream;
	return CUDA_SUCCESS;
}

static bool is_default(CUstream stream)
{
	return !stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

/* The stream itself, or the default stream of the current context; work_mutex is held. */
static CUresult stream_resolve(CUstream stream, CUstream *resolved)
{
	CUcontext context;

	if (!is_default(stream)) {
		*resolved = stream;
		return stream >= streams && stream < streams + STREAMS_MAX && stream->used ? CUDA_SUCCESS
											   : CUDA_ERROR_INVALID_HANDLE;
	}
	context = current_context();
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!context->default_stream) {
		CUresult result = stream_add(context, 0, &context->default_stream);

		if (result != CUDA_SUCCESS)
			return result;
	}
	*resolved = context->default_stream;
	return CUDA_SUCCESS;
}

CUresult stream_device(CUstream stream, CUdevice *device)
{
	CUstream target;
	CUresult result;

	pthread_mutex_lock(&work_mutex);
	result = stream_resolve(stream, &target);
	if (result == CUDA_SUCCESS)
		*device = target->context->device;
	pthread_mutex_unlock(&work_mutex);
	return result;
}

static void enqueue(CUstream stream, const struct operation *operation)
{
	while (stream->submitted - stream->completed == STREAM_QUEUE_LENGTH)
		wakeup_wait(&work_done, &work_mutex);
	stream->queue[stream->submitted % STREAM_QUEUE_LENGTH] = *operation;
	stream->submitted++;
	stream->parked = false;
	wakeup_all(&stream->work);
}

static void enqueue_wait(CUstream stream, CUstream other)
{
	struct operation wait = {.kind = OPERATION_WAIT_STREAM, .stream = other, .ticket = other->submitted};

	if (other->completed < other->submitted)
		enqueue(stream, &wait);
}

CUresult stream_submit(CUstream stream, struct operation *operation)
{
	CUstream target, default_stream;
	CUresult result;

	pthread_mutex_lock(&work_mutex);
	result = stream_resolve(stream, &target);
	if (result != CUDA_SUCCESS)
		goto out;
	result = device_error(target->context->device);
	if (result != CUDA_SUCCESS)
		goto out;
	default_stream = target->context->default_stream;
	if (target == default_stream) {
		for (size_t i = 0; i < streams_end; i++) {
			if (streams[i].used && streams[i].blocking && streams[i].context == target->context &&
			    &streams[i] != target)
				enqueue_wait(target, &streams[i]);
		}
	} else if (target->blocking && default_stream) {
		enqueue_wait(target, default_stream);
	}
	if (operation->kind == OPERATION_RECORD_EVENT)
		operation->ticket = ++operation->event->recorded;
	enqueue(target, operation);
out:
	pthread_mutex_unlock(&work_mutex);
	return result;
}

static void wait_until_completed(CUstream stream, uint64_t ticket)
{
	while (stream->completed < ticket)
		wakeup_wait(&work_done, &work_mutex);
}

CUresult stream_wait_idle(CUstream stream)
{
	CUstream target;
	CUresult result;

	if (is_default(stream)) {
		if (!current_context())
			return CUDA_ERROR_INVALID_CONTEXT;
		streams_synchronise_default();
		return device_error(current_context()->device);
	}
	pthread_mutex_lock(&work_mutex);
	result = stream_resolve(stream, &target);
	if (result == CUDA_SUCCESS) {
		wait_until_completed(target, target->submitted);
		result = device_error(target->context->device);
	}
	pthread_mutex_unlock(&work_mutex);
	return result;
}

/* What was submitted before the call, and not what comes to one stream while another is waited for. */
static void synchronise(CUcontext context, bool all)
{
	uint64_t tickets[STREAMS_MAX];
	size_t count, i;

	pthread_mutex_lock(&work_mutex);
	count = streams_end;
	for (i = 0; i < count; i++)
		tickets[i] =
			streams[i].used && (!context || streams[i].context == context) && (all || streams[i].blocking)
				? streams[i].submitted
				: 0;
	for (i = 0; i < count; i++)
		wait_until_completed(&streams[i], tickets[i]);
	pthread_mutex_unlock(&work_mutex);
}

void streams_synchronise_default(void)
{
	synchronise(current_context(), false);
}

void streams_synchronise_context(CUcontext context)
{
	synchronise(context, true);
}

void streams_synchronise_all(void)
{
	synchronise(NULL, true);
}

int streams_wait_parked(uint64_t deadline)
{
	for (;;) {
		bool parked = true;

		pthread_mutex_lock(&work_mutex);
		for (size_t i = 0; i < streams_end; i++) {
			if (streams[i].used && !(streams[i].parked && streams[i].completed == streams[i].submitted))
				parked = false;
		}
		pthread_mutex_unlock(&work_mutex);
		if (parked)
			return 0;
		if (deadline && monotonic_nanoseconds() >= deadline)
			return -ETIMEDOUT;
		sleep_nanoseconds(200000);
	}
}

static void stream_remove(CUstream stream)
{
	stream->ending = true;
	wakeup_all(&stream->work);
	pthread_mutex_unlock(&work_mutex);
	pthread_join(stream->thread, NULL);
	pthread_mutex_lock(&work_mutex);
	if (stream->context->default_stream == stream)
		stream->context->default_stream = NULL;
	stream->used = false;
}

void streams_destroy_of_context(CUcontext context)
{
	pthread_mutex_lock(&work_mutex);
	for (size_t i = 0; i < streams_end; i++) {
		if (streams[i].used && !streams[i].ending && streams[i].context == context)
			stream_remove(&streams[i]);
	}
	pthread_mutex_unlock(&work_mutex);
}

void streams_forget(void)
{
	for (size_t i = 0; i < streams_end; i++)
		streams[i].used = false;
	streams_end = 0;
}

CUresult simulated_cuStreamCreate(CUstream *stream, unsigned int flags)
{
	CUresult result;

	if (!stream || flags & ~(unsigned int)CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&work_mutex);
	result = stream_add(current_context(), flags, stream);
	pthread_mutex_unlock(&work_mutex);
	return result;
}

CUresult simulated_cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	(void)priority;
	return simulated_cuStreamCreate(stream, flags);
}

/* Pending work is finished first; a real driver does that after the call has returned. */
CUresult simulated_cuStreamDestroy_v2(CUstream stream)
{
	CUstream target;
	CUresult result;

	if (is_default(stream))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&work_mutex);
	result = stream_resolve(stream, &target);
	if (result == CUDA_SUCCESS && target->ending)
		result = CUDA_ERROR_INVALID_HANDLE;
	if (result == CUDA_SUCCESS)
		stream_remove(target);
	pthread_mutex_unlock(&work_mutex);
	return result;
}

CUresult simulated_cuStreamSynchronize(CUstream stream)
{
	return stream_wait_idle(stream);
}

CUresult simulated_cuStreamQuery(CUstream stream)
{
	CUcontext context = current_context();
	CUresult result = CUDA_SUCCESS;
	CUstream target;

	pthread_mutex_lock(&work_mutex);
	/* A default stream that never had work has no thread yet, and a question is no reason for one. */
	if (is_default(stream) && context && !context->default_stream)
		goto out;
	result = stream_resolve(stream, &target);
	if (result == CUDA_SUCCESS && target->completed < target->submitted)
		result = CUDA_ERROR_NOT_READY;
out:
	pthread_mutex_unlock(&work_mutex);
	return result;
}

CUresult simulated_cuStreamGetFlags(CUstream stream, unsigned int *flags)
{
	CUstream target;
	CUresult result;

	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&work_mutex);
	result = stream_resolve(stream, &target);
	if (result == CUDA_SUCCESS)
		*flags = target->flags;
	pthread_mutex_unlock(&work_mutex);
	return result;
}

CUresult simulated_cuStreamGetCtx(CUstream stream, CUcontext *context)
{
	CUstream target;
	CUresult result;

	if (!context)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&work_mutex);
	result = stream_resolve(stream, &target);
	if (result == CUDA_SUCCESS)
		*context = target->context;
	pthread_mutex_unlock(&work_mutex);
	return result;
}
