/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_MEMORY_DEVICE_ACCESS_H
#define REKINDLE_AGENT_MEMORY_DEVICE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_abi.h"

/* Devices are kept as bit sets of 64. */
#define DEVICES_TRACKED 64

/* cuMemSetAccess for two sets of devices. */
CUresult access_set(CUdeviceptr address, size_t bytes, uint64_t read_devices, uint64_t write_devices);

/*
 * Memory of cuMemAlloc can be copied from and to every device of the process, and used from those with peer access. For
 * memory of cuMemCreate every such device needs cuMemSetAccess. So every device that the process uses gets access to every
 * allocation that the agent backs.
 */

/* Can memory of this device be backed by the agent and still be reached from all visible devices? */
bool access_is_possible(CUdevice device);
/* Notes that the process uses the device. */
void access_add_device(CUdevice device);
/* Gives every noted device access to every plain allocation that lacks it. */
CUresult access_complete(void);

/* An allocation has been recorded. Table locked. */
void access_note_new(CUdeviceptr address);

#endif
