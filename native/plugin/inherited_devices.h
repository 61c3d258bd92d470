/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_INHERITED_DEVICES_H
#define REKINDLE_PLUGIN_INHERITED_DEVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * A child that was forked from a process with CUDA has the driver's devices open and mapped, and cannot use them: the driver
 * says so. What CRIU cannot dump of it is therefore nothing that has to come back: descriptors come back as /dev/null, and
 * mappings as memory that is zero.
 */

/* A new dump. */
void inherited_devices_begin(void);

/*
 * Of each process, when those that use CUDA have been checkpointed and have no device any more. Where one that has
 * inherited nothing has devices, it uses them (NVML, graphics), and nobody's are taken: CRIU says what it says without us.
 */
void inherited_devices_note(pid_t pid, bool has_inherited);

/* The hooks. Each returns what CRIU expects, -ENOTSUP for "not mine". */
int inherited_devices_handle_mapping(int descriptor, const struct stat *file);
int inherited_devices_dump_file(int descriptor, int id);
int inherited_devices_restore_file(int id);
int inherited_devices_restore_mapping(const char *path, uint64_t address, uint64_t old_offset, uint64_t *new_offset,
				      int *descriptor);

#endif
