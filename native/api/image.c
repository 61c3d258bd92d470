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

#include "api/call/operation.h"
#include "api/call/report.h"
#include "api/criu/criu_images.h"
#include "api/criu/criu_log.h"
#include "api/gpu_images.h"
#include "pool/device/gpu_choice.h"
#include "rekindle.h"
#include "store/checkpoint_gpu_images.h"
#include "store/checkpoint_manifest.h"
#include "store/gpu_image.h"

#define VERIFY_THREADS_MAX 16
#define PROGRESS_NANOSECONDS 20000000

static void describe_gpu(const struct gpu_images *gpu, struct rekindle_image *image)
{
	size_t i;

	for (i = 0; i < gpu->count; i++) {
		image->device_bytes += gpu_image_bytes(gpu->images[i]);
		image->image_bytes += gpu->images[i]->stored_bytes;
		image->linked_bytes += gpu_image_linked_bytes(gpu->images[i]);
		image->dead_bytes += gpu_image_dead_bytes(gpu->images[i]);
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

		copy_text(image->gpu_name, sizeof(image->gpu_name), device->name);
		gpu_name_write(device->uuid, image->gpu_uuid);
	}
}

/* Each once, as many as there is room for; of one more there are three dots. */
static void write_origins(const struct gpu_image *image, char *text, size_t size)
{
	static const char more[] = "...";
	const size_t digits = 2 * sizeof(image->files[0].origin);
	size_t length = 0, byte;
	char id[33];
	uint32_t i;

	text[0] = '\0';
	for (i = 0; i < image->file_count; i++) {
		if (!image->files[i].linked)
			continue;
		for (byte = 0; byte < sizeof(image->files[i].origin); byte++)
			snprintf(id + 2 * byte, 3, "%02x", image->files[i].origin[byte]);
		if (strstr(text, id))
			continue;
		if (length + 1 + digits + 1 + sizeof(more) > size) {
			snprintf(text + length, size - length, " %s", more);
			return;
		}
		length += (size_t)snprintf(text + length, size - length, "%s%s", length ? " " : "", id);
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

		if (gpu_image_criu_pid(gpu_image) != process->pid)
			continue;
		entry->mode = gpu_image->mode == GPU_IMAGE_OFFLOAD ? REKINDLE_MODE_OFFLOAD : REKINDLE_MODE_NATIVE;
		entry->allocations = gpu_image->allocation_count;
		entry->device_bytes = gpu_image_bytes(gpu_image);
		entry->image_bytes = gpu_image->stored_bytes;
		entry->linked_bytes = gpu_image_linked_bytes(gpu_image);
		entry->dead_bytes = gpu_image_dead_bytes(gpu_image);
		write_origins(gpu_image, entry->linked_to, sizeof(entry->linked_to));
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
	result = gpu_images_open(directory, &gpu, error);
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
	image->has_manifest = gpu.checkpoint != NULL;
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
	gpu_images_close(&gpu);
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
	struct checkpoint_reading reading = {
		.threads = verification->threads,
		.bytes_done = &verification->bytes_done,
		.cancel = &verification->cancel,
	};
	size_t i;

	if (gpu->checkpoint)
		verification->result =
			checkpoint_verify_files(gpu->folder, gpu->checkpoint, &reading, &verification->text);
	for (i = 0; !verification->result && i < gpu->count; i++) {
		struct gpu_image_data data;
		struct gpu_image_verification one = {
			.data = &data,
			.threads = verification->threads,
			.bytes_done = &verification->bytes_done,
			.cancel = &verification->cancel,
		};

		verification->result = gpu_image_open_data(gpu->folder, gpu->images[i], &data, &verification->text);
		if (verification->result)
			break;
		verification->result = gpu_image_verify(gpu->images[i], &one, &verification->text);
		gpu_image_close_data(&data);
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
	uint64_t total;
	size_t i;
	int result;

	if (bytes)
		*bytes = 0;
	if (!operation_begin(operation))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The operation is in use by another run: make one for each run.");
	result = gpu_images_open(directory, &gpu, error);
	if (result)
		goto out;
	if (!gpu.count && faccessat(gpu.folder, "inventory.img", F_OK, 0)) {
		result = report(error, REKINDLE_ERROR_NO_IMAGE, REKINDLE_PHASE_NONE,
				"The folder %.300s holds no checkpoint.", directory);
		goto close_images;
	}
	total = gpu.checkpoint ? checkpoint_manifest_bytes(gpu.checkpoint, false) : 0;
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
	gpu_images_close(&gpu);
out:
	operation_end(operation);
	return result;
}
