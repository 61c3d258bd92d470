/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

#include "report/run_record.h"
#include "support/regular_file.h"

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *name, const char *value)
{
	json_object_object_add(object, name, json_object_new_string(value));
}

static void add_truth(struct json_object *object, const char *name, bool value)
{
	json_object_object_add(object, name, json_object_new_boolean(value));
}

static struct json_object *phase_object(const struct phase_record *phase)
{
	struct json_object *object = json_object_new_object();
	double rate = phase->duration ? (double)phase->bytes / (double)phase->duration : 0;
	const char *word = phase_word(phase->kind);

	add_text(object, "phase", word ? word : "");
	add_number(object, "start", phase->start);
	add_number(object, "duration", phase->duration);
	add_number(object, "bytes", phase->bytes);
	json_object_object_add(object, "gigabytes_per_second", json_object_new_double(rate));
	return object;
}

static struct json_object *process_object(const struct process_record *process)
{
	static const char *const words[] = {
#define MODE_WORD(name, number, word) [number] = word,
		MODES(MODE_WORD)};
	struct json_object *object = json_object_new_object(), *phases = json_object_new_array();
	uint32_t i;

	json_object_object_add(object, "pid", json_object_new_int(process->pid));
	add_text(object, "mode", words[process->mode]);
	add_text(object, "reason", process->reason);
	add_number(object, "device_bytes", process->device_bytes);
	add_number(object, "allocations", process->allocations);
	for (i = 0; i < process->phase_count; i++)
		json_object_array_add(phases, phase_object(&process->phases[i]));
	json_object_object_add(object, "phases", phases);
	return object;
}

static void add_pool(struct json_object *object, const struct run_record *record)
{
	add_truth(object, "simulated", record->pool.simulated);
	json_object_object_add(object, "driver_version", json_object_new_int(record->pool.driver_version));
	add_text(object, "gpu_name", record->pool.gpu_name);
	add_truth(object, "pool_warm", record->pool.warm);
	add_text(object, "pool", record->pool.private_run ? "private" : record->pool.warm ? "warm" : "cold");
	add_number(object, "workers", record->pool.workers);
	add_number(object, "chunk_bytes", record->pool.chunk_bytes);
}

static struct json_object *run_object(const struct run_record *record)
{
	struct json_object *object = json_object_new_object(), *processes = json_object_new_array();
	size_t i;

	add_number(object, "schema", RUN_RECORD_SCHEMA);
	add_text(object, "version", REKINDLE_VERSION);
	add_text(object, "kind", record->dump ? "checkpoint" : "restore");
	add_truth(object, "succeeded", record->succeeded);
	if (!record->succeeded) {
		add_text(object, "failure", record->failure);
		json_object_object_add(object, "failure_code", json_object_new_int(record->failure_code));
		add_number(object, "failure_phase", record->failure_phase);
	}
	if (record->pool.known)
		add_pool(object, record);
	add_text(object, "note", record->note);
	add_number(object, "start", record->start);
	add_number(object, "duration", record->duration);
	add_number(object, "overlap", record->overlap);
	add_number(object, "device_bytes", record->device_bytes);
	add_number(object, "image_bytes", record->image_bytes);
	add_number(object, "linked_bytes", record->linked_bytes);
	add_number(object, "resident_bytes", record->resident_bytes);
	for (i = 0; i < record->process_count; i++)
		if (record->processes[i].mode != POOL_MODE_NONE)
			json_object_array_add(processes, process_object(&record->processes[i]));
	json_object_object_add(object, "processes", processes);
	return object;
}

int run_record_write(int work_folder, const char *temporary, const struct run_record *record)
{
	struct json_object *object = run_object(record);
	int file, result = 0;

	/* Whoever reads it never sees half of it. */
	file = regular_file_create(work_folder, temporary, 0644);
	if (file < 0) {
		result = file;
	} else if (json_object_to_fd(file, object, JSON_C_TO_STRING_PRETTY) < 0 ||
		   renameat(work_folder, temporary, work_folder, RUN_RECORD_FILE) < 0) {
		result = -errno;
		unlinkat(work_folder, temporary, 0);
	}
	if (file >= 0)
		close(file);
	json_object_put(object);
	return result;
}
