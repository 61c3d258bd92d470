/* SPDX-License-Identifier: MIT */
/* Each layout there is: the parts find each other, whichever of them asks, and nothing else is taken for one. */
#include "support/layout.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/layout-test-XXXXXX";

static const char *inside(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void make(const char *name, mode_t mode)
{
	char path[PATH_MAX];
	int file;

	snprintf(path, sizeof(path), "%s", inside(name));
	for (char *end = path + strlen(root) + 1; (end = strchr(end, '/')); end++) {
		*end = '\0';
		mkdir(path, 0700);
		*end = '/';
	}
	file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
	assert_true(file >= 0);
	close(file);
}

static void assert_found(const char *from, enum layout_part part, const char *expected)
{
	char asking[PATH_MAX], found[PATH_MAX] = "nothing";

	snprintf(asking, sizeof(asking), "%s", inside(from));
	assert_true(layout_find_from(asking, part, found));
	assert_string_equal(found, inside(expected));
}

static void assert_all_found(const char *library, const char *plugin, const char *agent, const char *pool,
			     const char *seal, const char *criu)
{
	const char *const asking[] = {library, plugin, pool};

	make(library, 0600);
	make(plugin, 0600);
	make(agent, 0600);
	make(pool, 0700);
	make(seal, 0700);
	make(criu, 0700);
	assert_found(library, LAYOUT_PLUGIN, plugin);
	assert_found(library, LAYOUT_AGENT, agent);
	for (size_t i = 0; i < sizeof(asking) / sizeof(asking[0]); i++) {
		assert_found(asking[i], LAYOUT_POOL, pool);
		assert_found(asking[i], LAYOUT_SEAL, seal);
		assert_found(asking[i], LAYOUT_CRIU, criu);
	}
}

static void test_build_tree(void **state)
{
	(void)state;
	assert_all_found("build/release/lib/librekindle.so.0", "build/release/lib/criu/cuda_plugin.so",
			 "build/release/lib/librekindle-preload.so", "build/release/bin/rekindled",
			 "build/release/bin/rekindle-seal", "build/criu/rekindle/criu/criu");
}

/* The plugin where CRIU looks for plugins, the agent where no architecture is in its name. */
static void test_installed(void **state)
{
	(void)state;
	assert_all_found("usr/lib/x86_64-linux-gnu/librekindle.so.0", "usr/lib/criu/cuda_plugin.so",
			 "usr/lib/rekindle/librekindle-preload.so", "usr/libexec/rekindle/rekindled",
			 "usr/libexec/rekindle/rekindle-seal", "usr/libexec/rekindle/criu");
}

static void test_bundle(void **state)
{
	(void)state;
	assert_all_found("bundle/lib/librekindle.so", "bundle/lib/criu/cuda_plugin.so",
			 "bundle/lib/librekindle-preload.so", "bundle/bin/rekindled", "bundle/bin/rekindle-seal",
			 "bundle/criu/bin/criu");
}

static void test_what_cannot_be_used_is_not_found(void **state)
{
	char found[PATH_MAX];

	(void)state;
	make("other/lib/librekindle.so", 0600);
	make("other/bin/rekindled", 0600);
	mkdir(inside("other/criu"), 0700);
	mkdir(inside("other/criu/bin"), 0700);
	mkdir(inside("other/criu/bin/criu"), 0700);
	assert_false(layout_find_from(inside("other/lib/librekindle.so"), LAYOUT_POOL, found));
	assert_false(layout_find_from(inside("other/lib/librekindle.so"), LAYOUT_CRIU, found));
	assert_false(layout_find_from(inside("other/lib/no-such-file"), LAYOUT_CRIU, found));
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf -- %s", root);
	return system(command); /* NOLINT(cert-env33-c): the test's own folder */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_tree),
		cmocka_unit_test(test_installed),
		cmocka_unit_test(test_bundle),
		cmocka_unit_test(test_what_cannot_be_used_is_not_found),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
