/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <unistd.h>

#include "agent/sharing/legacy_ipc.h"

#define SOCKET_PREFIX "rekindle-ipc-"

socklen_t ipc_socket_address(struct sockaddr_un *address, const uint8_t exporter[IPC_EXPORTER_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	char *name = address->sun_path + 1; /* after a NUL: no file, gone with its socket */
	size_t index;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(name, SOCKET_PREFIX, sizeof(SOCKET_PREFIX) - 1);
	name += sizeof(SOCKET_PREFIX) - 1;
	for (index = 0; index < IPC_EXPORTER_BYTES; index++) {
		*name++ = digits[exporter[index] >> 4];
		*name++ = digits[exporter[index] & 15];
	}
	return (socklen_t)(name - (char *)address);
}
