/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_DRIVER_GPU_MEMORY_H
#define REKINDLE_DRIVER_GPU_MEMORY_H

#include <sys/types.h>

#include "driver/cuda_driver.h"

/*
 * How much memory of a GPU is free, without a context on it: asked of libnvidia-ml.so.1, which comes with the driver
 * (containers may lack it). False where it does not tell. Any thread.
 */
bool gpu_memory_free(const struct cuda_driver *driver, const CUuuid *uuid, uint64_t *bytes);

/*
 * How much of it a process holds, contexts and all. False where that is not told, or for processes of another pid
 * namespace, which is known by whether the caller itself is among those with memory there: it needs a context on the GPU.
 */
bool gpu_memory_of_process(const struct cuda_driver *driver, const CUuuid *uuid, pid_t pid, uint64_t *bytes);

#endif
