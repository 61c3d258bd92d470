/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "process/process_status.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * Device memory that a dump has left for the next restore. It is the memory of the processes themselves, which CRIU ends
 * after the dump; their last hashes were taken while they stood still. Only what is the same when they are gone is given to
 * anybody.
 */

#define LOOK_AROUND_MS 20
/* A process that nobody traces and that lives on as long is none that CRIU ends. */
#define END_NS (2 * UINT64_C(1000000000))
/* How soon memory goes whose image is gone. */
#define FILES_PERIOD_S 1

static void set_state(struct prefetch *prefetch, struct prefetch_image *image, enum prefetch_state state, int result,
		      const struct error_text *error)
{
	pthread_mutex_lock(&prefetch->lock);
	image->state = state;
	image->result = result;
	if (result)
		image->error = *error;
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
}

/* As long as CRIU has it, it may still become either. */
static bool is_in_hands(const struct target *process)
{
	return target_is_ending(process) || process_find_tracer(process->pid) != 0;
}

static int wait_for_end(struct prefetch *prefetch, const struct target *process, struct error_text *error)
{
	struct pollfd ended = {.fd = process->pidfd, .events = POLLIN};
	uint64_t since = monotonic_nanoseconds();

	while (process->pidfd >= 0 && poll(&ended, 1, LOOK_AROUND_MS) <= 0) {
		if (prefetch_is_cancelled(prefetch))
			return fail(error, -ECANCELED, "The parked memory of process %d was dropped", process->named);
		if (is_in_hands(process))
			since = monotonic_nanoseconds();
		if (monotonic_nanoseconds() - since > END_NS)
			return fail(error, -EBUSY,
				    "Process %d goes on after its dump, with its device memory, of which nothing is "
				    "parked",
				    process->named);
	}
	return 0;
}

static int hash_again(struct prefetch_image *image, struct memory_hashes *hashes, struct error_text *error)
{
	uint32_t count = image->image->allocation_count, i;
	int result = 0;

	for (i = 0; i < count && result == 0; i++) {
		result = pool_device_use(image->memory[i].device, error);
		if (result == 0)
			result = held_memory_map(&image->memory[i], NULL, error);
	}
	if (result == 0)
		result = memory_hashes_make(image->image, image->memory, NULL, hashes, error);
	for (i = 0; i < count; i++)
		if (image->memory[i].mapped && !pool_device_use(image->memory[i].device, error))
			held_memory_unmap(&image->memory[i]);
	return result;
}

static int check(struct prefetch *prefetch, struct prefetch_image *image, struct error_text *error)
{
	struct memory_hashes hashes = {.chunks = NULL};
	uint64_t began = monotonic_nanoseconds();
	int result;

	result = hash_again(image, &hashes, error);
	if (result == 0 && !memory_hashes_equal(&hashes, &image->hashes))
		result = fail(error, -EBADMSG,
			      "The parked device memory of process %d is not what was dumped, and is dropped",
			      image->image->pid);
	memory_hashes_free(&hashes);
	pthread_mutex_lock(&prefetch->lock);
	image->began = began;
	image->ended = monotonic_nanoseconds();
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}

static int compare_all(struct prefetch *prefetch, struct error_text *error)
{
	int result = 0;
	size_t i;

	for (i = 0; i < prefetch->count && result == 0; i++)
		result = wait_for_end(prefetch, &prefetch->images[i].process, error);
	for (i = 0; i < prefetch->count; i++) {
		if (result == 0 && prefetch->images[i].memory)
			result = check(prefetch, &prefetch->images[i], error);
		set_state(prefetch, &prefetch->images[i], result ? PREFETCH_FAILED : PREFETCH_FILLED, result, error);
	}
	return result;
}

static void note_result(struct prefetch *prefetch, int result, const struct error_text *error)
{
	if (!result)
		return;
	/* What is in no file is lost with it. */
	if (result == -EBADMSG || (prefetch->in_pool && result != -ECANCELED))
		log_error("%s", error->text);
	else if (result != -ECANCELED)
		log_info("%s", error->text);
	atomic_store(&prefetch->is_outdated, true);
}

static void compare_again(struct prefetch *prefetch)
{
	struct error_text error = {""};
	bool wanted;

	pthread_mutex_lock(&prefetch->lock);
	wanted = prefetch->compares_again;
	prefetch->compares_again = false;
	pthread_mutex_unlock(&prefetch->lock);
	if (wanted)
		note_result(prefetch, compare_all(prefetch, &error), &error);
}

/* Until it is ended. */
static void watch_files(struct prefetch *prefetch)
{
	struct timespec until;

	while (!prefetch_is_cancelled(prefetch) && !prefetch_look_whether_gone(prefetch)) {
		compare_again(prefetch);
		prefetch_drop_asked(prefetch);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += FILES_PERIOD_S;
		pthread_mutex_lock(&prefetch->lock);
		if (!prefetch->cancelled && !prefetch->compares_again)
			pthread_cond_timedwait(&prefetch->changed, &prefetch->lock, &until);
		pthread_mutex_unlock(&prefetch->lock);
	}
}

