/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/socket_mark.h"
#include "simcuda/restore_page.h"
#include "simcuda/simcuda.h"
#include "support/clock.h"

/* The caller's half of cuCheckpointProcess*: finds the other process' page and has its restore thread do the work. */

/* A restore thread that is stopped does not answer; a real driver would wait for it, this one gives up. */
#define ACCEPT_NANOSECONDS (60ull * 1000000000u)

struct asked_process {
	pid_t process;	/* thread group */
	uintptr_t page; /* in the target */
	struct restore_page copy;
};

/* The value of a line "name:\tvalue" of a status file, or its last value where there are several. */
static int last_number_of_status(const char *path, const char *name, int *value)
{
	char line[256];
	FILE *file = fopen(path, "re");
	int result = -ENOENT;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
			char *last = strrchr(line, '\t');

			if (last && sscanf(last, "%d", value) == 1)
				result = 0;
			break;
		}
	}
	fclose(file);
	return result;
}

static CUresult find_page(pid_t process, uintptr_t *address)
{
	char path[64], line[512];
	CUresult result = CUDA_ERROR_NOT_INITIALIZED;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", process);
	file = fopen(path, "re");
	if (!file)
		return errno == EACCES ? CUDA_ERROR_NOT_PERMITTED : CUDA_ERROR_OPERATING_SYSTEM;
	while (fgets(line, sizeof(line), file)) {
		if (strstr(line, " /memfd:" RESTORE_PAGE_NAME " (deleted)") ||
		    strstr(line, " /memfd:" RESTORE_PAGE_NAME "\n")) {
			*address = strtoul(line, NULL, 16);
			result = CUDA_SUCCESS;
			break;
		}
	}
	fclose(file);
	return result;
}

