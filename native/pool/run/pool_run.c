/* SPDX-License-Identifier: MIT */
#include "pool/run/pool_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process/process_lock.h"
#include "protocol/message_socket.h"
#include "protocol/peer_trust.h"
#include "support/clock.h"
#include "support/log.h"

/* How often a long wait looks whether anybody still wants it. */
#define LOOK_AROUND_MS 20
/* The shortest limit that can be set is a second. */
#define SAY_PROGRESS_NS (250 * UINT64_C(1000000))

void run_init(struct run *run, struct pool *pool, int socket)
{
	*run = (struct run){.pool = pool,
			    .socket = socket,
			    .client = socket < 0 ? -1 : peer_open(socket),
			    .folder = -1,
			    .work = -1,
			    .progress = -1,
			    .lock = -1,
			    .parent = -1,
			    .mutex = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER};
}

void close_if_open(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

/* Of two with one number, the process that lives is meant. */
static struct run_process *find_process(struct run *run, const struct target *target)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->target.pid == target->pid && !target_has_ended(&run->processes[i]->target))
			return run->processes[i];
	return NULL;
}

struct run_process *run_process_get(struct run *run, struct target *target, int *lock)
{
	struct run_process *process = find_process(run, target), **grown;

	if (process) {
		close_if_open(lock);
		target_close(target);
		return process;
	}
	process = calloc(1, sizeof(*process));
	pthread_mutex_lock(&run->mutex);
	grown = realloc(run->processes, (run->process_count + 1) * sizeof(*grown));
	if (grown)
		run->processes = grown;
	if (grown && process)
		run->processes[run->process_count++] = process;
	pthread_mutex_unlock(&run->mutex);
	if (!grown || !process) {
		free(process);
		return NULL;
	}
	process->pid = target->named;
	process->target = *target;
	process->lock = *lock;
	process->agent = -1;
	target->pidfd = -1;
	*lock = -1;
	return process;
}

struct agent_client run_agent(const struct run *run, const struct run_process *process)
{
	struct agent_client agent = {.socket = process->agent,
				     .process = process->target.pidfd,
				     .timeout_ms = (int)run->pool->settings.timeout_seconds * 1000};

	/* In a restore nothing is lost by waiting, and by not waiting all is. */
	if (run->stage == POOL_STAGE_DUMP) {
		agent.pool = run->pool;
		agent.target = &process->target;
	}
	return agent;
}

void run_phase_put(struct run_process *process, enum phase kind, uint64_t start, uint64_t end, uint64_t bytes)
{
	process_record_phase(&process->record, kind, start, end - start, bytes);
}

void run_phase_add(struct run_process *process, enum phase kind, uint64_t start, uint64_t bytes)
{
	run_phase_put(process, kind, start, monotonic_nanoseconds(), bytes);
}

bool run_is_abandoned(const struct run *run)
{
	struct pollfd polled = {.fd = run->socket, .events = POLLRDHUP};

	return !run_is_ending(run) && poll(&polled, 1, 0) > 0 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

bool run_is_unwanted(struct run *run)
{
	struct pool_progress progress = {.cancel = 0};

	if (run_is_abandoned(run))
		return true;
	if (run_is_ending(run))
		return false;
	pthread_mutex_lock(&run->mutex);
	if (run->progress >= 0 && pread(run->progress, &progress, sizeof(progress), 0) != sizeof(progress))
		progress.cancel = 0;
	pthread_mutex_unlock(&run->mutex);
	return progress.cancel != 0;
}

void run_open_progress(struct run *run, const char *name)
{
	struct pool_progress progress;
	int file = -1;

	if (name[0])
		file = openat(run->work, POOL_PROGRESS_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file >= 0 && (pread(file, &progress, sizeof(progress), 0) != sizeof(progress) ||
			  strncmp(progress.run, name, sizeof(progress.run)))) {
		close(file);
		file = -1;
	}
	run->progress = file;
}

/* With the mutex. */
static void write_progress(struct run *run, const struct pool_progress *progress)
{
	/* For display only: whoever cannot be shown it does without. Not mapped: a truncated file must not hurt. */
	if (run->progress >= 0 && pwrite(run->progress, progress, POOL_PROGRESS_WRITTEN, 0) < 0) {
		close(run->progress);
		run->progress = -1;
	}
}

/* With the mutex: a word that came after the reply would be taken for one about the next request. */
static void say_progress(struct run *run)
{
	const struct pool_reply message = {
		.version = POOL_PROTOCOL_VERSION, .still_working = 1, .number = run->request_number};
	uint64_t now = monotonic_nanoseconds();

	if (!run->answering || now - run->last_word < SAY_PROGRESS_NS)
		return;
	run->last_word = now;
	/* Whoever does not read them is not waited for. */
	message_send_until(run->socket, &message, sizeof(message), NULL, 0, now);
}

void run_say_progress(struct run *run)
{
	pthread_mutex_lock(&run->mutex);
	say_progress(run);
	pthread_mutex_unlock(&run->mutex);
}

/* Of all processes. */
static void add_up(const struct run *run, uint64_t *done, uint64_t *total)
{
	size_t i;

	*done = *total = 0;
	for (i = 0; i < run->process_count; i++) {
		*done += run->processes[i]->bytes_done;
		*total += run->processes[i]->bytes_total;
	}
}

void run_progress(struct run *run, struct run_process *process, uint32_t phase, uint64_t done, uint64_t total)
{
	struct pool_progress progress = {.phase = phase};

	pthread_mutex_lock(&run->mutex);
	if (process && total) {
		process->bytes_done = done;
		process->bytes_total = total;
		add_up(run, &done, &total);
	}
	if (phase != (process ? process->phase : run->phase) || (total && done != run->bytes_done))
		say_progress(run);
	if (process)
		process->phase = phase;
	run->phase = phase;
	/* A phase that moves no data leaves the figures of the copy before it. */
	if (total) {
		run->bytes_done = done;
		run->bytes_total = total;
	}
	progress.bytes_done = run->bytes_done;
	progress.bytes_total = run->bytes_total;
	write_progress(run, &progress);
	pthread_mutex_unlock(&run->mutex);
}

void run_note_gpu(struct run *run, const struct pool_device *device)
{
	pthread_mutex_lock(&run->mutex);
	memcpy(run->gpu_name, device->name, sizeof(run->gpu_name));
	pthread_mutex_unlock(&run->mutex);
}

void run_keep_error(struct run *run, const struct run_process *process, int code, const struct error_text *error)
{
	pthread_mutex_lock(&run->mutex);
	if (!run->error_code) {
		run->error = *error;
		run->error_code = code;
		run->error_phase = process ? process->phase : run->phase;
	}
	pthread_mutex_unlock(&run->mutex);
}

bool run_is_working(const struct run *run)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->work)
			return true;
	return false;
}

