/* SPDX-License-Identifier: MIT */
#include "agent/real_driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

static CUresult missing_function(void)
{
	return CUDA_ERROR_NOT_FOUND;
}

#define MISSING(symbol, parameters) .symbol = (CUresult(*) parameters)(void *)missing_function,
#define MISSING_INTERPOSED(name, symbol, version, per_thread, parameters) MISSING(symbol, parameters)
static const struct real_driver no_driver = {INTERPOSED_FUNCTIONS(MISSING_INTERPOSED) CALLED_FUNCTIONS(MISSING)};
static struct real_driver driver = {INTERPOSED_FUNCTIONS(MISSING_INTERPOSED) CALLED_FUNCTIONS(MISSING)};
#undef MISSING_INTERPOSED
#undef MISSING

static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_open;
static void *library;

static void find_functions(void)
{
	void *address;

#define FIND(symbol, parameters)                \
	address = real_dlsym(library, #symbol); \
	if (address)                            \
		driver.symbol = (CUresult(*) parameters)address;
#define FIND_INTERPOSED(name, symbol, version, per_thread, parameters) FIND(symbol, parameters)
	INTERPOSED_FUNCTIONS(FIND_INTERPOSED)
	CALLED_FUNCTIONS(FIND)
#undef FIND_INTERPOSED
#undef FIND
	driver.loaded = true;
	driver.has_virtual_memory = real_dlsym(library, "cuMemCreate") && real_dlsym(library, "cuMemAddressReserve") &&
				    real_dlsym(library, "cuMemImportFromShareableHandle");
}

const struct real_driver *real_driver(void)
{
	if (atomic_load_explicit(&is_open, memory_order_acquire))
		return &driver;
	real_dlsym_find();
	pthread_mutex_lock(&open_mutex);
	if (!library) {
		/* By name, not by RTLD_NEXT: Python extensions bring the driver in a scope of their own. */
		library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
		if (library) {
			find_functions();
			atomic_store_explicit(&is_open, true, memory_order_release);
		}
	}
	pthread_mutex_unlock(&open_mutex);
	return atomic_load_explicit(&is_open, memory_order_acquire) ? &driver : &no_driver;
}

void *real_driver_symbol(const char *symbol)
{
	return real_driver()->loaded ? real_dlsym(library, symbol) : NULL;
}

void real_driver_after_fork(void)
{
	pthread_mutex_init(&open_mutex, NULL);
}
