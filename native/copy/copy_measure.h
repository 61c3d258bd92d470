/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_COPY_COPY_MEASURE_H
#define REKINDLE_COPY_COPY_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/cuda_driver.h"
#include "support/error_text.h"

/* For benchmarks: how fast does this machine copy to the device? */
enum copy_measure_source {
	COPY_MEASURE_PINNED = 1,     /* pinned host memory, one stream: the machine's limit */
	COPY_MEASURE_PAGE_CACHE = 2, /* a file as it is, through the copy engine */
	COPY_MEASURE_DISK = 3,	     /* the same, its pages dropped from the cache first */
};

struct copy_measure_request {
	enum copy_measure_source source;
	unsigned int workers;
	uint64_t chunk_bytes;
	uint64_t bytes;
	size_t ring_bytes; /* of all workers */
	const char *file;  /* NULL for COPY_MEASURE_PINNED */
	bool checksums;	   /* verify them on the way, as a restore does */
};

/* Copies once and says how long it took. Preparation is not part of the time. */
int copy_measure(const struct cuda_driver *driver, CUcontext context, const struct copy_measure_request *request,
		 uint64_t *nanoseconds, struct error_text *error);

#endif
