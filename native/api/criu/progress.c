/* SPDX-License-Identifier: MIT */
#include "api/criu/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/call/report.h"
#include "support/plain_text.h"

int progress_open(struct progress_file *progress, const char *work_directory, const char *run, struct error_text *error)
{
	void *shared;
	int file = -1;
	int result, code;

	progress->shared = NULL;
	if ((size_t)snprintf(progress->path, sizeof(progress->path), "%s/%s", work_directory, POOL_PROGRESS_FILE) >=
	    sizeof(progress->path))
		return fail(error, -ENAMETOOLONG, "The path of the work folder %.200s... is too long.", work_directory);
	/* A file left by a run that was killed may still be mapped by its pool: never write into that one. */
	unlink(progress->path);
	/* With its room: a write into a mapping for which the disk has none ends the process. */
	file = open(progress->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	code = file < 0 ? errno : posix_fallocate(file, 0, sizeof(struct pool_progress));
	if (code) {
		if (file >= 0)
			unlink(progress->path);
		result =
			fail(error, -code, "Cannot write in the work folder %s: %s.", work_directory, errno_text(code));
		goto out;
	}
	shared = mmap(NULL, sizeof(struct pool_progress), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (shared == MAP_FAILED) {
		result = fail(error, -errno, "Cannot map %s: %s.", progress->path, errno_text(errno));
		unlink(progress->path);
		goto out;
	}
	progress->shared = shared;
	copy_text(progress->shared->run, sizeof(progress->shared->run), run);
	result = 0;
out:
	if (file >= 0)
		close(file);
	return result;
}

struct pool_progress progress_read(const struct progress_file *progress)
{
	struct pool_progress now = {0};

	if (!progress->shared)
		return now;
	now.ended = __atomic_load_n(&progress->shared->ended, __ATOMIC_ACQUIRE);
	now.phase = __atomic_load_n(&progress->shared->phase, __ATOMIC_RELAXED);
	now.bytes_done = __atomic_load_n(&progress->shared->bytes_done, __ATOMIC_RELAXED);
	now.bytes_total = __atomic_load_n(&progress->shared->bytes_total, __ATOMIC_RELAXED);
	return now;
}

void progress_cancel(const struct progress_file *progress)
{
	if (progress->shared)
		__atomic_store_n(&progress->shared->cancel, 1, __ATOMIC_RELEASE);
}

void progress_close(struct progress_file *progress)
{
	if (!progress->shared)
		return;
	munmap(progress->shared, sizeof(struct pool_progress));
	progress->shared = NULL;
	unlink(progress->path);
}
