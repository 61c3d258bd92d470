/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_PEER_PROTOCOL_H
#define REKINDLE_PROTOCOL_PEER_PROTOCOL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_abi.h"

/* How the agents of two processes speak about device memory that one gives to the other, see agent/sharing/legacy_ipc.h. */

#define IPC_EXPORTER_BYTES 16

/* Another process's allocation. */
struct ipc_origin {
	uint8_t exporter[IPC_EXPORTER_BYTES]; /* names its socket */
	uint64_t allocation_id;		      /* there, of the first piece */
};

/* Changes with anything below and with PIECE_BYTES (agent/memory): two versions of the agent must not misunderstand each other. */
#define LEGACY_IPC_MAGIC 0x314350494e444b52ull /* "RKDNIPC1" */

/* In the 64 bytes of a CUipcMemHandle. The same for every call on an allocation: PyTorch looks handles up by value. */
struct ipc_handle {
	uint64_t magic;
	struct ipc_origin origin;
	uint64_t address; /* of the allocation, in the exporter */
	uint8_t reserved[24];
};
static_assert(sizeof(struct ipc_handle) == sizeof(CUipcMemHandle), "the handle fits");
static_assert(offsetof(struct ipc_handle, origin) == 8, "struct ipc_handle keeps its order");
static_assert(offsetof(struct ipc_handle, address) == 32, "struct ipc_handle keeps its order");

struct ipc_request {
	uint64_t magic;
	uint64_t allocation_id;
	uint64_t address;
};
static_assert(sizeof(struct ipc_request) == 24, "struct ipc_request is 24 bytes");

/* As many replies as it takes, each with `count` descriptors of pieces from `first` on; one without any on a failure. */
struct ipc_reply {
	int32_t result; /* CUresult */
	uint32_t first, count;
	uint32_t padding;
	uint64_t bytes;	   /* as the application asked */
	uint64_t reserved; /* with the rest of the last piece */
};
static_assert(sizeof(struct ipc_reply) == 32, "struct ipc_reply is 32 bytes");
static_assert(offsetof(struct ipc_reply, bytes) == 16, "struct ipc_reply keeps its order");

#define IPC_PIECES_MAX 64 /* in a reply */

#endif
