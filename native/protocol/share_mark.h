/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_SHARE_MARK_H
#define REKINDLE_PROTOCOL_SHARE_MARK_H

#include <fcntl.h>
#include <stdint.h>

/*
 * The mark of an open file by which processes share device memory. It is in a place that travels with the file and that
 * nobody uses: the signal of F_SETSIG, which without O_ASYNC is never sent. A descriptor's number that leads to a file
 * with another mark, or none, is no longer the one that was kept.
 */

#define SHARE_MARKS 63 /* the signals there are, but for the last one */
/* Of an open file that nobody shares: the agent keeps it for itself, see agent/memory/restored_descriptors.h. */
#define RESTORED_MARK 64

/* 0: none. */
static inline int share_mark_of(int descriptor)
{
	int mark = fcntl(descriptor, F_GETSIG);

	return mark > 0 && mark <= SHARE_MARKS ? mark : 0;
}

/* Gives it one, for the memory with this id, where it has none. Returns its mark, or 0 where that cannot be done. */
static inline int share_mark_set(int descriptor, uint64_t id)
{
	int mark = share_mark_of(descriptor);

	if (mark)
		return mark;
	mark = (int)(id % SHARE_MARKS) + 1;
	return fcntl(descriptor, F_SETSIG, mark) ? 0 : mark;
}

#endif
