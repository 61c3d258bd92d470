/* SPDX-License-Identifier: MIT */
/* A library that is linked with the driver. */
#include "agent/tests/driver.h"

__attribute__((visibility("default"))) int use_driver(void);

/* 0 where it all works. */
int use_driver(void)
{
	CUcontext context;
	CUdeviceptr address;
	unsigned char byte = 0;
	int failed;

	failed = cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) ||
		 cuMemAlloc_v2(&address, 4 * MIB) || cuMemsetD8_v2(address, 7, 4 * MIB) ||
		 cuMemcpyDtoH_v2(&byte, address + MIB, 1) || cuMemFree_v2(address);
	return failed || byte != 7;
}
