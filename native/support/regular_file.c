/* SPDX-License-Identifier: MIT */
#include "support/regular_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int regular_file_open(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (file < 0)
		return errno == ENXIO ? -EBADMSG : -errno; /* a socket */
	if (fstat(file, &status) || !S_ISREG(status.st_mode)) {
		close(file);
		return -EBADMSG;
	}
	return file;
}

int regular_file_create(int folder, const char *name, mode_t mode)
{
	int file;

	unlinkat(folder, name, 0);
	file = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	return file < 0 ? -errno : file;
}
