/* SPDX-License-Identifier: MIT */
#include "store/checkpoint_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checkpoint_members.h"
#include "store/criu_image_check.h"
#include "store/folder_files.h"
#include "store/folder_lock.h"
#include "store/gpu_image.h"
#include "store/gpu_image_internal.h"
#include "support/log.h"

/* A link on its way to a name that another file has. */
#define LINK_NAME ".rekindle-link"

static bool is_there(int folder, const char *name)
{
	struct stat status;

	return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_inner(int folder, const char *name, struct error_text *error)
{
	int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return inner < 0 ? file_failure(error, errno, "open", name) : inner;
}

static bool same_file(int folder, int other_folder, const char *name)
{
	struct stat one, other;

	return fstatat(folder, name, &one, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(other_folder, name, &other, AT_SYMLINK_NOFOLLOW) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

bool checkpoint_folder_is_complete(int folder)
{
	return is_there(folder, CHECKPOINT_MANIFEST_NAME);
}

/* ---- the only copy of somebody's memory ---- */

static int move_data(int from, int to, const struct gpu_image_name *name)
{
	char data[GPU_IMAGE_FILE_NAME_MAX];
	uint32_t number;

	for (number = 0; number < GPU_IMAGE_FILES_MAX; number++) {
		gpu_image_data_name(data, name, number);
		if (renameat(from, data, to, data) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Moves the complete GPU images of a folder that is to go into the one around it. */
static void save_gpu_images(int folder, int inner, bool all)
{
	char manifest[GPU_IMAGE_FILE_NAME_MAX];
	struct gpu_image_name *names = NULL;
	struct error_text error;
	size_t count = 0, i;

	if (gpu_image_list(inner, &names, &count, &error))
		log_warning("%s", error.text);
	for (i = 0; i < count; i++) {
		/* Of a dump that could not end: its process still runs. */
		if (!all && !gpu_image_owner_runs(&names[i]))
			continue;
		gpu_image_manifest_name(manifest, &names[i]);
		if (move_data(inner, folder, &names[i]) || renameat(inner, manifest, folder, manifest))
			log_error("Could not keep %s: %s", manifest, errno_text(errno));
		else
			log_warning("%s stays in the folder: process %d may have its device memory there only",
				    manifest, names[i].pid);
	}
	free(names);
}

static int drop_new(int folder, bool all_gpu_images, struct error_text *error)
{
	int inner = openat(folder, CHECKPOINT_NEW_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), result;
	struct error_text flush;

	if (inner < 0)
		return folder_remove(folder, CHECKPOINT_NEW_FOLDER, error);
	save_gpu_images(folder, inner, all_gpu_images);
	close(inner);
	result = folder_remove(folder, CHECKPOINT_NEW_FOLDER, error);
	/* There may have been no room for it before, see flush_undone(). */
	if (result == 0 && flush_folder(folder, "the checkpoint", &flush))
		log_warning("%s", flush.text);
	return result;
}

/* ---- publishing, and back ---- */

/* The older checkpoint's files get a second name. Where the file system has no links they move. */
static int keep_older(int folder, int older, const struct checkpoint_manifest *newer, struct error_text *error)
{
	struct folder_entry *entries = NULL;
	size_t count = 0, i;
	int result = checkpoint_members_list(folder, newer, &entries, &count, error);

	for (i = 0; i < count && result == 0; i++)
		if (linkat(folder, entries[i].name, older, entries[i].name, 0) &&
		    renameat(folder, entries[i].name, older, entries[i].name))
			result = file_failure(error, errno, "keep the older", entries[i].name);
	folder_entries_free(entries, count);
	if (result == 0)
		result = flush_folder(older, "the older checkpoint", error);
	/* And the name under which the next run finds it, before anything is put over the first file. */
	return result ? result : flush_folder(folder, CHECKPOINT_OLDER_FOLDER, error);
}

/* Puts a file of the hidden folder into the place of the older one, in one step. */
static int put_into_place(int folder, int inner, const char *name, struct error_text *error)
{
	unlinkat(folder, LINK_NAME, 0);
	if (linkat(inner, name, folder, LINK_NAME, 0) == 0) {
		if (renameat(folder, LINK_NAME, folder, name) == 0)
			return 0;
		unlinkat(folder, LINK_NAME, 0);
	} else if (renameat(inner, name, folder, name) == 0) {
		return 0;
	}
	return file_failure(error, errno, "put into its place", name);
}

/* The inventory is what makes it a checkpoint to CRIU, and the tree says which cores there are: they come last. */
static bool comes_last(const char *name)
{
	return !strcmp(name, "inventory.img") || !strcmp(name, "pstree.img");
}

static int put_all_into_place(int folder, int inner, const struct checkpoint_manifest *manifest,
			      struct error_text *error)
{
	int result = 0, last;
	size_t i;

	for (last = 0; last <= 1; last++)
		for (i = 0; i < manifest->count && result == 0; i++)
			if (comes_last(manifest->files[i].name) == last)
				result = put_into_place(folder, inner, manifest->files[i].name, error);
	/* Written anew where it cannot be linked: undoing needs the one in the hidden folder. */
	if (result == 0)
		result = checkpoint_manifest_write(folder, manifest, error);
	return result ? result : flush_folder(folder, "the checkpoint", error);
}

/* Files on their way to a name. */
static void drop_unfinished(int folder)
{
	unlinkat(folder, LINK_NAME, 0);
	unlinkat(folder, CHECKPOINT_MANIFEST_NAME MANIFEST_TEMPORARY, 0);
}

/*
 * A disk may be too full even for that, and then what fills it is what is to be removed next. It can be removed: file systems
 * that need room to write a folder write what was done to it in its order, the renames before the removals.
 */
static int flush_undone(int folder, struct error_text *error)
{
	int result = flush_folder(folder, "the older checkpoint", error);

	if (result != -ENOSPC && result != -EDQUOT)
		return result;
	log_warning("%s", error->text);
	return 0;
}

static int remove_file(int folder, const char *name, struct error_text *error)
{
	return unlinkat(folder, name, 0) == 0 || errno == ENOENT ? 0 : file_failure(error, errno, "remove", name);
}

/* Moves the older files back. What is in the folder and not among them is new, and goes. */
static int undo(int folder, struct error_text *error)
{
	int older = open_inner(folder, CHECKPOINT_OLDER_FOLDER, error), inner, result = 0;
	struct checkpoint_manifest *manifest = NULL;
	struct folder_entry *entries = NULL;
	size_t count = 0, i;

	if (older < 0)
		return older;
	drop_unfinished(folder);
	inner = openat(folder, CHECKPOINT_NEW_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (inner >= 0 && checkpoint_manifest_read(inner, &manifest, NULL))
		manifest = NULL;
	/* First what only the new one has, as the list of it is needed to try again. */
	for (i = 0; manifest && i < manifest->count; i++)
		if (!is_there(older, manifest->files[i].name) &&
		    (same_file(folder, inner, manifest->files[i].name) || !is_there(inner, manifest->files[i].name)))
			result = remove_file(folder, manifest->files[i].name, error) ?: result;
	/* The older files would be taken for damaged ones of the new checkpoint. */
	if (manifest && !is_there(older, CHECKPOINT_MANIFEST_NAME) && checkpoint_folder_holds(folder, manifest->id))
		result = remove_file(folder, CHECKPOINT_MANIFEST_NAME, error) ?: result;
	if (result == 0)
		result = folder_list_images(older, &entries, &count, error);
	for (i = 0; i < count && result == 0; i++) {
		/* Of two names of one file neither is renamed: that one is in its place. */
		if (same_file(folder, older, entries[i].name))
			continue;
		if (renameat(older, entries[i].name, folder, entries[i].name))
			result = file_failure(error, errno, "put back", entries[i].name);
	}
	folder_entries_free(entries, count);
	checkpoint_manifest_free(manifest);
	if (inner >= 0)
		close(inner);
	close(older);
	if (result == 0)
		result = flush_undone(folder, error);
	return result ? result : folder_remove(folder, CHECKPOINT_OLDER_FOLDER, error);
}

int checkpoint_folder_publish(int folder, struct error_text *error)
{
	struct checkpoint_manifest *manifest = NULL;
	struct error_text other;
	int inner = open_inner(folder, CHECKPOINT_NEW_FOLDER, error), older = -1, result;

	if (inner < 0)
		return inner;
	result = checkpoint_manifest_read(inner, &manifest, error);
	if (result == 0 && mkdirat(folder, CHECKPOINT_OLDER_FOLDER, 0700))
		result = file_failure(error, errno, "make", CHECKPOINT_OLDER_FOLDER);
	if (result)
		goto out;
	older = open_inner(folder, CHECKPOINT_OLDER_FOLDER, error);
	result = older < 0 ? older : keep_older(folder, older, manifest, error);
	if (result == 0)
		result = put_all_into_place(folder, inner, manifest, error);
	if (result && undo(folder, &other))
		log_error("The older checkpoint is not back in its place yet, the next run puts it there: %s",
			  other.text);
out:
	checkpoint_manifest_free(manifest);
	if (older >= 0)
		close(older);
	close(inner);
	return result;
}

int checkpoint_folder_seal(int folder, int images, const uint8_t id[16], const struct checkpoint_reading *reading,
			   struct error_text *error)
{
	struct checkpoint_manifest *manifest;
	int result = criu_image_check(images, error);

	if (result == 0)
		result = checkpoint_manifest_make(images, id, reading, &manifest, error);
	if (result)
		return result;
	result = checkpoint_manifest_write(images, manifest, error);
	checkpoint_manifest_free(manifest);
	if (result == 0 && is_there(folder, CHECKPOINT_NEW_FOLDER))
		result = checkpoint_folder_publish(folder, error);
	return result;
}

/* ---- the steps of a run ---- */

/* Removes what the new checkpoint has replaced, of which there is a list in the folder of that name. */
static int drop_listed(int folder, const char *name, struct error_text *error)
{
	int older = open_inner(folder, name, error), result;
	struct folder_entry *entries = NULL;
	size_t count = 0, i;

	if (older < 0)
		return older;
	result = folder_list_images(older, &entries, &count, error);
	for (i = 0; i < count; i++)
		if (same_file(folder, older, entries[i].name))
			result = remove_file(folder, entries[i].name, error) ?: result;
	folder_entries_free(entries, count);
	close(older);
	/* The list stays as long as one of its files does. */
	return result ? result : folder_remove(folder, name, error);
}

/*
 * .rekindle-replaced goes after .rekindle-older: as long as it is there nothing is undone. What the new checkpoint was
 * written in is not needed any more, and goes whatever becomes of the others.
 */
static int drop_replaced(int folder, struct error_text *error)
{
	int removed = folder_remove(folder, CHECKPOINT_NEW_FOLDER, error), result = 0;

	if (is_there(folder, CHECKPOINT_OLDER_FOLDER))
		result = drop_listed(folder, CHECKPOINT_OLDER_FOLDER, error);
	if (result == 0 && is_there(folder, CHECKPOINT_REPLACED_FOLDER))
		result = drop_listed(folder, CHECKPOINT_REPLACED_FOLDER, error);
	return result ? result : removed;
}

/* Finishes or undoes what an earlier run left of a change of the checkpoint. Needs the lock for itself. */
static int recover(int folder, bool *changed, struct error_text *error)
{
	int result;

	*changed = false;
	if (is_there(folder, CHECKPOINT_REPLACED_FOLDER))
		return drop_replaced(folder, error);
	if (!is_there(folder, CHECKPOINT_OLDER_FOLDER))
		return 0;
	*changed = true;
	log_warning("An earlier dump into this folder did not end: the older checkpoint is put back into its place");
	result = undo(folder, error);
	return result ? result : drop_new(folder, false, error);
}

int checkpoint_folder_share(int folder, bool *changed, struct error_text *error)
{
	int lock, result;

	*changed = false;
	if (!is_there(folder, CHECKPOINT_OLDER_FOLDER) && !is_there(folder, CHECKPOINT_REPLACED_FOLDER))
		return folder_lock(folder, true, error);
	lock = folder_lock(folder, false, error);
	if (lock < 0)
		return lock;
	result = recover(lock, changed, error);
	if (result == 0)
		result = folder_lock_share(lock, error);
	if (result == 0)
		return lock;
	folder_unlock(lock);
	return result;
}

int checkpoint_folder_begin(int folder, int *images, struct error_text *error)
{
	struct folder_entry *entries = NULL;
	size_t count = 0;
	bool changed;
	int result = recover(folder, &changed, error);

	*images = -1;
	drop_unfinished(folder);
	if (result == 0)
		result = drop_new(folder, false, error);
	if (result == 0)
		result = folder_list_images(folder, &entries, &count, error);
	folder_entries_free(entries, count);
	if (result || count == 0)
		return result;
	if (mkdirat(folder, CHECKPOINT_NEW_FOLDER, 0700))
		return file_failure(error, errno, "make", CHECKPOINT_NEW_FOLDER);
	result = open_inner(folder, CHECKPOINT_NEW_FOLDER, error);
	if (result < 0) {
		unlinkat(folder, CHECKPOINT_NEW_FOLDER, AT_REMOVEDIR);
		return result;
	}
	*images = result;
	/* Of a dump with a parent; the link leads on from the one in the folder. */
	if (is_there(folder, "parent") && symlinkat("../parent", *images, "parent"))
		log_warning("Could not link the parent images: %s", errno_text(errno));
	return 0;
}

bool checkpoint_folder_holds(int folder, const uint8_t id[16])
{
	struct checkpoint_manifest *manifest;
	bool holds;

	if (checkpoint_manifest_read(folder, &manifest, NULL))
		return false;
	holds = memcmp(manifest->id, id, sizeof(manifest->id)) == 0;
	checkpoint_manifest_free(manifest);
	return holds;
}

static bool may_be_undone(int folder)
{
	return is_there(folder, CHECKPOINT_OLDER_FOLDER) && !is_there(folder, CHECKPOINT_REPLACED_FOLDER);
}

int checkpoint_folder_commit(int folder, struct error_text *error)
{
	int code;

	if (!may_be_undone(folder))
		return 0;
	if (renameat(folder, CHECKPOINT_OLDER_FOLDER, folder, CHECKPOINT_REPLACED_FOLDER)) {
		code = errno;
		/* CRIU hears of no failure any more: an empty folder of that name says the same. */
		if (mkdirat(folder, CHECKPOINT_REPLACED_FOLDER, 0700))
			return file_failure(error, code, "rename", CHECKPOINT_OLDER_FOLDER);
	}
	if (flush_folder(folder, "the checkpoint", error))
		log_warning("%s", error->text);
	return 0;
}

bool checkpoint_folder_is_settled(int folder, const uint8_t id[16])
{
	return !may_be_undone(folder) && checkpoint_folder_holds(folder, id);
}

bool checkpoint_folder_may_restore(int folder, int images)
{
	/* Where files of it are in their place already, they may have moved there. */
	return is_there(folder, CHECKPOINT_OLDER_FOLDER) || criu_inventory_is_there(images);
}

int checkpoint_folder_tidy(int folder, struct error_text *error)
{
	if (!is_there(folder, CHECKPOINT_REPLACED_FOLDER) || drop_replaced(folder, error) == 0)
		return 0;
	/* What a filesystem refused in passing it does when asked again; otherwise it stays until the next run. */
	return drop_replaced(folder, error);
}

int checkpoint_folder_keep(int folder, struct error_text *error)
{
	int result = checkpoint_folder_commit(folder, error);

	return result ? result : checkpoint_folder_tidy(folder, error);
}

/* Everything that CRIU wrote, and the manifest. */
static int remove_written(int folder, struct error_text *error)
{
	struct folder_entry *entries = NULL;
	size_t count = 0, i;
	int result = folder_list_images(folder, &entries, &count, error);

	for (i = 0; i < count; i++)
		if (!strcmp(entries[i].name, CHECKPOINT_MANIFEST_NAME) || strncmp(entries[i].name, "rekindle-", 9))
			result = remove_file(folder, entries[i].name, error) ?: result;
	folder_entries_free(entries, count);
	return result;
}

int checkpoint_folder_abandon(int folder, bool written_directly, struct error_text *error)
{
	int result = 0;

	if (written_directly)
		return remove_written(folder, error);
	if (is_there(folder, CHECKPOINT_OLDER_FOLDER))
		result = undo(folder, error);
	return result ? result : drop_new(folder, true, error);
}
