/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rekindle.h"

/*
 * The C API for shell tests: one call, its result as name=value lines, and the code as exit status.
 *
 *   rekindle-api-client [option...] checkpoint PID FOLDER | restore FOLDER | verify FOLDER | image FOLDER |
 *                                   statistics FOLDER checkpoint|restore | check |
 *                                   inspect PID [CRIU-ARGUMENT...] |
 *                                   hosted-restore FOLDER [prefetch] | prefetch FOLDER | pool
 */

#define PROCESSES_MAX 16

struct options {
	struct rekindle_environment environment;
	uint32_t flags;
	const char *work_directory;
	const char *device_map;
	int32_t park;
	const char *parent;
	int32_t cancel_phase;  /* cancel once the progress is in this phase ... */
	uint64_t cancel_bytes; /* ... and has come so far; UINT64_MAX: never */
};

static struct {
	struct rekindle_operation *operation;
	const struct options *options;
	atomic_bool cancel, ended;
	uint64_t highest, total;
	unsigned int calls;
} watched;

static void progress(uint64_t bytes_done, uint64_t bytes_total, int32_t phase, void *context)
{
	(void)context;
	watched.calls++;
	if (bytes_done > watched.highest)
		watched.highest = bytes_done;
	if (bytes_total > watched.total)
		watched.total = bytes_total;
	if (phase == watched.options->cancel_phase && bytes_done >= watched.options->cancel_bytes)
		atomic_store(&watched.cancel, true);
}

static void *cancel_when_asked(void *context)
{
	(void)context;
	while (!atomic_load(&watched.ended)) {
		if (atomic_load(&watched.cancel)) {
			rekindle_operation_cancel(watched.operation);
			break;
		}
		usleep(1000);
	}
	return NULL;
}

static int finish(int code, const struct rekindle_error *error)
{
	printf("code=%d\n", code);
	if (code)
		printf("phase=%d\nmessage=%s\nlog=%s\n", error->phase, error->message, error->criu_log);
	return -code;
}

static void print_statistics(const struct rekindle_statistics *statistics,
			     const struct rekindle_process_statistics *processes)
{
	uint32_t i, j;

	printf("succeeded=%d\nduration=%llu\ndevice_bytes=%llu\nhost_bytes=%llu\nimage_bytes=%llu\noverlap=%llu\n"
	       "linked_bytes=%llu\nresident_bytes=%llu\n"
	       "pool_warm=%d\nsimulated=%d\ndriver_version=%d\nrestore_threads=%d\nrestore_time=%llu\nfrozen_time=%"
	       "llu\n"
	       "criu_version=%s\ngpu_name=%s\nprocesses=%u\n",
	       statistics->succeeded, (unsigned long long)statistics->duration,
	       (unsigned long long)statistics->device_bytes, (unsigned long long)statistics->host_bytes,
	       (unsigned long long)statistics->image_bytes, (unsigned long long)statistics->overlap,
	       (unsigned long long)statistics->linked_bytes, (unsigned long long)statistics->resident_bytes,
	       statistics->pool_warm, statistics->simulated, statistics->driver_version, statistics->restore_threads,
	       (unsigned long long)statistics->restore_time, (unsigned long long)statistics->frozen_time,
	       statistics->criu_version, statistics->gpu_name, statistics->process_count);
	for (i = 0; i < statistics->process_count && i < PROCESSES_MAX; i++) {
		printf("mode=%d\nreason=%s\nphases=", processes[i].mode, processes[i].reason);
		for (j = 0; j < processes[i].phase_count; j++)
			printf("%d ", processes[i].phases[j].kind);
		printf("\n");
	}
}

static int checkpoint(const struct options *options, const char *pid, const char *folder)
{
	struct rekindle_checkpoint_request request = {.structure_size = sizeof(request)};
	struct rekindle_process_statistics processes[PROCESSES_MAX];
	struct rekindle_statistics statistics;
	struct rekindle_error error;
	int code;

	request.pid = atoi(pid);
	request.directory = folder;
	request.work_directory = options->work_directory;
	request.flags = options->flags;
	request.timeout_seconds = 60;
	request.park = options->park;
	request.parent = options->parent;
	request.operation = watched.operation;
	code = rekindle_checkpoint(&options->environment, &request, &statistics, processes, PROCESSES_MAX, &error);
	if (!code)
		print_statistics(&statistics, processes);
	return finish(code, &error);
}

static int restore(const struct options *options, const char *folder)
{
	struct rekindle_restore_request request = {.structure_size = sizeof(request)};
	struct rekindle_process_statistics processes[PROCESSES_MAX];
	struct rekindle_statistics statistics;
	struct rekindle_error error;
	int32_t pid = 0;
	int code;

	request.directory = folder;
	request.work_directory = options->work_directory;
	request.flags = options->flags;
	request.device_map = options->device_map;
	request.operation = watched.operation;
	code = rekindle_restore(&options->environment, &request, &pid, &statistics, processes, PROCESSES_MAX, &error);
	printf("pid=%d\n", pid);
	if (!code)
		print_statistics(&statistics, processes);
	return finish(code, &error);
}

