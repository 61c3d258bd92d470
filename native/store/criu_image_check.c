/* SPDX-License-Identifier: MIT */
#include "store/criu_image_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "store/folder_files.h"
#include "store/manifest_file.h"

/* What images begin with: the common number, that of service files, that of the inventory. */
#define MAGIC_COMMON 0x54564319u
#define MAGIC_SERVICE 0x55105940u
#define MAGIC_INVENTORY 0x58313116u
/* The common number and that of the kind; then come entries: a length of 32 bits and so many bytes. */
#define HEADER_BYTES 8u

static const struct {
	const char *prefix; /* of a name that goes on with a number */
	bool has_more;	    /* than entries: what only CRIU knows the length of stands behind some */
} written_by_children[] = {
	{"utsns-", false}, {"timens-", false},	 {"ipcns-var-", false}, {"netdev-", false},
	{"netns-", false}, {"ipcns-shm-", true}, {"ipcns-msg-", true},	{"ipcns-sem-", true},
};

/* What begins with what it holds. */
static const struct {
	const char *prefix, *end; /* of a name that has a number between the two */
} without_magic[] = {
	{"pages-", ".img"},
	{"ifaddr-", ".img"},
	{"route-", ".img"},
	{"route6-", ".img"},
	{"rule-", ".img"},
	{"iptables-", ".img"},
	{"ip6tables-", ".img"},
	{"nftables-", ".img"},
	{"netns-ct-", ".img"},
	{"netns-exp-", ".img"},
	{"pages-shmem-", ".img"},
	{"tmpfs-", ".tar.gz.img"},
	{"tmpfs-dev-", ".tar.gz.img"},
};

static bool is_of_kind(const char *name, const char *prefix, const char *end)
{
	size_t length = strlen(prefix);
	size_t digits = strncmp(name, prefix, length) ? 0 : strspn(name + length, "0123456789");

	return digits > 0 && !strcmp(name + length + digits, end);
}

static bool reads(int file, uint32_t *number, uint64_t offset)
{
	return pread(file, number, sizeof(*number), (off_t)offset) == sizeof(*number);
}

/* The number that the file begins with, 0: none. */
static uint32_t magic_of(int folder, const char *name)
{
	int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	uint32_t magic = 0;

	if (file < 0)
		return 0;
	if (!reads(file, &magic, 0))
		magic = 0;
	close(file);
	return magic;
}

bool criu_image_begins(int folder, const char *name)
{
	uint32_t magic = magic_of(folder, name);

	return magic == MAGIC_COMMON || magic == MAGIC_SERVICE || magic == MAGIC_INVENTORY;
}

bool criu_image_is_named(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(without_magic) / sizeof(without_magic[0]); i++)
		if (is_of_kind(name, without_magic[i].prefix, without_magic[i].end))
			return true;
	return false;
}

bool criu_inventory_is_there(int folder)
{
	return magic_of(folder, "inventory.img") == MAGIC_INVENTORY;
}

static bool is_whole(int file, uint64_t bytes, bool has_more)
{
	uint32_t number = 0;
	uint64_t at;

	if (bytes < HEADER_BYTES || !reads(file, &number, 0) || number != MAGIC_COMMON)
		return false;
	for (at = HEADER_BYTES; !has_more && at < bytes; at += sizeof(number) + number)
		if (!reads(file, &number, at))
			return false;
	return has_more || at == bytes;
}

static int check_image(int folder, const struct folder_entry *entry, bool has_more, struct error_text *error)
{
	int file = open_regular(folder, entry->name, error);
	bool whole;

	if (file < 0)
		return file;
	whole = is_whole(file, entry->bytes, has_more);
	close(file);
	return whole ? 0
		     : fail(error, -EIO,
			    "CRIU did not write all of %s and took no notice of it: see \"Error flushing image\" in "
			    "its "
			    "log, free space on the disk, and dump again",
			    entry->name);
}

int criu_image_check(int folder, struct error_text *error)
{
	struct folder_entry *entries = NULL;
	size_t count = 0, i, kind;
	int result = folder_list_images(folder, &entries, &count, error);

	for (i = 0; i < count && result == 0; i++)
		for (kind = 0; kind < sizeof(written_by_children) / sizeof(written_by_children[0]); kind++)
			if (is_of_kind(entries[i].name, written_by_children[kind].prefix, ".img"))
				result = check_image(folder, &entries[i], written_by_children[kind].has_more, error);
	folder_entries_free(entries, count);
	return result;
}
