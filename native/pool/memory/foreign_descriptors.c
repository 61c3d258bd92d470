/* SPDX-License-Identifier: MIT */
#include "pool/memory/foreign_descriptors.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/log.h"

struct leftover {
	size_t count;
	int descriptors[];
};

/* What the kernel knows of a file without asking whoever serves it, as fstat would. */
static bool look_at(int descriptor, struct statx *file)
{
	return statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, file) == 0;
}

/* All memfds are files of one file system, which nobody can mount. */
static bool is_memfd(const struct statx *file)
{
	int own = memfd_create("rekindle-compare", MFD_CLOEXEC);
	struct statx memfd;
	bool same;

	same = own >= 0 && look_at(own, &memfd) && memfd.stx_dev_major == file->stx_dev_major &&
	       memfd.stx_dev_minor == file->stx_dev_minor;
	if (own >= 0)
		close(own);
	return same;
}

bool foreign_descriptor_may_be_memory(int descriptor)
{
	struct statx file;

	if (!look_at(descriptor, &file))
		return false;
	return S_ISCHR(file.stx_mode) || (S_ISREG(file.stx_mode) && is_memfd(&file));
}

static void *close_leftover(void *argument)
{
	struct leftover *leftover = argument;
	size_t i;

	for (i = 0; i < leftover->count; i++)
		close(leftover->descriptors[i]);
	free(leftover);
	return NULL;
}

void foreign_descriptors_close(const int *descriptors, size_t count)
{
	struct leftover *leftover = malloc(sizeof(*leftover) + count * sizeof(int));
	pthread_attr_t attributes;
	pthread_t thread;
	size_t i;
	int failed;

	if (leftover)
		leftover->count = 0;
	for (i = 0; i < count; i++) {
		if (foreign_descriptor_may_be_memory(descriptors[i]))
			close(descriptors[i]);
		else if (leftover)
			leftover->descriptors[leftover->count++] = descriptors[i];
	}
	if (!leftover || leftover->count == 0) {
		free(leftover);
		return;
	}
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	failed = pthread_create(&thread, &attributes, close_leftover, leftover);
	pthread_attr_destroy(&attributes);
	if (failed) {
		log_warning("%zu descriptors of an application stay open: no thread could be started to close them",
			    leftover->count);
		free(leftover);
	}
}
