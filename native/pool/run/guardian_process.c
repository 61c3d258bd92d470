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
/* The driver may take that long to take down what a process had of a GPU. */
#define DYING_MS 60000

struct watched {
	struct watched *next;
	struct target target;
	int lock; /* on the process, see wait_for_lock() */
	int folder, folder_lock;
	uint8_t checkpoint_id[16];
	bool was_locked, untouched;
	int *memory; /* of the process, in no file */
	uint32_t memory_count;
};

static struct watched *find(struct watched *list, const struct target *target)
{
	while (list && (list->target.pid != target->pid || target_has_ended(&list->target)))
		list = list->next;
	return list;
}

/* What came holds the lock of the run, which must go with the run: so a descriptor of our own. */
static int take_process(struct watched **list, const struct guardian_message *message, const int *descriptors,
			size_t count)
{
	struct watched *watched, *known;
	struct target received;
	int pidfd;

	if (target_open(&received, descriptors[0], message->named, NULL))
		return -ESRCH;
	known = find(*list, &received);
	if (known) {
		known->was_locked = message->was_locked;
		known->untouched = message->untouched;
		return 0;
	}
	watched = calloc(1, sizeof(*watched));
	if (!watched)
		return -ENOMEM;
	pidfd = (int)syscall(SYS_pidfd_open, received.pid, 0);
	if (pidfd < 0 || target_has_ended(&received)) {
		close_if_open(&pidfd);
		free(watched);
		return -ESRCH;
	}
	watched->target = (struct target){.pidfd = pidfd, .pid = received.pid, .named = received.named};
	watched->lock = process_lock_open(received.pid);
	watched->folder = fcntl(descriptors[1], F_DUPFD_CLOEXEC, 3);
	watched->folder_lock = count > 2 ? fcntl(descriptors[2], F_DUPFD_CLOEXEC, 3) : -1;
	watched->was_locked = message->was_locked;
	watched->untouched = message->untouched;
	memcpy(watched->checkpoint_id, message->checkpoint_id, sizeof(watched->checkpoint_id));
	watched->next = *list;
	*list = watched;
	return 0;
}

static void forget_memory(struct watched *watched)
{
	while (watched->memory_count)
		close(watched->memory[--watched->memory_count]);
	free(watched->memory);
	watched->memory = NULL;
}