static int hosted_restore(const struct options *options, const char *folder, bool prefetch)
{
	struct rekindle_pool_statistics statistics = {0};
	struct rekindle_pool *pool;
	struct rekindle_error error;
	int code = rekindle_pool_open(&options->environment, &pool, &error);
	int tries;

	if (code)
		return finish(code, &error);
	if (prefetch && (code = rekindle_pool_prefetch(pool, folder, &error)))
		goto out;
	for (tries = 0; prefetch && tries < 1000 && !statistics.device_bytes_held; tries++) {
		rekindle_pool_status(pool, &statistics, &error);
		usleep(10000);
	}
	printf("held=%llu\n", (unsigned long long)statistics.device_bytes_held);
	code = -restore(options, folder);
	if (!code && !(code = rekindle_pool_status(pool, &statistics, &error)))
		printf("restores=%llu\n", (unsigned long long)statistics.restores);
out:
	rekindle_pool_close(pool);
	return finish(code, &error);
}

/* Of a pool that runs; waits until it is filled. */
static int prefetch(const struct options *options, const char *folder, int32_t tier)
{
	struct rekindle_pool *pool;
	struct rekindle_error error;
	int code = rekindle_pool_connect(&options->environment, &pool, &error);
	uint64_t bytes = 1;

	if (code)
		return finish(code, &error);
	code = rekindle_pool_prefetch_to(pool, folder, tier, &error);
	while (!code && !(code = rekindle_pool_prefetched(pool, folder, &bytes, &error)) && bytes)
		usleep(10000);
	rekindle_pool_close(pool);
	return finish(code, &error);
}

static int print_pool(const struct options *options)
{
	struct rekindle_pool_statistics statistics;
	struct rekindle_resident_images images[PROCESSES_MAX];
	struct rekindle_pool *pool;
	struct rekindle_error error;
	uint32_t count = 0, i;
	int code = rekindle_pool_connect(&options->environment, &pool, &error);

	if (code)
		return finish(code, &error);
	code = rekindle_pool_status(pool, &statistics, &error);
	if (!code)
		code = rekindle_pool_images(pool, images, PROCESSES_MAX, &count, &error);
	if (!code)
		printf("bytes_to_device=%llu\nheld=%llu\nimages_resident=%llu\nimages_read=%llu\nimages_pinned=%llu\n"
		       "pinned=%llu\nmoved_to_pinned=%llu\ngiven_up=%llu\n",
		       (unsigned long long)statistics.bytes_to_device, (unsigned long long)statistics.device_bytes_held,
		       (unsigned long long)statistics.images_resident, (unsigned long long)statistics.images_read,
		       (unsigned long long)statistics.images_pinned, (unsigned long long)statistics.pinned_bytes,
		       (unsigned long long)statistics.moved_to_pinned, (unsigned long long)statistics.given_up);
	for (i = 0; i < count && i < PROCESSES_MAX; i++)
		printf("images=%s state=%d taken=%d parked=%d tier=%d bytes=%llu\n", images[i].directory,
		       images[i].state, images[i].taken, images[i].parked, images[i].tier,
		       (unsigned long long)images[i].bytes);
	rekindle_pool_close(pool);
	return finish(code, &error);
}

static int image(const char *folder)
{
	struct rekindle_image_process processes[PROCESSES_MAX];
	struct rekindle_image read;
	struct rekindle_error error;
	int code = rekindle_image_read(folder, &read, processes, PROCESSES_MAX, &error);
	uint32_t i;

	if (code)
		return finish(code, &error);
	printf("processes=%u\ngpu_processes=%u\nhost_bytes=%llu\ndevice_bytes=%llu\nroot_pid=%d\ndriver_version=%d\n"
	       "simulated=%d\nuses_cuda_plugin=%d\ncriu_version=%s\ngpu_name=%s\ngpu_uuid=%s\ndriver=%s\n",
	       read.process_count, read.gpu_process_count, (unsigned long long)read.host_bytes,
	       (unsigned long long)read.device_bytes, read.root_pid, read.driver_version, read.simulated,
	       read.uses_cuda_plugin, read.criu_version, read.gpu_name, read.gpu_uuid, read.driver_text);
	for (i = 0; i < read.process_count && i < PROCESSES_MAX; i++)
		printf("process %d parent=%d mode=%d threads=%u allocations=%u name=%s device_bytes=%llu\n",
		       processes[i].pid, processes[i].parent_pid, processes[i].mode, processes[i].threads,
		       processes[i].allocations, processes[i].name, (unsigned long long)processes[i].device_bytes);
	return finish(code, &error);
}

static int verify(const char *folder)
{
	struct rekindle_error error;
	uint64_t bytes = 0;
	int code = rekindle_image_verify(folder, watched.operation, &bytes, &error);

	printf("verified=%llu\n", (unsigned long long)bytes);
	return finish(code, &error);
}

