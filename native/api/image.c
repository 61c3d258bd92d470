/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/criu_images.h"
#include "api/criu_log.h"
#include "api/operation.h"
#include "api/report.h"
#include "image/gpu_image.h"
#include "rekindle.h"

#define VERIFY_THREADS_MAX 16
#define PROGRESS_NANOSECONDS 20000000

/* The GPU images of a folder. */
struct gpu_images {
	int folder;
	struct gpu_image **images;
	size_t count;
};

static void close_gpu_images(struct gpu_images *gpu)
{
	size_t i;

	for (i = 0; i < gpu->count; i++)
		gpu_image_free(gpu->images[i]);
	free(gpu->images);
	if (gpu->folder >= 0)
		close(gpu->folder);
}

static int open_folder(const char *directory, int *folder, struct rekindle_error *error)
{
	struct stat status;

	if (!directory || !*directory)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "directory may not be NULL or empty.");
	if (stat(directory, &status))
		return report(error, errno == ENOENT ? REKINDLE_ERROR_NO_IMAGE : code_of_errno(-errno),
			      REKINDLE_PHASE_NONE, "The folder %.300s cannot be read: %s.", directory,
			      errno_text(errno));
	if (!S_ISDIR(status.st_mode))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "%.300s is a file: name the folder of a checkpoint.", directory);
	*folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0)
		return report(error, code_of_errno(-errno), REKINDLE_PHASE_NONE,
			      "The folder %.300s cannot be read: %s.", directory, errno_text(errno));
	return REKINDLE_OK;
}

static int open_gpu_images(const char *directory, struct gpu_images *gpu, struct rekindle_error *error)
{
	struct error_text text = {""};
	int32_t *pids = NULL;
	size_t count = 0;
	size_t i;
	int result;

	memset(gpu, 0, sizeof(*gpu));
	gpu->folder = -1;
	result = open_folder(directory, &gpu->folder, error);
	if (result)
		return result;
	result = gpu_image_list(gpu->folder, &pids, &count, &text);
	if (!result && !(gpu->images = calloc(count + 1, sizeof(*gpu->images))))
		result = fail(&text, -ENOMEM, "Memory is out.");
	for (i = 0; !result && i < count; i++) {
		result = gpu_image_read(gpu->folder, pids[i], &gpu->images[i], &text);
		gpu->count += !result;
	}
	free(pids);
	if (!result)
		return REKINDLE_OK;
	close_gpu_images(gpu);
	return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
}

static void describe_gpu(const struct gpu_images *gpu, struct rekindle_image *image)
{
	size_t i;

	for (i = 0; i < gpu->count; i++) {
		image->device_bytes += gpu_image_device_bytes(gpu->images[i]);
		image->image_bytes += gpu->images[i]->stored_bytes;
	}
	image->gpu_process_count = (uint32_t)gpu->count;
	if (!gpu->count)
		return;
	image->driver_version = gpu->images[0]->driver_version;
	image->simulated = gpu->images[0]->simulated;
	image->created = gpu->images[0]->created;
	snprintf(image->driver_text, sizeof(image->driver_text), "CUDA %d.%d%s", image->driver_version / 1000,
		 image->driver_version % 1000 / 10, image->simulated ? " (SIMULATED)" : "");
	for (i = 0; i < gpu->count && !gpu->images[i]->device_count; i++)
		;
	if (i < gpu->count) {
		const struct gpu_image_device *device = &gpu->images[i]->devices[0];
		const uint8_t *u = device->uuid;

		copy_text(image->gpu_name, sizeof(image->gpu_name), device->name);
		snprintf(image->gpu_uuid, sizeof(image->gpu_uuid),
			 "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
			 u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	}
}

static void describe_process(const struct criu_process *process, const struct gpu_images *gpu,
			     struct rekindle_image_process *entry)
{
	size_t i;

	memset(entry, 0, sizeof(*entry));
	entry->pid = process->pid;
	entry->parent_pid = process->parent_pid;
	entry->threads = process->threads;
	entry->host_bytes = process->host_bytes;
	copy_text(entry->name, sizeof(entry->name), process->name);
	for (i = 0; i < gpu->count; i++) {
		const struct gpu_image *gpu_image = gpu->images[i];

		if (gpu_image->pid != process->pid)
			continue;
		entry->mode = gpu_image->mode == GPU_IMAGE_OFFLOAD ? REKINDLE_MODE_OFFLOAD : REKINDLE_MODE_NATIVE;
		entry->allocations = gpu_image->allocation_count;
		entry->device_bytes = gpu_image_device_bytes(gpu_image);
		entry->image_bytes = gpu_image->stored_bytes;
		copy_text(entry->reason, sizeof(entry->reason), gpu_image->reason);
	}
}

int rekindle_image_read(const char *directory, struct rekindle_image *image, struct rekindle_image_process *processes,
			uint32_t capacity, struct rekindle_error *error)
{
	struct criu_checkpoint checkpoint;
	struct criu_log_excerpt log;
	struct gpu_images gpu;
	struct error_text text = {""};
	char path[PATH_MAX];
	uint32_t i;
	int result;

	if (!image)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "image may not be NULL.");
	result = open_gpu_images(directory, &gpu, error);
	if (result)
		return result;
	result = criu_checkpoint_read(directory, &checkpoint, &text);
	if (result) {
		result = report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
		goto out;
	}
	memset(image, 0, sizeof(*image));
	image->process_count = (uint32_t)checkpoint.process_count;
	image->host_bytes = checkpoint.host_bytes;
	image->root_pid = checkpoint.processes[0].pid;
	image->uses_cuda_plugin = checkpoint.uses_cuda_plugin;
	image->created = (uint64_t)checkpoint.created;
	describe_gpu(&gpu, image);
	/* No image says which CRIU made it; its log, where it lies beside them, does. */
	if (snprintf(path, sizeof(path), "%s/dump.log", directory) < (int)sizeof(path)) {
		criu_log_read(path, &log);
		copy_text(image->criu_version, sizeof(image->criu_version), log.version);
	}
	for (i = 0; processes && i < image->process_count && i < capacity; i++)
		describe_process(&checkpoint.processes[i], &gpu, &processes[i]);
	criu_checkpoint_free(&checkpoint);
out:
	close_gpu_images(&gpu);
	return result;
}

