/* SPDX-License-Identifier: MIT */
#include "pool/run/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/run/guardian_message.h"
#include "protocol/message_socket.h"
#include "settings/program_find.h"
#include "support/clock.h"

extern char **environ;

struct guardian {
	int socket;
	pid_t pid;
	int pidfd; /* -1: none could be had */
};

/* Not under the name of the program: whoever ends the pool by name, or every pool, does not mean this one. */
static int start(struct guardian *guardian, const struct settings *settings, int its_end, struct error_text *error)
{
	char *arguments[] = {GUARDIAN_NAME, "--guard", "3", NULL};
	char program[PATH_MAX], path[48];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int file, result;

	result = pool_program_find(settings, program, error);
	if (result)
		return result;
	file = open(program, O_PATH | O_CLOEXEC);
	if (file < 0)
		return fail(error, -errno, "Could not open %s: %s", program, errno_text(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_adddup2(&actions, its_end, 3);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
	result = -posix_spawn(&guardian->pid, path, &actions, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	close(file);
	guardian->pidfd = result ? -1 : (int)syscall(SYS_pidfd_open, guardian->pid, 0);
	return result ? fail(error, result, "Could not start %s: %s", program, errno_text(-result)) : 0;
}

/* By its pidfd: the program that this pool is a part of may have reaped it, and its id be another's. */
static void end_it(const struct guardian *guardian)
{
	if (guardian->pidfd < 0)
		kill(guardian->pid, SIGKILL);
	else
		syscall(SYS_pidfd_send_signal, guardian->pidfd, SIGKILL, NULL, 0);
}

static void release(struct guardian *guardian)
{
	waitpid(guardian->pid, NULL, 0);
	close_if_open(&guardian->pidfd);
	close(guardian->socket);
	free(guardian);
}

/* A start can fail late, for want of a library, and takes long on a busy machine: nobody is guarded before it is there. */
static int wait_until_there(const struct guardian *guardian, unsigned int seconds, struct error_text *error)
{
	struct guardian_greeting greeting;
	ssize_t length =
		message_receive(guardian->socket, &greeting, sizeof(greeting), NULL, NULL, (int)seconds * 1000);

	if (length == -ETIMEDOUT)
		return fail(error, -ETIMEDOUT, "The guardian of the run did not start within %u s (REKINDLE_TIMEOUT)",
			    seconds);
	if (length < 0)
		return fail(error, (int)length, "The guardian of the run ended at its start: %s",
			    errno_text((int)-length));
	if (length != sizeof(greeting) || greeting.message_size != sizeof(struct guardian_message))
		return fail(error, -EPROTO,
			    "The program of the pool was replaced by another version: restart the pool");
	return 0;
}

static int begin(struct run *run, struct error_text *error)
{
	struct guardian *guardian = calloc(1, sizeof(*guardian));
	int ends[2], result;

	if (!guardian)
		return fail(error, -ENOMEM, "Out of memory");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		result = fail(error, -errno, "Could not make a socket pair: %s", errno_text(errno));
		free(guardian);
		return result;
	}
	guardian->socket = ends[0];
	result = start(guardian, &run->pool->settings, ends[1], error);
	close(ends[1]);
	if (result) {
		close(ends[0]);
		free(guardian);
		return result;
	}
	result = wait_until_there(guardian, run->pool->settings.timeout_seconds, error);
	if (result) {
		end_it(guardian);
		release(guardian);
		return result;
	}
	run->guardian = guardian;
	return 0;
}

int guardian_watch(struct run *run, const struct run_process *process, struct error_text *error)
{
	struct guardian_message message = {.settings = run->pool->settings, .named = process->pid};
	int descriptors[GUARDED_DESCRIPTORS] = {process->target.pidfd, run->folder, run->lock}, result = 0;

	message.was_locked = process->was_locked;
	message.untouched = process->untouched;
	memcpy(message.checkpoint_id, run->checkpoint_id, sizeof(message.checkpoint_id));
	if (!run->guardian)
		result = begin(run, error);
	if (result)
		return result;
	result = message_send(run->guardian->socket, &message, sizeof(message), descriptors,
			      run->lock < 0 ? 2 : GUARDED_DESCRIPTORS);
	return result ? fail(error, result, "The guardian of the run is gone: %s", errno_text(-result)) : 0;
}

int guardian_hold_memory(struct run *run, const struct run_process *process, struct error_text *error)
{
	struct guardian_message message = {.settings = run->pool->settings, .named = process->pid, .holds = 1};
	int descriptors[MESSAGE_DESCRIPTORS_MAX] = {process->target.pidfd}, result = 0;
	uint64_t deadline = monotonic_nanoseconds() + run->pool->settings.timeout_seconds * UINT64_C(1000000000);
	uint32_t i;

	if (!run->guardian)
		return fail(error, -ESRCH, "the run has no guardian");
	for (; message.from < process->own_count && result == 0; message.from += GUARDED_PIECES) {
		for (i = 0; i < GUARDED_PIECES && message.from + i < process->own_count; i++)
			descriptors[1 + i] = process->memory[message.from + i].descriptor;
		result = message_send_until(run->guardian->socket, &message, sizeof(message), descriptors, 1 + i,
					    deadline);
	}
	return result ? fail(error, result, "the guardian of the run does not take it: %s", errno_text(-result)) : 0;
}

void guardian_dismiss(struct run *run)
{
	struct guardian_message message = {.dismissed = 1};
	struct guardian *guardian = run->guardian;
	struct pollfd end = {.events = POLLIN};

	if (!guardian)
		return;
	run->guardian = NULL;
	end.fd = guardian->pidfd;
	if (message_send(guardian->socket, &message, sizeof(message), NULL, 0) ||
	    poll(&end, 1, (int)run->pool->settings.timeout_seconds * 1000) <= 0)
		end_it(guardian);
	release(guardian);
}
