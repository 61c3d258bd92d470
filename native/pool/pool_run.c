/* SPDX-License-Identifier: MIT */
#include "pool/pool_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rekindle.h"
#include "support/clock.h"

void run_init(struct run *run, struct pool *pool, int socket)
{
	*run = (struct run){.pool = pool, .socket = socket, .folder = -1, .work = -1, .progress = -1};
}

struct run_process *run_process_find(struct run *run, int32_t pid)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->pid == pid)
			return run->processes[i];
	return NULL;
}

struct run_process *run_process_get(struct run *run, int32_t pid)
{
	struct run_process *process = run_process_find(run, pid), **grown;

	if (process)
		return process;
	grown = realloc(run->processes, (run->process_count + 1) * sizeof(*grown));
	if (grown)
		run->processes = grown;
	process = calloc(1, sizeof(*process));
	if (!grown || !process) {
		free(process);
		return NULL;
	}
	process->pid = pid;
	process->agent = -1;
	process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	run->processes[run->process_count++] = process;
	return process;
}

struct agent_client run_agent(const struct run *run, const struct run_process *process)
{
	return (struct agent_client){.socket = process->agent,
				     .process = process->pidfd,
				     .timeout_ms = (int)run->pool->settings.timeout_seconds * 1000};
}

void run_phase_put(struct run_process *process, const char *name, uint64_t start, uint64_t end, uint64_t bytes)
{
	if (process->phase_count < RUN_PHASES_MAX)
		process->phases[process->phase_count++] = (struct run_phase){name, start, end - start, bytes};
}

void run_phase_add(struct run_process *process, const char *name, uint64_t start, uint64_t bytes)
{
	run_phase_put(process, name, start, monotonic_nanoseconds(), bytes);
}

bool run_is_abandoned(const struct run *run)
{
	struct pollfd polled = {.fd = run->socket, .events = POLLRDHUP};

	return !run->closing && poll(&polled, 1, 0) > 0 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void write_progress(struct run *run, const struct pool_progress *progress)
{
	/* For display only: whoever cannot be shown it does without. Not mapped, so that a truncated file cannot hurt.
	 */
	if (run->progress >= 0 && pwrite(run->progress, progress, sizeof(*progress), 0) < 0) {
		close(run->progress);
		run->progress = -1;
	}
}

void run_progress(struct run *run, uint32_t phase, uint64_t done, uint64_t total)
{
	struct pool_progress progress = {.phase = phase};

	run->phase = phase;
	/* A phase that moves no data leaves the figures of the copy before it. */
	if (total) {
		run->bytes_done = done;
		run->bytes_total = total;
	}
	progress.bytes_done = run->bytes_done;
	progress.bytes_total = run->bytes_total;
	write_progress(run, &progress);
}

bool run_watch_background(struct run *run)
{
	uint64_t done;

	if (!run->prefetch || run->progress < 0)
		return false;
	done = prefetch_bytes_done(run->prefetch);
	run_progress(run, REKINDLE_PHASE_PREFETCH, done, run->prefetch->bytes);
	return done < run->prefetch->bytes;
}

struct gpu_image *run_make_image(struct run *run, const struct run_process *process, uint32_t mode,
				 uint32_t allocations)
{
	struct pool *pool = run->pool;
	struct gpu_image *image;
	int i;

	image = gpu_image_create(process->pid, pool->settings.chunk_bytes, (uint32_t)pool->device_count, allocations);
	if (!image)
		return NULL;
	image->mode = mode;
	image->driver_version = pool->driver.version;
	image->simulated = pool->driver.simulated;
	for (i = 0; i < pool->device_count; i++) {
		memcpy(image->devices[i].uuid, pool->devices[i].uuid.bytes, 16);
		memcpy(image->devices[i].name, pool->devices[i].name, sizeof(image->devices[i].name));
		image->devices[i].ordinal = pool->devices[i].device;
		image->devices[i].memory_bytes = pool->devices[i].memory_bytes;
	}
	return image;
}

int run_commit_image(struct run *run, struct gpu_image *image, struct error_text *error)
{
	int result;

	if (!run->cleaned) {
		result = gpu_image_remove_all(run->folder, image->pid, error);
		if (result)
			return result;
		run->cleaned = true;
	}
	return gpu_image_commit(run->folder, image, error);
}

static void process_free(struct run_process *process)
{
	run_process_drop_memory(process);
	if (process->agent >= 0)
		close(process->agent);
	if (process->pidfd >= 0)
		close(process->pidfd);
	free(process);
}

void run_after_reply(struct run *run)
{
	if (run->to_give)
		prefetch_give(run->prefetch, run->to_give);
	run->to_give = NULL;
	if (run->report_due)
		run_write_statistics(run, run->error_code, "");
	run->report_due = false;
}

/* Everything that the run holds, except what belongs to the process that is to be brought back. */
static void run_release(struct run *run)
{
	size_t i;

	run_after_reply(run);
	prefetch_end(run->prefetch);
	run->prefetch = NULL;
	for (i = 0; i < run->process_count; i++)
		process_free(run->processes[i]);
	free(run->processes);
	run->processes = NULL;
	run->process_count = 0;
}

void run_close(struct run *run)
{
	run->closing = true;
	if (!run->finished)
		run_finish(run, -ECONNRESET, "");
	run_release(run);
	if (run->counted)
		atomic_fetch_sub(&run->pool->runs, 1);
	run->counted = false;
	run_init(run, run->pool, -1);
}

void run_progress_ended(struct run *run)
{
	struct pool_progress progress = {.ended = 1};

	if (run->progress >= 0 && pread(run->progress, &progress, sizeof(progress), 0) != sizeof(progress))
		progress = (struct pool_progress){.ended = 1};
	progress.ended = 1;
	write_progress(run, &progress);
}
