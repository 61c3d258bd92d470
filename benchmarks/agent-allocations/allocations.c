/* SPDX-License-Identifier: MIT */
/*
 * allocations COUNT DEVICES: microseconds that an allocation of 2 MiB costs, by how many there are already, with so many
 * devices in use in turn; then those of freeing them all, and of the agent's share of it with ./run.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "driver/cuda_prototypes.h"

#define BYTES ((size_t)2 << 20)
#define STEPS 8
#define DEVICES_MAX 8

CUresult cuInit PARAMETERS_cuInit;
CUresult cuDevicePrimaryCtxRetain PARAMETERS_cuDevicePrimaryCtxRetain;
CUresult cuCtxSetCurrent PARAMETERS_cuCtxSetCurrent;
CUresult cuMemAlloc_v2 PARAMETERS_cuMemAlloc_v2;
CUresult cuMemFree_v2 PARAMETERS_cuMemFree_v2;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void must(CUresult result)
{
	if (result == CUDA_SUCCESS)
		return;
	fprintf(stderr, "the driver returned %d\n", (int)result);
	exit(1);
}

int main(int arguments, char **argument)
{
	int count = arguments > 1 ? atoi(argument[1]) : 8000, devices = arguments > 2 ? atoi(argument[2]) : 1;
	CUdeviceptr *addresses = calloc((size_t)count, sizeof(*addresses));
	CUcontext contexts[DEVICES_MAX];
	double start;

	if (!addresses || count < STEPS || devices < 1 || devices > DEVICES_MAX)
		return 2;
	must(cuInit(0));
	for (int device = 0; device < devices; device++)
		must(cuDevicePrimaryCtxRetain(&contexts[device], device));
	start = now();
	for (int i = 0; i < count; i++) {
		must(cuCtxSetCurrent(contexts[i % devices]));
		must(cuMemAlloc_v2(&addresses[i], BYTES));
		if ((i + 1) % (count / STEPS))
			continue;
		printf(" %7.2f", (now() - start) / (count / STEPS));
		start = now();
	}
	for (int i = 0; i < count; i++)
		must(cuMemFree_v2(addresses[i]));
	printf("   freed %7.2f\n", (now() - start) / count);
	free(addresses);
	return 0;
}
