/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_SHARING_LEGACY_IPC_H
#define REKINDLE_AGENT_SHARING_LEGACY_IPC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/memory/allocation_table.h"
#include "driver/cuda_abi.h"
#include "protocol/peer_protocol.h"

/*
 * Legacy interprocess handles (cuIpcGetMemHandle) for memory of cuMemAlloc that the agent backs, for which the driver
 * gives none. The handle names the exporting process's socket and the allocation; whoever opens it fetches one descriptor
 * for each piece of physical memory from the exporter's sharing thread. Both sides need the agent, and see each other in
 * one network namespace, where abstract sockets live. sharing_thread.h says what becomes of the socket in a dump.
 */

/* ipc_socket.c: the address of an exporter's socket; returns its length. */
socklen_t ipc_socket_address(struct sockaddr_un *address, const uint8_t exporter[IPC_EXPORTER_BYTES]);

/* Could the allocation's memory be exported? Table locked. */
bool ipc_is_shareable(const struct plain_allocation *allocation);

struct pieces;

/* Fetches the exporter's memory and maps it for the current context's device (legacy_ipc_import.c). */
CUresult ipc_import(const struct ipc_handle *handle, CUdevice device, struct pieces *pieces, size_t *bytes);

#endif
