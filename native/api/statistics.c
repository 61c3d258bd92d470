/* SPDX-License-Identifier: MIT */
#include "api/statistics.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/criu_images.h"
#include "api/report.h"
#include "protocol/pool_protocol.h"

static const char *const phase_names[] = {
	[REKINDLE_PHASE_START] = "start",
	[REKINDLE_PHASE_LOCK] = "lock",
	[REKINDLE_PHASE_COPY_OUT] = "copy_out",
	[REKINDLE_PHASE_RELEASE] = "release",
	[REKINDLE_PHASE_DRIVER_CHECKPOINT] = "driver_checkpoint",
	[REKINDLE_PHASE_CRIU] = "criu",
	[REKINDLE_PHASE_PREFETCH] = "prefetch",
	[REKINDLE_PHASE_DRIVER_RESTORE] = "driver_restore",
	[REKINDLE_PHASE_MAP] = "map",
};

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

static int32_t truth(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_boolean);

	return value && json_object_get_boolean(value);
}

static int32_t phase_kind(const char *name)
{
	size_t kind;

	for (kind = 1; kind < sizeof(phase_names) / sizeof(phase_names[0]); kind++)
		if (!strcmp(phase_names[kind], name))
			return (int32_t)kind;
	return REKINDLE_PHASE_NONE;
}

static int32_t mode_kind(const char *name)
{
	if (!strcmp(name, "offload"))
		return REKINDLE_MODE_OFFLOAD;
	return !strcmp(name, "native") ? REKINDLE_MODE_NATIVE : REKINDLE_MODE_NONE;
}

/* A phase that has no kind in rekindle.h is one of the pool's own details and stays in the file. */
static void parse_phase(struct json_object *object, struct rekindle_process_statistics *process)
{
	int32_t kind = phase_kind(text_of(object, "phase"));
	struct rekindle_phase *phase;

	if (kind == REKINDLE_PHASE_NONE || process->phase_count == REKINDLE_PHASES_MAX)
		return;
	phase = &process->phases[process->phase_count++];
	phase->kind = kind;
	phase->start = unsigned_number(object, "start");
	phase->duration = unsigned_number(object, "duration");
	phase->bytes = unsigned_number(object, "bytes");
}

static void parse_process(struct json_object *object, struct rekindle_process_statistics *process)
{
	struct json_object *phases = member(object, "phases", json_type_array);
	size_t count = phases ? json_object_array_length(phases) : 0;
	size_t i;

	memset(process, 0, sizeof(*process));
	process->pid = (int32_t)number(object, "pid");
	process->mode = mode_kind(text_of(object, "mode"));
	copy_text(process->reason, sizeof(process->reason), text_of(object, "reason"));
	process->device_bytes = unsigned_number(object, "device_bytes");
	process->allocations = (uint32_t)number(object, "allocations");
	for (i = 0; i < count; i++)
		parse_phase(json_object_array_get_idx(phases, i), process);
}

static void parse_run(struct json_object *root, struct run_report *run_report,
		      struct rekindle_process_statistics *processes, uint32_t capacity)
{
	struct rekindle_statistics *statistics = &run_report->statistics;
	struct json_object *list = member(root, "processes", json_type_array);
	uint32_t i;

	statistics->succeeded = truth(root, "succeeded");
	statistics->start = unsigned_number(root, "start");
	statistics->duration = unsigned_number(root, "duration");
	statistics->overlap = unsigned_number(root, "overlap");
	statistics->device_bytes = unsigned_number(root, "device_bytes");
	statistics->image_bytes = unsigned_number(root, "image_bytes");
	statistics->pool_warm = truth(root, "pool_warm");
	statistics->simulated = truth(root, "simulated");
	statistics->driver_version = (int32_t)number(root, "driver_version");
	copy_text(statistics->gpu_name, sizeof(statistics->gpu_name), text_of(root, "gpu_name"));
	run_report->errno_code = (int32_t)number(root, "failure_code");
	run_report->phase = (int32_t)number(root, "failure_phase");
	copy_text(statistics->failure, sizeof(statistics->failure), text_of(root, "failure"));
	if (statistics->succeeded)
		copy_text(run_report->note, sizeof(run_report->note), text_of(root, "note"));
	statistics->process_count = list ? (uint32_t)json_object_array_length(list) : 0;
	for (i = 0; processes && i < statistics->process_count && i < capacity; i++)
		parse_process(json_object_array_get_idx(list, i), &processes[i]);
}

