/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool/run/guardian.h"
#include "pool/run/guardian_message.h"
#include "pool/run/revive.h"
#include "process/process_lock.h"
#include "protocol/message_socket.h"
#include "support/log.h"

#define STEP_MS 20

struct watched {
	struct watched *next;
	struct target target;
	int folder, folder_lock;
	uint8_t checkpoint_id[16];
	bool was_locked;
};

/* What came holds the lock of the run, which must go with the run: so a descriptor of our own. */
static int take_process(struct watched **list, const struct guardian_message *message, const int *descriptors,
			size_t count)
{
	struct watched *watched = calloc(1, sizeof(*watched));
	struct target received;
	int pidfd;

	if (!watched || target_open(&received, descriptors[0], message->named, NULL)) {
		free(watched);
		return -ESRCH;
	}
	pidfd = (int)syscall(SYS_pidfd_open, received.pid, 0);
	if (pidfd < 0 || target_has_ended(&received)) {
		close_if_open(&pidfd);
		free(watched);
		return -ESRCH;
	}
	watched->target = (struct target){.pidfd = pidfd, .pid = received.pid, .named = received.named};
	watched->folder = fcntl(descriptors[1], F_DUPFD_CLOEXEC, 3);
	watched->folder_lock = count > 2 ? fcntl(descriptors[2], F_DUPFD_CLOEXEC, 3) : -1;
	watched->was_locked = message->was_locked;
	memcpy(watched->checkpoint_id, message->checkpoint_id, sizeof(watched->checkpoint_id));
	watched->next = *list;
	*list = watched;
	return 0;
}

/* Waits until no run has the process in hand. Returns the lock, or -ESRCH where it has ended. */
static int wait_for_lock(const struct target *target)
{
	struct pollfd end = {.fd = target->pidfd, .events = POLLIN};
	int lock;

	do {
		lock = process_lock_take(target->pidfd, target->pid, NULL);
	} while (lock == -EBUSY && poll(&end, 1, STEP_MS) <= 0);
	return lock;
}

static void bring_back(struct pool *pool, const struct watched *watched)
{
	struct abandoned_process process = {.target = watched->target,
					    .folder = watched->folder,
					    .folder_lock = watched->folder_lock,
					    .others_follow = watched->next != NULL,
					    .was_locked = watched->was_locked};

	memcpy(process.checkpoint_id, watched->checkpoint_id, sizeof(process.checkpoint_id));

	process.lock = wait_for_lock(&watched->target);
	if (process.lock < 0)
		return;
	/* The pool's client may have found another pool for it, or its own has brought it back before it died. */
	if (!target_has_ended(&watched->target) && revive_is_needed(pool, &process)) {
		log_warning("Process %d was left behind by a dump whose criu and pool are gone: bringing it back",
			    watched->target.named);
		revive(pool, &process);
	} else if (!target_has_ended(&watched->target)) {
		revive_folder(pool, &process);
	}
	close(process.lock);
}

static void forget(struct watched *list)
{
	struct watched *next;

	for (; list; list = next) {
		next = list->next;
		target_close(&list->target);
		close_if_open(&list->folder);
		close_if_open(&list->folder_lock);
		free(list);
	}
}

int guardian_main(int pool)
{
	struct guardian_message message, last = {.named = 0};
	struct watched *list = NULL, *watched;
	struct error_text error;
	struct pool *own = NULL;
	int descriptors[GUARDED_DESCRIPTORS];
	size_t count;

	prctl(PR_SET_NAME, GUARDIAN_NAME);
	syscall(SYS_close_range, (unsigned int)pool + 1, ~0u, 0);
	for (;;) {
		count = GUARDED_DESCRIPTORS;
		if (message_receive(pool, &message, sizeof(message), descriptors, &count, -1) != sizeof(message))
			break;
		if (message.dismissed) {
			forget(list);
			return 0;
		}
		last = message;
		if (count >= 2)
			take_process(&list, &message, descriptors, count);
		while (count)
			close(descriptors[--count]);
	}
	if (list && pool_create(&own, &last.settings, &error)) {
		log_error("%s", error.text);
		return 1;
	}
	for (watched = list; watched; watched = watched->next)
		bring_back(own, watched);
	forget(list);
	pool_destroy(own);
	return 0;
}
