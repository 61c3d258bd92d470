/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_INSPECT_INSPECTION_TEST_SUPPORT_H
#define REKINDLE_INSPECT_INSPECTION_TEST_SUPPORT_H

#include "inspect/inspection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/types.h>

/* What a dump that was told nothing would take: nothing. */
extern const struct inspection_options strict;

/* A child that has made an obstacle and waits to be killed, or could not make it. */
struct obstacle_maker {
	pid_t pid;
	bool possible;
};

/* Before anything is opened: what whoever started the test has open, with locks on it, would be found of every maker. */
void close_what_is_inherited(void);
struct obstacle_maker start_in(bool new_session, bool (*make)(void));
/* In a session of its own. */
struct obstacle_maker start(bool (*make)(void));
void end(pid_t pid);
bool has(const struct inspection *inspection, enum obstacle_kind kind);
/* Of the maker alone, and of a strict dump: is the kind found? And is nothing else? */
bool is_only(pid_t pid, enum obstacle_kind kind, const struct inspection_options *options);
bool make_nothing(void);

#define MUST_BE_POSSIBLE(maker)   \
	if (!(maker).possible) {  \
		end((maker).pid); \
		skip();           \
	}

#endif
