/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call/report.h"
#include "api/criu/run_criu.h"
#include "store/checkpoint_folder.h"
#include "store/folder_lock.h"

/* Makes a folder and those above it, mode 0700, as `mkdir -p` does. */
static int make_folder(const char *path)
{
	char partial[PATH_MAX];
	size_t i;

	for (i = 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		snprintf(partial, sizeof(partial), "%.*s", (int)i, path);
		if (mkdir(partial, 0700) && errno != EEXIST)
			return -errno;
	}
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

/* Checks a folder and gives its absolute path. */
static int resolve_folder(char *resolved, const char *path, const char *what, bool make, bool write,
			  struct rekindle_error *error)
{
	struct stat status;
	int result;

	if (!path || !*path)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The %s folder is missing from the request: name one.", what);
	if (strlen(path) >= PATH_MAX - 64)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The path of the %s folder is too long: use one under %d characters.", what,
			      PATH_MAX - 64);
	result = make && stat(path, &status) && errno == ENOENT ? make_folder(path) : 0;
	if (result)
		return report(error, result == -ENOENT ? REKINDLE_ERROR_INVALID_ARGUMENT : code_of_errno(result),
			      REKINDLE_PHASE_NONE, "The %s folder %.300s cannot be made%s: %s.", what, path,
			      result == -ENOENT ? " there" : "", errno_text(-result));
	if (stat(path, &status))
		return report(error, errno == ENOENT ? REKINDLE_ERROR_NO_IMAGE : code_of_errno(-errno),
			      REKINDLE_PHASE_NONE, "The %s folder %.300s cannot be read: %s.", what, path,
			      errno_text(errno));
	if (!S_ISDIR(status.st_mode))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "%.300s is a file: name a folder for the %s.", path, what);
	if (access(path, write ? R_OK | W_OK | X_OK : R_OK | X_OK))
		return report(error, REKINDLE_ERROR_PERMISSION, REKINDLE_PHASE_NONE,
			      "The %s folder %.300s is not %s: %s.", what, path, write ? "writable" : "readable",
			      errno_text(errno));
	if (!realpath(path, resolved))
		return report(error, code_of_errno(-errno), REKINDLE_PHASE_NONE,
			      "The %s folder %.300s cannot be resolved: %s.", what, path, errno_text(errno));
	return REKINDLE_OK;
}

/* Images, the link to those before them, statistics, and what is the pool's. CRIU would write its log over them. */
static bool is_of_checkpoint(const char *name)
{
	static const char image[] = ".img";
	size_t length = strlen(name);

	return name[0] == '.' || !strcmp(name, "parent") || !strncmp(name, "stats-", 6) ||
	       !strncmp(name, "rekindle", 8) ||
	       (length >= strlen(image) && !strcmp(name + length - strlen(image), image));
}

int criu_run_prepare(struct criu_run *run, const char *directory, const char *work_directory, const char *log_file,
		     struct rekindle_error *error)
{
	static atomic_uint runs;
	bool work_is_images = !work_directory || !*work_directory;
	int result;

	if (!log_file || !*log_file)
		log_file = run->restore ? "restore.log" : "dump.log";
	if (strchr(log_file, '/') || strlen(log_file) > NAME_MAX)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "log_file %.200s is not a file name: give a name without folders, it is put into the "
			      "work folder.",
			      log_file);
	if (is_of_checkpoint(log_file))
		return report(
			error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			"log_file %.200s is a name of the checkpoint's own files: give one that does not end in .img, "
			"begins with none of \".\", \"stats-\" and \"rekindle\", and is not \"parent\".",
			log_file);
	if (run->log_level < 0 || run->log_level > 4)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "log_level is %d: set it to a number from 0 to 4.", run->log_level);
	result = resolve_folder(run->directory, directory, "images", !run->restore, !run->restore || work_is_images,
				error);
	if (!result)
		result = resolve_folder(run->work_directory, work_is_images ? run->directory : work_directory, "work",
					true, true, error);
	if (result)
		return result;
	if ((size_t)snprintf(run->log_path, sizeof(run->log_path), "%s/%s", run->work_directory, log_file) >=
		    sizeof(run->log_path) ||
	    (size_t)snprintf(run->pid_path, sizeof(run->pid_path), "%s/rekindle-%d-%u.pid", run->work_directory,
			     getpid(), atomic_fetch_add(&runs, 1)) >= sizeof(run->pid_path))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The path of the work folder %.200s... is too long.", run->work_directory);
	return REKINDLE_OK;
}

static int check_checkpoint(int folder, struct error_text *text)
{
	struct checkpoint_manifest *manifest;
	int result = checkpoint_manifest_read(folder, &manifest, text);

	if (result)
		return result == -ENOENT ? 0 : result;
	result = checkpoint_check_files(folder, manifest, text);
	checkpoint_manifest_free(manifest);
	return result;
}

int criu_run_check_folder(const struct criu_run *run, struct rekindle_error *error)
{
	int folder = open(run->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), lock, result;
	struct error_text text = {""};
	bool changed;

	if (folder < 0)
		return report(error, code_of_errno(-errno), REKINDLE_PHASE_NONE,
			      "The folder %.300s cannot be read: %s.", run->directory, errno_text(errno));
	lock = run->restore ? checkpoint_folder_share(folder, &changed, &text) : folder_lock(folder, false, &text);
	result = lock < 0 ? lock : 0;
	if (!result && run->restore)
		result = check_checkpoint(folder, &text);
	folder_unlock(lock);
	close(folder);
	if (result)
		return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%.200s: %.300s", run->directory,
			      text.text);
	return REKINDLE_OK;
}
