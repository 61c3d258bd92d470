/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SETTINGS_SETTINGS_H
#define REKINDLE_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * The settings of plugin and pool. Each has one name, used as an environment variable and as a key of the [rekindle]
 * section of /etc/rekindle.conf (another file: REKINDLE_CONFIGURATION); the environment wins. Sizes take K, M and G
 * (powers of 1024). An unknown name that starts with REKINDLE_ or CRIU_CUDA_, or a value out of range, is an error that
 * names it; names of other parts (the REKINDLE_SIMCUDA_ family, REKINDLE_CRIU and so on) are listed in settings.c.
 */
struct settings {
	bool context_pool;     /* CRIU_CUDA_CONTEXT_POOL, 0 or 1, default 0: a pool that the plugin starts stays */
	bool parallel_restore; /* CRIU_CUDA_PARALLEL_RESTORE, 0 or 1, default 1 */
	unsigned int streams;  /* CRIU_CUDA_STREAMS, 1 to 64, default min(cores, 16): copy workers */
	size_t chunk_bytes;    /* REKINDLE_CHUNK_SIZE, 2M to 64M, multiple of 2M, default 16M: unit of the GPU image */
	size_t ring_bytes;     /* REKINDLE_RING_SIZE, 8M to 16G, default 8M for each worker: pinned staging ring */
	bool checksums;	       /* REKINDLE_CHECKSUMS, 0 or 1, default 1: verified on restore (always written) */
	bool read_ahead;       /* REKINDLE_READ_AHEAD, 0 or 1, default 0: read pages-*.img ahead on restore */
	unsigned int idle_seconds; /* REKINDLE_POOL_IDLE, 0 (never) to 604800, default 600: idle time after which a pool
					 that the plugin started ends */
	unsigned int timeout_seconds; /* REKINDLE_TIMEOUT, 1 to 86400, default 600: longest that one step may take */
	char pool_socket[108];	      /* REKINDLE_POOL_SOCKET, absolute; default /run/rekindle/pool.sock */
	char pool_program[256];	      /* REKINDLE_POOL_PROGRAM, default: rekindled beside the plugin's installation */
	char cuda_driver[256];	      /* REKINDLE_CUDA_DRIVER, default empty: libcuda.so.1 of the system */
};

/*
 * Reads file and environment. configuration_path: NULL for REKINDLE_CONFIGURATION or /etc/rekindle.conf (which may be
 * missing; a file named explicitly may not). Returns 0 or -EINVAL / -ENOENT with the setting named in error.
 */
int settings_load(struct settings *settings, const char *configuration_path, struct error_text *error);

#endif
