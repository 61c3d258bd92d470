/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_PEER_TRUST_H
#define REKINDLE_PROTOCOL_PEER_TRUST_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Is the other side of a unix socket root or the same user? Whoever is neither is handed no device memory, and gives none. */
static inline bool peer_is_trusted(int connection)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return !getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/*
 * A pidfd of the process at the other side, the caller's; -1 where it is this very process, has ended, or is not of this pid
 * namespace.
 */
static inline int peer_open(int connection)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.pid <= 0 || peer.pid == getpid())
		return -1;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

#endif
