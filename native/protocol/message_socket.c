/* SPDX-License-Identifier: MIT */
#include "protocol/message_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/clock.h"

/* What the other side of a shared socket can have added to each message (SO_PASSPIDFD, Linux 6.5). */
#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

/* Aligned for the header that the kernel reads and writes there. */
union descriptor_buffer {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(MESSAGE_DESCRIPTORS_MAX * sizeof(int))];
};

static int send_with(int socket, const void *message, size_t size, const int *fds, size_t fd_count, int flags)
{
	union descriptor_buffer buffer;
	struct iovec part = {.iov_base = (void *)message, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	if (fd_count > MESSAGE_DESCRIPTORS_MAX)
		return -E2BIG;
	if (fd_count) {
		struct cmsghdr *control;

		memset(&buffer, 0, sizeof(buffer));
		header.msg_control = buffer.bytes;
		header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control = CMSG_FIRSTHDR(&header);
		control->cmsg_level = SOL_SOCKET;
		control->cmsg_type = SCM_RIGHTS;
		control->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(control), fds, fd_count * sizeof(int));
	}
	do
		sent = sendmsg(socket, &header, MSG_NOSIGNAL | flags);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == size ? 0 : -EMSGSIZE;
}

int message_send(int socket, const void *message, size_t size, const int *fds, size_t fd_count)
{
	return send_with(socket, message, size, fds, fd_count, 0);
}

/* Waits until the socket is ready for events; what poll says about errors the call that follows says better. */
static int wait_ready(int socket, short events, uint64_t deadline)
{
	struct pollfd poll_socket = {.fd = socket, .events = events};

	for (;;) {
		uint64_t now = monotonic_nanoseconds();
		/* Rounded up, so that the wait never ends early and spins. */
		int wait_ms = now >= deadline ? 0 : (int)((deadline - now + 999999u) / 1000000u);
		int ready;

		ready = poll(&poll_socket, 1, wait_ms);
		if (ready > 0)
			return 0;
		if (ready == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int message_send_until(int socket, const void *message, size_t size, const int *fds, size_t fd_count, uint64_t deadline)
{
	int result;

	for (;;) {
		result = send_with(socket, message, size, fds, fd_count, MSG_DONTWAIT);
		if (result != -EAGAIN)
			return result;
		result = wait_ready(socket, POLLOUT, deadline);
		if (result)
			return result;
	}
}

/* Hands the received descriptors to the caller as far as it has room, and closes the others and what was not sent. */
static void take_descriptors(struct msghdr *header, int *fds, size_t room, size_t *taken)
{
	struct cmsghdr *control;

	for (control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
		bool sent = control->cmsg_type == SCM_RIGHTS;
		size_t count, index;

		if (control->cmsg_level != SOL_SOCKET || (!sent && control->cmsg_type != SCM_PIDFD))
			continue;
		count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (index = 0; index < count; index++) {
			int fd;

			memcpy(&fd, CMSG_DATA(control) + index * sizeof(int), sizeof(int));
			if (sent && *taken < room)
				fds[(*taken)++] = fd;
			else
				close(fd);
		}
	}
}

ssize_t message_receive_keeping(int socket, void *message, size_t capacity, int *fds, size_t *fd_count, int timeout_ms)
{
	union descriptor_buffer buffer;
	struct iovec part = {.iov_base = message, .iov_len = capacity};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	size_t room = *fd_count;
	uint64_t deadline = monotonic_nanoseconds() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000u;
	/* Another process may read from this socket too, and be faster: then wait again, but never without a limit. */
	int flags = MSG_CMSG_CLOEXEC | (timeout_ms < 0 ? 0 : MSG_DONTWAIT);
	ssize_t received;
	int result;

	*fd_count = 0;
	do {
		if (timeout_ms >= 0) {
			result = wait_ready(socket, POLLIN, deadline);
			if (result < 0)
				return result;
		}
		header.msg_control = buffer.bytes;
		header.msg_controllen = sizeof(buffer.bytes);
		received = recvmsg(socket, &header, flags);
	} while (received < 0 && (errno == EINTR || (timeout_ms >= 0 && errno == EAGAIN)));
	if (received < 0)
		return -errno;
	take_descriptors(&header, fds, room, fd_count);
	if (received == 0)
		return -ECONNRESET;
	if (header.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	return header.msg_flags & MSG_CTRUNC ? -EMFILE : received;
}

ssize_t message_receive(int socket, void *message, size_t capacity, int *fds, size_t *fd_count, int timeout_ms)
{
	size_t none = 0, *count = fd_count ? fd_count : &none;
	ssize_t received = message_receive_keeping(socket, message, capacity, fds, count, timeout_ms);

	while (received < 0 && *count)
		close(fds[--*count]);
	return received;
}