/* A verification that a thread of its own does, so that the caller's thread can tell its progress. */
struct verification {
	const struct gpu_images *gpu;
	unsigned int threads;
	_Atomic uint64_t bytes_done;
	atomic_bool cancel;
	struct error_text text;
	int result;
};

static void *verify_all(void *context)
{
	struct verification *verification = context;
	const struct gpu_images *gpu = verification->gpu;
	size_t i;

	for (i = 0; !verification->result && i < gpu->count; i++) {
		struct gpu_image_verification one = {
			.threads = verification->threads,
			.bytes_done = &verification->bytes_done,
			.cancel = &verification->cancel,
		};

		if (!gpu->images[i]->allocation_count)
			continue;
		one.data = gpu_image_open_data(gpu->folder, gpu->images[i], &verification->text);
		if (one.data < 0) {
			verification->result = one.data;
			break;
		}
		verification->result = gpu_image_verify(gpu->images[i], &one, &verification->text);
		close(one.data);
	}
	return NULL;
}

static int watch_verification(struct verification *verification, struct rekindle_operation *operation, uint64_t total)
{
	struct timespec until;
	pthread_t thread;
	int result = pthread_create(&thread, NULL, verify_all, verification);

	if (result)
		return fail(&verification->text, -result, "No thread could be started: %s.", errno_text(result));
	do {
		operation_progress(operation, atomic_load(&verification->bytes_done), total, REKINDLE_PHASE_NONE);
		if (operation_cancelled(operation))
			atomic_store(&verification->cancel, true);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += PROGRESS_NANOSECONDS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
	} while (pthread_timedjoin_np(thread, NULL, &until));
	operation_progress(operation, atomic_load(&verification->bytes_done), total, REKINDLE_PHASE_NONE);
	return verification->result;
}

int rekindle_image_verify(const char *directory, struct rekindle_operation *operation, uint64_t *bytes,
			  struct rekindle_error *error)
{
	struct verification verification = {.result = 0};
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct gpu_images gpu;
	uint64_t total = 0;
	size_t i;
	int result;

	if (bytes)
		*bytes = 0;
	if (!operation_begin(operation))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The operation is in use by another run: make one for each run.");
	result = open_gpu_images(directory, &gpu, error);
	if (result)
		goto out;
	if (!gpu.count && faccessat(gpu.folder, "inventory.img", F_OK, 0)) {
		result = report(error, REKINDLE_ERROR_NO_IMAGE, REKINDLE_PHASE_NONE,
				"The folder %.300s holds no checkpoint.", directory);
		goto close_images;
	}
	for (i = 0; i < gpu.count; i++)
		total += gpu.images[i]->stored_bytes;
	verification.gpu = &gpu;
	verification.threads = processors < 1			 ? 1
			       : processors > VERIFY_THREADS_MAX ? VERIFY_THREADS_MAX
								 : (unsigned int)processors;
	atomic_store(&verification.cancel, operation_cancelled(operation));
	result = watch_verification(&verification, operation, total);
	if (result)
		result = report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", verification.text.text);
	if (bytes)
		*bytes = atomic_load(&verification.bytes_done);
close_images:
	close_gpu_images(&gpu);
out:
	operation_end(operation);
	return result;
}
