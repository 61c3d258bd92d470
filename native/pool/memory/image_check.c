/* SPDX-License-Identifier: MIT */
#include "pool/memory/image_check.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "support/clock.h"

struct image_check {
	struct gpu_image *image;    /* owned */
	struct gpu_image_data data; /* owned */
	unsigned int threads;
	_Atomic uint64_t bytes_done;
	atomic_bool cancel;
	pthread_t thread;

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t changed;
	bool done;
	uint64_t began, ended;
	int result;
	struct error_text error;
};

static void *check_main(void *argument)
{
	struct image_check *check = argument;
	struct gpu_image_verification verification = {
		.data = &check->data,
		.threads = check->threads,
		.bytes_done = &check->bytes_done,
		.cancel = &check->cancel,
	};
	struct error_text error = {""};
	int result = gpu_image_check_on_disk(check->image, &verification, &error);

	pthread_mutex_lock(&check->lock);
	check->result = result;
	check->error = error;
	check->ended = monotonic_nanoseconds();
	check->done = true;
	pthread_cond_broadcast(&check->changed);
	pthread_mutex_unlock(&check->lock);
	return NULL;
}

static void check_free(struct image_check *check)
{
	gpu_image_free(check->image);
	gpu_image_close_data(&check->data);
	pthread_cond_destroy(&check->changed);
	pthread_mutex_destroy(&check->lock);
	free(check);
}

int image_check_start(struct gpu_image *image, struct gpu_image_data data, unsigned int threads,
		      struct image_check **check_out, struct error_text *error)
{
	struct image_check *check = calloc(1, sizeof(*check));
	pthread_condattr_t attributes;

	*check_out = NULL;
	if (!check) {
		gpu_image_free(image);
		gpu_image_close_data(&data);
		return fail(error, -ENOMEM, "Out of memory");
	}
	check->image = image;
	check->data = data;
	check->threads = threads;
	check->began = monotonic_nanoseconds();
	pthread_mutex_init(&check->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&check->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&check->thread, NULL, check_main, check)) {
		check_free(check);
		return fail(error, -EAGAIN, "Could not start a thread");
	}
	*check_out = check;
	return 0;
}

int image_check_wait(struct image_check *check, int timeout_ms, struct error_text *error)
{
	uint64_t end = monotonic_nanoseconds() + (uint64_t)timeout_ms * 1000000u;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
	int result;

	pthread_mutex_lock(&check->lock);
	while (!check->done)
		if (pthread_cond_timedwait(&check->changed, &check->lock, &until) == ETIMEDOUT)
			break;
	result = check->done ? check->result : -EINPROGRESS;
	if (result && error)
		*error = check->error;
	pthread_mutex_unlock(&check->lock);
	return result;
}

uint64_t image_check_bytes_done(const struct image_check *check)
{
	return atomic_load(&check->bytes_done);
}

void image_check_times(struct image_check *check, uint64_t *began, uint64_t *ended)
{
	pthread_mutex_lock(&check->lock);
	*began = check->began;
	*ended = check->ended;
	pthread_mutex_unlock(&check->lock);
}

void image_check_end(struct image_check *check)
{
	if (!check)
		return;
	atomic_store(&check->cancel, true);
	pthread_join(check->thread, NULL);
	check_free(check);
}
