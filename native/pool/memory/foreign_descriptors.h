/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_MEMORY_FOREIGN_DESCRIPTORS_H
#define REKINDLE_POOL_MEMORY_FOREIGN_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Descriptors that came from an application, which may have sent anything: a file on a FUSE file system of its own, which
 * answers reads, fstat and even close when it pleases, or a socket that lingers. Nothing here waits for such a file.
 */

/*
 * May it be device memory that the driver exported? NVIDIA's driver exports a descriptor of its character device
 * /dev/nvidiactl, the simulated one a memfd.
 */
bool foreign_descriptor_may_be_memory(int descriptor);

/* Closes them; those that may not be device memory on a thread of their own, as the end of that may never come. */
void foreign_descriptors_close(const int *descriptors, size_t count);

#endif
