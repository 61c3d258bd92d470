/* SPDX-License-Identifier: MIT */
#include "agent/memory/restored_descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/share_mark.h"

#define LOWEST_NUMBER 1024 /* above what select(2) can name, where the limit allows that */
#define KEPT_MAX 4096
#define NUMBERS (LOWEST_NUMBER + 2 * KEPT_MAX)
#define LEFT_TO_THE_PROGRAM 16

/* By number. id 0: it is not ours. */
static struct {
	uint64_t id;
	size_t bytes;
} noted[NUMBERS];
static unsigned int count, room;
static size_t smallest; /* of none of the pieces are there fewer bytes */

static unsigned int count_open(void)
{
	int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	static _Alignas(struct dirent64) char entries[4096];
	unsigned int open_numbers = 0;
	ssize_t bytes;

	if (folder < 0)
		return UINT32_MAX;
	while ((bytes = getdents64(folder, entries, sizeof(entries))) > 0)
		for (ssize_t at = 0; at < bytes;
		     at += ((const struct dirent64 *)(const void *)(entries + at))->d_reclen)
			open_numbers++;
	close(folder);
	return open_numbers;
}

static rlim_t limit(void)
{
	struct rlimit numbers;

	return getrlimit(RLIMIT_NOFILE, &numbers) ? 0 : numbers.rlim_cur;
}

/* Counted once for all that come together, when there is none yet. */
static unsigned int find_room(void)
{
	rlim_t all = limit(), taken = (rlim_t)count_open() + LEFT_TO_THE_PROGRAM, most = all / 4;

	if (all <= taken)
		return 0;
	if (most > (all - taken) / 2)
		most = (all - taken) / 2;
	return most < KEPT_MAX ? (unsigned int)most : KEPT_MAX;
}

static void forget(int number)
{
	if (noted[number].id)
		count--;
	noted[number].id = 0;
}

bool restored_is_noted(int number, uint64_t id)
{
	return number > 0 && number < NUMBERS && noted[number].id == id;
}

static bool is_there(int number)
{
	return fcntl(number, F_GETSIG) == RESTORED_MARK;
}

static void drop_number(int number)
{
	if (is_there(number))
		close(number);
	forget(number);
}

/* 0: there is none. */
static int find_smallest(void)
{
	int number, found = 0;

	for (number = 1; number < NUMBERS && count; number++)
		if (noted[number].id && (!found || noted[number].bytes < noted[found].bytes))
			found = number;
	return found;
}

bool restored_drop_smallest(void)
{
	int number = find_smallest();

	if (number)
		drop_number(number);
	return number != 0;
}

/* The smallest one goes, where one of so many bytes is larger. */
static bool make_room(size_t bytes)
{
	int number;

	if (!count || bytes <= smallest)
		return false;
	number = find_smallest();
	smallest = noted[number].bytes;
	if (bytes <= smallest)
		return false;
	drop_number(number);
	return true;
}

static int duplicate(int descriptor)
{
	rlim_t lowest = limit() / 4 * 3;
	int number = fcntl(descriptor, F_DUPFD_CLOEXEC, (int)(lowest < LOWEST_NUMBER ? lowest : LOWEST_NUMBER));

	if (number > 0 && number < NUMBERS)
		return number;
	if (number >= 0)
		close(number);
	return 0;
}

void restored_put_back(int number, uint64_t id, size_t bytes)
{
	fcntl(number, F_SETSIG, RESTORED_MARK);
	forget(number); /* the program has closed what was there */
	noted[number].id = id;
	noted[number].bytes = bytes;
	count++;
	if (bytes < smallest)
		smallest = bytes;
}

int restored_keep(int descriptor, uint64_t id, size_t bytes)
{
	int number;

	/* One that is shared has a mark, by which others know it. */
	if (share_mark_of(descriptor))
		return 0;
	if (!count) {
		room = find_room();
		smallest = 0;
	}
	number = count < room ? duplicate(descriptor) : 0;
	if (!number && make_room(bytes))
		number = duplicate(descriptor);
	if (number)
		restored_put_back(number, id, bytes);
	return number;
}

int restored_duplicate(int number, uint64_t id)
{
	if (restored_is_noted(number, id) && is_there(number))
		return fcntl(number, F_DUPFD_CLOEXEC, 0);
	errno = ENOENT;
	return -1;
}

int restored_take(int number, uint64_t id)
{
	if (!restored_is_noted(number, id))
		return -1;
	forget(number);
	return is_there(number) ? number : -1;
}

void restored_drop(int number, uint64_t id)
{
	if (restored_is_noted(number, id))
		drop_number(number);
}

void restored_drop_all(void)
{
	int number;

	for (number = 1; count && number < NUMBERS; number++)
		if (noted[number].id)
			drop_number(number);
}