static CUresult read_page(struct asked_process *target)
{
	struct iovec local = {&target->copy, sizeof(target->copy)};
	struct iovec remote = {(void *)target->page, sizeof(target->copy)};

	if (process_vm_readv(target->process, &local, 1, &remote, 1, 0) != (ssize_t)sizeof(target->copy))
		return errno == EPERM ? CUDA_ERROR_NOT_PERMITTED : CUDA_ERROR_OPERATING_SYSTEM;
	return target->copy.magic == RESTORE_PAGE_MAGIC ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

static CUresult target_find(int pid, struct asked_process *target)
{
	char path[64];
	CUresult result;
	int process;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (pid <= 0 || last_number_of_status(path, "Tgid", &process))
		return CUDA_ERROR_OPERATING_SYSTEM;
	target->process = process;
	result = find_page(process, &target->page);
	return result == CUDA_SUCCESS ? read_page(target) : result;
}

static int take_control_descriptor(const struct asked_process *target)
{
	int process, descriptor;

	process = (int)syscall(SYS_pidfd_open, target->process, 0);
	if (process < 0)
		return -errno;
	descriptor = (int)syscall(SYS_pidfd_getfd, process, target->copy.control_descriptor, 0);
	if (descriptor < 0)
		descriptor = -errno;
	close(process);
	if (descriptor >= 0 && !socket_is_marked(descriptor, SOCKET_MARK_SIMCUDA_OUTSIDE)) {
		close(descriptor);
		descriptor = -EBADF;
	}
	return descriptor;
}

static const struct restore_answer *answer_of(const struct asked_process *target, uint64_t token)
{
	for (size_t i = 0; i < RESTORE_ANSWERS; i++) {
		if (target->copy.answers[i].token == token)
			return &target->copy.answers[i];
	}
	return NULL;
}

static CUresult wait_for_answer(struct asked_process *target, const struct restore_request *request)
{
	uint64_t pause = 20000;

	for (;;) {
		const struct restore_answer *answer;
		CUresult result = read_page(target);

		if (result != CUDA_SUCCESS)
			return CUDA_ERROR_OPERATING_SYSTEM;
		answer = answer_of(target, request->token);
		if (answer && answer->progress == RESTORE_PROGRESS_DONE)
			return (CUresult)answer->result;
		if (!answer && monotonic_nanoseconds() > request->accept_deadline)
			return CUDA_ERROR_UNKNOWN;
		sleep_nanoseconds(pause);
		if (pause < 1000000)
			pause += pause / 4;
	}
}

static CUresult send_request(struct asked_process *target, struct restore_request *request)
{
	int descriptor = take_control_descriptor(target);
	CUresult result = CUDA_SUCCESS;

	if (descriptor < 0)
		return descriptor == -EPERM ? CUDA_ERROR_NOT_PERMITTED : CUDA_ERROR_OPERATING_SYSTEM;
	request->accept_deadline = monotonic_nanoseconds() + ACCEPT_NANOSECONDS;
	while (!request->token) {
		if (getrandom(&request->token, sizeof(request->token), 0) != (ssize_t)sizeof(request->token))
			request->token = monotonic_nanoseconds();
	}
	if (send(descriptor, request, sizeof(*request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		result = CUDA_ERROR_OPERATING_SYSTEM;
	close(descriptor);
	return result == CUDA_SUCCESS ? wait_for_answer(target, request) : result;
}

static CUresult call(int pid, enum restore_action action, uint32_t timeout_milliseconds)
{
	struct restore_request request = {.action = action, .timeout_milliseconds = timeout_milliseconds};
	struct asked_process target;
	CUresult result = target_find(pid, &target);

	return result == CUDA_SUCCESS ? send_request(&target, &request) : result;
}

CUresult simulated_cuCheckpointProcessGetState(int pid, CUprocessState *state)
{
	struct asked_process target;
	CUresult result = call(pid, RESTORE_ACTION_STATE, 0);

	if (result == CUDA_SUCCESS)
		result = target_find(pid, &target);
	if (result == CUDA_SUCCESS && state)
		*state = (CUprocessState)target.copy.state;
	return result;
}

/* The page holds the id that the process itself sees; the caller may be in another pid namespace. */
static CUresult translate_thread_id(const struct asked_process *target, int *thread_id)
{
	CUresult result = CUDA_ERROR_OPERATING_SYSTEM;
	struct dirent *entry;
	char path[64];
	DIR *directory;
	int inner;

	snprintf(path, sizeof(path), "/proc/%d/task", target->process);
	directory = opendir(path);
	if (!directory)
		return result;
	while (result != CUDA_SUCCESS && (entry = readdir(directory))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.12s/status", target->process, entry->d_name);
		if (entry->d_name[0] != '.' && !last_number_of_status(path, "NSpid", &inner) &&
		    inner == target->copy.thread_id) {
			*thread_id = atoi(entry->d_name);
			result = CUDA_SUCCESS;
		}
	}
	closedir(directory);
	return result;
}

CUresult simulated_cuCheckpointProcessGetRestoreThreadId(int pid, int *thread_id)
{
	struct asked_process target;
	CUresult result = target_find(pid, &target);

	if (result != CUDA_SUCCESS || !thread_id)
		return result;
	return translate_thread_id(&target, thread_id);
}

CUresult simulated_cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *arguments)
{
	return call(pid, RESTORE_ACTION_LOCK, arguments ? arguments->timeoutMs : 0);
}

CUresult simulated_cuCheckpointProcessCheckpoint(int pid, CUcheckpointCheckpointArgs *arguments)
{
	(void)arguments;
	return call(pid, RESTORE_ACTION_CHECKPOINT, 0);
}

/* As measured and documented: each GPU that the process saw, used or not, once, and another one of its type for it. */
static CUresult take_pairs(const struct asked_process *target, const CUcheckpointRestoreArgs *arguments,
			   struct restore_request *request)
{
	char old_name[96], new_name[96];
	uint32_t taken = 0, found = 0;
	CUdevice device;
	int old, new;

	if (!arguments->gpuPairs || target->copy.device_count > RESTORE_DEVICES_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < arguments->gpuPairsCount; i++) {
		if (!physical_of_uuid(&arguments->gpuPairs[i].oldUuid, &old) ||
		    !physical_of_uuid(&arguments->gpuPairs[i].newUuid, &new) || !device_of_physical(new, &device) ||
		    (taken & 1u << new))
			return CUDA_ERROR_INVALID_VALUE;
		device_name(old, old_name, sizeof(old_name));
		device_name(new, new_name, sizeof(new_name));
		if (strcmp(old_name, new_name))
			return CUDA_ERROR_INVALID_VALUE;
		taken |= 1u << new;
		for (uint32_t own = 0; own < target->copy.device_count; own++) {
			if (target->copy.devices[own] != old)
				continue;
			request->devices[own] = (int8_t)new;
			found |= 1u << own;
		}
	}
	request->moves = true;
	return found == (1u << target->copy.device_count) - 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult simulated_cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *arguments)
{
	static const CUcheckpointRestoreArgs zeros;
	struct restore_request request = {.action = RESTORE_ACTION_RESTORE};
	struct asked_process target;
	CUresult result = target_find(pid, &target);

	if (result == CUDA_SUCCESS && arguments && memcmp(arguments->reserved, zeros.reserved, sizeof(zeros.reserved)))
		result = CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS && arguments && arguments->gpuPairsCount)
		result = take_pairs(&target, arguments, &request);
	return result == CUDA_SUCCESS ? send_request(&target, &request) : result;
}

CUresult simulated_cuCheckpointProcessUnlock(int pid, CUcheckpointUnlockArgs *arguments)
{
	(void)arguments;
	return call(pid, RESTORE_ACTION_UNLOCK, 0);
}