static bool path_of(char *path, const char *work_directory, const char *name)
{
	return snprintf(path, PATH_MAX, "%s/%s", work_directory, name) < PATH_MAX;
}

static int read_report(const char *work_directory, struct run_report *run_report,
		       struct rekindle_process_statistics *processes, uint32_t capacity, struct error_text *error)
{
	const char *wanted = run_report->statistics.kind == REKINDLE_RUN_CHECKPOINT ? "checkpoint" : "restore";
	struct json_object *root;
	char path[PATH_MAX];
	int result = 0;

	if (!path_of(path, work_directory, POOL_STATISTICS_FILE) || access(path, F_OK))
		return 0;
	root = json_object_from_file(path);
	if (!root || !json_object_is_type(root, json_type_object)) {
		result = fail(error, -EBADMSG, "The statistics %s are damaged.", path);
	} else if (!strcmp(text_of(root, "kind"), wanted)) {
		run_report->present = true;
		parse_run(root, run_report, processes, capacity);
	}
	json_object_put(root);
	return result;
}

void statistics_forget(const char *work_directory, int32_t kind)
{
	char path[PATH_MAX];

	if (path_of(path, work_directory, POOL_STATISTICS_FILE))
		unlink(path);
	if (path_of(path, work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "stats-dump" : "stats-restore"))
		unlink(path);
}

int statistics_collect(const char *work_directory, int32_t kind, struct run_report *run_report,
		       struct rekindle_process_statistics *processes, uint32_t capacity, struct error_text *error)
{
	int result;
	int criu_result;

	memset(run_report, 0, sizeof(*run_report));
	run_report->statistics.kind = kind;
	run_report->statistics.restore_threads = -1;
	result = read_report(work_directory, run_report, processes, capacity, error);
	criu_result = criu_statistics_read(work_directory, &run_report->statistics, error);
	if (!result && criu_result != -ENOENT)
		result = criu_result;
	return result;
}

int rekindle_statistics_read(const char *work_directory, int32_t kind, struct rekindle_statistics *statistics,
			     struct rekindle_process_statistics *processes, uint32_t capacity,
			     struct rekindle_error *error)
{
	struct run_report run_report;
	struct criu_log_excerpt log;
	struct error_text text = {""};
	char path[PATH_MAX];
	bool has_criu_statistics;
	int result;

	if (!work_directory || !*work_directory || !statistics)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "work_directory and statistics may not be NULL.");
	if (kind != REKINDLE_RUN_CHECKPOINT && kind != REKINDLE_RUN_RESTORE)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "kind is %d: use an enum rekindle_run_kind.", kind);
	if (!path_of(path, work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "stats-dump" : "stats-restore"))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The path of the work folder %.200s... is too long.", work_directory);
	has_criu_statistics = !access(path, F_OK);
	result = statistics_collect(work_directory, kind, &run_report, processes, capacity, &text);
	if (result)
		return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
	if (!run_report.present && !has_criu_statistics)
		return report(error, REKINDLE_ERROR_NO_IMAGE, REKINDLE_PHASE_NONE,
			      "The folder %.300s holds no statistics of a %s.", work_directory,
			      kind == REKINDLE_RUN_CHECKPOINT ? "checkpoint" : "restore");
	/* A tree without CUDA has CRIU's statistics only, which CRIU writes at the end of a run that went well. */
	if (!run_report.present)
		run_report.statistics.succeeded = 1;
	path_of(path, work_directory, kind == REKINDLE_RUN_CHECKPOINT ? "dump.log" : "restore.log");
	criu_log_read(path, &log);
	copy_text(run_report.statistics.criu_version, sizeof(run_report.statistics.criu_version), log.version);
	if (kind == REKINDLE_RUN_RESTORE && log.reader_threads)
		run_report.statistics.restore_threads = log.reader_threads;
	run_report.statistics.host_bytes = criu_pages_bytes(work_directory);
	*statistics = run_report.statistics;
	return REKINDLE_OK;
}
