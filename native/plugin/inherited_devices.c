/* SPDX-License-Identifier: MIT */
#include "plugin/inherited_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "process/process_devices.h"
#include "support/error_text.h"
#include "support/log.h"

static bool are_inherited, are_used;

void inherited_devices_begin(void)
{
	are_inherited = are_used = false;
}

void inherited_devices_note(pid_t pid, bool has_inherited)
{
	if (process_has_devices(pid) <= 0)
		return;
	if (has_inherited) {
		log_info("process %d has the NVIDIA devices of the process that forked it, and comes back without them",
			 (int)pid);
		are_inherited = true;
	} else {
		log_warning(
			"process %d has NVIDIA devices open or mapped, and no CUDA that could be saved: end it before "
			"the dump, if CRIU cannot dump them",
			(int)pid);
		are_used = true;
	}
}

static bool is_device(int descriptor)
{
	char link[32], path[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
	length = readlink(link, path, sizeof(path) - 1);
	path[length > 0 ? length : 0] = '\0';
	return is_nvidia_device(path);
}

/* A file is a device's where it is one that is called so; the processes have been looked at. */
static int take(int descriptor, const struct stat *file)
{
	return are_inherited && !are_used && (S_ISCHR(file->st_mode) || S_ISBLK(file->st_mode)) && is_device(descriptor)
		       ? 0
		       : -ENOTSUP;
}

int inherited_devices_handle_mapping(int descriptor, const struct stat *file)
{
	return take(descriptor, file);
}

int inherited_devices_dump_file(int descriptor, int id)
{
	struct stat file;

	(void)id;
	return fstat(descriptor, &file) ? -ENOTSUP : take(descriptor, &file);
}

/* Of all plugins of such a dump only this one has taken any. */
int inherited_devices_restore_file(int id)
{
	int file = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)id;
	if (file < 0)
		log_error("cannot open /dev/null in place of a device: %s", errno_text(errno));
	return file < 0 ? -EIO : file;
}

int inherited_devices_restore_mapping(const char *path, uint64_t address, uint64_t old_offset, uint64_t *new_offset,
				      int *descriptor)
{
	(void)address;
	(void)old_offset;
	if (!is_nvidia_device(path))
		return -ENOTSUP;
	*descriptor = open("/dev/zero", O_RDWR | O_CLOEXEC);
	if (*descriptor < 0) {
		log_error("cannot open /dev/zero in place of %s: %s", path, errno_text(errno));
		return -EIO;
	}
	*new_offset = 0;
	return 1;
}
