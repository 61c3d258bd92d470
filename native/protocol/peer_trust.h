/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_PEER_TRUST_H
#define REKINDLE_PROTOCOL_PEER_TRUST_H

#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

/* Is the other side of a unix socket root or the same user? Whoever is neither is handed no device memory, and gives none. */
static inline bool peer_is_trusted(int connection)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return !getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

#endif
