/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz_input.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/log.h"

static char path[] = "/dev/shm/rekindle-fuzz-XXXXXX";
static int folder = -1;

uint8_t fuzz_byte(struct fuzz_input *input)
{
	uint8_t byte = 0;

	fuzz_bytes(input, &byte, 1);
	return byte;
}

void fuzz_bytes(struct fuzz_input *input, void *to, size_t count)
{
	size_t there = count < input->size ? count : input->size;

	memset(to, 0, count);
	if (there)
		memcpy(to, input->data, there);
	input->data += there;
	input->size -= there;
}

static void drop(enum log_level level, const char *line, void *context)
{
	(void)level;
	(void)line;
	(void)context;
}

void fuzz_be_silent(void)
{
	log_set_sink(drop, NULL, LOG_LEVEL_DEBUG);
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", path);
	if (system(command))
		fprintf(stderr, "could not remove %s\n", path);
}

int fuzz_folder(void)
{
	if (folder >= 0)
		return folder;
	fuzz_be_silent();
	/* Many small files, so in memory where that is there. */
	if (access("/dev/shm", W_OK))
		strcpy(path, "/tmp/rekindle-fuzz-XXXXXX");
	if (!mkdtemp(path) || (folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		abort();
	atexit(remove_folder);
	return folder;
}

const char *fuzz_folder_path(void)
{
	fuzz_folder();
	return path;
}

void fuzz_write(const char *name, const void *data, size_t size)
{
	int file = openat(fuzz_folder(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (file < 0 || write(file, data, size) != (ssize_t)size)
		abort();
	close(file);
}
