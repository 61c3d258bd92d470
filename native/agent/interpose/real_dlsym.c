/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <stddef.h>

#include "agent/base/agent_settings.h"
#include "agent/interpose/real_driver.h"

dlsym_function *real_dlsym, *next_dlsym;

/* Several threads may come here at once; all find the same. */
void real_dlsym_find(void)
{
	static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5"};
	dlsym_function *real = NULL, *next;
	size_t index;

	for (index = 0; !real && index < sizeof(versions) / sizeof(versions[0]); index++)
		real = (dlsym_function *)dlvsym(RTLD_NEXT, "dlsym", versions[index]);
	if (!real) {
		agent_complain("this C library has no dlsym that the agent knows; take the agent out of LD_PRELOAD");
		__builtin_trap();
	}
	/* Of any version: that of a library which interposes the driver as well, most often has none. */
	next = (dlsym_function *)real(RTLD_NEXT, "dlsym");
	next_dlsym = next ? next : real;
	real_dlsym = real;
}
