/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_RESTORE_PAGE_H
#define REKINDLE_SIMCUDA_RESTORE_PAGE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * How cuCheckpointProcess* reaches another process that uses the simulated driver. The process publishes one page, the
 * mapping of a memfd with this name. The caller finds it in /proc/PID/maps, reads it with process_vm_readv, sends a
 * request over a duplicate of control_descriptor (pidfd_getfd) and polls `answers` for its token. Answers do not travel
 * over the socket: nothing of the caller may be left in the process when CRIU dumps it the moment the call returns.
 */

#define RESTORE_PAGE_NAME "simcuda-restore"
#define RESTORE_PAGE_MAGIC 0x41445543304d4953ull
#define RESTORE_ANSWERS 16
#define RESTORE_DEVICES_MAX 16

enum restore_action {
	RESTORE_ACTION_LOCK = 1,
	RESTORE_ACTION_CHECKPOINT = 2,
	RESTORE_ACTION_RESTORE = 3,
	RESTORE_ACTION_UNLOCK = 4,
	RESTORE_ACTION_STATE = 5, /* does nothing: the state is in the page, but a stopped thread does not tell it */
};

enum restore_progress { RESTORE_PROGRESS_NONE = 0, RESTORE_PROGRESS_ACCEPTED = 1, RESTORE_PROGRESS_DONE = 2 };

struct restore_answer {
	_Atomic uint64_t token;
	_Atomic uint32_t progress;
	_Atomic uint32_t result;
};

struct restore_page {
	uint64_t magic;
	_Atomic uint32_t state;	    /* CUprocessState */
	int32_t thread_id;	    /* as the process itself sees it */
	int32_t control_descriptor; /* the socket end that is for the outside */
	uint32_t device_count;
	int8_t devices[RESTORE_DEVICES_MAX]; /* their numbers in the machine, by ordinal */
	struct restore_answer answers[RESTORE_ANSWERS];
};
static_assert(sizeof(struct restore_answer) == 16, "struct restore_answer is 16 bytes");
static_assert(sizeof(struct restore_page) <= 4096, "struct restore_page fits a page");

struct restore_request {
	uint64_t token;		  /* random, not 0 */
	uint64_t accept_deadline; /* monotonic nanoseconds: after that the caller has gone */
	uint32_t action;
	uint32_t timeout_milliseconds; /* LOCK; 0: none */
	bool moves;		       /* RESTORE: its devices are these from now on */
	int8_t devices[RESTORE_DEVICES_MAX];
};

#endif
