/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SETTINGS_SETTINGS_H
#define REKINDLE_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "settings/settings_table.h"
#include "support/error_text.h"

/*
 * The settings of plugin and pool, see settings_table.h. Each has one name, used as an environment variable and as a key of the [rekindle]
 * section of /etc/rekindle.conf (another file: REKINDLE_CONFIGURATION); the environment wins. Sizes take K, M and G
 * (powers of 1024). An unknown name that starts with REKINDLE_ or CRIU_CUDA_, or a value out of range, is an error that
 * names it; names of other parts (the REKINDLE_SIMCUDA_ family, REKINDLE_CRIU and so on) are listed in settings.c.
 */
struct settings {
#define SETTINGS_SWITCH(name, member, ...) bool member;
#define SETTINGS_NUMBER(name, member, ...) unsigned int member;
#define SETTINGS_SIZE(name, member, ...) size_t member;
#define SETTINGS_PATH(name, member, capacity, ...) char member[capacity];
	SETTINGS(SETTINGS_SWITCH, SETTINGS_NUMBER, SETTINGS_SIZE, SETTINGS_PATH)
#undef SETTINGS_SWITCH
#undef SETTINGS_NUMBER
#undef SETTINGS_SIZE
#undef SETTINGS_PATH
};

#define PARENT_NONE "none"
#define PARK_FILE "file"
#define PARK_DEVICE "device"
#define PARK_PINNED "pinned"
#define PARK_EPHEMERAL "ephemeral"

/*
 * Reads file and environment. configuration_path: NULL for REKINDLE_CONFIGURATION or /etc/rekindle.conf (which may be
 * missing; a file named explicitly may not). Only root and the present user may be able to write it, and the library and
 * the program that the settings name. Returns 0 or -EINVAL / -ENOENT with the setting named in error.
 */
int settings_load(struct settings *settings, const char *configuration_path, struct error_text *error);

#endif