/* From the first piece on: what was held before is of a dump that was given up. Takes over the descriptors that it keeps. */
static int take_memory(struct watched *list, const struct guardian_message *message, int *descriptors, size_t count)
{
	struct watched *watched;
	struct target received;
	int *grown;
	size_t i;

	if (target_open(&received, descriptors[0], message->named, NULL))
		return -ESRCH;
	watched = find(list, &received);
	if (!watched)
		return -ESRCH;
	if (!message->from)
		forget_memory(watched);
	if (watched->memory_count != message->from)
		return -EPROTO;
	grown = realloc(watched->memory, (watched->memory_count + count) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	watched->memory = grown;
	for (i = 1; i < count; i++) {
		watched->memory[watched->memory_count++] = descriptors[i];
		descriptors[i] = -1;
	}
	return 0;
}

/*
 * Waits until no run has the process in hand; also where it has ended, as its criu may be at work in the folder, and end it
 * itself. Returns 0, or a negative errno code where that cannot be told.
 */
static int wait_for_lock(const struct watched *watched)
{
	int result;

	while ((result = process_lock_try(watched->lock, watched->target.pidfd)) == -EBUSY)
		poll(NULL, 0, STEP_MS);
	return result;
}

static struct abandoned_process as_abandoned(const struct watched *watched)
{
	struct abandoned_process process = {.target = watched->target,
					    .lock = -1,
					    .folder = watched->folder,
					    .folder_lock = watched->folder_lock,
					    .was_locked = watched->was_locked,
					    .memory = watched->memory,
					    .memory_count = watched->memory_count};

	memcpy(process.checkpoint_id, watched->checkpoint_id, sizeof(process.checkpoint_id));
	return process;
}

/* Of several, the images stay where they are. Returns whether nothing is left to be done for it. */
static bool bring_back(struct pool *pool, const struct watched *watched, bool is_alone)
{
	struct abandoned_process process = as_abandoned(watched);

	process.others_follow = process.images_stay = !is_alone;
	process.lock = watched->lock;
	/* What could not be looked at may have its only memory in its image. */
	if (wait_for_lock(watched))
		return target_has_ended(&watched->target);
	/* The pool's client may have found another pool for it, or its own has brought it back before it died. */
	if (!target_has_ended(&watched->target) && !watched->untouched && revive_is_needed(pool, &process)) {
		log_warning("Process %d was left behind by a dump whose criu and pool are gone: bringing it back",
			    watched->target.named);
		return revive(pool, &process) == 0;
	}
	process.one_has_ended = target_has_ended(&watched->target);
	if (is_alone)
		revive_folder(pool, &process);
	return true;
}

/* Where one is not back, all images stay: one may be its only memory, and others say with whom it shares that. */
static void put_folder_in_order(struct pool *pool, const struct watched *list, bool all)
{
	const struct watched *watched;
	struct abandoned_process process;
	bool one_has_ended = false;

	for (watched = list; watched; watched = watched->next)
		one_has_ended |= target_has_ended(&watched->target);
	for (; list; list = list->next) {
		process = as_abandoned(list);
		process.others_follow = list->next != NULL;
		process.images_stay = !all;
		process.one_has_ended = one_has_ended;
		revive_folder(pool, &process);
	}
}

/*
 * Who was killed with the pool is gone in a moment, and its children may be with it: until then it would be taken for one that
 * needs its image.
 */
static void wait_for_the_dying(const struct watched *list)
{
	int left_ms = DYING_MS;

	for (; list; list = list->next)
		for (; !target_has_ended(&list->target) && target_is_ending(&list->target) && left_ms > 0;
		     left_ms -= STEP_MS)
			poll(NULL, 0, STEP_MS);
}

static void bring_back_all(struct pool *pool, const struct watched *list)
{
	const struct watched *watched;
	bool all = true, is_alone = list && !list->next;

	wait_for_the_dying(list);
	for (watched = list; watched; watched = watched->next)
		all &= bring_back(pool, watched, is_alone);
	if (!is_alone)
		put_folder_in_order(pool, list, all);
}

static void forget(struct watched *list)
{
	struct watched *next;

	for (; list; list = next) {
		next = list->next;
		target_close(&list->target);
		close_if_open(&list->lock);
		close_if_open(&list->folder);
		close_if_open(&list->folder_lock);
		forget_memory(list);
		free(list);
	}
}

int guardian_main(int pool)
{
	const struct guardian_greeting greeting = {.message_size = sizeof(struct guardian_message)};
	struct guardian_message message, last = {.named = 0};
	struct watched *list = NULL;
	struct error_text error;
	struct pool *own = NULL;
	int descriptors[MESSAGE_DESCRIPTORS_MAX];
	size_t count;

	prctl(PR_SET_NAME, GUARDIAN_NAME);
	syscall(SYS_close_range, (unsigned int)pool + 1, ~0u, 0);
	if (message_send(pool, &greeting, sizeof(greeting), NULL, 0))
		return 1;
	for (;;) {
		count = MESSAGE_DESCRIPTORS_MAX;
		if (message_receive(pool, &message, sizeof(message), descriptors, &count, -1) != sizeof(message))
			break;
		if (message.dismissed) {
			forget(list);
			return 0;
		}
		last = message;
		if (message.holds && count)
			take_memory(list, &message, descriptors, count);
		else if (count >= 2)
			take_process(&list, &message, descriptors, count);
		while (count)
			close_if_open(&descriptors[--count]);
	}
	if (list && pool_create(&own, &last.settings, &error)) {
		log_error("%s", error.text);
		return 1;
	}
	bring_back_all(own, list);
	forget(list);
	pool_destroy(own);
	return 0;
}
