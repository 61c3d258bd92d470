/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "driver/cuda_abi.h"

/* For the tests: a driver of CUDA 12.4 as far as opening it goes. It knows every function but the checkpoint calls. */

#define EXPORT __attribute__((visibility("default")))

EXPORT CUresult cuDriverGetVersion(int *version);
EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
				    CUdriverProcAddressQueryResult *status);

CUresult cuDriverGetVersion(int *version)
{
	*version = 12040;
	return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
			     CUdriverProcAddressQueryResult *status)
{
	(void)version;
	(void)flags;
	if (!strncmp(symbol, "cuCheckpoint", strlen("cuCheckpoint"))) {
		*function = NULL;
		*status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	} else {
		*function = (void *)cuDriverGetVersion;
		*status = CU_GET_PROC_ADDRESS_SUCCESS;
	}
	return CUDA_SUCCESS;
}
