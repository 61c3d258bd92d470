/* SPDX-License-Identifier: MIT */
#include "settings/file_trust.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool is_null_device(const struct stat *file)
{
	return S_ISCHR(file->st_mode) && file->st_rdev == makedev(1, 3);
}

static int check_settings_file(int descriptor, const char *path, struct error_text *error)
{
	struct stat file;

	if (fstat(descriptor, &file))
		return fail(error, -EINVAL, "cannot read the settings file %s: %s", path, errno_text(errno));
	if (is_null_device(&file))
		return 0;
	if (!S_ISREG(file.st_mode))
		return fail(error, -EINVAL, "cannot read the settings file %s: it is no regular file", path);
	if (file.st_uid != 0 && file.st_uid != geteuid())
		return fail(error, -EINVAL,
			    "the settings file %s belongs to user %u and could make this user run anything: chown it "
			    "to user %u, or to root",
			    path, file.st_uid, geteuid());
	if (file.st_mode & (S_IWGRP | S_IWOTH))
		return fail(error, -EINVAL,
			    "the settings file %s may be written by others (mode %04o) and could make this user run "
			    "anything: chmod go-w it",
			    path, file.st_mode & 07777);
	return 0;
}

FILE *file_trust_open(const char *path, int *code, struct error_text *error)
{
	/* A FIFO must not keep whoever opens it. */
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	FILE *file;

	if (descriptor < 0) {
		*code = fail(error, errno == ENOENT ? -ENOENT : -EINVAL, "cannot read the settings file %s: %s", path,
			     errno_text(errno));
		return NULL;
	}
	*code = check_settings_file(descriptor, path, error);
	file = *code ? NULL : fdopen(descriptor, "r");
	if (!file)
		close(descriptor);
	if (!file && !*code)
		*code = fail(error, -EINVAL, "cannot read the settings file %s: %s", path, errno_text(errno));
	return file;
}

int file_trust_check_code(const char *setting, const char *path, struct error_text *error)
{
	struct stat file;

	/* Whoever opens it says what else is wrong with it, and searches for one without a slash in trusted folders. */
	if (!strchr(path, '/') || stat(path, &file) || !(file.st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	return fail(error, -EINVAL,
		    "%s=%s may be written by others (mode %04o), and what it says is run: chmod go-w it", setting, path,
		    file.st_mode & 07777);
}
