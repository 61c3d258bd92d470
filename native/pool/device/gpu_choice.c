/* SPDX-License-Identifier: MIT */
#include "pool/device/gpu_choice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool gpu_is_of_type(const struct pool_device *device, const struct gpu_image_device *old)
{
	return !strcmp(device->name, old->name) && device->memory_bytes >= old->memory_bytes;
}

void gpu_name_write(const uint8_t uuid[16], char text[DEVICE_NAME_TEXT_MAX])
{
	struct device_name name = {.is_uuid = true};

	memcpy(name.uuid, uuid, sizeof(name.uuid));
	device_name_write(&name, text);
}

/* GPUs for a message, as many as fit: "0 (GPU-...), 1 (GPU-...)". */
struct gpu_list {
	char text[300];
};

static void list_gpu(struct gpu_list *list, int ordinal, const uint8_t uuid[16])
{
	size_t length = strlen(list->text);
	char name[DEVICE_NAME_TEXT_MAX];

	gpu_name_write(uuid, name);
	snprintf(list->text + length, sizeof(list->text) - length, "%s%d (%s)", length ? ", " : "", ordinal, name);
}

static bool is_named(const struct device_name *name, int ordinal, const uint8_t uuid[16])
{
	return name->is_uuid ? !memcmp(name->uuid, uuid, sizeof(name->uuid)) : name->ordinal == (uint32_t)ordinal;
}

static struct gpu_matched *find_old(struct gpu_match *match, const struct device_name *name, struct error_text *error)
{
	struct gpu_list list = {""};
	char wanted[DEVICE_NAME_TEXT_MAX];
	uint32_t i;

	for (i = 0; i < match->count; i++) {
		if (is_named(name, match->gpus[i].old->ordinal, match->gpus[i].old->uuid))
			return &match->gpus[i];
		list_gpu(&list, match->gpus[i].old->ordinal, match->gpus[i].old->uuid);
	}
	device_name_write(name, wanted);
	fail(error, -EINVAL, "The device map names GPU %s of the dump, whose machine had: %s", wanted, list.text);
	return NULL;
}

static struct pool_device *find_new(struct pool *pool, const struct device_name *name, struct error_text *error)
{
	struct gpu_list list = {""};
	char wanted[DEVICE_NAME_TEXT_MAX];
	int i;

	for (i = 0; i < pool->device_count; i++) {
		if (is_named(name, pool->devices[i].device, pool->devices[i].uuid.bytes))
			return &pool->devices[i];
		list_gpu(&list, pool->devices[i].device, pool->devices[i].uuid.bytes);
	}
	device_name_write(name, wanted);
	fail(error, -EINVAL, "The device map asks for GPU %s, and this machine has: %s", wanted, list.text);
	return NULL;
}

/* The only one that holds something. */
static struct gpu_matched *find_only_one(struct gpu_match *match, struct error_text *error)
{
	struct gpu_matched *found = match->count == 1 ? &match->gpus[0] : NULL;
	uint32_t held = 0, i;

	for (i = 0; i < match->count; i++) {
		if (!match->gpus[i].held)
			continue;
		found = &match->gpus[i];
		held++;
	}
	if (found && held <= 1)
		return found;
	if (held)
		fail(error, -EINVAL, "The images hold memory of %u GPUs: say which stands for which (OLD=NEW,...)",
		     held);
	else
		fail(error, -EINVAL,
		     "The images do not tell which of %u GPUs the processes use (native mode): say which stands for "
		     "which (OLD=NEW,...)",
		     match->count);
	return NULL;
}

static int choose(struct gpu_match *match, struct gpu_matched *gpu, struct pool_device *device,
		  struct error_text *error)
{
	uint32_t i;

	if (gpu->chosen)
		return fail(error, -EINVAL, "The device map names GPU %d of the dump twice", gpu->old->ordinal);
	for (i = 0; i < match->count; i++)
		if (match->gpus[i].here == device)
			return fail(error, -EINVAL,
				    "The device map takes GPU %d twice: the driver puts the GPUs of the dump on as "
				    "many others",
				    device->device);
	if (!gpu_is_of_type(device, gpu->old))
		return fail(error, -ENOTSUP,
			    "GPU %d is a \"%s\" with %llu MiB, and GPU %d of the dump, which it is to stand for, was a "
			    "\"%s\" with %llu MiB: choose one of the same type",
			    device->device, device->name, (unsigned long long)(device->memory_bytes >> 20),
			    gpu->old->ordinal, gpu->old->name, (unsigned long long)(gpu->old->memory_bytes >> 20));
	gpu->here = device;
	gpu->chosen = true;
	return 0;
}

static int choose_entry(struct pool *pool, const struct device_map *map, const struct device_map_entry *entry,
			struct gpu_match *match, struct error_text *error)
{
	struct gpu_matched *gpu;
	struct pool_device *device;

	gpu = map->only_one ? find_only_one(match, error) : find_old(match, &entry->old, error);
	if (!gpu)
		return -EINVAL;
	device = find_new(pool, &entry->new, error);
	return device ? choose(match, gpu, device, error) : -EINVAL;
}

/* What holds nothing may lack one. */
static int choose_same_ordinals(struct pool *pool, struct gpu_match *match, struct error_text *error)
{
	struct device_name name = {.is_uuid = false};
	struct pool_device *device;
	struct gpu_matched *gpu;
	int result = 0;
	uint32_t i;

	for (i = 0; i < match->count && !result; i++) {
		gpu = &match->gpus[i];
		name.ordinal = (uint32_t)gpu->old->ordinal;
		device = find_new(pool, &name, error);
		if (!gpu->held && (!device || !gpu_is_of_type(device, gpu->old)))
			continue;
		result = device ? choose(match, gpu, device, error) : -EINVAL;
	}
	return result;
}

int gpu_choice_apply(struct pool *pool, const char *device_map, struct gpu_match *match, struct error_text *error)
{
	struct device_map map;
	struct error_text why;
	int result = 0;
	uint32_t i;

	if (device_map_parse(device_map, &map, &why))
		return fail(error, -EINVAL, "The device map %.200s is not valid: %s", device_map, why.text);
	if (map.same_ordinals)
		return choose_same_ordinals(pool, match, error);
	for (i = 0; i < map.count && !result; i++)
		result = choose_entry(pool, &map, &map.entries[i], match, error);
	return result;
}
