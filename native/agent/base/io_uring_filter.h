/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_BASE_IO_URING_FILTER_H
#define REKINDLE_AGENT_BASE_IO_URING_FILTER_H

#include <stdbool.h>

/*
 * REKINDLE_AGENT_IO_URING=0: from the start of the program on io_uring_setup says ENOSYS in it and in every program that it
 * starts, so that libuv, liburing and the like take their other ways: CRIU cannot dump a ring. Libraries make the call
 * by number, past every function that could be interposed, so a seccomp filter answers it, for which a program without
 * CAP_SYS_ADMIN gives up setuid programs (PR_SET_NO_NEW_PRIVS).
 *
 * Is that filter there, set by this program or by one that has started it? Not where io_uring_setup says ENOSYS anyway.
 */
bool io_uring_filter_is_own(void);

#endif
