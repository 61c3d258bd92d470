/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_TARGET_H
#define REKINDLE_PROCESS_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "support/error_text.h"

/*
 * A process that the pool acts on. Driver, ptrace and /proc want a number, and a number may come to mean another
 * process: whoever uses it first asks whether the process behind the pidfd still lives.
 */
struct target {
	int pidfd;   /* -1: none */
	pid_t pid;   /* as this process sees it, see target_open */
	pid_t named; /* as whoever asked calls it, for what people read */
};

/*
 * Takes over pidfd where it succeeds. -ESRCH: the process has ended. -EXDEV: it is in a pid namespace that this process
 * does not see. -EPROTO: that is no pidfd.
 */
int target_open(struct target *target, int pidfd, pid_t named, struct error_text *error);
bool target_has_ended(const struct target *target);
/* Likewise, or it was killed and executes no more of its program: some of its threads may be there for a moment. */
bool target_is_ending(const struct target *target);
/* 0, or -ESRCH with the sentence. */
int target_must_live(const struct target *target, struct error_text *error);
/* Its number as it sees itself, 0 where it has ended. */
pid_t target_own_pid(const struct target *target);
/* Sends it a signal. Returns 0 or a negative errno code. */
int target_signal(const struct target *target, int number);
void target_close(struct target *target);

#endif
