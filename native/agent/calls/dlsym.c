/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "agent/base/agent_settings.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"

struct routed_symbol {
	void *address;
	dlsym_function *who; /* is to answer instead; NULL: the address is the answer */
};

struct routed_symbol route_dlsym(void *handle, const char *symbol);

/*
 * Called by dlsym for every look-up in the process. RTLD_NEXT is always the next dlsym's: whoever asks for it is a shim
 * of its own, and the order of preloaded libraries decides.
 */
struct routed_symbol route_dlsym(void *handle, const char *symbol)
{
	struct routed_symbol routed = {0};
	void *ours;

	if (!real_dlsym)
		real_dlsym_find();
	routed.who = next_dlsym;
	if (!symbol || symbol[0] != 'c' || symbol[1] != 'u' || handle == RTLD_NEXT)
		return routed;
	ours = interposed_for_symbol(symbol);
	if (!ours)
		return routed;
	if (handle == RTLD_DEFAULT) {
		/* Which of the libraries that have the name comes first; the next dlsym would say that it is its own. */
		routed.who = real_dlsym;
		/* The agent exports the name, but a program without the driver must not find it. */
		if (!real_driver()->loaded) {
			routed.address = real_dlsym(RTLD_NEXT, symbol);
			routed.who = NULL;
		}
		return routed;
	}
	if (!agent_is_enabled())
		return routed;
	routed.address = next_dlsym(handle, symbol);
	routed.who = NULL;
	if (routed.address == ours && !real_driver()->loaded)
		routed.address = NULL; /* a handle of the whole program finds the agent's own */
	else if (routed.address && routed.address == real_driver_symbol(symbol))
		routed.address = ours;
	return routed;
}
