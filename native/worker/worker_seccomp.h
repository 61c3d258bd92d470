/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_WORKER_SECCOMP_H
#define REKINDLE_WORKER_SECCOMP_H

#include "support/error_text.h"

/*
 * Forbids this thread the system calls that only a dump and a restore need, so that a dump which makes them under the
 * program's filter fails. kind: "errno" or "kill", for what becomes of who makes one; with "-all" behind it for every
 * thread of the process (SECCOMP_FILTER_FLAG_TSYNC).
 */
int worker_seccomp(const char *kind, struct error_text *error);

#endif
