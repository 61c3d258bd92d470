/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_RESTORE_H
#define REKINDLE_PLUGIN_RESTORE_H

#include <stdbool.h>

/* Stage RESTORE. Each returns what CRIU expects of the hook: 0, -1, or -ENOTSUP for "not mine". */
/* names_plugin: the image says that it needs this plugin; false: it is older than such lists, and may. */
int restore_begin(bool names_plugin);
int restore_resume_devices_late(int pid);
void restore_end(int criu_result);

#endif
