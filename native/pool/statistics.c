/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool/pool_run.h"
#include "rekindle.h"
#include "support/clock.h"
#include "support/log.h"

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *name, const char *value)
{
	json_object_object_add(object, name, json_object_new_string(value));
}

static struct json_object *phase_object(const struct run_phase *phase)
{
	struct json_object *object = json_object_new_object();
	double rate = phase->duration ? (double)phase->bytes / (double)phase->duration : 0;

	add_text(object, "phase", phase->name);
	add_number(object, "start", phase->start);
	add_number(object, "duration", phase->duration);
	add_number(object, "bytes", phase->bytes);
	json_object_object_add(object, "gigabytes_per_second", json_object_new_double(rate));
	return object;
}

static struct json_object *process_object(const struct run_process *process)
{
	static const char *const modes[] = {"none", "offload", "native"};
	struct json_object *object = json_object_new_object(), *phases = json_object_new_array();
	uint32_t i;

	add_number(object, "pid", (uint64_t)process->pid);
	add_text(object, "mode", modes[process->mode]);
	add_text(object, "reason", process->reason);
	add_number(object, "device_bytes", process->device_bytes);
	add_number(object, "allocations", process->allocations);
	for (i = 0; i < process->phase_count; i++)
		json_object_array_add(phases, phase_object(&process->phases[i]));
	json_object_object_add(object, "phases", phases);
	return object;
}

/* The part of the filling that CRIU's own work hid: from plugin init to the first process that wanted its memory. */
static uint64_t overlap(const struct run *run)
{
	uint64_t began, ended;

	if (!run->prefetch || run->stage != POOL_STAGE_RESTORE)
		return 0;
	prefetch_times(run->prefetch, &began, &ended);
	if (began < run->hook_time)
		began = run->hook_time;
	if (run->first_resume && ended > run->first_resume)
		ended = run->first_resume;
	return ended > began ? ended - began : 0;
}

/* A restore is over when its processes are back, however long CRIU then waits for their end. */
static uint64_t end_of_run(const struct run *run)
{
	return run->stage == POOL_STAGE_RESTORE && run->last_resume ? run->last_resume : monotonic_nanoseconds();
}

static struct json_object *run_object(const struct run *run, int criu_result, const char *criu_note)
{
	struct json_object *object = json_object_new_object(), *processes = json_object_new_array();
	bool failed = criu_result < 0 || (run->error.text[0] && run->stage == POOL_STAGE_RESTORE);
	uint64_t device_bytes = 0, image_bytes = 0;
	char message[sizeof(run->error.text)];
	struct pool_status status;
	size_t i;

	pool_fill_status(run->pool, &status);
	snprintf(message, sizeof(message), "%s", run->error.text);
	if (criu_result < 0 && !message[0] && criu_note[0])
		snprintf(message, sizeof(message), "%s", criu_note);
	else if (criu_result < 0 && !message[0])
		snprintf(message, sizeof(message), "CRIU %s; its log says why",
			 criu_result == -ECONNRESET ? "died before the run was finished" : "failed");
	for (i = 0; i < run->process_count; i++) {
		if (run->processes[i]->mode == POOL_MODE_NONE)
			continue;
		device_bytes += run->processes[i]->device_bytes;
		image_bytes += run->processes[i]->image_bytes;
		json_object_array_add(processes, process_object(run->processes[i]));
	}
	add_text(object, "version", REKINDLE_VERSION);
	add_text(object, "kind", run->stage == POOL_STAGE_DUMP ? "checkpoint" : "restore");
	json_object_object_add(object, "succeeded", json_object_new_boolean(!failed));
	if (failed) {
		add_text(object, "failure", message);
		json_object_object_add(object, "failure_code",
				       json_object_new_int(run->error_code ? run->error_code : -EIO));
		add_number(object, "failure_phase", run->error_code ? run->error_phase : REKINDLE_PHASE_CRIU);
	}
	json_object_object_add(object, "simulated", json_object_new_boolean(status.simulated != 0));
	json_object_object_add(object, "driver_version", json_object_new_int(status.driver_version));
	add_text(object, "gpu_name", run->gpu_name);
	json_object_object_add(object, "pool_warm", json_object_new_boolean(run->warm && !run->started_by_us));
	add_text(object, "pool",
		 run->pool->private_run		    ? "private"
		 : run->warm && !run->started_by_us ? "warm"
						    : "cold");
	add_number(object, "workers",
		   run->parallel || run->stage == POOL_STAGE_DUMP ? run->pool->settings.streams : 1);
	add_number(object, "chunk_bytes", run->pool->settings.chunk_bytes);
	add_text(object, "note", criu_note);
	add_number(object, "start", run->hook_time);
	add_number(object, "duration", end_of_run(run) - run->hook_time);
	add_number(object, "overlap", overlap(run));
	add_number(object, "device_bytes", device_bytes);
	add_number(object, "image_bytes", image_bytes);
	json_object_object_add(object, "processes", processes);
	return object;
}

void run_write_statistics(struct run *run, int criu_result, const char *criu_note)
{
	struct json_object *object = run_object(run, criu_result, criu_note);
	int file;

	/* Whoever reads it never sees half of it. */
	file = openat(run->work, POOL_STATISTICS_FILE ".tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		      0644);
	if (file < 0 || json_object_to_fd(file, object, JSON_C_TO_STRING_PRETTY) < 0 ||
	    renameat(run->work, POOL_STATISTICS_FILE ".tmp", run->work, POOL_STATISTICS_FILE) < 0) {
		log_warning("Could not write " POOL_STATISTICS_FILE ": %s", strerror(errno));
		unlinkat(run->work, POOL_STATISTICS_FILE ".tmp", 0);
	}
	if (file >= 0)
		close(file);
	json_object_put(object);
}
