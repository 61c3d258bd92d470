/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_BASE_OLDER_GLIBC_H
#define REKINDLE_AGENT_BASE_OLDER_GLIBC_H

/*
 * Included before every source of the agent: it is built once and preloaded into programs of other machines and of
 * containers, whose C library may be older. These functions have moved into libc.so.6 in 2.32 and 2.34, with a new version
 * each; with the older one they are found there as well as in libdl.so.2 and libpthread.so.0, with which the agent is
 * linked therefore. older_glibc_test holds that it needs nothing that is newer than 2.31.
 */
#ifdef __x86_64__
#define OF_OLDER_GLIBC(function, version) __asm__(".symver " #function ", " #function "@GLIBC_" version);
OF_OLDER_GLIBC(dladdr, "2.2.5")
OF_OLDER_GLIBC(dlclose, "2.2.5")
OF_OLDER_GLIBC(dlopen, "2.2.5")
OF_OLDER_GLIBC(dlvsym, "2.2.5")
OF_OLDER_GLIBC(pthread_attr_setstacksize, "2.2.5")
OF_OLDER_GLIBC(pthread_create, "2.2.5")
OF_OLDER_GLIBC(pthread_mutex_trylock, "2.2.5")
OF_OLDER_GLIBC(pthread_setname_np, "2.12")
OF_OLDER_GLIBC(pthread_sigmask, "2.2.5")
/* And where the headers of 2.38 and later take numbers of C23. */
__asm__(".symver __isoc23_strtol, strtol@GLIBC_2.2.5");
__asm__(".symver __isoc23_strtoull, strtoull@GLIBC_2.2.5");
#undef OF_OLDER_GLIBC
#endif

#endif
