/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t on the stack */
#include <xxhash.h>

#include "image/gpu_image.h"

#define BLOCK_BYTES (1024u * 1024u)
#define THREADS_MAX 64u

struct verify_job {
	const struct gpu_image *image;
	const struct gpu_image_verification *verification;
	atomic_bool stop;
	pthread_mutex_t lock;	    /* what follows */
	uint32_t allocation, chunk; /* next to read */
	int result;
	struct error_text error;
};

static void job_fail(struct verify_job *job, int code, const struct error_text *error)
{
	pthread_mutex_lock(&job->lock);
	if (job->result == 0) {
		job->result = code;
		job->error = *error;
	}
	atomic_store(&job->stop, true);
	pthread_mutex_unlock(&job->lock);
}

/* Takes the next stored chunk; false where there is none. */
static bool take_chunk(struct verify_job *job, uint32_t *allocation, uint32_t *chunk)
{
	const struct gpu_image *image = job->image;
	bool found = false;

	pthread_mutex_lock(&job->lock);
	while (!found && job->allocation < image->allocation_count) {
		if (job->chunk >= image->allocations[job->allocation].chunk_count) {
			job->allocation++;
			job->chunk = 0;
			continue;
		}
		found = !image->allocations[job->allocation].zero_chunks[job->chunk];
		*allocation = job->allocation;
		*chunk = job->chunk++;
	}
	pthread_mutex_unlock(&job->lock);
	return found;
}

static int verify_chunk(struct verify_job *job, uint32_t index, uint32_t chunk, char *buffer, struct error_text *error)
{
	const struct gpu_image_allocation *allocation = &job->image->allocations[index];
	uint64_t bytes = gpu_image_chunk_bytes(job->image, index, chunk), done = 0;
	uint64_t offset = allocation->file_offset + chunk * job->image->chunk_bytes;
	XXH3_state_t checksum;
	ssize_t count;

	XXH3_64bits_reset(&checksum);
	while (done < bytes) {
		count = pread(job->verification->data, buffer, bytes - done < BLOCK_BYTES ? bytes - done : BLOCK_BYTES,
			      (off_t)(offset + done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return fail(error, -errno, "Reading allocation %llu, chunk %u of %s failed: %s",
				    (unsigned long long)allocation->id, chunk, job->image->data_file, strerror(errno));
		if (count == 0)
			return fail(error, -ENODATA, "%s is truncated: it ends in allocation %llu, chunk %u",
				    job->image->data_file, (unsigned long long)allocation->id, chunk);
		XXH3_64bits_update(&checksum, buffer, (size_t)count);
		done += (uint64_t)count;
		if (job->verification->bytes_done)
			atomic_fetch_add_explicit(job->verification->bytes_done, (uint64_t)count, memory_order_relaxed);
	}
	if (XXH3_64bits_digest(&checksum) != allocation->checksums[chunk])
		return fail(error, -EBADMSG, "%s is damaged: the checksum of allocation %llu, chunk %u does not match",
			    job->image->data_file, (unsigned long long)allocation->id, chunk);
	return 0;
}

static void *verify_main(void *argument)
{
	struct verify_job *job = argument;
	const atomic_bool *cancel = job->verification->cancel;
	char *buffer = malloc(BLOCK_BYTES);
	uint32_t allocation = 0, chunk = 0;
	struct error_text error;
	int result = buffer ? 0 : fail(&error, -ENOMEM, "Out of memory");

	while (result == 0 && !atomic_load(&job->stop) && take_chunk(job, &allocation, &chunk)) {
		if (cancel && atomic_load(cancel))
			result = fail(&error, -ECANCELED, "The verification was cancelled");
		else
			result = verify_chunk(job, allocation, chunk, buffer, &error);
	}
	if (result)
		job_fail(job, result, &error);
	free(buffer);
	return NULL;
}

int gpu_image_verify(const struct gpu_image *image, const struct gpu_image_verification *verification,
		     struct error_text *error)
{
	struct verify_job job = {.image = image, .verification = verification, .lock = PTHREAD_MUTEX_INITIALIZER};
	unsigned int wanted = verification->threads < THREADS_MAX ? verification->threads : THREADS_MAX, started = 0, i;
	pthread_t threads[THREADS_MAX];

	/* The caller is one of the threads, so that it works also where no more can be started. */
	while (started + 1 < wanted && pthread_create(&threads[started], NULL, verify_main, &job) == 0)
		started++;
	verify_main(&job);
	for (i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (job.result && error)
		*error = job.error;
	return job.result;
}
