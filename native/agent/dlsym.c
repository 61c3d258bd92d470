/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "agent/agent_settings.h"
#include "agent/interposed.h"
#include "agent/real_driver.h"

void *(*real_dlsym)(void *handle, const char *symbol);

struct routed_symbol {
	void *address;
	unsigned long answered; /* 0: the real dlsym is to answer */
};

struct routed_symbol route_dlsym(void *handle, const char *symbol);

/* Several threads may come here at once; all find the same. */
void real_dlsym_find(void)
{
	static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5"};
	size_t index;

	for (index = 0; !real_dlsym && index < sizeof(versions) / sizeof(versions[0]); index++)
		real_dlsym = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", versions[index]);
	if (!real_dlsym) {
		agent_complain("this C library has no dlsym that the agent knows; take the agent out of LD_PRELOAD");
		__builtin_trap();
	}
}

/*
 * Called by dlsym for every look-up in the process. RTLD_NEXT is always the real dlsym's: whoever asks for it is a shim
 * of its own, and the order of preloaded libraries decides.
 */
struct routed_symbol route_dlsym(void *handle, const char *symbol)
{
	struct routed_symbol routed = {0};
	void *ours;

	if (!real_dlsym)
		real_dlsym_find();
	if (!symbol || symbol[0] != 'c' || symbol[1] != 'u' || handle == RTLD_NEXT)
		return routed;
	ours = interposed_for_symbol(symbol);
	if (!ours)
		return routed;
	if (handle == RTLD_DEFAULT) {
		/* The agent exports the name, but a program without the driver must not find it. */
		if (!real_driver()->loaded) {
			routed.address = real_dlsym(RTLD_NEXT, symbol);
			routed.answered = 1;
		}
		return routed;
	}
	if (!agent_is_enabled())
		return routed;
	routed.address = real_dlsym(handle, symbol);
	routed.answered = 1;
	if (routed.address == ours && !real_driver()->loaded)
		routed.address = NULL; /* a handle of the whole program finds the agent's own */
	else if (routed.address && routed.address == real_driver_symbol(symbol))
		routed.address = ours;
	return routed;
}
