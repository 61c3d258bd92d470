/* SPDX-License-Identifier: MIT */
#include "plugin/criu_options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plugin/criu_plugin_abi.h"
#include "settings/device_map.h"
#include "support/log.h"

#define OURS "--cuda_plugin."
#define DEVICE_MAP "device-map"

static int take_device_map(struct settings *settings, const char *value, bool restores, struct error_text *error)
{
	struct device_map map;
	struct error_text why;

	if (!restores)
		return fail(error, -EINVAL, "cuda_plugin." DEVICE_MAP " is for a restore: leave it out of the dump");
	/* CRIU's own plugin refuses an empty one too. */
	if (!*value || strlen(value) >= sizeof(settings->device_map))
		return fail(error, -EINVAL, "cuda_plugin." DEVICE_MAP " is %s: set it to OLD=NEW,...",
			    *value ? "too long" : "empty");
	if (device_map_parse(value, &map, &why))
		return fail(error, -EINVAL, "cuda_plugin." DEVICE_MAP "=%.200s is not valid: %s", value, why.text);
	snprintf(settings->device_map, sizeof(settings->device_map), "%s", value);
	return 0;
}

int criu_options_apply(struct settings *settings, bool restores, struct error_text *error)
{
	char **options = NULL;
	int count = 0, code = 0;

	if (!criu_plugin_get_options || criu_plugin_get_options(&count, &options))
		return 0;
	/* The first one stands for the program's name. Of several of one name the last one counts. */
	for (int index = 1; index < count && !code; index++) {
		const char *option = options[index], *name;
		size_t length;

		if (strncmp(option, OURS, strlen(OURS)))
			continue; /* another plugin's */
		name = option + strlen(OURS);
		length = strcspn(name, "=");
		if (length == strlen(DEVICE_MAP) && !strncmp(name, DEVICE_MAP, length))
			code = take_device_map(settings, name + length + (name[length] == '='), restores, error);
		else
			log_info("cuda_plugin.%.100s means nothing to Rekindle's plugin", name);
	}
	return code;
}
