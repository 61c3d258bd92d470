/* SPDX-License-Identifier: MIT */
#include "store/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/manifest_file.h"

void folder_entries_free(struct folder_entry *entries, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		free(entries[i].name);
	free(entries);
}

static int compare_entries(const void *left, const void *right)
{
	return strcmp(((const struct folder_entry *)left)->name, ((const struct folder_entry *)right)->name);
}

static int add_entry(struct folder_entry **entries, size_t *count, const char *name, uint64_t bytes)
{
	struct folder_entry *grown = *entries;

	if ((*count & (*count - 1)) == 0)
		grown = realloc(*entries, (*count ? *count * 2 : 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*entries = grown;
	grown[*count].name = strdup(name);
	grown[*count].bytes = bytes;
	if (!grown[*count].name)
		return -ENOMEM;
	++*count;
	return 0;
}

/* Opens the folder once more, for reading its entries from the first one on. */
static DIR *open_entries(int folder)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);

	if (!entries && copy >= 0)
		close(copy);
	return entries;
}

int folder_list_images(int folder, struct folder_entry **entries_out, size_t *count_out, struct error_text *error)
{
	DIR *directory = open_entries(folder);
	struct folder_entry *entries = NULL;
	struct dirent *entry;
	struct stat status;
	size_t count = 0, length;
	int result = 0;

	if (!directory)
		return fail(error, -errno, "Could not list the folder of images: %s", errno_text(errno));
	while (result == 0 && (errno = 0, entry = readdir(directory))) {
		length = strlen(entry->d_name);
		if (length <= 4 || length > FOLDER_NAME_MAX || strcmp(entry->d_name + length - 4, ".img") ||
		    fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode))
			continue;
		result = add_entry(&entries, &count, entry->d_name, (uint64_t)status.st_size);
		if (result)
			fail(error, result, "Out of memory");
	}
	if (result == 0 && errno)
		result = fail(error, -errno, "Could not list the folder of images: %s", errno_text(errno));
	closedir(directory);
	if (result) {
		folder_entries_free(entries, count);
		return result;
	}
	if (count)
		qsort(entries, count, sizeof(*entries), compare_entries);
	*entries_out = entries;
	*count_out = count;
	return 0;
}

int folder_remove(int folder, const char *name, struct error_text *error)
{
	int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), result = 0, code;
	DIR *directory = inner < 0 ? NULL : open_entries(inner);
	struct dirent *entry;

	if (inner < 0 && errno == ENOENT)
		return 0;
	while (directory && (entry = readdir(directory))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (unlinkat(inner, entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		code = errno == EISDIR ? folder_remove(inner, entry->d_name, error)
				       : file_failure(error, errno, "remove", entry->d_name);
		/* The others go all the same. */
		result = result ? result : code;
	}
	if (directory)
		closedir(directory);
	if (inner >= 0)
		close(inner);
	if (result == 0 && unlinkat(folder, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		result = file_failure(error, errno, "remove", name);
	return result;
}
