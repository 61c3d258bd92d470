/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "agent/agent_settings.h"
#include "agent/interposed.h"
#include "agent/real_driver.h"

/* A newer version may name an ABI that the agent does not know; from it on only the very same function is replaced. */
#define KNOWN_BEFORE_VERSION 14000

#define PER_THREAD_DEFAULT_STREAM 2u /* CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM */

struct interposed {
	const char *name;
	const char *symbol;
	int version;
	bool per_thread;
	void *function;
};

static const struct interposed interposed[] = {
#define INTERPOSED_ENTRY(name, symbol, version, per_thread, parameters) \
	{#name, #symbol, version, per_thread, (void *)symbol},
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

static void replace(const char *name, void **function, int version, uint64_t flags)
{
	const struct interposed *entry;

	if (!agent_is_enabled() || !name || !function || !*function)
		return;
	entry = find_entry(name, version, flags & PER_THREAD_DEFAULT_STREAM);
	if (!entry)
		return;
	if (version >= KNOWN_BEFORE_VERSION && *function != real_driver_symbol(entry->symbol))
		return;
	*function = entry->function;
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
