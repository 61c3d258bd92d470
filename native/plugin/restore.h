/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_RESTORE_H
#define REKINDLE_PLUGIN_RESTORE_H

/* Stage RESTORE. Each returns what CRIU expects of the hook: 0, -1, or -ENOTSUP for "not mine". */
int restore_begin(void);
int restore_resume_devices_late(int pid);
void restore_end(int criu_result);

#endif
