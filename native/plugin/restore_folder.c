/* SPDX-License-Identifier: MIT */
#include "plugin/restore_folder.h"

#include <errno.h>
#include <fcntl.h>

#include "plugin/criu_plugin_abi.h"
#include "protocol/pool_protocol.h"
#include "report/failure_report.h"
#include "settings/settings.h"
#include "store/checkpoint_folder.h"
#include "store/folder_lock.h"
#include "support/clock.h"
#include "support/log.h"

static int compare_checksums(int folder, const struct checkpoint_manifest *manifest, const struct settings *settings,
			     struct error_text *error)
{
	struct checkpoint_reading reading = {.threads = settings->streams};
	int code;

	if (!settings->verify_images)
		return 0;
	/* The threads have ended before CRIU forks a task, whose id one of them might have had. */
	code = checkpoint_verify_files(folder, manifest, &reading, error);
	if (!code)
		log_info("the checksums of all images match; those of GPU images are compared while they are read");
	return code;
}

static int check_files(int folder, struct error_text *error)
{
	struct checkpoint_manifest *manifest;
	struct settings settings;
	int code;

	code = settings_load(&settings, NULL, error);
	if (code)
		return code;
	code = checkpoint_manifest_read(folder, &manifest, error);
	if (code == -ENOENT) {
		log_info("the checkpoint has no manifest (no Rekindle, or an older one, made it): whether all of its "
			 "files are there and whole is not known");
		return 0;
	}
	if (code)
		return code;
	code = checkpoint_check_files(folder, manifest, error);
	if (!code)
		code = compare_checksums(folder, manifest, &settings, error);
	checkpoint_manifest_free(manifest);
	return code;
}

static int open_folder(int *lock, struct error_text *error)
{
	bool changed;
	int code;

	if (criu_get_image_dir() < 0)
		return fail(error, -EBADF, "CRIU has no image folder open");
	*lock = checkpoint_folder_share(criu_get_image_dir(), &changed, error);
	if (*lock < 0)
		return *lock;
	code = check_files(*lock, error);
	if (!code && changed)
		code = fail(error, -EAGAIN,
			    "a dump into this folder had not ended: the checkpoint before it is in its place again, "
			    "but CRIU has read some of the other one; restore it again");
	return code;
}

int restore_folder_begin(int *lock)
{
	uint64_t began = monotonic_nanoseconds();
	struct error_text error;
	int code;

	*lock = -1;
	code = open_folder(lock, &error);
	if (!code)
		return 0;
	log_error("%s", error.text);
	/* The work folder is the current one. */
	failure_report_write(AT_FDCWD, POOL_STAGE_RESTORE, began, code, error.text);
	restore_folder_end(lock);
	return -1;
}

void restore_folder_end(int *lock)
{
	folder_unlock(*lock);
	*lock = -1;
}
