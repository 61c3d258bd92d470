/* SPDX-License-Identifier: MIT */
/*
 * Measures copies to the device: copy-measure pinned|cache|disk WORKERS CHUNK_MIB GIB RING_MIB [FILE] [TIMES]
 * [checksums]. Uses the driver that REKINDLE_CUDA_DRIVER names, else the system's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy/copy_measure.h"

int main(int count, char **arguments)
{
	struct copy_measure_request request = {.source = COPY_MEASURE_PINNED};
	struct cuda_driver driver;
	struct error_text error;
	CUcontext context;
	uint64_t nanoseconds;
	int i, times;

	if (count < 6) {
		fprintf(stderr, "usage: copy-measure pinned|cache|disk WORKERS CHUNK_MIB GIB RING_MIB [FILE] [TIMES] "
				"[checksums]\n");
		return 2;
	}
	if (!strcmp(arguments[1], "cache"))
		request.source = COPY_MEASURE_PAGE_CACHE;
	else if (!strcmp(arguments[1], "disk"))
		request.source = COPY_MEASURE_DISK;
	request.workers = (unsigned int)atoi(arguments[2]);
	request.chunk_bytes = (uint64_t)atoi(arguments[3]) << 20;
	request.bytes = (uint64_t)atoi(arguments[4]) << 30;
	request.ring_bytes = (size_t)atoi(arguments[5]) << 20;
	request.file = count > 6 ? arguments[6] : NULL;
	times = count > 7 ? atoi(arguments[7]) : 1;
	request.checksums = count > 8 && !strcmp(arguments[8], "checksums");
	if (cuda_driver_open(&driver, getenv("REKINDLE_CUDA_DRIVER"), &error)) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (driver.cuInit(0) || driver.cuDevicePrimaryCtxRetain(&context, 0)) {
		fprintf(stderr, "No usable device\n");
		return 1;
	}
	for (i = 0; i < times; i++) {
		if (copy_measure(&driver, context, &request, &nanoseconds, &error)) {
			fprintf(stderr, "%s\n", error.text);
			return 1;
		}
		printf("%s%s%s workers=%u chunk=%sMiB ring=%sMiB: %.3f s, %.1f GB/s\n",
		       driver.simulated ? "SIMULATED " : "", arguments[1], request.checksums ? " checksums" : "",
		       request.workers, arguments[3], arguments[5], (double)nanoseconds / 1e9,
		       (double)request.bytes / (double)nanoseconds);
	}
	return 0;
}
