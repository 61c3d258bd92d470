/* SPDX-License-Identifier: MIT */
#include "api/call/operation.h"

#include <stdatomic.h>
#include <stdlib.h>

struct rekindle_operation {
	rekindle_progress_callback callback;
	void *context;
	atomic_bool cancelled;
	atomic_bool running;
};

struct rekindle_operation *rekindle_operation_create(rekindle_progress_callback callback, void *context)
{
	struct rekindle_operation *operation = calloc(1, sizeof(*operation));

	if (operation) {
		operation->callback = callback;
		operation->context = context;
	}
	return operation;
}

void rekindle_operation_cancel(struct rekindle_operation *operation)
{
	if (operation)
		atomic_store(&operation->cancelled, true);
}

void rekindle_operation_destroy(struct rekindle_operation *operation)
{
	free(operation);
}

bool operation_begin(struct rekindle_operation *operation)
{
	return !operation || !atomic_exchange(&operation->running, true);
}

void operation_end(struct rekindle_operation *operation)
{
	if (!operation)
		return;
	atomic_store(&operation->cancelled, false);
	atomic_store(&operation->running, false);
}

bool operation_cancelled(const struct rekindle_operation *operation)
{
	return operation && atomic_load(&operation->cancelled);
}

void operation_progress(struct rekindle_operation *operation, uint64_t bytes_done, uint64_t bytes_total, int32_t phase)
{
	if (operation && operation->callback)
		operation->callback(bytes_done, bytes_total, phase, operation->context);
}
