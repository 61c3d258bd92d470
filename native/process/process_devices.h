/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_PROCESS_DEVICES_H
#define REKINDLE_PROCESS_PROCESS_DEVICES_H

#include <stdbool.h>
#include <sys/types.h>

/* A file of the NVIDIA driver, by its name: /dev/nvidia0, nvidiactl, nvidia-uvm, nvidia-caps/nvidia-cap1 ... */
bool is_nvidia_device(const char *path);

/* Is it a device at all, and not a log that is called so? Relative to folder as for openat; yes where it cannot be asked. */
bool is_device_file(int folder, const char *name);

/* Has it one open or mapped? 1 or 0; -ESRCH where it has ended, -ENOMEM. */
int process_has_devices(pid_t pid);

#endif
