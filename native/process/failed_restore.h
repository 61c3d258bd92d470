/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROCESS_FAILED_RESTORE_H
#define REKINDLE_PROCESS_FAILED_RESTORE_H

#include <sys/types.h>

/*
 * Ends a process whose threads this process traces, and waits until it is dead: what CRIU then tries on it fails, and
 * so does the restore. The zombie of the process stays for CRIU, which may want to wait for it.
 */
void failed_restore_kill(pid_t pid);

#endif
