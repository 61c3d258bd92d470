/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/call/report.h"
#include "api/call/request.h"
#include "api/criu/environment.h"
#include "api/gpu_images.h"
#include "pool/device/gpu_choice.h"
#include "pool/device/machine_gpus.h"
#include "rekindle.h"
#include "settings/device_map.h"

static int check_room(const void *gpus, uint32_t capacity, const uint32_t *count, struct rekindle_error *error)
{
	if ((gpus || !capacity) && count)
		return REKINDLE_OK;
	return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "%s may not be NULL.",
		      count ? "gpus" : "count");
}

int rekindle_gpus_list(const struct rekindle_environment *environment, struct rekindle_gpu *gpus, uint32_t capacity,
		       uint32_t *count, struct rekindle_error *error)
{
	struct machine_gpus machine;
	struct error_text text = {""};
	struct settings settings;
	int result = check_room(gpus, capacity, count, error);

	if (!result)
		result = environment_settings(&settings, environment, error);
	if (result)
		return result;
	result = machine_gpus_read(&settings, &machine, &text);
	if (result) /* -ENOENT: no driver, as opposed to no image */
		return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
	*count = (uint32_t)machine.count;
	for (uint32_t i = 0; i < *count && i < capacity; i++) {
		const struct machine_gpu *gpu = &machine.gpus[i];

		gpus[i] = (struct rekindle_gpu){
			.device = gpu->device,
			.simulated = machine.simulated,
			.driver_version = machine.driver_version,
			.memory_bytes = gpu->memory_bytes,
			.free_known = gpu->free_bytes != FREE_BYTES_UNKNOWN,
		};
		gpus[i].free_bytes = gpus[i].free_known ? gpu->free_bytes : 0;
		copy_text(gpus[i].name, sizeof(gpus[i].name), gpu->name);
		gpu_name_write(gpu->uuid, gpus[i].uuid);
	}
	return REKINDLE_OK;
}

static void describe_share(const struct gpu_image *image, uint32_t device, struct rekindle_image_gpu *entry)
{
	const struct gpu_image_device *gpu = &image->devices[device];

	*entry = (struct rekindle_image_gpu){
		.pid = gpu_image_criu_pid(image),
		.device = gpu->ordinal,
		.memory_bytes = gpu->memory_bytes,
		.driver_bytes = gpu->driver_bytes,
	};
	copy_text(entry->name, sizeof(entry->name), gpu->name);
	gpu_name_write(gpu->uuid, entry->uuid);
	for (uint32_t i = 0; i < image->allocation_count; i++) {
		if (image->allocations[i].device != device)
			continue;
		if (!image->allocations[i].on_host)
			entry->device_bytes += image->allocations[i].bytes;
		entry->allocations++;
	}
}

int rekindle_image_gpus(const char *directory, struct rekindle_image_gpu *gpus, uint32_t capacity, uint32_t *count,
			struct rekindle_error *error)
{
	struct gpu_images images;
	int result = check_room(gpus, capacity, count, error);

	if (!result)
		result = gpu_images_open(directory, &images, error);
	if (result)
		return result;
	*count = 0;
	for (size_t i = 0; i < images.count; i++) {
		for (uint32_t device = 0; device < images.images[i]->device_count; device++) {
			if (*count < capacity)
				describe_share(images.images[i], device, &gpus[*count]);
			(*count)++;
		}
	}
	gpu_images_close(&images);
	return REKINDLE_OK;
}

static int take_gpus(const struct rekindle_fit_request *request, struct machine_gpus *machine,
		     struct rekindle_error *error)
{
	struct error_text text;
	struct device_map map;

	if (request->gpu_count > POOL_DEVICES_MAX || (request->gpu_count && !request->gpus))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "gpus has to be there, and %u of them at most.", POOL_DEVICES_MAX);
	machine->count = (int)request->gpu_count;
	for (uint32_t i = 0; i < request->gpu_count; i++) {
		const struct rekindle_gpu *given = &request->gpus[i];
		struct machine_gpu *gpu = &machine->gpus[i];

		/* A map of one name is the name. */
		if (device_map_parse(given->uuid, &map, &text) || !map.only_one || !map.entries[0].new.is_uuid)
			return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
				      "%.60s is no UUID of a GPU.", given->uuid);
		memcpy(gpu->uuid, map.entries[0].new.uuid, sizeof(gpu->uuid));
		gpu->device = given->device;
		copy_text(gpu->name, sizeof(gpu->name), given->name);
		gpu->memory_bytes = given->memory_bytes;
		gpu->free_bytes = given->free_known ? given->free_bytes : FREE_BYTES_UNKNOWN;
		machine->simulated = given->simulated;
	}
	return REKINDLE_OK;
}

int rekindle_image_fits(const struct rekindle_fit_request *request, struct rekindle_error *error)
{
	struct machine_gpus machine;
	struct error_text text = {""};
	struct gpu_images images;
	int result;

	result = request_check(request, request ? request->structure_size : 0, sizeof(*request), "rekindle_fit_request",
			       error);
	if (!result)
		result = take_gpus(request, &machine, error);
	if (!result)
		result = gpu_images_open(request->directory, &images, error);
	if (result)
		return result;
	/* Without a GPU there is no driver that could be the wrong one. */
	if (!machine.count && images.count)
		machine.simulated = images.images[0]->simulated;
	result = machine_gpus_fit(&machine, (const struct gpu_image *const *)images.images, images.count,
				  request->device_map ? request->device_map : "", &text);
	gpu_images_close(&images);
	if (result == -ENODEV)
		result = -ENOTSUP; /* the driver that would be missing is of no machine */
	return result ? report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text) : REKINDLE_OK;
}
