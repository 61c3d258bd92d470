/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "agent/base/agent_settings.h"
#include "agent/control/published_page.h"
#include "agent/interpose/interposed.h"
#include "agent/interpose/real_driver.h"

#define PER_THREAD_DEFAULT_STREAM 2u /* CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM */

struct interposed {
	const char *name;
	const char *symbol;
	int version;
	bool per_thread;
	void *function;
};

static const struct interposed interposed[] = {
#define INTERPOSED_ENTRY(name, symbol, version, per_thread) {#name, #symbol, version, per_thread, (void *)symbol},
	INTERPOSED_FUNCTIONS(INTERPOSED_ENTRY)
#undef INTERPOSED_ENTRY
};

#define INTERPOSED_COUNT (sizeof(interposed) / sizeof(interposed[0]))

void *interposed_for_symbol(const char *symbol)
{
	size_t index;

	for (index = 0; index < INTERPOSED_COUNT; index++)
		if (!strcmp(interposed[index].symbol, symbol))
			return interposed[index].function;
	return NULL;
}

/* The entry whose ABI the driver gives for name and version; the last that fits wins. */
static const struct interposed *find_entry(const char *name, int version, bool per_thread)
{
	const struct interposed *found = NULL;
	size_t index;

	for (index = 0; index < INTERPOSED_COUNT; index++) {
		const struct interposed *entry = &interposed[index];

		if (entry->version > version || strcmp(entry->name, name) || (entry->per_thread && !per_thread))
			continue;
		found = entry;
	}
	return found;
}

/* What the driver gives for the entry's version; NULL where it has the name since a later one only. */
static void *drivers_function(const struct interposed *entry, uint64_t flags)
{
	void *function = NULL;

	if (real_driver()->cuGetProcAddress(entry->name, &function, entry->version, flags) != CUDA_SUCCESS)
		return NULL;
	return function;
}

/*
 * A newer driver may have a variant with an ABI that the agent does not know: only a function that the driver also gives
 * for the version that the agent knows is replaced.
 */
static void replace(const char *name, void **function, int version, uint64_t flags)
{
	const struct interposed *entry;
	const void *known;

	if (!agent_is_enabled() || !name || !function || !*function)
		return;
	entry = find_entry(name, version, flags & PER_THREAD_DEFAULT_STREAM);
	if (!entry) {
		/* An exported symbol is no name of this interface, but who has answered knows it. */
		if (interposed_for_symbol(name) && *function == real_driver_symbol(name))
			*function = interposed_for_symbol(name);
		return;
	}
	known = version == entry->version ? NULL : drivers_function(entry, flags);
	/* The last where another library answers this variant of cuGetProcAddress, and not the one that was asked just now. */
	if (!known || known == *function || *function == real_driver_symbol(entry->symbol))
		*function = entry->function;
}

CUresult cuInit(unsigned int flags)
{
	CUresult result = real_driver()->cuInit(flags);

	/* What cannot be published now is when there is something to look after, or the user is told. */
	if (result == CUDA_SUCCESS && agent_is_enabled())
		published_page();
	return result;
}

CUresult cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
	CUresult result = real_driver()->cuGetProcAddress(symbol, function, version, flags);

	if (result == CUDA_SUCCESS)
		replace(symbol, function, version, flags);
	return result;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
			     CUdriverProcAddressQueryResult *status)
{
	CUresult result = real_driver()->cuGetProcAddress_v2(symbol, function, version, flags, status);

	if (result == CUDA_SUCCESS)
		replace(symbol, function, version, flags);
	return result;
}
