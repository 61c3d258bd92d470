/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_WORKER_WORKER_DRIVER_H
#define REKINDLE_WORKER_WORKER_DRIVER_H

#include "driver/cuda_driver.h"
#include "support/error_text.h"

/*
 * Opens the driver in the way the CUDA runtime does: dlopen of libcuda.so.1 and cuGetProcAddress by dlsym. Other than
 * Rekindle's own look-up it takes what it gets, the simulated driver and the preloaded agent included.
 */
int worker_driver_open(struct cuda_driver *driver, struct error_text *error);

#endif
