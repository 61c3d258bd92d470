/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/resource.h>
#include <time.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"
#include "support/log.h"

/*
 * Descriptors of the memory for the processes that are to map it, made while it is being filled and nobody can map it yet:
 * the driver takes longer to export a piece than to make it. Several threads, as one for itself seldom gets the driver's lock
 * beside those that make and fill memory, and as the driver does a part of it without that.
 */

/* They hear of new descriptors so many at a time. */
#define STEP_PIECES 16u
/* Descriptors for one thing more may be as many as that part of those that the pool may open, and no more than that. */
#define SHARE_OF_LIMIT 4
#define AHEAD_MAX 16384u

static uint32_t limit_ahead(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	return limit.rlim_cur / SHARE_OF_LIMIT < AHEAD_MAX ? (uint32_t)(limit.rlim_cur / SHARE_OF_LIMIT) : AHEAD_MAX;
}

/* With the lock: up to here all were exported, or left out, whichever thread had them. */
static uint32_t exported_to(const struct prefetch_image *image)
{
	uint32_t end = image->export_next;
	unsigned int i;

	for (i = 0; i < PREFETCH_EXPORTERS; i++)
		if (image->exporting[i].count && image->exporting[i].from < end)
			end = image->exporting[i].from;
	return end;
}

/*
 * What this thread had is exported, with that result; waits for more, which becomes its own. False where there will be no
 * more.
 */
static bool take_pieces(const struct prefetch_exporter *exporter, struct prefetch_image *image, int result,
			const struct error_text *error)
{
	struct prefetch *prefetch = exporter->prefetch;
	struct export_part *part = &image->exporting[exporter->number];
	uint32_t count = image->image->allocation_count;
	bool more;

	pthread_mutex_lock(&prefetch->lock);
	/* Who waits for the pieces hears that there will be no more. */
	if (result && !image->export_result) {
		image->export_result = result;
		image->export_error = *error;
	}
	if (!image->export_result) {
		part->count = 0;
		image->exported = exported_to(image);
	}
	pthread_cond_broadcast(&prefetch->changed);
	while (!prefetch->cancelled && image->state != PREFETCH_FAILED && !image->export_result &&
	       image->export_next == image->made && image->made < count)
		pthread_cond_wait(&prefetch->changed, &prefetch->lock);
	more = !prefetch->cancelled && image->state != PREFETCH_FAILED && !image->export_result &&
	       image->export_next < image->made;
	if (more) {
		part->from = image->export_next;
		part->count = image->made - image->export_next;
		if (part->count > STEP_PIECES)
			part->count = STEP_PIECES;
		image->export_next += part->count;
		/* Those that are left out, whoever maps them exports. */
		part->left_out = prefetch->exports_left < part->count;
		if (!part->left_out)
			prefetch->exports_left -= part->count;
	}
	pthread_mutex_unlock(&prefetch->lock);
	return more;
}

static int export_pieces(const struct prefetch_image *image, const struct export_part *part, struct error_text *error)
{
	struct held_memory *memory;
	int result = 0;
	uint32_t i;

	for (i = part->from; !part->left_out && i < part->from + part->count && result == 0; i++) {
		memory = &image->memory[i];
		if (!memory->has_handle)
			continue;
		result = pool_device_use(memory->device, error);
		if (result == 0)
			result = held_memory_export_ahead(memory, error);
	}
	return result;
}

static void *export_main(void *argument)
{
	struct prefetch_exporter *exporter = argument;
	struct prefetch *prefetch = exporter->prefetch;
	uint64_t began = monotonic_nanoseconds();
	size_t i;

	for (i = 0; i < prefetch->count; i++) {
		struct prefetch_image *image = &prefetch->images[i];
		struct error_text error;
		int result = 0;

		while (!image->guest && take_pieces(exporter, image, result, &error))
			result = export_pieces(image, &image->exporting[exporter->number], &error);
	}
	log_debug("Memory was exported by %.3f s", (double)(monotonic_nanoseconds() - began) / 1e9);
	return NULL;
}

void prefetch_begin_exports(struct prefetch *prefetch)
{
	struct prefetch_exporter *exporter;

	pthread_mutex_lock(&prefetch->lock);
	if (!prefetch->exporter_count)
		prefetch->exports_left = limit_ahead();
	while (prefetch->exporter_count < PREFETCH_EXPORTERS) {
		exporter = &prefetch->exporters[prefetch->exporter_count];
		exporter->prefetch = prefetch;
		exporter->number = prefetch->exporter_count;
		if (pthread_create(&exporter->thread, NULL, export_main, exporter))
			break;
		prefetch->exporter_count++;
	}
	if (!prefetch->exporter_count)
		log_warning("No thread could be started that exports memory ahead; it is exported as it is mapped");
	pthread_mutex_unlock(&prefetch->lock);
}

int prefetch_wait_pieces(struct prefetch *prefetch, const struct prefetch_image *image, uint32_t at, uint32_t *there,
			 int timeout_ms, struct error_text *error)
{
	uint64_t end = monotonic_nanoseconds() + (uint64_t)timeout_ms * 1000000u;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
	int result = 0;

	pthread_mutex_lock(&prefetch->lock);
	for (;;) {
		*there = prefetch->exporter_count ? image->exported : image->made;
		if (*there > at || image->state == PREFETCH_FAILED || image->export_result)
			break;
		if (pthread_cond_timedwait(&prefetch->changed, &prefetch->lock, &until) == ETIMEDOUT) {
			result = -EINPROGRESS;
			break;
		}
	}
	if (image->state == PREFETCH_FAILED) {
		result = image->result;
		if (error)
			*error = image->error;
	} else if (*there <= at && image->export_result) {
		result = fail(error, image->export_result, "%s", image->export_error.text);
	}
	pthread_mutex_unlock(&prefetch->lock);
	return result;
}
