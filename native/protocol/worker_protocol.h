/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_WORKER_PROTOCOL_H
#define REKINDLE_PROTOCOL_WORKER_PROTOCOL_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The file through which a worker and the outside speak: mapped shared by both, so it works across a dump and a restore
 * of the worker. The outside writes kind and argument, then raises `request`; the worker writes its answer, then sets
 * `response` to that number.
 */

#define WORKER_STATE_MAGIC 0x52454b524f57ull
#define WORKER_STATE_VERSION 2u

#define WORKER_GPUS_MAX 4

enum worker_request {
	WORKER_REQUEST_CHECKSUM = 1, /* `checksum` is over all contents, in order */
	WORKER_REQUEST_CHANGE = 2,   /* new contents in a part of every piece */
	WORKER_REQUEST_ALLOCATE = 3, /* argument: MiB more, half plain and half virtual */
	WORKER_REQUEST_FREE = 4,     /* argument: pieces to free */
	WORKER_REQUEST_EXIT = 5,
	WORKER_REQUEST_FORK = 6, /* argument: N; a child that inherits CUDA and cannot use it, with FILE.N of its own */
	WORKER_REQUEST_GPUS = 7, /* `gpus`: the UUIDs of those that it uses, as the driver says */
};

struct worker_state {
	uint64_t magic;
	uint32_t version;
	_Atomic int32_t process_id; /* as the worker sees it */
	_Atomic uint32_t ready;	    /* contents are in place */
	_Atomic uint32_t failed;    /* a driver call failed, or contents were wrong; `error` says which */
	_Atomic uint64_t steps;	    /* rounds of driver calls, about one a millisecond */
	_Atomic uint32_t request;
	_Atomic uint32_t request_kind;
	_Atomic uint64_t request_argument;
	_Atomic uint32_t response;
	_Atomic int32_t response_result; /* 0, or negative with `error` */
	_Atomic uint64_t checksum;
	_Atomic uint64_t device_bytes;
	_Atomic uint64_t pieces;
	char device_name[64];
	char error[256];
	char gpus[WORKER_GPUS_MAX * 41];
	char padding[4];
};
static_assert(sizeof(struct worker_state) == 568, "struct worker_state is 568 bytes");
static_assert(offsetof(struct worker_state, steps) == 24, "struct worker_state keeps its order");
static_assert(offsetof(struct worker_state, request) == 32, "struct worker_state keeps its order");
static_assert(offsetof(struct worker_state, checksum) == 56, "struct worker_state keeps its order");
static_assert(offsetof(struct worker_state, error) == 144, "struct worker_state keeps its order");

#endif
