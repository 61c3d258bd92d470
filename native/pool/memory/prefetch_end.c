/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <unistd.h>

#include "pool/memory/prefetch.h"
#include "support/log.h"

void prefetch_image_release(struct prefetch_image *image)
{
	struct error_text error;
	unsigned int i;

	for (i = 0; i < image->job_count; i++) {
		copy_job_finish(image->jobs[i].job);
		free(image->jobs[i].chunks);
	}
	free(image->jobs);
	image->jobs = NULL;
	image->job_count = 0;
	for (i = 0; image->memory && i < image->image->allocation_count + image->image->import_count; i++) {
		if (image->memory[i].has_handle && pool_device_use(image->memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_release(&image->memory[i]);
	}
	held_range_free(&image->range);
	free(image->memory);
	image->memory = NULL;
	memory_hashes_free(&image->hashes);
	target_close(&image->process);
	gpu_image_close_data(&image->data);
}

void prefetch_free(struct prefetch *prefetch)
{
	size_t i;

	for (i = 0; i < prefetch->count; i++) {
		prefetch_image_release(&prefetch->images[i]);
		gpu_image_free(prefetch->images[i].image);
		if (prefetch->images[i].lock >= 0)
			close(prefetch->images[i].lock);
	}
	if (prefetch->pinned)
		atomic_fetch_sub(&prefetch->pool->pinned_bytes, prefetch->bytes);
	gpu_match_free(&prefetch->gpus);
	free(prefetch->images);
	pthread_mutex_destroy(&prefetch->gpus_lock);
	pthread_cond_destroy(&prefetch->changed);
	pthread_mutex_destroy(&prefetch->lock);
	free(prefetch);
}

/* What no process has taken, and nobody will have any more. */
static void note_loss(const struct prefetch *prefetch)
{
	bool taken = false;
	size_t i;

	for (i = 0; i < prefetch->count; i++)
		taken |= prefetch->images[i].taken;
	if (prefetch->in_pool && !taken)
		log_warning(
			"%llu MiB of device memory that are in no file (REKINDLE_PARK=ephemeral) are dropped: the checkpoint "
			"in %s can no longer be restored",
			(unsigned long long)(prefetch->bytes >> 20), prefetch->directory);
}

void prefetch_end(struct prefetch *prefetch)
{
	unsigned int job;
	size_t i;

	if (!prefetch)
		return;
	note_loss(prefetch);
	prefetch_unlist(prefetch);
	pthread_mutex_lock(&prefetch->lock);
	prefetch->cancelled = true;
	for (i = 0; i < prefetch->count; i++)
		for (job = 0; prefetch->images[i].state == PREFETCH_FILLING && job < prefetch->images[i].job_count;
		     job++)
			copy_job_cancel(prefetch->images[i].jobs[job].job);
	pthread_cond_broadcast(&prefetch->changed);
	pthread_mutex_unlock(&prefetch->lock);
	pthread_join(prefetch->thread, NULL);
	for (job = 0; job < prefetch->exporter_count; job++)
		pthread_join(prefetch->exporters[job].thread, NULL);
	prefetch_await_copiers(prefetch);
	prefetch_free(prefetch);
}