bool run_watch_background(struct run *run)
{
	uint64_t done;
	bool more;

	if (!run->prefetch)
		return false;
	/* The driver may make those wait that map meanwhile. */
	if (run_is_working(run))
		return true;
	/* What is in no file is needed again where the restore fails. */
	more = (!run->prefetch->in_pool || run->is_complete) && prefetch_drop_taken(run->prefetch);
	if (run->progress < 0)
		return more;
	done = prefetch_bytes_done(run->prefetch);
	run_progress(run, NULL, PHASE_PREFETCH, done, run->prefetch->bytes);
	return more || done < run->prefetch->bytes;
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
	image->own_pid = target_own_pid(&process->target);
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

void run_process_end_check(struct run_process *process)
{
	image_check_end(process->check);
	process->check = NULL;
}

static void note_check(struct run_process *process)
{
	uint64_t began, ended;
	uint32_t i;

	for (i = 0; i < process->record.phase_count; i++)
		if (process->record.phases[i].kind == PHASE_VERIFY)
			return;
	image_check_times(process->check, &began, &ended);
	run_phase_put(process, PHASE_VERIFY, began, ended, process->image_bytes - process->linked_bytes);
}

int run_check_images(struct run *run, int timeout_ms, struct error_text *error)
{
	uint64_t deadline = monotonic_nanoseconds() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000u;
	int result = 0;
	size_t i;

	for (i = 0; i < run->process_count && result == 0; i++) {
		if (!run->processes[i]->check)
			continue;
		do {
			result = image_check_wait(run->processes[i]->check, LOOK_AROUND_MS, error);
			if (result == -EINPROGRESS && run_is_abandoned(run))
				return fail(error, -ECANCELED, "The dump was cancelled");
		} while (result == -EINPROGRESS && (timeout_ms < 0 || monotonic_nanoseconds() < deadline));
		if (result != -EINPROGRESS)
			note_check(run->processes[i]);
	}
	return result;
}

uint64_t run_checked_bytes(const struct run *run)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->check)
			bytes += image_check_bytes_done(run->processes[i]->check);
	return bytes;
}

void run_remove_image(const struct run *run, struct run_process *process)
{
	struct gpu_image_name name = {.pid = process->pid, .has_id = true};

	run_process_end_check(process);
	memcpy(name.id, process->image_id, sizeof(name.id));
	gpu_image_remove(run->folder, &name);
	process->image_written = false;
}

int run_commit_image(struct run *run, struct run_process *process, struct gpu_image *image, struct error_text *error)
{
	int result = gpu_image_commit(run->folder, image, error);

	if (result)
		return result;
	if (process->image_written) /* of an earlier CHECKPOINT in this run */
		run_remove_image(run, process);
	process->image_written = true;
	memcpy(process->image_id, image->id, sizeof(process->image_id));
	return 0;
}

void run_process_let_go(struct run_process *process, bool is_last)
{
	/* The pidfd is locked as well. */
	if (is_last)
		process_lock_release(process->lock, process->target.pidfd);
	else
		close_if_open(&process->lock);
	process->lock = -1;
	target_close(&process->target);
}

void run_process_drop_memory(struct run_process *process)
{
	struct error_text error;
	uint32_t i;

	for (i = 0; i < process->memory_count; i++) {
		if (process->memory[i].has_handle && pool_device_use(process->memory[i].device, &error))
			log_error("%s", error.text);
		held_memory_release(&process->memory[i]);
	}
	held_range_free(&process->range);
	free(process->memory);
	free(process->imports);
	memory_hashes_free(&process->hashes);
	process->memory = NULL;
	process->imports = NULL;
	process->memory_count = process->own_count = 0;
}

void run_progress_ended(struct run *run)
{
	struct pool_progress progress = {.ended = 1};

	if (run->progress >= 0 && pread(run->progress, &progress, sizeof(progress), 0) != sizeof(progress))
		progress = (struct pool_progress){.ended = 1};
	progress.ended = 1;
	pthread_mutex_lock(&run->mutex);
	write_progress(run, &progress);
	pthread_mutex_unlock(&run->mutex);
}
