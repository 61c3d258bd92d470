/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"

/* The images of a prefetch, and who waits for them. */

/* How often a wait looks whether anybody still wants it. */
#define LOOK_AROUND_MS 20
/* So long a process that is whole waits for those that copy from its memory, all in all. */
#define FOLLOWERS_TIMEOUT_NS (UINT64_C(500) * 1000000)

struct prefetch_image *prefetch_find(struct prefetch *prefetch, const uint8_t image_id[16])
{
	size_t i;

	for (i = 0; prefetch && i < prefetch->count; i++)
		if (memcmp(prefetch->images[i].image->id, image_id, 16) == 0)
			return &prefetch->images[i];
	return NULL;
}

static int given_away(const struct prefetch_image *image, struct error_text *error)
{
	return fail(error, -EINVAL, "The image of process %d was given away already", image->image->pid);
}

int prefetch_claim(struct prefetch *prefetch, struct prefetch_image *image, const void *claimant,
		   struct error_text *error)
{
	int result = 0;

	pthread_mutex_lock(&prefetch->lock);
	if (image->claimant && image->claimant != claimant)
		result = given_away(image, error);
	else
		image->claimant = claimant;
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

/*
 * Who follows it is waited for, so that the files are read once; who still copies from it when that takes too long sees
 * that it is taken, and reads the rest.
 */
void prefetch_mark_taken(struct prefetch *prefetch, struct prefetch_image *image)
{
	uint64_t end = monotonic_nanoseconds() + FOLLOWERS_TIMEOUT_NS;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};

	pthread_mutex_lock(&prefetch->lock);
	while (image->followers && !prefetch->cancelled &&
	       !pthread_cond_timedwait(&prefetch->changed, &prefetch->lock, &until))
		;
	image->taken = true;
	while (image->copiers)
		pthread_cond_wait(&prefetch->changed, &prefetch->lock);
	pthread_mutex_unlock(&prefetch->lock);
}

void prefetch_await_copiers(struct prefetch *prefetch)
{
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		while (prefetch->images[i].copiers)
			pthread_cond_wait(&prefetch->changed, &prefetch->lock);
	pthread_mutex_unlock(&prefetch->lock);
}

/* A dump makes one image for each process: another one of the same process is another dump's. Under the lock. */
static bool is_of_a_process_that_has_its_own(const struct prefetch *prefetch, const struct gpu_image *image)
{
	size_t i;

	for (i = 0; i < prefetch->count; i++)
		if (prefetch->images[i].taken && prefetch->images[i].image->pid == image->pid)
			return true;
	return false;
}

const struct gpu_image *prefetch_find_untaken(struct prefetch *prefetch)
{
	const struct gpu_image *found = NULL, *image;
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count && !found; i++) {
		image = prefetch->images[i].image;
		if ((image->allocation_count || image->import_count) &&
		    !is_of_a_process_that_has_its_own(prefetch, image))
			found = image;
	}
	pthread_mutex_unlock(&prefetch->lock);
	return found;
}

void prefetch_set_state(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state state, int result,
			const struct error_text *error)
{
	pthread_mutex_lock(&prefetch->lock);
	image->state = state;
	if (result) {
		image->result = result;
		image->error = *error;
	}
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
}

bool prefetch_is_cancelled(struct prefetch *prefetch)
{
	bool cancelled;

	pthread_mutex_lock(&prefetch->lock);
	cancelled = prefetch->cancelled;
	pthread_mutex_unlock(&prefetch->lock);
	return cancelled;
}

bool prefetch_is_filled(struct prefetch *prefetch)
{
	bool filled = !prefetch->parked; /* whose files are watched */
	size_t i;

	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		filled &= prefetch->images[i].state == PREFETCH_FILLED;
	pthread_mutex_unlock(&prefetch->lock);
	return filled;
}

int prefetch_wait_state(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state wanted,
			int timeout_ms, struct error_text *error)
{
	uint64_t end = monotonic_nanoseconds() + (uint64_t)timeout_ms * 1000000u;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
	int result;

	pthread_mutex_lock(&prefetch->lock);
	while (image->state < wanted)
		if (pthread_cond_timedwait(&prefetch->changed, &prefetch->lock, &until) == ETIMEDOUT)
			break;
	result = image->state < wanted ? -EINPROGRESS : image->result;
	if (image->result && error)
		*error = image->error;
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

/* Of an image that nobody has mapped yet. */
static int wait_for_own(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state wanted,
			int timeout_ms, struct error_text *error)
{
	int result = prefetch_wait_state(prefetch, image, wanted, timeout_ms, error);
	bool taken;

	pthread_mutex_lock(&prefetch->lock);
	taken = image->taken;
	pthread_mutex_unlock(&prefetch->lock);
	return taken ? given_away(image, error) : result;
}

int prefetch_wait_memory(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error)
{
	return wait_for_own(prefetch, image, PREFETCH_FILLING, timeout_ms, error);
}

int prefetch_wait_filled(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error)
{
	return wait_for_own(prefetch, image, PREFETCH_FILLED, timeout_ms, error);
}

int prefetch_wait_copied(struct prefetch *prefetch, struct prefetch_image *image, int timeout_ms,
			 struct error_text *error)
{
	int result = prefetch_wait_filled(prefetch, image, timeout_ms, error);
	size_t i;

	for (i = 0; i < prefetch->count && result == 0; i++)
		if (prefetch_wait_state(prefetch, &prefetch->images[i], PREFETCH_FILLED, timeout_ms, NULL) ==
		    -EINPROGRESS)
			result = -EINPROGRESS;
	return result;
}

/* With the lock, under which jobs are started. */
static void hurry_jobs(const struct prefetch_image *image)
{
	unsigned int i;

	for (i = 0; image->state == PREFETCH_FILLING && i < image->job_count; i++)
		copy_job_hurry(image->jobs[i].job);
}

void prefetch_hurry(struct prefetch *prefetch)
{
	size_t i;

	if (!atomic_exchange(&prefetch->background, false))
		return;
	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++)
		hurry_jobs(&prefetch->images[i]);
	pthread_mutex_unlock(&prefetch->lock);
}

/* Half of the operator's limit: whoever waits for the reply has all of it. */
bool prefetch_await_check(struct prefetch *prefetch, const struct prefetch_taker *taker)
{
	uint64_t end = monotonic_nanoseconds() + prefetch->pool->settings.timeout_seconds * UINT64_C(500000000);
	struct error_text error;
	int result = 0;
	size_t i;

	for (i = 0; prefetch->parked && i < prefetch->count && result == 0; i++)
		do
			result = prefetch_wait_state(prefetch, &prefetch->images[i], PREFETCH_FILLED, LOOK_AROUND_MS,
						     &error);
		while (result == -EINPROGRESS && monotonic_nanoseconds() < end && !taker->has_gone(taker->context));
	return result == 0;
}
