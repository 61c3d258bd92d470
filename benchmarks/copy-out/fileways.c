/* SPDX-License-Identifier: MIT */
/*
 * How fast threads fill files that live in memory, and read them then, by the way they write and by the number of files:
 *   fileways WAY MIB THREADS FILES FOLDER
 * WAY is pwrite; mapped: a mapping for each block, populated and filled; or whole: one mapping of each file, populated and
 * filled block by block. Threads take runs of four blocks of 4 MiB in turn, run N of file N modulo FILES, as the pool's copy
 * workers do with chunks. Prints one line: GB/s of writing, of the first reading and of the second.
 */
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define BLOCK_BYTES ((size_t)4 << 20)
#define RUN_BLOCKS 4
#define MOST 64

static const char *way;
static size_t runs;
static int thread_count, file_count, files[MOST];
static char *mappings[MOST];
static atomic_size_t next_run;
static bool reading;

static void populate(char *memory, const char *block)
{
	if (madvise(memory, BLOCK_BYTES, MADV_POPULATE_WRITE))
		error(1, errno, "MADV_POPULATE_WRITE");
	memcpy(memory, block, BLOCK_BYTES);
}

static void get(int file, off_t offset, char *block)
{
	size_t piece = 256 << 10, done;

	for (done = 0; done < BLOCK_BYTES; done += piece)
		if (pread(files[file], block + done, piece, offset + (off_t)done) != (ssize_t)piece)
			error(1, errno, "pread");
}

static void put(int file, off_t offset, const char *block)
{
	char *memory;

	if (!strcmp(way, "pwrite")) {
		if (pwrite(files[file], block, BLOCK_BYTES, offset) != (ssize_t)BLOCK_BYTES)
			error(1, errno, "pwrite");
	} else if (!strcmp(way, "whole")) {
		populate(mappings[file] + offset, block);
	} else {
		memory = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, files[file], offset);
		if (memory == MAP_FAILED)
			error(1, errno, "mmap");
		populate(memory, block);
		munmap(memory, BLOCK_BYTES);
	}
}

static void *do_runs(void *argument)
{
	char *block = malloc(BLOCK_BYTES);
	size_t run, i;
	off_t offset;
	int file;

	memset(block, 1 + *(int *)argument, BLOCK_BYTES);
	while ((run = atomic_fetch_add(&next_run, 1)) < runs)
		for (i = 0; i < RUN_BLOCKS; i++) {
			file = (int)(run % (size_t)file_count);
			offset = (off_t)((run / (size_t)file_count * RUN_BLOCKS + i) * BLOCK_BYTES);
			if (reading)
				get(file, offset, block);
			else
				put(file, offset, block);
		}
	free(block);
	return NULL;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* GB/s of all threads together. */
static double measure(void)
{
	pthread_t threads[MOST];
	int numbers[MOST], i;
	double seconds = now();

	atomic_store(&next_run, 0);
	for (i = 0; i < thread_count; i++) {
		numbers[i] = i;
		if (pthread_create(&threads[i], NULL, do_runs, &numbers[i]))
			error(1, 0, "no thread");
	}
	for (i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	return (double)(runs * RUN_BLOCKS * BLOCK_BYTES) / 1e9 / (now() - seconds);
}

static void make_files(const char *folder)
{
	size_t bytes = (runs / (size_t)file_count + 1) * RUN_BLOCKS * BLOCK_BYTES;
	char path[4096];
	int i;

	for (i = 0; i < file_count; i++) {
		snprintf(path, sizeof(path), "%s/fileways-%d", folder, i);
		files[i] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (files[i] < 0 || ftruncate(files[i], (off_t)bytes) || unlink(path))
			error(1, errno, "%s", path);
		mappings[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0);
		if (mappings[i] == MAP_FAILED)
			error(1, errno, "mmap");
	}
}

int main(int count, char **arguments)
{
	double written, first, second;

	if (count != 6)
		error(2, 0, "usage: fileways pwrite|mapped|whole MIB THREADS FILES FOLDER");
	way = arguments[1];
	runs = strtoul(arguments[2], NULL, 10) * (1 << 20) / (RUN_BLOCKS * BLOCK_BYTES);
	thread_count = atoi(arguments[3]);
	file_count = atoi(arguments[4]);
	if (!runs || thread_count < 1 || thread_count > MOST || file_count < 1 || file_count > MOST)
		error(2, 0, "16 MiB or more, and 1 to %d threads and files", MOST);
	make_files(arguments[5]);
	written = measure();
	reading = true;
	first = measure();
	second = measure();
	printf("way=%s MiB=%zu threads=%d files=%d written=%.1f first_read=%.1f second_read=%.1f\n", way,
	       runs * RUN_BLOCKS * BLOCK_BYTES >> 20, thread_count, file_count, written, first, second);
	return 0;
}
