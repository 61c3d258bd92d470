/* SPDX-License-Identifier: MIT */
#include "pool/listening_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int make_folder(const char *path, struct error_text *error)
{
	char folder[108];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return 0;
	*slash = '\0';
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return fail(error, -errno, "Could not make the folder %s of the pool's socket: %s", folder,
			    strerror(errno));
	return 0;
}

/* The lock goes with the process that holds it, however that ends; so a free lock means a dead pool. */
static int take_lock(struct listening_socket *listening, struct error_text *error)
{
	char name[128];

	snprintf(name, sizeof(name), "%s.lock", listening->path);
	listening->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (listening->lock < 0)
		return fail(error, -errno, "Could not open %s: %s", name, strerror(errno));
	if (flock(listening->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return fail(error, errno == EWOULDBLOCK ? -EADDRINUSE : -errno,
		    errno == EWOULDBLOCK ? "A pool listens at %s already; stop it, or set REKINDLE_POOL_SOCKET"
					 : "Could not lock %s.lock",
		    listening->path);
}

int listening_socket_open(struct listening_socket *listening, const char *path, struct error_text *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int result;

	*listening = (struct listening_socket){.socket = -1, .lock = -1};
	if (strlen(path) >= sizeof(address.sun_path))
		return fail(error, -ENAMETOOLONG, "The pool socket's path is too long: %s", path);
	strcpy(listening->path, path);
	strcpy(address.sun_path, path);
	result = make_folder(path, error);
	if (result == 0)
		result = take_lock(listening, error);
	if (result)
		goto out;
	unlink(path);
	listening->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Nobody else can connect between bind and a chmod. */
	mask = umask(0177);
	if (listening->socket < 0 || bind(listening->socket, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listening->socket, 64) < 0)
		result = fail(error, -errno, "Could not listen at %s: %s", path, strerror(errno));
	umask(mask);
out:
	if (result)
		listening_socket_close(listening);
	return result;
}

void listening_socket_close(struct listening_socket *listening)
{
	if (listening->socket >= 0) {
		unlink(listening->path);
		close(listening->socket);
	}
	if (listening->lock >= 0)
		close(listening->lock);
	listening->socket = -1;
	listening->lock = -1;
}

bool peer_is_trusted(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}
