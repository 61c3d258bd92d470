/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/checkpoint_folder.h"
#include "store/checkpoint_manifest.h"
#include "store/folder_test_support.h"

const uint8_t older_id[16] = {1}, new_id[16] = {2};

/* What CRIU begins its files with. */
#define MAGIC "\x19\x43\x56\x54"

void put(int folder, const char *name, const char *text)
{
	int file = openat(folder, name, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert_true(file >= 0);
	assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
	close(file);
}

void seal(int folder, const uint8_t id[16])
{
	struct checkpoint_reading reading = {.threads = 1};
	struct checkpoint_manifest *manifest = NULL;
	struct error_text error;

	assert_int_equal(checkpoint_manifest_make(folder, id, &reading, &manifest, &error), 0);
	assert_int_equal(checkpoint_manifest_write(folder, manifest, &error), 0);
	checkpoint_manifest_free(manifest);
}

void write_older(int folder, bool with_manifest)
{
	unlinkat(folder, "disk.img", 0);
	put(folder, "inventory.img", "\x16\x31\x31\x58 older");
	put(folder, "pstree.img", MAGIC " older");
	put(folder, "core-1.img", MAGIC " older");
	put(folder, "seccomp.img", MAGIC " older");
	put(folder, "pages-7.img", "older");
	if (with_manifest)
		seal(folder, older_id);
	put(folder, "disk.img", "somebody's");
	put(folder, "dump.log", "log");
}

void write_new(int images)
{
	put(images, "inventory.img", "new");
	put(images, "pstree.img", "new");
	put(images, "core-1.img", "new");
	put(images, "core-2.img", "new");
	seal(images, new_id);
}

#define OLDER "core-1.img disk.img dump.log inventory.img pages-7.img pstree.img "
#define OLDER_SEALED OLDER "rekindle-checkpoint.img seccomp.img "
#define OLDER_PLAIN OLDER "seccomp.img "
#define NEW "core-1.img core-2.img disk.img dump.log inventory.img pstree.img rekindle-checkpoint.img "

bool says(int folder, const char *name, const char *text)
{
	char got[64] = "";
	int file = openat(folder, name, O_RDONLY);
	ssize_t count = file < 0 ? -1 : read(file, got, sizeof(got) - 1);

	if (file >= 0)
		close(file);
	return count > 0 && strstr(got, text);
}

void assert_older(const struct folder_fixture *fixture, bool with_manifest)
{
	assert_string_equal(folder_contents(fixture), with_manifest ? OLDER_SEALED : OLDER_PLAIN);
	assert_true(says(fixture->folder, "inventory.img", "older"));
	assert_true(says(fixture->folder, "pstree.img", "older"));
	assert_true(says(fixture->folder, "core-1.img", "older"));
	assert_true(says(fixture->folder, "seccomp.img", "older"));
	assert_true(says(fixture->folder, "disk.img", "somebody's"));
	assert_int_equal(checkpoint_folder_holds(fixture->folder, older_id), with_manifest);
}

void assert_new(const struct folder_fixture *fixture)
{
	assert_string_equal(folder_contents(fixture), NEW);
	assert_true(says(fixture->folder, "inventory.img", "new"));
	assert_true(says(fixture->folder, "core-1.img", "new"));
	assert_true(says(fixture->folder, "disk.img", "somebody's"));
	assert_true(checkpoint_folder_holds(fixture->folder, new_id));
}

int begin_over(const struct folder_fixture *fixture, bool with_manifest)
{
	struct error_text error;
	int images;

	write_older(fixture->folder, with_manifest);
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	assert_true(images >= 0);
	return images;
}
