/* SPDX-License-Identifier: MIT */
#include "pool/server/listening_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_ours(const struct stat *file)
{
	return file->st_uid == 0 || file->st_uid == geteuid();
}

/* Whoever may write there could put another socket in place of ours; not in a sticky folder, such as /tmp. */
static int check_folder(const char *folder, struct error_text *error)
{
	struct stat status;

	if (stat(folder, &status) < 0)
		return fail(error, -errno, "Could not look at the folder %s of the pool's socket: %s", folder,
			    errno_text(errno));
	if (!S_ISDIR(status.st_mode))
		return fail(error, -ENOTDIR, "%s is no folder for the pool's socket; set REKINDLE_POOL_SOCKET", folder);
	if (!is_ours(&status))
		return fail(error, -EACCES,
			    "The folder %s of the pool's socket belongs to user %u; chown it, or set "
			    "REKINDLE_POOL_SOCKET",
			    folder, status.st_uid);
	if (status.st_mode & (S_IWGRP | S_IWOTH) && !(status.st_mode & S_ISVTX))
		return fail(error, -EACCES,
			    "The folder %s of the pool's socket may be written by others; chmod go-w it, or set "
			    "REKINDLE_POOL_SOCKET",
			    folder);
	return 0;
}

static int make_folder(const char *path, struct error_text *error)
{
	char folder[108];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash)
		return check_folder(".", error);
	if (slash == folder)
		return 0;
	*slash = '\0';
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return fail(error, errno == ENOENT ? -EINVAL : -errno, /* which would be a missing image */
			    "Could not make the folder %s of the pool's socket: %s", folder, errno_text(errno));
	return check_folder(folder, error);
}

/* The lock goes with the process that holds it, however that ends; so a free lock means a dead pool. */
static int take_lock(struct listening_socket *listening, struct error_text *error)
{
	struct stat status;
	char name[128];

	snprintf(name, sizeof(name), "%s.lock", listening->path);
	listening->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (listening->lock < 0 || fstat(listening->lock, &status) < 0)
		return fail(error, -errno, "Could not open %s: %s", name, errno_text(errno));
	/* In a folder such as /tmp anybody can have made it, and hold it. */
	if (!S_ISREG(status.st_mode) || !is_ours(&status))
		return fail(error, -EACCES,
			    "%s is no lock of this user's (it belongs to user %u); remove it, or set "
			    "REKINDLE_POOL_SOCKET",
			    name, status.st_uid);
	if (flock(listening->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return fail(error, -EADDRINUSE, "A pool listens at %s already; stop it, or set REKINDLE_POOL_SOCKET",
			    listening->path);
	return fail(error, -errno, "Could not lock %s: %s", name, errno_text(errno));
}

/* What a dead pool left; with the lock in our hands no pool is alive. Anything else there is somebody's. */
static int remove_old_socket(const char *path, struct error_text *error)
{
	struct stat status;

	if (lstat(path, &status) < 0)
		return errno == ENOENT ? 0 : fail(error, -errno, "Could not look at %s: %s", path, errno_text(errno));
	if (!S_ISSOCK(status.st_mode))
		return fail(error, -EINVAL,
			    "%s is no socket, and is left alone; move it away, or set REKINDLE_POOL_SOCKET", path);
	if (unlink(path) < 0)
		return fail(error, -errno, "Could not remove the socket of an earlier pool, %s: %s", path,
			    errno_text(errno));
	return 0;
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
	if (result == 0)
		result = remove_old_socket(path, error);
	if (result)
		goto out;
	listening->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Nobody else can connect between bind and a chmod. */
	mask = umask(0177);
	if (listening->socket < 0 || bind(listening->socket, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listening->socket, 64) < 0)
		result = fail(error, -errno, "Could not listen at %s: %s", path, errno_text(errno));
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
