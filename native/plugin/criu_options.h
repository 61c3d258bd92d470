/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_CRIU_OPTIONS_H
#define REKINDLE_PLUGIN_CRIU_OPTIONS_H

#include "settings/settings.h"

/*
 * What `criu --plugin-option cuda_plugin.NAME=VALUE` says (CRIU 4.3 and later), over the settings: the names are those of
 * CRIU's own CUDA plugin. device-map is REKINDLE_DEVICE_MAP, for a restore only; of the others the log says that they mean
 * nothing here.
 */
int criu_options_apply(struct settings *settings, bool restores, struct error_text *error);

#endif
