/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_LEGACY_IPC_H
#define REKINDLE_AGENT_LEGACY_IPC_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/allocation_table.h"
#include "driver/cuda_abi.h"

/*
 * Legacy interprocess handles (cuIpcGetMemHandle) for memory of cuMemAlloc that the agent backs, for which the driver
 * gives none. The handle names the exporting process's socket and the allocation; whoever opens it fetches one descriptor
 * for each piece of physical memory from the exporter's sharing thread. Both sides need the agent, and see each other in
 * one network namespace, where abstract sockets live.
 */

/* Changes with anything below and with PIECE_BYTES: two versions of the agent must not misunderstand each other. */
#define LEGACY_IPC_MAGIC 0x314350494e444b52ull /* "RKDNIPC1" */

/* In the 64 bytes of a CUipcMemHandle. The same for every call on an allocation: PyTorch looks handles up by value. */
struct ipc_handle {
	uint64_t magic;
	struct ipc_origin origin;
	uint64_t address; /* of the allocation, in the exporter */
	uint8_t reserved[24];
};
static_assert(sizeof(struct ipc_handle) == sizeof(CUipcMemHandle), "the handle fits");

struct ipc_request {
	uint64_t magic;
	uint64_t allocation_id;
	uint64_t address;
};

/* As many replies as it takes, each with `count` descriptors of pieces from `first` on; one without any on a failure. */
struct ipc_reply {
	int32_t result; /* CUresult */
	uint32_t first, count;
	uint32_t padding;
	uint64_t bytes;	   /* as the application asked */
	uint64_t reserved; /* with the rest of the last piece */
};

#define IPC_PIECES_MAX 64 /* in a reply */

/* The address of an exporter's socket; returns its length. */
socklen_t ipc_socket_address(struct sockaddr_un *address, const uint8_t exporter[IPC_EXPORTER_BYTES]);
/* Is the other side of the same user, or root? */
bool ipc_peer_is_trusted(int connection);

/* Could the allocation's memory be exported? Table locked. */
bool ipc_is_shareable(const struct plain_allocation *allocation);

struct pieces;

/* Fetches the exporter's memory and maps it for the current context's device (legacy_ipc_import.c). */
CUresult ipc_import(const struct ipc_handle *handle, CUdevice device, struct pieces *pieces, size_t *bytes);

#endif
