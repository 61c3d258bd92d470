/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simcuda/simcuda.h"

/*
 * The real driver keeps its devices open and mapped, and a checkpoint takes them out. Here it is the file that
 * REKINDLE_SIMCUDA_DEVICE_FILE names, where it does: a device that CRIU can dump as little as those. A forked child keeps
 * what it has inherited, and nothing takes it out there.
 */

#define MAPPED_BYTES 65536

static int descriptor = -1;
static void *mapping = MAP_FAILED;
static char path[256];

static int place(void *address)
{
	descriptor = open(path, O_RDWR | O_CLOEXEC);
	if (descriptor < 0)
		return -1;
	mapping = mmap(address, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | (address ? MAP_FIXED : 0),
		       descriptor, 0);
	return mapping == MAP_FAILED ? -1 : 0;
}

int device_file_open(void)
{
	const char *name = getenv("REKINDLE_SIMCUDA_DEVICE_FILE");

	if (!name || !*name)
		return 0;
	snprintf(path, sizeof(path), "%s", name);
	return place(NULL);
}

int device_file_close(void)
{
	if (descriptor < 0)
		return 0;
	close(descriptor);
	descriptor = -1;
	return mmap(mapping, MAPPED_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ? -1
														    : 0;
}

int device_file_open_again(void)
{
	return mapping == MAP_FAILED ? 0 : place(mapping);
}
