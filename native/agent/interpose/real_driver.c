/* SPDX-License-Identifier: MIT */
#include "agent/interpose/real_driver.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

struct opened_driver {
	struct real_driver functions;
	void *library;
	char passed_over[256]; /* see real_driver_passes_over; or empty */
};

static CUresult missing_function(void)
{
	return CUDA_ERROR_NOT_FOUND;
}

#define MISSING(symbol) .symbol = (CUresult(*) PARAMETERS_##symbol)(void *)missing_function,
#define MISSING_INTERPOSED(name, symbol, version, per_thread) MISSING(symbol)
static const struct real_driver no_driver = {INTERPOSED_FUNCTIONS(MISSING_INTERPOSED) CALLED_FUNCTIONS(MISSING)};
#undef MISSING_INTERPOSED
#undef MISSING

/* Never changed once it is there. */
static _Atomic(struct opened_driver *) opened;

/* Where does the library begin that the address is of? NULL: of none. */
static const void *library_of(const void *address, const char **file)
{
	Dl_info info;

	if (!address || !dladdr(address, &info))
		return NULL;
	if (file)
		*file = info.dli_fname;
	return info.dli_fbase;
}

/*
 * What the next dlsym finds; but where that belongs to a library that names its functions by the names that the agent has
 * as well, it finds the agent's: then whatever has the name after the agent.
 */
static void *next_function(void *library, const char *symbol)
{
	void *found = next_dlsym(library, symbol);

	if (library_of(found, NULL) != library_of(&opened, NULL))
		return found;
	found = real_dlsym(RTLD_NEXT, symbol);
	return found ? found : real_dlsym(library, symbol);
}

static void find_functions(struct opened_driver *driver)
{
	struct real_driver *functions = &driver->functions;
	void *address;

	*functions = no_driver;
#define FIND(symbol)                                       \
	address = next_function(driver->library, #symbol); \
	if (address)                                       \
		functions->symbol = (CUresult(*) PARAMETERS_##symbol)address;
#define FIND_INTERPOSED(name, symbol, version, per_thread) FIND(symbol)
	INTERPOSED_FUNCTIONS(FIND_INTERPOSED)
	CALLED_FUNCTIONS(FIND)
#undef FIND_INTERPOSED
#undef FIND
	functions->loaded = true;
	functions->has_virtual_memory = next_function(driver->library, "cuMemCreate") &&
					next_function(driver->library, "cuMemAddressReserve") &&
					next_function(driver->library, "cuMemImportFromShareableHandle");
}

static void find_passed_over(struct opened_driver *driver)
{
#define INTERPOSED_NAME(name, symbol, version, per_thread) #symbol,
	static const char *const names[] = {INTERPOSED_FUNCTIONS(INTERPOSED_NAME)};
#undef INTERPOSED_NAME
	const char *file = NULL;
	size_t index;

	for (index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
		const void *drivers = real_dlsym(driver->library, names[index]);
		const void *other = real_dlsym(RTLD_NEXT, names[index]);
		const void *library = library_of(other, &file);

		/* The driver's, or the one that the agent calls. */
		if (!library || library == library_of(drivers, NULL) ||
		    other == next_function(driver->library, names[index]))
			continue;
		snprintf(driver->passed_over, sizeof(driver->passed_over), "%s", file);
		return;
	}
}

/*
 * Several threads may come here at once; all find the same, and the first to be done is heard. A lock would deadlock:
 * dlopen and dlsym wait while another thread runs a library's constructor, and that may be waiting here.
 */
static struct opened_driver *open_driver(void)
{
	struct opened_driver *driver, *other = NULL;
	/* By name, not by RTLD_NEXT: Python extensions bring the driver in a scope of their own. */
	void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);

	if (!library)
		return NULL;
	/* Not from malloc: a call of the driver's may come from inside of it. */
	driver = mmap(NULL, sizeof(*driver), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (driver == MAP_FAILED) {
		dlclose(library);
		return NULL;
	}
	driver->library = library;
	find_functions(driver);
	find_passed_over(driver);
	if (atomic_compare_exchange_strong(&opened, &other, driver))
		return driver;
	munmap(driver, sizeof(*driver));
	dlclose(library);
	return other;
}

static struct opened_driver *find_driver(void)
{
	struct opened_driver *driver = atomic_load_explicit(&opened, memory_order_acquire);

	if (driver)
		return driver;
	real_dlsym_find();
	return open_driver();
}

const struct real_driver *real_driver(void)
{
	const struct opened_driver *driver = find_driver();

	return driver ? &driver->functions : &no_driver;
}

void *real_driver_symbol(const char *symbol)
{
	const struct opened_driver *driver = find_driver();

	return driver ? next_function(driver->library, symbol) : NULL;
}

const char *real_driver_passes_over(void)
{
	const struct opened_driver *driver = find_driver();

	return driver && driver->passed_over[0] ? driver->passed_over : NULL;
}
