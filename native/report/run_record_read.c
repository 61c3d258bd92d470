/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/run_record.h"
#include "support/plain_text.h"
#include "support/regular_file.h"

static struct json_object *member(struct json_object *object, const char *name, enum json_type type)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, type))
		return NULL;
	return value;
}

static int64_t number(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_int);

	return value ? json_object_get_int64(value) : 0;
}

static uint64_t unsigned_number(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_int);

	return value ? json_object_get_uint64(value) : 0;
}

static const char *text_of(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_string);

	return value ? json_object_get_string(value) : "";
}

static bool truth(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_boolean);

	return value && json_object_get_boolean(value);
}

/* PHASE_NONE for a word that is none. */
static enum phase phase_kind(const char *word)
{
	static const enum phase kinds[] = {
#define PHASE_KIND(name, number, word) PHASE_##name,
		PHASES(PHASE_KIND)
#undef PHASE_KIND
	};
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (phase_word(kinds[i]) && !strcmp(phase_word(kinds[i]), word))
			return kinds[i];
	return PHASE_NONE;
}

static enum pool_mode mode_kind(const char *word)
{
#define MODE_KIND(name, number, its) \
	if (!strcmp(its, word))      \
		return POOL_MODE_##name;
	MODES(MODE_KIND)
#undef MODE_KIND
	return POOL_MODE_NONE;
}

static void parse_phase(struct json_object *object, struct process_record *process)
{
	enum phase kind = phase_kind(text_of(object, "phase"));

	if (kind != PHASE_NONE)
		process_record_phase(process, kind, unsigned_number(object, "start"),
				     unsigned_number(object, "duration"), unsigned_number(object, "bytes"));
}

static void parse_process(struct json_object *object, struct process_record *process)
{
	struct json_object *phases = member(object, "phases", json_type_array);
	size_t count = phases ? json_object_array_length(phases) : 0;
	size_t i;

	process->pid = (int32_t)number(object, "pid");
	process->mode = mode_kind(text_of(object, "mode"));
	copy_text(process->reason, sizeof(process->reason), text_of(object, "reason"));
	process->device_bytes = unsigned_number(object, "device_bytes");
	process->allocations = (uint32_t)number(object, "allocations");
	for (i = 0; i < count; i++)
		parse_phase(json_object_array_get_idx(phases, i), process);
}

static int parse_run(struct json_object *root, struct run_record *record)
{
	struct json_object *list = member(root, "processes", json_type_array);
	size_t count = list ? json_object_array_length(list) : 0;
	size_t i;

	record->dump = !strcmp(text_of(root, "kind"), "checkpoint");
	record->succeeded = truth(root, "succeeded");
	copy_text(record->failure, sizeof(record->failure), text_of(root, "failure"));
	record->failure_code = (int32_t)number(root, "failure_code");
	record->failure_phase = (uint32_t)number(root, "failure_phase");
	copy_text(record->note, sizeof(record->note), text_of(root, "note"));
	record->start = unsigned_number(root, "start");
	record->duration = unsigned_number(root, "duration");
	record->overlap = unsigned_number(root, "overlap");
	record->device_bytes = unsigned_number(root, "device_bytes");
	record->image_bytes = unsigned_number(root, "image_bytes");
	record->linked_bytes = unsigned_number(root, "linked_bytes");
	record->resident_bytes = unsigned_number(root, "resident_bytes");
	record->pool.known = member(root, "pool_warm", json_type_boolean) != NULL;
	record->pool.simulated = truth(root, "simulated");
	record->pool.warm = truth(root, "pool_warm");
	record->pool.private_run = !strcmp(text_of(root, "pool"), "private");
	record->pool.driver_version = (int32_t)number(root, "driver_version");
	copy_text(record->pool.gpu_name, sizeof(record->pool.gpu_name), text_of(root, "gpu_name"));
	record->pool.workers = (uint32_t)number(root, "workers");
	record->pool.chunk_bytes = unsigned_number(root, "chunk_bytes");
	record->processes = count ? calloc(count, sizeof(*record->processes)) : NULL;
	if (count && !record->processes)
		return -ENOMEM;
	record->process_count = count;
	for (i = 0; i < count; i++)
		parse_process(json_object_array_get_idx(list, i), &record->processes[i]);
	return 0;
}

int run_record_read(const char *path, struct run_record *record, struct error_text *error)
{
	struct json_object *root = NULL;
	const char *kind;
	int file, result;

	memset(record, 0, sizeof(*record));
	if (access(path, F_OK))
		return -ENOENT;
	file = regular_file_open(path);
	if (file >= 0) {
		root = json_object_from_fd(file);
		close(file);
	}
	if (!root || !json_object_is_type(root, json_type_object)) {
		result = fail(error, -EBADMSG, "The statistics %s are damaged.", path);
		goto out;
	}
	kind = text_of(root, "kind");
	if (strcmp(kind, "checkpoint") && strcmp(kind, "restore"))
		result = -ENOENT; /* of something that this reader has no words for */
	else if (number(root, "schema") > RUN_RECORD_SCHEMA)
		result =
			fail(error, -EPROTO, "The statistics %s are of a newer version of Rekindle (%s): use that one.",
			     path, text_of(root, "version"));
	else
		result = parse_run(root, record);
	if (result == -ENOMEM)
		fail(error, result, "Out of memory");
out:
	json_object_put(root);
	return result;
}
