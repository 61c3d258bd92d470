/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_FOLDER_TEST_STEPS_H
#define REKINDLE_STORE_FOLDER_TEST_STEPS_H

#include <stdbool.h>
#include <stddef.h>

/* The steps of a change of checkpoints, for tests linked with --wrap for each call that changes a folder. */

struct folder_step {
	int countdown;	     /* the call at which it ends or fails; 0: never */
	int code;	     /* how it fails; 0: the process ends there */
	const char *lasting; /* the file that can never be removed */
	bool without_links;
	int flush_code; /* no folder can be flushed any more */
};
extern struct folder_step step;

/* The calls in their order, "rename TO " for example. */
struct folder_calls {
	char text[8192];
	size_t length;
};
extern struct folder_calls calls;

/* Where the call first comes after `from`. */
const char *next_call(const char *from, const char *call, const char *name);
/* Where it comes last of all. */
const char *last_call(const char *call, const char *name);

#endif
