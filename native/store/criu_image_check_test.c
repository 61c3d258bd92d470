/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/criu_image_check.h"
#include "store/image_test_support.h"

/* Two magics, an entry of 3 bytes, one of none and one of 5. */
static const char whole[] = "\x19\x43\x56\x54\x01\x02\x03\x04"
			    "\x03\0\0\0abc"
			    "\0\0\0\0"
			    "\x05\0\0\0abcde";
#define WHOLE_BYTES (sizeof(whole) - 1)

static void put(int folder, const char *name, const char *bytes, size_t count)
{
	int file = openat(folder, name, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert_int_equal(write(file, bytes, count), (ssize_t)count);
	close(file);
}

static int check(int folder, const char *name, const char *bytes, size_t count)
{
	struct error_text error = {""};
	int result;

	put(folder, name, bytes, count);
	result = criu_image_check(folder, &error);
	assert_int_equal(strstr(error.text, name) != NULL, result != 0);
	assert_int_equal(unlinkat(folder, name, 0), 0);
	return result;
}

/* What a criu leaves that could not write: nothing, or what went before. */
static void each_cut_is_noticed_but_between_entries(void **state)
{
	static const char *const kinds[] = {"utsns-10.img", "timens-1.img", "ipcns-var-2.img", "netdev-9.img",
					    "netns-9.img"};
	struct folder_fixture *fixture = *state;
	size_t i, bytes;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (bytes = 0; bytes <= WHOLE_BYTES; bytes++)
			assert_int_equal(check(fixture->folder, kinds[i], whole, bytes),
					 bytes == 8 || bytes == 15 || bytes == 19 || bytes == WHOLE_BYTES ? 0 : -EIO);
}

static void what_is_no_image_is_noticed(void **state)
{
	struct folder_fixture *fixture = *state;

	assert_int_equal(check(fixture->folder, "timens-1.img", "0123456701", 10), -EIO);
	assert_int_equal(check(fixture->folder, "timens-1.img", "\x19\x43\x56\x54 kind\xff\xff\xff\xff", 12), -EIO);
}

/* What CRIU alone can read has to begin as it should. */
static void other_contents_are_criu_s(void **state)
{
	struct folder_fixture *fixture = *state;

	assert_int_equal(check(fixture->folder, "ipcns-sem-1.img", whole, WHOLE_BYTES - 1), 0);
	assert_int_equal(check(fixture->folder, "ipcns-msg-1.img", whole, 7), -EIO);
	assert_int_equal(check(fixture->folder, "ipcns-shm-1.img", "", 0), -EIO);
}

/* Written by criu itself, which notices, or by other programs, or nobody's business. */
static void other_files_may_be_anything(void **state)
{
	static const char *const others[] = {"netns-ct-1.img", "pages-1.img",	  "core-1.img",	 "timens-.img",
					     "timens-1x.img",  "my-timens-1.img", "ifaddr-1.img"};
	struct folder_fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(check(fixture->folder, others[i], "", 0), 0);
}

/* Of those that begin with nothing of CRIU's, each has a number. */
static void names_of_criu_and_others(void **state)
{
	static const char *const named[] = {"pages-1.img",    "pages-shmem-12.img", "route6-9.img",
					    "netns-ct-7.img", "tmpfs-3.tar.gz.img", "tmpfs-dev-44.tar.gz.img"};
	static const char *const others[] = {"backup-2.img",   "disk-1.img", "pages-.img",   "pages.img",
					     "my-pages-1.img", "core-1.img", "pages-1a.img", "tmpfs-3.img"};
	struct folder_fixture *fixture = *state;
	size_t i;

	for (i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		assert_true(criu_image_is_named(named[i]));
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(criu_image_is_named(others[i]));

	assert_false(criu_inventory_is_there(fixture->folder));
	put(fixture->folder, "inventory.img", "my own", 6);
	assert_false(criu_inventory_is_there(fixture->folder));
	put(fixture->folder, "inventory.img", "\x16\x31\x31\x58", 4);
	assert_true(criu_inventory_is_there(fixture->folder));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(each_cut_is_noticed_but_between_entries),
		FOLDER_TEST(what_is_no_image_is_noticed),
		FOLDER_TEST(other_contents_are_criu_s),
		FOLDER_TEST(other_files_may_be_anything),
		FOLDER_TEST(names_of_criu_and_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
