/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stddef.h>

#include "rekindle.h"
#include "support/log.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rekindle_log_callback current_callback;
static void *current_context;
static int32_t current_highest;

static void forward(enum log_level level, const char *line, void *context)
{
	rekindle_log_callback callback;
	void *callback_context;
	int32_t highest;

	(void)context;
	pthread_mutex_lock(&lock);
	callback = current_callback;
	callback_context = current_context;
	highest = current_highest;
	pthread_mutex_unlock(&lock);
	if (callback && (int32_t)level <= highest)
		callback((int32_t)level, line, callback_context);
}

/* A library writes nothing to a program's stderr unasked; and log_set_sink may only be called before threads start. */
__attribute__((constructor)) static void take_over_log(void)
{
	log_set_sink(forward, NULL, LOG_LEVEL_DEBUG);
}

void rekindle_set_log(rekindle_log_callback callback, void *context, int32_t highest)
{
	pthread_mutex_lock(&lock);
	current_callback = callback;
	current_context = context;
	current_highest = highest;
	pthread_mutex_unlock(&lock);
}
