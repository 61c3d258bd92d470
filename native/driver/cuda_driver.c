/* SPDX-License-Identifier: MIT */
#include "driver/cuda_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_LIBRARY "libcuda.so.1"

typedef CUresult (*get_proc_address)(const char *symbol, void **function, int version, uint64_t flags,
				     CUdriverProcAddressQueryResult *status);

struct wanted_function {
	const char *name;
	int version;
	size_t offset; /* of the member in struct cuda_driver */
};

#define WANTED_FUNCTION(name, symbol, version) {#name, version, offsetof(struct cuda_driver, name)},

static const struct wanted_function functions[] = {CUDA_DRIVER_FUNCTIONS(WANTED_FUNCTION)};
static const struct wanted_function checkpoint_functions[] = {CUDA_DRIVER_CHECKPOINT_FUNCTIONS(WANTED_FUNCTION)};

/* The first name that the driver does not have, or NULL. */
static const char *resolve(struct cuda_driver *driver, get_proc_address look_up, const struct wanted_function *wanted,
			   size_t count)
{
	for (size_t i = 0; i < count; i++) {
		CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
		void *function = NULL;
		CUresult result;

		result = look_up(wanted[i].name, &function, wanted[i].version, CU_GET_PROC_ADDRESS_DEFAULT, &status);
		if (result != CUDA_SUCCESS || status != CU_GET_PROC_ADDRESS_SUCCESS || !function)
			return wanted[i].name;
		memcpy((char *)driver + wanted[i].offset, &function, sizeof(function));
	}
	return NULL;
}

/* The driver's release, such as "550.54", where the kernel module tells it; otherwise an empty text. */
static void read_release(char *release, size_t size)
{
	FILE *file = fopen("/sys/module/nvidia/version", "re");

	release[0] = '\0';
	if (!file)
		return;
	if (!fgets(release, (int)size, file))
		release[0] = '\0';
	release[strcspn(release, "\n")] = '\0';
	fclose(file);
}

static int too_old(const struct cuda_driver *driver, const char *missing, struct error_text *error)
{
	char release[64];

	read_release(release, sizeof(release));
	return fail(error, -ENOSYS,
		    "The NVIDIA driver %s%s(CUDA %d.%d) has no %s; install driver 570 or later, which has the "
		    "checkpoint calls",
		    release, release[0] ? " " : "", driver->version / 1000, driver->version % 1000 / 10, missing);
}

/* Looks up what is needed to learn the version, so that it can be named when something else is missing. */
static int read_version(struct cuda_driver *driver, const char *library, struct error_text *error)
{
	void *symbol = dlsym(driver->library, "cuDriverGetVersion");

	memcpy(&driver->cuDriverGetVersion, &symbol, sizeof(symbol));
	if (!symbol)
		return fail(error, -ENODEV, "%s is no CUDA driver: it lacks cuDriverGetVersion", library);
	if (driver->cuDriverGetVersion(&driver->version) != CUDA_SUCCESS)
		return fail(error, -EIO,
			    "%s does not tell its version; check that the driver's kernel module is loaded", library);
	return 0;
}

int cuda_driver_open(struct cuda_driver *driver, const char *path, struct error_text *error)
{
	const char *library = path && *path ? path : DEFAULT_LIBRARY;
	get_proc_address look_up = NULL;
	const char *missing;
	void *symbol;
	int result;

	memset(driver, 0, sizeof(*driver));
	driver->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!driver->library)
		return fail(error, -ENODEV,
			    "No CUDA driver could be opened (%s); install the NVIDIA driver or name its library with "
			    "REKINDLE_CUDA_DRIVER",
			    dlerror());
	driver->simulated = dlsym(driver->library, "rekindle_simcuda") != NULL;
	if (driver->simulated && library != path) {
		result = fail(error, -ENODEV,
			      "%s is the simulated driver, which is used only by name; set REKINDLE_CUDA_DRIVER to its "
			      "path if that is meant",
			      library);
		goto close_library;
	}
	result = read_version(driver, library, error);
	if (result)
		goto close_library;
	symbol = dlsym(driver->library, "cuGetProcAddress_v2");
	if (!symbol) {
		result = too_old(driver, "cuGetProcAddress_v2", error);
		goto close_library;
	}
	memcpy(&look_up, &symbol, sizeof(look_up));
	missing = resolve(driver, look_up, checkpoint_functions,
			  sizeof(checkpoint_functions) / sizeof(checkpoint_functions[0]));
	if (missing) {
		result = too_old(driver, missing, error);
		goto close_library;
	}
	missing = resolve(driver, look_up, functions, sizeof(functions) / sizeof(functions[0]));
	if (missing) {
		result =
			fail(error, -ENOSYS, "The CUDA driver %s (CUDA %d.%d) has no %s; install another release of it",
			     library, driver->version / 1000, driver->version % 1000 / 10, missing);
		goto close_library;
	}
	return 0;
close_library:
	dlclose(driver->library);
	memset(driver, 0, sizeof(*driver));
	return result;
}

const char *cuda_result_name(const struct cuda_driver *driver, CUresult result)
{
	const char *name = NULL;

	if (!driver->cuGetErrorName || driver->cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
		return "an unknown CUDA result";
	return name;
}

int cuda_result_to_errno(CUresult result)
{
	switch (result) {
	case CUDA_SUCCESS:
		return 0;
	case CUDA_ERROR_INVALID_VALUE:
	case CUDA_ERROR_INVALID_HANDLE:
	case CUDA_ERROR_INVALID_CONTEXT:
		return -EINVAL;
	case CUDA_ERROR_OUT_OF_MEMORY:
		return -ENOMEM;
	case CUDA_ERROR_NO_DEVICE:
	case CUDA_ERROR_INVALID_DEVICE:
	case CUDA_ERROR_NOT_INITIALIZED:
	case CUDA_ERROR_DEINITIALIZED:
		return -ENODEV;
	case CUDA_ERROR_OPERATING_SYSTEM:
		return -ESRCH;
	case CUDA_ERROR_ILLEGAL_STATE:
		return -EBUSY; /* somebody else has locked or suspended the process */
	case CUDA_ERROR_NOT_READY:
		return -ETIMEDOUT;
	case CUDA_ERROR_NOT_PERMITTED:
		return -EPERM;
	case CUDA_ERROR_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}
