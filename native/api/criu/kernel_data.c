/* SPDX-License-Identifier: MIT */
#include "api/criu/kernel_data.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Each of them has been seen to be so when it is named. */
static const char *what_to_do(int folder)
{
	struct statfs filesystem;

	if (folder < 0 || faccessat(folder, ".", W_OK, 0))
		return "make that folder writable";
	if (fstatfs(folder, &filesystem) == 0 && filesystem.f_type != TMPFS_MAGIC)
		return "that folder is no tmpfs, so mount one there or use the CRIU with Rekindle's patches";
	return "CRIU's log says why";
}

bool kernel_data_is_kept(const char *folder, char *remedy, unsigned int size)
{
	int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;
	bool kept = descriptor >= 0 && fstatat(descriptor, KERNEL_DATA_FILE, &status, 0) == 0;

	if (!kept)
		snprintf(remedy, size,
			 "CRIU has not kept in %s/" KERNEL_DATA_FILE " what it learned of the kernel, and asks again "
			 "in each run, which takes 10 to 30 ms: %s.",
			 folder, what_to_do(descriptor));
	if (descriptor >= 0)
		close(descriptor);
	return kept;
}
