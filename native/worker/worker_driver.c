/* SPDX-License-Identifier: MIT */
#include "worker/worker_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

typedef CUresult (*get_proc_address)(const char *, void **, int, uint64_t, CUdriverProcAddressQueryResult *);

#define WANTED(name, symbol, version) {#name, version, offsetof(struct cuda_driver, name)},
static const struct {
	const char *name;
	int version;
	size_t offset;
} wanted[] = {CUDA_DRIVER_FUNCTIONS(WANTED)};

int worker_driver_open(struct cuda_driver *driver, struct error_text *error)
{
	get_proc_address look_up;
	void *symbol;

	memset(driver, 0, sizeof(*driver));
	driver->library = dlopen("libcuda.so.1", RTLD_NOW);
	if (!driver->library)
		return fail(error, -ENOENT, "The driver cannot be opened: %s", dlerror());
	symbol = dlsym(driver->library, "cuGetProcAddress_v2");
	if (!symbol)
		return fail(error, -ENOSYS,
			    "libcuda.so.1 has no cuGetProcAddress_v2; a driver for CUDA 12 or later is needed");
	memcpy(&look_up, &symbol, sizeof(look_up));
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		CUdriverProcAddressQueryResult status;
		void *function = NULL;

		if (look_up(wanted[i].name, &function, wanted[i].version, CU_GET_PROC_ADDRESS_DEFAULT, &status) !=
			    CUDA_SUCCESS ||
		    !function)
			return fail(error, -ENOSYS, "The driver has no %s", wanted[i].name);
		memcpy((char *)driver + wanted[i].offset, &function, sizeof(function));
	}
	return 0;
}
