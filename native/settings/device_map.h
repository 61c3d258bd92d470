/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SETTINGS_DEVICE_MAP_H
#define REKINDLE_SETTINGS_DEVICE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * Which GPUs a restore takes, as text. The syntax is that of CRIU 4.3's cuda_plugin.device-map and of NVIDIA's
 * cuda-checkpoint --device-map, and one form more:
 *
 *   (nothing)        the same GPUs where they are and have room, else others of their type
 *   auto             each ordinal of the dump's machine on the same one of this machine, whatever its UUID
 *   OLD=NEW,...      each an ordinal, or a UUID as nvidia-smi prints it (GPU-...); what is left out is chosen
 *   NEW              for a tree that holds memory on one GPU only: that one
 */
#define DEVICE_MAP_TEXT_MAX 1024
#define DEVICE_MAP_MAX 16

struct device_name {
	bool is_uuid;
	uint32_t ordinal;
	uint8_t uuid[16];
};

struct device_map {
	bool same_ordinals; /* auto */
	bool only_one;	    /* one entry, and its `old` says nothing */
	uint32_t count;
	struct device_map_entry {
		struct device_name old, new;
	} entries[DEVICE_MAP_MAX];
};

/* -EINVAL with the part named that is wrong. An empty text is an empty map. */
int device_map_parse(const char *text, struct device_map *map, struct error_text *error);

#define DEVICE_NAME_TEXT_MAX 48
/* As it is written in a map. */
void device_name_write(const struct device_name *name, char text[DEVICE_NAME_TEXT_MAX]);

#endif
