/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t on the stack */
#include <xxhash.h>

#include "store/gpu_image.h"
#include "store/manifest_file.h"
#include "store/parallel.h"

/* A stored chunk, as work for one thread. */
struct stored_chunk {
	uint32_t allocation, number;
};

struct verify_job {
	const struct gpu_image *image;
	const struct gpu_image_verification *verification;
	struct stored_chunk *chunks;
	size_t count;
	bool only_own; /* not what lies in linked files */
};

static bool is_wanted(const struct verify_job *job, const struct gpu_image_allocation *allocation, uint32_t chunk)
{
	return !allocation->zero_chunks[chunk] &&
	       !(job->only_own && job->image->files[allocation->places[chunk].file].linked);
}

static int list_chunks(struct verify_job *job, struct error_text *error)
{
	const struct gpu_image *image = job->image;
	uint32_t i, number;
	size_t count = 0;

	for (i = 0; i < image->allocation_count; i++)
		count += image->allocations[i].chunk_count;
	job->chunks = calloc(count + 1, sizeof(*job->chunks));
	if (!job->chunks)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < image->allocation_count; i++)
		for (number = 0; number < image->allocations[i].chunk_count; number++)
			if (is_wanted(job, &image->allocations[i], number))
				job->chunks[job->count++] = (struct stored_chunk){i, number};
	return 0;
}

static int verify_chunk(void *context, size_t index, void *buffer, struct error_text *error)
{
	const struct verify_job *job = context;
	const struct gpu_image_allocation *allocation = &job->image->allocations[job->chunks[index].allocation];
	uint32_t chunk = job->chunks[index].number;
	uint64_t bytes = gpu_image_chunk_bytes(job->image, job->chunks[index].allocation, chunk), done = 0;
	const struct gpu_image_place *place = &allocation->places[chunk];
	const char *name = job->image->files[place->file].name;
	XXH3_state_t checksum;
	ssize_t count;

	XXH3_64bits_reset(&checksum);
	while (done < bytes) {
		count = pread(job->verification->data->files[place->file], buffer,
			      bytes - done < PARALLEL_BUFFER_BYTES ? bytes - done : PARALLEL_BUFFER_BYTES,
			      (off_t)(place->offset + done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return fail(error, -errno, "Reading allocation %llu, chunk %u of %s failed: %s",
				    (unsigned long long)allocation->id, chunk, name, errno_text(errno));
		if (count == 0)
			return fail(error, -ENODATA, "%s is truncated: it ends in allocation %llu, chunk %u", name,
				    (unsigned long long)allocation->id, chunk);
		XXH3_64bits_update(&checksum, buffer, (size_t)count);
		done += (uint64_t)count;
		if (job->verification->bytes_done)
			atomic_fetch_add_explicit(job->verification->bytes_done, (uint64_t)count, memory_order_relaxed);
	}
	if (XXH3_64bits_digest(&checksum) != allocation->checksums[chunk])
		return fail(error, -EBADMSG, "%s is damaged: the checksum of allocation %llu, chunk %u does not match",
			    name, (unsigned long long)allocation->id, chunk);
	return 0;
}

static int verify(const struct gpu_image *image, const struct gpu_image_verification *verification, bool only_own,
		  struct error_text *error)
{
	struct verify_job job = {.image = image, .verification = verification, .only_own = only_own};
	int result = gpu_image_must_be_stored(image, error);

	if (result == 0)
		result = list_chunks(&job, error);
	if (result == 0)
		result =
			parallel_for(job.count, verification->threads, verification->cancel, verify_chunk, &job, error);
	free(job.chunks);
	return result;
}

int gpu_image_verify(const struct gpu_image *image, const struct gpu_image_verification *verification,
		     struct error_text *error)
{
	return verify(image, verification, false, error);
}

int gpu_image_check_on_disk(const struct gpu_image *image, const struct gpu_image_verification *verification,
			    struct error_text *error)
{
	const struct gpu_image_data *data = verification->data;
	int result = gpu_image_flush_data(image, data, error);
	uint32_t i;

	if (result)
		return result;
	/* What is not dropped, for example where somebody has it mapped, is read from memory: there is no harm in that. */
	for (i = 0; i < data->count; i++)
		if (!image->files[i].linked)
			posix_fadvise(data->files[i], 0, 0, POSIX_FADV_DONTNEED);
	return verify(image, verification, true, error);
}
