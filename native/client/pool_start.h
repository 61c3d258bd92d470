/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_CLIENT_POOL_START_H
#define REKINDLE_CLIENT_POOL_START_H

#include "settings/settings.h"
#include "support/error_text.h"

/*
 * Starts the pool program as a process of its own: no child of CRIU's (whose children's ends abort a restore), in its
 * own session, with nothing inherited but its log file (rekindled.log in work_folder).
 *
 * private_end: the pool's end of a socket pair for a pool that serves this run only; -1 for a lasting pool, which
 * listens on settings->pool_socket. Returns a pidfd of the pool, or a negative errno code with the sentence in error:
 * -ESRCH, it has ended already; -ECONNREFUSED, its program cannot be run.
 */
int pool_start(const struct settings *settings, int work_folder, int private_end, struct error_text *error);

/* 1 where the pool behind pidfd has ended, else 0. Waits for that at most timeout_ms. */
int pool_has_ended(int pidfd, int timeout_ms);

#endif