/* Its thread begins before it is. */
static void wait_until_kept(struct prefetch *prefetch)
{
	struct pool *pool = prefetch->pool;

	pthread_mutex_lock(&pool->lock);
	while (!prefetch->was_kept)
		pthread_cond_wait(&pool->changed, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

static void *park_main(void *argument)
{
	struct prefetch *prefetch = argument;
	struct error_text error = {""};
	int result;

	wait_until_kept(prefetch);
	result = compare_all(prefetch, &error);
	if (result == 0 && prefetch->goes_to_pinned)
		result = prefetch_move_to_pinned(prefetch, &error);
	note_result(prefetch, result, &error);
	watch_files(prefetch);
	return NULL;
}

static int hand_over(struct prefetch *prefetch, int folder, struct parked_memory *parked, struct error_text *error)
{
	struct gpu_image_name name = {.has_id = true};
	struct prefetch_image *image = prefetch_find(prefetch, parked->image_id);

	if (!image || image->image->allocation_count != parked->count || image->image->import_count)
		return fail(error, -ENOENT, "The image of process %d is not in the folder as it was dumped",
			    (int)parked->process.named);
	name.pid = image->image->pid;
	memcpy(name.id, image->image->id, sizeof(name.id));
	image->lock = gpu_image_open_manifest(folder, &name);
	image->memory = parked->memory;
	image->made = parked->count;
	image->hashes = parked->hashes;
	image->process = parked->process;
	parked->memory = NULL;
	parked->count = 0;
	parked->hashes = (struct memory_hashes){.chunks = NULL};
	parked->process.pidfd = -1;
	return 0;
}

/* Is every image that has device memory there with it? */
static bool is_complete(const struct prefetch *prefetch)
{
	size_t i;

	for (i = 0; i < prefetch->count; i++)
		if (prefetch->images[i].image->allocation_count && !prefetch->images[i].memory)
			return false;
	return prefetch->bytes > 0;
}

/* What is in no file has found out before that there is room; two may have done so at once, and both stay. */
static int make_room(struct prefetch *prefetch, struct error_text *error)
{
	int result = prefetch->goes_to_pinned ? prefetch_check_pinned_budget(prefetch->pool, prefetch->bytes, error)
					      : prefetch_keep_to_budget(prefetch->pool, prefetch->bytes, error);

	return prefetch->in_pool ? 0 : result;
}

int prefetch_park(struct pool *pool, int folder, bool pinned, struct parked_memory *parked, size_t count,
		  uint64_t *bytes, struct error_text *error)
{
	const struct prefetch_options options = {
		.verify = true, .overlap = true, .ahead = true, .has_memory = true, .device_map = ""};
	struct prefetch *prefetch;
	int result;
	size_t i;

	result = prefetch_make(pool, folder, &options, &prefetch, error);
	if (result)
		return result;
	prefetch->parked = true;
	prefetch->goes_to_pinned = pinned;
	/* It stays where it is. */
	prefetch->gpus_known = true;
	for (i = 0; i < count && result == 0; i++)
		result = hand_over(prefetch, folder, &parked[i], error);
	if (result == 0 && !is_complete(prefetch))
		result = fail(error, -ENODATA, "No process of the dump has device memory in a GPU image of its own");
	if (result == 0)
		result = make_room(prefetch, error);
	if (result == 0 && pthread_create(&prefetch->thread, NULL, park_main, prefetch))
		result = fail(error, -EAGAIN, "Could not start a thread");
	if (result) {
		prefetch_free(prefetch);
		return result;
	}
	*bytes = prefetch->bytes;
	prefetch->asked_for = monotonic_nanoseconds();
	prefetch_list(prefetch);
	prefetch_keep_this(prefetch);
	return 0;
}

void prefetch_keep_again(struct prefetch *prefetch)
{
	size_t i;

	pthread_mutex_lock(&prefetch->pool->lock);
	prefetch->adopted = false;
	prefetch->asked_for = monotonic_nanoseconds();
	pthread_mutex_unlock(&prefetch->pool->lock);
	atomic_store(&prefetch->called_back, false);
	pthread_mutex_lock(&prefetch->lock);
	for (i = 0; i < prefetch->count; i++) {
		prefetch->images[i].claimant = NULL;
		prefetch->images[i].taken = prefetch->images[i].was_resident = false;
		prefetch->images[i].state = PREFETCH_WAITING;
	}
	prefetch->compares_again = true;
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
	log_warning(
		"A restore from %s failed, and the device memory that it had, which is in no file, is kept for the next one",
		prefetch->directory);
	prefetch_keep_this(prefetch);
}
