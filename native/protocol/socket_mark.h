/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_SOCKET_MARK_H
#define REKINDLE_PROTOCOL_SOCKET_MARK_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Tells our sockets in other people's processes from whatever else has come to their descriptor numbers: a program may
 * close what it did not open (closefrom, daemons) and put files of its own there. Every use of a number that was
 * remembered is preceded by this question.
 *
 * A unix socket makes no use of its receive buffer (unix(7)), and CRIU restores the size of it, while everything else
 * that a socket could be known by is new after a restore. So the size is the mark. Programs choose round ones.
 */
enum socket_mark {
	SOCKET_MARK_AGENT = 5003,   /* the agent's end of its control socket */
	SOCKET_MARK_OUTSIDE = 5009, /* the outside's */
	SOCKET_MARK_SHARING = 5011, /* where the agent gives device memory to other processes */
	SOCKET_MARK_SIMCUDA = 5021, /* the two ends of the simulated driver's */
	SOCKET_MARK_SIMCUDA_OUTSIDE = 5023,
};

static inline int socket_option(int socket, int option)
{
	socklen_t length = sizeof(int);
	int value = -1;

	return getsockopt(socket, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

static inline bool socket_is_marked(int socket, enum socket_mark mark)
{
	/* The kernel doubles the size. */
	return socket >= 0 && socket_option(socket, SO_DOMAIN) == AF_UNIX &&
	       socket_option(socket, SO_TYPE) == SOCK_SEQPACKET && socket_option(socket, SO_RCVBUF) == 2 * (int)mark;
}

/* 0 or a negative errno code. */
static inline int socket_mark(int socket, enum socket_mark mark)
{
	int size = (int)mark;

	if (setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)))
		return -errno;
	return socket_is_marked(socket, mark) ? 0 : -EINVAL;
}

/* Closes the descriptor where it is that socket still. */
static inline void socket_close_marked(int socket, enum socket_mark mark)
{
	if (socket_is_marked(socket, mark))
		close(socket);
}

#endif
