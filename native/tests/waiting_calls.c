/* SPDX-License-Identifier: MIT */
/*
 * waiting_calls FILE THREADS: a program whose threads are in CUDA calls all the time, so that whenever it is locked many of
 * them wait. Each call's result is looked at. How many calls there were stands in FILE, which it makes when it has begun.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/cuda_abi.h"

CUresult cuInit(unsigned int flags);
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes);
CUresult cuMemsetD8_v2(CUdeviceptr address, unsigned char value, size_t bytes);
CUresult cuMemcpyDtoH_v2(void *host, CUdeviceptr address, size_t bytes);

#define PIECES 6
#define PIECE_BYTES (4u << 20)

static CUcontext context;
static CUdeviceptr pieces[PIECES];
static _Atomic uint64_t *steps;

static void check(CUresult result, const char *call)
{
	if (result == CUDA_SUCCESS)
		return;
	fprintf(stderr, "%s: %d\n", call, result);
	_exit(3);
}

static void *work(void *argument)
{
	unsigned int index = (unsigned int)(uintptr_t)argument % PIECES;
	unsigned char bytes[64];

	check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
	for (;;) {
		check(cuMemcpyDtoH_v2(bytes, pieces[index] + PIECE_BYTES - sizeof(bytes), sizeof(bytes)),
		      "cuMemcpyDtoH");
		if (bytes[63] != index + 1) {
			fprintf(stderr, "piece %u holds %u\n", index, bytes[63]);
			_exit(4);
		}
		++*steps;
		/* Else, on a busy machine, a thread that lost its processor in a call would nearly always keep the lock. */
		usleep(20);
	}
	return NULL;
}

int main(int count, char **arguments)
{
	pthread_t thread;
	int file;

	if (count != 3)
		return 2;
	check(cuInit(0), "cuInit");
	check(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
	check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
	for (unsigned int index = 0; index < PIECES; index++) {
		check(cuMemAlloc_v2(&pieces[index], PIECE_BYTES), "cuMemAlloc");
		check(cuMemsetD8_v2(pieces[index], (unsigned char)(index + 1), PIECE_BYTES), "cuMemsetD8");
	}
	file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || ftruncate(file, sizeof(*steps)))
		return 3;
	steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (steps == MAP_FAILED)
		return 3;
	for (long index = 0; index < atol(arguments[2]); index++)
		pthread_create(&thread, NULL, work, (void *)(uintptr_t)index);
	for (;;)
		pause();
}
