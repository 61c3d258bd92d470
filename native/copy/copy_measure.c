/* SPDX-License-Identifier: MIT */
#include "copy/copy_measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "copy/copy_engine.h"
#include "support/clock.h"

/* Pinned memory to copy from, again and again: pinning all the bytes would take longer than the measurement. */
#define PINNED_BYTES (256u * 1024u * 1024u)

static int measure_pinned(const struct cuda_driver *driver, CUdeviceptr target,
			  const struct copy_measure_request *request, uint64_t *nanoseconds, struct error_text *error)
{
	uint64_t at, offset, bytes, began;
	CUstream stream = NULL;
	void *memory = NULL;
	CUresult status;

	status = driver->cuMemHostAlloc(&memory, PINNED_BYTES, 0);
	if (status == CUDA_SUCCESS)
		status = driver->cuStreamCreate(&stream, 0);
	if (status != CUDA_SUCCESS)
		goto out;
	memset(memory, 1, PINNED_BYTES);
	began = monotonic_nanoseconds();
	for (at = 0; at < request->bytes && status == CUDA_SUCCESS; at += bytes) {
		offset = at % PINNED_BYTES;
		bytes = request->bytes - at < request->chunk_bytes ? request->bytes - at : request->chunk_bytes;
		if (bytes > PINNED_BYTES - offset)
			bytes = PINNED_BYTES - offset;
		status = driver->cuMemcpyHtoDAsync(target + at, (char *)memory + offset, bytes, stream);
	}
	if (status == CUDA_SUCCESS)
		status = driver->cuStreamSynchronize(stream);
	*nanoseconds = monotonic_nanoseconds() - began;
out:
	if (stream)
		driver->cuStreamDestroy(stream);
	if (memory)
		driver->cuMemFreeHost(memory);
	if (status != CUDA_SUCCESS)
		return fail(error, cuda_result_to_errno(status), "The copy from pinned memory failed: %s",
			    cuda_result_name(driver, status));
	return 0;
}

static int open_file(const struct copy_measure_request *request, int *file, struct error_text *error)
{
	struct stat status;
	int result = 0;

	*file = open(request->file, O_RDONLY | O_CLOEXEC);
	if (*file < 0)
		return fail(error, -errno, "Could not open %s: %s", request->file, errno_text(errno));
	if (fstat(*file, &status) < 0)
		result = fail(error, -errno, "Could not read the size of %s: %s", request->file, errno_text(errno));
	else if ((uint64_t)status.st_size < request->bytes)
		result = fail(error, -EINVAL, "%s has %lld bytes, fewer than the %llu to copy", request->file,
			      (long long)status.st_size, (unsigned long long)request->bytes);
	if (result) {
		close(*file);
		*file = -1;
	}
	return result;
}

static int drop_pages(const struct copy_request *copy, struct error_text *error)
{
	if (fsync(copy->files[0].descriptor) < 0 || posix_fadvise(copy->files[0].descriptor, 0, 0, POSIX_FADV_DONTNEED))
		return fail(error, -EIO, "Could not drop the pages of %s from the cache", copy->files[0].name);
	return 0;
}

/* What the file's chunks are expected to be: read once before, which is not part of the time. */
static int read_checksums(struct copy_request *copy, struct error_text *error)
{
	size_t i;
	void *map;

	for (i = 0; i < copy->chunk_count; i++) {
		map = mmap(NULL, copy->chunks[i].bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, copy->files[0].descriptor,
			   (off_t)copy->chunks[i].file_offset);
		if (map == MAP_FAILED)
			return fail(error, -errno, "Could not map %s: %s", copy->files[0].name, errno_text(errno));
		copy->chunks[i].checksum = XXH3_64bits(map, copy->chunks[i].bytes);
		munmap(map, copy->chunks[i].bytes);
	}
	copy->verify = true;
	return 0;
}

static int measure_file(const struct cuda_driver *driver, CUcontext context, CUdeviceptr target,
			const struct copy_measure_request *request, uint64_t *nanoseconds, struct error_text *error)
{
	struct copy_file file = {.descriptor = -1, .name = request->file};
	struct copy_request copy = {.direction = COPY_FILE_TO_DEVICE, .files = &file, .file_count = 1};
	struct copy_engine *engine = NULL;
	struct copy_job *job = NULL;
	uint64_t began;
	size_t i;
	int result;

	result = open_file(request, &file.descriptor, error);
	if (result)
		return result;
	copy.chunk_count = (size_t)((request->bytes + request->chunk_bytes - 1) / request->chunk_bytes);
	copy.chunks = calloc(copy.chunk_count, sizeof(*copy.chunks));
	if (!copy.chunks) {
		result = fail(error, -ENOMEM, "Out of memory");
		goto out;
	}
	for (i = 0; i < copy.chunk_count; i++) {
		copy.chunks[i].number = (uint32_t)i;
		copy.chunks[i].file_offset = i * request->chunk_bytes;
		copy.chunks[i].device_address = target + copy.chunks[i].file_offset;
		copy.chunks[i].bytes = request->bytes - copy.chunks[i].file_offset;
		if (copy.chunks[i].bytes > request->chunk_bytes)
			copy.chunks[i].bytes = request->chunk_bytes;
	}
	if (request->checksums)
		result = read_checksums(&copy, error);
	if (result == 0 && request->source == COPY_MEASURE_DISK)
		result = drop_pages(&copy, error);
	if (result)
		goto out;
	result = copy_engine_create(&engine, request->workers, request->ring_bytes, error);
	if (result)
		goto out;
	result = copy_engine_attach(engine, driver, context, error);
	if (result)
		goto out;
	began = monotonic_nanoseconds();
	result = copy_job_start(engine, &copy, &job, error);
	if (result)
		goto out;
	copy_job_wait(job, -1);
	*nanoseconds = monotonic_nanoseconds() - began;
	result = copy_job_result(job, error);
out:
	copy_job_finish(job);
	copy_engine_destroy(engine);
	free(copy.chunks);
	close(file.descriptor);
	return result;
}

int copy_measure(const struct cuda_driver *driver, CUcontext context, const struct copy_measure_request *request,
		 uint64_t *nanoseconds, struct error_text *error)
{
	CUdeviceptr target;
	CUresult status;
	int result;

	status = driver->cuCtxSetCurrent(context);
	if (status == CUDA_SUCCESS)
		status = driver->cuMemAlloc(&target, request->bytes);
	if (status != CUDA_SUCCESS)
		return fail(error, cuda_result_to_errno(status), "No %llu bytes of device memory to copy to: %s",
			    (unsigned long long)request->bytes, cuda_result_name(driver, status));
	if (request->source == COPY_MEASURE_PINNED)
		result = measure_pinned(driver, target, request, nanoseconds, error);
	else
		result = measure_file(driver, context, target, request, nanoseconds, error);
	driver->cuMemFree(target);
	return result;
}