static int read_statistics(const char *folder, const char *kind)
{
	struct rekindle_process_statistics processes[PROCESSES_MAX];
	struct rekindle_statistics statistics;
	struct rekindle_error error;
	int code = rekindle_statistics_read(folder,
					    strcmp(kind, "restore") ? REKINDLE_RUN_CHECKPOINT : REKINDLE_RUN_RESTORE,
					    &statistics, processes, PROCESSES_MAX, &error);

	if (!code)
		print_statistics(&statistics, processes);
	return finish(code, &error);
}

static int inspect(const struct options *options, const char *pid, int argument_count, char **arguments)
{
	struct rekindle_inspect_request request = {
		.structure_size = sizeof(request),
		.pid = atoi(pid),
		.flags = options->flags,
		.argument_count = (uint32_t)argument_count,
		.arguments = (const char *const *)arguments,
	};
	struct rekindle_inspected_process processes[PROCESSES_MAX];
	struct rekindle_obstacle obstacles[PROCESSES_MAX];
	struct rekindle_inspection inspection;
	struct rekindle_error error;
	int code = rekindle_inspect_process(&options->environment, &request, &inspection, processes, PROCESSES_MAX,
					    obstacles, PROCESSES_MAX, &error);

	if (code)
		return finish(code, &error);
	printf("processes=%u\nobstacles=%u\nmilliseconds=%.1f\n", inspection.process_count, inspection.obstacle_count,
	       (double)inspection.duration / 1e6);
	for (uint32_t i = 0; i < inspection.process_count && i < PROCESSES_MAX; i++)
		printf("process %d parent=%d cuda=%d agent=%d threads=%u name=%s note=%s\n", processes[i].pid,
		       processes[i].parent_pid, processes[i].cuda_state, processes[i].agent_state, processes[i].threads,
		       processes[i].name, processes[i].agent_note);
	for (uint32_t i = 0; i < inspection.obstacle_count && i < PROCESSES_MAX; i++)
		printf("obstacle %d pid=%d %s: %s\n", obstacles[i].kind, obstacles[i].pid, obstacles[i].what,
		       obstacles[i].remedy);
	return finish(code, &error);
}

static int run(const struct options *options, int count, char **words)
{
	struct rekindle_error error;

	if (count == 3 && !strcmp(words[0], "checkpoint"))
		return checkpoint(options, words[1], words[2]);
	if (count == 2 && !strcmp(words[0], "restore"))
		return restore(options, words[1]);
	if (count >= 2 && !strcmp(words[0], "hosted-restore"))
		return hosted_restore(options, words[1], count == 3);
	if (count == 2 && !strcmp(words[0], "prefetch"))
		return prefetch(options, words[1], REKINDLE_TIER_DEVICE);
	if (count == 2 && !strcmp(words[0], "prefetch-pinned"))
		return prefetch(options, words[1], REKINDLE_TIER_PINNED);
	if (count == 1 && !strcmp(words[0], "pool"))
		return print_pool(options);
	if (count == 2 && !strcmp(words[0], "image"))
		return image(words[1]);
	if (count == 2 && !strcmp(words[0], "verify"))
		return verify(words[1]);
	if (count == 3 && !strcmp(words[0], "statistics"))
		return read_statistics(words[1], words[2]);
	if (count >= 2 && !strcmp(words[0], "inspect"))
		return inspect(options, words[1], count - 2, words + 2);
	if (count == 1 && !strcmp(words[0], "check"))
		return finish(rekindle_check(&options->environment, &error), &error);
	return 200;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"flags", required_argument, NULL, 'f'},
		{"work", required_argument, NULL, 'w'},
		{"cancel-phase", required_argument, NULL, 'p'},
		{"cancel-bytes", required_argument, NULL, 'b'},
		{"driver", required_argument, NULL, 'd'},
		{"device-map", required_argument, NULL, 'm'},
		{"park", required_argument, NULL, 'k'},
		{"parent", required_argument, NULL, 'P'},
		{NULL, 0, NULL, 0},
	};
	struct options options = {.cancel_bytes = UINT64_MAX};
	pthread_t canceller;
	int option;
	int result;

	rekindle_environment_defaults(&options.environment);
	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) >= 0) {
		switch (option) {
		case 'f':
			options.flags = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'w':
			options.work_directory = optarg;
			break;
		case 'p':
			options.cancel_phase = atoi(optarg);
			break;
		case 'b':
			options.cancel_bytes = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			options.device_map = optarg;
			break;
		case 'k':
			options.park = atoi(optarg);
			break;
		case 'P':
			options.parent = optarg;
			break;
		case 'd':
			options.environment.cuda_driver = optarg;
			break;
		default:
			return 200;
		}
	}
	watched.options = &options;
	watched.operation = rekindle_operation_create(progress, NULL);
	if (!watched.operation || pthread_create(&canceller, NULL, cancel_when_asked, NULL))
		return 201;
	result = run(&options, argc - optind, argv + optind);
	atomic_store(&watched.ended, true);
	pthread_join(canceller, NULL);
	printf("progress=%llu of %llu in %u calls\n", (unsigned long long)watched.highest,
	       (unsigned long long)watched.total, watched.calls);
	rekindle_operation_destroy(watched.operation);
	return result;
}
