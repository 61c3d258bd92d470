/* SPDX-License-Identifier: MIT */
#include "agent/memory/kept_descriptors.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "protocol/share_mark.h"

/* Out of the way of programs that count on low numbers, where the limit allows that. */
#define HIGH_NUMBER 256

static struct agent_kept table[AGENT_KEPT_MAX];
static int marks[AGENT_KEPT_MAX];
static atomic_bool taken[AGENT_KEPT_MAX];
static atomic_uint count;

static int duplicate(int descriptor)
{
	int number = fcntl(descriptor, F_DUPFD_CLOEXEC, HIGH_NUMBER);

	return number >= 0 ? number : fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
}

uint32_t kept_add(int descriptor, bool imported, uint64_t id)
{
	int mark = imported ? share_mark_of(descriptor) : share_mark_set(descriptor, id), number;
	uint32_t place;

	if (!mark)
		return 0;
	for (place = 0; place < AGENT_KEPT_MAX; place++) {
		bool expected = false;

		if (atomic_compare_exchange_strong(&taken[place], &expected, true))
			break;
	}
	if (place == AGENT_KEPT_MAX)
		return 0;
	number = duplicate(descriptor);
	if (number < 0) {
		atomic_store(&taken[place], false);
		return 0;
	}
	marks[place] = mark;
	table[place].imported = imported;
	table[place].allocation_id = id;
	atomic_thread_fence(memory_order_release);
	table[place].descriptor = number;
	atomic_fetch_add(&count, 1);
	return place + 1;
}

static bool is_there(uint32_t place)
{
	return share_mark_of(table[place].descriptor) == marks[place];
}

bool kept_is_there(uint32_t place)
{
	return place && is_there(place - 1);
}

int kept_duplicate(uint32_t place, bool close_on_exec)
{
	if (!place || !is_there(place - 1))
		return -1;
	return fcntl(table[place - 1].descriptor, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
}

void kept_drop(uint32_t place)
{
	int number;

	if (!place--)
		return;
	number = table[place].descriptor;
	if (is_there(place))
		close(number);
	table[place].descriptor = 0;
	atomic_fetch_sub(&count, 1);
	atomic_store(&taken[place], false);
}

void kept_name(uint32_t place, uint64_t id)
{
	if (place)
		table[place - 1].allocation_id = id;
}

bool kept_any(void)
{
	return atomic_load(&count) != 0;
}

void kept_drop_all(void)
{
	uint32_t place;

	for (place = 1; kept_any() && place <= AGENT_KEPT_MAX; place++)
		if (table[place - 1].descriptor)
			kept_drop(place);
}

const struct agent_kept *kept_table(void)
{
	return table;
}
