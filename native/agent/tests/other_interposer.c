/* SPDX-License-Identifier: MIT */
/*
 * A preloaded library that interposes the driver as others do (limits of device memory, accounting, tracing): it has
 * functions of the driver's names, counts the calls and makes them. With OWN_DLSYM it also has a dlsym, which finds those
 * for programs that look them up. Where libc's is: behind it in the order of libraries (NEXT), or in libc itself (PAST),
 * past whoever else has one.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#include "driver/cuda_prototypes.h"

#define NEXT 1
#define PAST 2

#pragma GCC visibility push(default)
unsigned int other_interposer_allocations, other_interposer_pieces;

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes);
CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
		     unsigned long long flags);
CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
			     CUdriverProcAddressQueryResult *status);
#ifdef OWN_DLSYM
void *dlsym(void *handle, const char *symbol);
#endif
#pragma GCC visibility pop

typedef void *look_up(void *handle, const char *symbol);

#ifdef OWN_DLSYM
static look_up *next_look_up(void)
{
#if OWN_DLSYM == NEXT
	void *libc = RTLD_NEXT;
#else
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
#endif

	return (look_up *)dlvsym(libc, "dlsym", "GLIBC_2.2.5");
}
#else
static look_up *next_look_up(void)
{
	return dlsym;
}
#endif

static void *next(const char *symbol)
{
	return next_look_up()(dlopen("libcuda.so.1", RTLD_LAZY), symbol);
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
	other_interposer_allocations++;
	return ((CUresult(*) PARAMETERS_cuMemAlloc_v2)next("cuMemAlloc_v2"))(address, bytes);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
		     unsigned long long flags)
{
	other_interposer_pieces++;
	return ((CUresult(*) PARAMETERS_cuMemCreate)next("cuMemCreate"))(handle, bytes, properties, flags);
}

/* By exported symbol. */
static void *own(const char *symbol)
{
	if (!strcmp(symbol, "cuMemAlloc_v2"))
		return (void *)cuMemAlloc_v2;
	if (!strcmp(symbol, "cuMemCreate"))
		return (void *)cuMemCreate;
	if (!strcmp(symbol, "cuGetProcAddress_v2"))
		return (void *)cuGetProcAddress_v2;
	return NULL;
}

/* By the name that cuGetProcAddress takes, of a version that the tests ask for; some know exported symbols here as well. */
static void *own_of_name(const char *name)
{
	if (!strcmp(name, "cuMemAlloc"))
		return (void *)cuMemAlloc_v2;
	if (!strcmp(name, "cuGetProcAddress"))
		return (void *)cuGetProcAddress_v2;
	return own(name);
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
			     CUdriverProcAddressQueryResult *status)
{
	CUresult result = ((CUresult(*) PARAMETERS_cuGetProcAddress_v2)next("cuGetProcAddress_v2"))(
		symbol, function, version, flags, status);

	if (result == CUDA_SUCCESS && own_of_name(symbol) && (*function || strstr(symbol, "_v2"))) {
		*function = own_of_name(symbol);
		if (status)
			*status = CU_GET_PROC_ADDRESS_SUCCESS;
	}
	return result;
}

#ifdef OWN_DLSYM
void *dlsym(void *handle, const char *symbol)
{
	void *found = next_look_up()(handle, symbol);

	return found && handle != RTLD_NEXT && handle != RTLD_DEFAULT && own(symbol) ? own(symbol) : found;
}
#endif
