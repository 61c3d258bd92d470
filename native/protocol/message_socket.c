/* SPDX-License-Identifier: MIT */
#include "protocol/message_socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/clock.h"

/* Aligned for the header that the kernel reads and writes there. */
union descriptor_buffer {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(MESSAGE_DESCRIPTORS_MAX * sizeof(int))];
};

int message_send(int socket, const void *message, size_t size, const int *fds, size_t fd_count)
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
		sent = sendmsg(socket, &header, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == size ? 0 : -EMSGSIZE;
}

/* Waits until there is something to receive; what poll says about errors recvmsg says better. */
static int wait_readable(int socket, uint64_t deadline)
{
	struct pollfd poll_socket = {.fd = socket, .events = POLLIN};

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

/* Hands the received descriptors to the caller as far as it has room, and closes the others. */
static void take_descriptors(struct msghdr *header, int *fds, size_t room, size_t *taken)
{
	struct cmsghdr *control;

	for (control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
		size_t count, index;

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (index = 0; index < count; index++) {
			int fd;

			memcpy(&fd, CMSG_DATA(control) + index * sizeof(int), sizeof(int));
			if (*taken < room)
				fds[(*taken)++] = fd;
			else
				close(fd);
		}
	}
}

ssize_t message_receive(int socket, void *message, size_t capacity, int *fds, size_t *fd_count, int timeout_ms)
{
	union descriptor_buffer buffer;
	struct iovec part = {.iov_base = message, .iov_len = capacity};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	size_t room = fd_count ? *fd_count : 0;
	uint64_t deadline = monotonic_nanoseconds() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000u;
	/* Another process may read from this socket too, and be faster: then wait again, but never without a limit. */
	int flags = MSG_CMSG_CLOEXEC | (timeout_ms < 0 ? 0 : MSG_DONTWAIT);
	size_t taken = 0;
	ssize_t received;
	int result;

	if (fd_count)
		*fd_count = 0;
	do {
		if (timeout_ms >= 0) {
			result = wait_readable(socket, deadline);
			if (result < 0)
				return result;
		}
		header.msg_control = buffer.bytes;
		header.msg_controllen = sizeof(buffer.bytes);
		received = recvmsg(socket, &header, flags);
	} while (received < 0 && (errno == EINTR || (timeout_ms >= 0 && errno == EAGAIN)));
	if (received < 0)
		return -errno;
	take_descriptors(&header, fds, room, &taken);
	if (received == 0 || header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (taken)
			close(fds[--taken]);
		if (received == 0)
			return -ECONNRESET;
		return header.msg_flags & MSG_TRUNC ? -EMSGSIZE : -EMFILE;
	}
	if (fd_count)
		*fd_count = taken;
	return received;
}
