/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_COPY_COPY_TEST_SUPPORT_H
#define REKINDLE_COPY_COPY_TEST_SUPPORT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "copy/copy_internal.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* A copy engine on the simulated driver, and a file system that is told how to behave. */

#define MEBIBYTE 1048576u
#define CHUNK_BYTES (4 * MEBIBYTE)
#define CHUNKS 9u
#define LAST_BYTES (2 * MEBIBYTE + 8192) /* a last chunk that is no whole number of blocks */
#define BYTES ((CHUNKS - 1) * CHUNK_BYTES + LAST_BYTES)
#define ZERO_CHUNK 3u

extern struct cuda_driver real_driver;
extern struct cuda_driver driver; /* the same with functions exchanged by a test */
extern CUcontext context;

struct disk {
	bool cold; /* the file counts as one on a disk and not cached, so that it is read around the page cache */
	atomic_int direct;	  /* the descriptor for that */
	bool direct_fails;	  /* it does not work after all */
	atomic_int at_most;	  /* a read or write moves no more bytes, 0: no limit */
	atomic_int interruptions; /* so many calls are interrupted */
	atomic_uint direct_reads, reads;
};

extern struct disk disk;

struct fixture {
	struct copy_engine *engine;
	CUdeviceptr device;
	struct copy_file file;
	unsigned char *contents;
	struct copy_chunk chunks[CHUNKS];
	struct copy_request request;
};

int set_up(void **state);
int set_up_small(void **state);
int tear_down(void **state);
int run(struct fixture *fixture, enum copy_direction direction, struct error_text *error);
void fill_device(struct fixture *fixture, const unsigned char *contents);
void assert_device_equals(struct fixture *fixture);
int open_driver(void **state);
int close_driver(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_SMALL(name) {#name "_with_a_small_ring", name, set_up_small, tear_down, NULL}

#endif
