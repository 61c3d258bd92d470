/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_REPORT_RUN_RECORD_H
#define REKINDLE_REPORT_RUN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/phases.h"
#include "support/error_text.h"

/*
 * stats-rekindle.json: what is left of a run in its work folder, whoever wrote it; the pool does, and the plugin for a run
 * whose pool is gone. One writer and one reader, both here. One object; numbers are integers unless said otherwise; times
 * are CLOCK_MONOTONIC nanoseconds; what does not apply or is not known is left out.
 *
 *   "schema": RUN_RECORD_SCHEMA            "version": of the writer
 *   "kind": "checkpoint" or "restore"      "succeeded": true or false
 *   "failure": the sentence                "failure_code": negative errno code    "failure_phase": enum phase
 *   "start", "duration": from plugin init to the end       "overlap": GPU copying hidden behind CRIU's own work
 *   "device_bytes", "image_bytes"          "note": string
 *   "linked_bytes": of a checkpoint, those of image_bytes that were not written, but linked to an older one
 *   "resident_bytes": of a checkpoint, what stays in device memory for the next restore; of a restore, what was there
 *   from the pool: "simulated", "pool_warm": true or false, "driver_version", "gpu_name", "pool": "private", "warm" or
 *   "cold", "workers", "chunk_bytes"
 *   "processes": [ { "pid", "mode": a word of MODES, "reason": string, "device_bytes", "allocations",
 *       "phases": [ { "phase": a word of PHASES, "start", "duration", "bytes", "gigabytes_per_second": real } ] } ]
 *
 * A process that does not use CUDA is not listed. Readers pass over members, and phases, that they do not know. The
 * number grows when a member changes its meaning; a reader refuses what is newer than itself. Files without the number
 * are those of before it, and are as number 1.
 */
#define RUN_RECORD_FILE "stats-rekindle.json"
/* Until it is written. A pool and a client that have lost each other may write at the same time, and neither the other's. */
#define RUN_RECORD_OF_POOL RUN_RECORD_FILE ".tmp"
#define RUN_RECORD_OF_PLUGIN RUN_RECORD_FILE ".plugin.tmp"
#define RUN_RECORD_SCHEMA 1

/* One for each kind of phase, so that no process has too many. rekindle.h has the same number. */
#define RECORD_PHASES_MAX 16

struct phase_record {
	uint32_t kind; /* enum phase */
	uint64_t start, duration, bytes;
};

struct process_record {
	int32_t pid;
	uint32_t mode; /* enum pool_mode */
	char reason[256];
	uint64_t device_bytes;
	uint32_t allocations;
	uint32_t phase_count;
	struct phase_record phases[RECORD_PHASES_MAX];
};

struct run_record {
	bool dump, succeeded;
	char failure[ERROR_TEXT_MAX];
	int32_t failure_code;
	uint32_t failure_phase;
	char note[ERROR_TEXT_MAX];
	uint64_t start, duration, overlap, device_bytes, image_bytes, linked_bytes, resident_bytes;
	struct {
		bool known; /* else the rest of it is not */
		bool simulated, warm, private_run;
		int32_t driver_version;
		char gpu_name[96];
		uint32_t workers;
		uint64_t chunk_bytes;
	} pool;
	size_t process_count;
	struct process_record *processes; /* the writer's; the reader allocates it, see run_record_free */
};

/* Adds a phase. Where there is no room for another one it is added to the first of its kind, so that no time is lost. */
void process_record_phase(struct process_record *process, enum phase kind, uint64_t start, uint64_t duration,
			  uint64_t bytes);

/* Takes back every phase of a kind. */
void process_record_drop(struct process_record *process, enum phase kind);

/*
 * Puts the file into the work folder in one step, by way of temporary, one of the names above. Returns 0 or a negative errno
 * code.
 */
int run_record_write(int work_folder, const char *temporary, const struct run_record *record);

/*
 * Reads the file at path. Returns 0; -ENOENT where there is none; -EBADMSG where it is no such file, -EPROTO where it is
 * of a newer schema, both with the sentence. record is to be freed after a success.
 */
int run_record_read(const char *path, struct run_record *record, struct error_text *error);
void run_record_free(struct run_record *record);

/* NULL for a phase that is never timed, and for a number that is none. */
const char *phase_word(uint32_t kind);

#endif
