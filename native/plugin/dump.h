/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMP_H
#define REKINDLE_PLUGIN_DUMP_H

/* Stage DUMP. Each returns what CRIU expects of the hook: 0, -1, or -ENOTSUP for "not mine". */
int dump_begin(void);
int dump_pause_devices(int pid);
int dump_checkpoint_devices(int pid);
void dump_end(int criu_result);

#endif
