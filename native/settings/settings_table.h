/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SETTINGS_SETTINGS_TABLE_H
#define REKINDLE_SETTINGS_SETTINGS_TABLE_H

/*
 * Every setting of plugin and pool, once: name, member of struct settings, range, default, and the sentence of README.md's
 * table, which facts_test.py compares with this one, as it does what rekindle.h and Java say of those that they have too.
 *
 *   SWITCH(name, member, default, sentence)
 *   NUMBER(name, member, lowest, highest, default, sentence)             SIZE: likewise, in MiB, and a multiple of what
 *   PATH(name, member, capacity, may be empty, absolute, default, sentence)
 *                                                                      and another text likewise
 *
 * Sizes take K, M and G (powers of 1024) where they are set. COMPUTED: settings_load works the default out. absolute: of a
 * file that processes with other current folders share.
 */
#define COMPUTED 0

#define SETTINGS(SWITCH, NUMBER, SIZE, PATH)                                                                          \
	SWITCH("CRIU_CUDA_CONTEXT_POOL", context_pool, 0, "a pool that a run starts stays for later ones")            \
	SWITCH("CRIU_CUDA_PARALLEL_RESTORE", parallel_restore, 1,                                                     \
	       "0: one worker, nothing overlaps with CRIU; for comparison")                                           \
	NUMBER("CRIU_CUDA_STREAMS", streams, 1, 64, COMPUTED, "copy workers")                                         \
	SIZE("REKINDLE_CHUNK_SIZE", chunk_bytes, 2, 64, 2, 16, "unit of the GPU image and its checksums")             \
	SIZE("REKINDLE_RING_SIZE", ring_bytes, 8, 16384, 0, COMPUTED, "pinned memory for copies")                     \
	SWITCH("REKINDLE_CHECKSUMS", checksums, 1,                                                                    \
	       "compare those of GPU images while they are read; they are always written")                            \
	SWITCH("REKINDLE_VERIFY_IMAGES", verify_images, 0,                                                            \
	       "before a restore, compare the checksums of all of CRIU's images too")                                 \
	SWITCH("REKINDLE_READ_AHEAD", read_ahead, 0, "read CRIU's pages images ahead, for network storage")           \
	SWITCH("REKINDLE_COPY_WHILE_RUNNING", copy_while_running, 0,                                                  \
	       "a dump copies device memory before it stops the process, and then what has changed")                  \
	PATH("REKINDLE_PARK", park, 16, false, false, "file",                                                         \
	     "where a dump leaves device memory, see [Parked on the device](#parked-on-the-device)")                  \
	PATH("REKINDLE_PARENT", parent, 256, true, false, "",                                                         \
	     "another folder whose image a dump may be a difference to, see [Only what changed](#only-what-changed)") \
	SIZE("REKINDLE_PARK_BUDGET", park_budget, 0, 16777216, 0, 0,                                                  \
	     "most that a pool parks in device memory; 0: as much as nobody else needs")                              \
	NUMBER("REKINDLE_PREFETCH_EXPIRY", prefetch_expiry, 0, 604800, 0,                                             \
	       "seconds after which what was prefetched goes where nobody has taken it; 0: never")                    \
	SIZE("REKINDLE_PINNED_BUDGET", pinned_budget, 0, 16777216, 0, 0,                                              \
	     "most that a pool keeps of images in pinned memory of the host; 0: nothing")                             \
	NUMBER("REKINDLE_SIDE_BY_SIDE", side_by_side, 1, 64, 8,                                                       \
	       "GPU processes of a tree that are saved or brought back at once")                                      \
	NUMBER("REKINDLE_POOL_IDLE", idle_seconds, 0, 604800, 600,                                                    \
	       "seconds without work after which a pool that a run started ends; 0: never")                           \
	NUMBER("REKINDLE_TIMEOUT", timeout_seconds, 1, 86400, 600,                                                    \
	       "seconds, longest that a step may go without getting anything done")                                   \
	PATH("REKINDLE_DEVICE_MAP", device_map, 1024, true, false, "",                                                \
	     "which GPUs a restore takes, see [On other GPUs](#on-other-gpus)")                                       \
	PATH("REKINDLE_KEPT_STATISTICS", kept_statistics, 256, true, true, "",                                        \
	     "a folder where the statistics of each run stay too, of the last 256")                                   \
	PATH("REKINDLE_POOL_SOCKET", pool_socket, 108, false, true, "/run/rekindle/pool.sock",                        \
	     "where the pool listens")                                                                                \
	PATH("REKINDLE_POOL_PROGRAM", pool_program, 256, false, false, "", "the `rekindled` program")                 \
	PATH("REKINDLE_CUDA_DRIVER", cuda_driver, 256, true, false, "", "the driver library")

/* SETTING_streams_lowest and so on, for whoever takes the same number by another way; of sizes in MiB. */
#define SETTING_NO_BOUNDS(...)
#define SETTING_BOUNDS(name, member, lowest, highest, ...) \
	SETTING_##member##_lowest = (lowest), SETTING_##member##_highest = (highest),
enum { SETTINGS(SETTING_NO_BOUNDS, SETTING_BOUNDS, SETTING_BOUNDS, SETTING_NO_BOUNDS) };

#endif
