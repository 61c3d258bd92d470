/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "settings/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];
static struct settings settings;
static struct error_text error;

/* Every test starts with an environment of nothing and a file of nothing. */
static int make_file(void **state)
{
	int fd;

	(void)state;
	clearenv();
	snprintf(path, sizeof(path), "/tmp/settings-test-XXXXXX");
	fd = mkstemp(path);
	if (fd < 0)
		return -1;
	close(fd);
	memset(&error, 0, sizeof(error));
	return 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void has_defaults(void **state)
{
	(void)state;
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_false(settings.context_pool);
	assert_true(settings.parallel_restore);
	assert_in_range(settings.streams, 1, 16);
	assert_int_equal(settings.chunk_bytes, 16 << 20);
	assert_int_equal(settings.ring_bytes, settings.streams * (8u << 20));
	assert_true(settings.checksums);
	assert_false(settings.read_ahead);
	assert_false(settings.copy_while_running);
	assert_false(settings.verify_images);
	assert_int_equal(settings.idle_seconds, 600);
	assert_int_equal(settings.timeout_seconds, 600);
	assert_string_equal(settings.pool_socket, "/run/rekindle/pool.sock");
	assert_string_equal(settings.pool_program, "");
	assert_string_equal(settings.cuda_driver, "");
}

static void reads_the_file(void **state)
{
	(void)state;
	write_file("# comment\n[rekindle]\nCRIU_CUDA_CONTEXT_POOL = 1\nCRIU_CUDA_STREAMS=4\nREKINDLE_CHUNK_SIZE = 32M\n"
		   "REKINDLE_RING_SIZE = 1g\nREKINDLE_POOL_SOCKET = /run/other.sock ; comment\nREKINDLE_TIMEOUT = 5\n");
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_true(settings.context_pool);
	assert_int_equal(settings.streams, 4);
	assert_int_equal(settings.chunk_bytes, 32 << 20);
	assert_int_equal(settings.ring_bytes, 1 << 30);
	assert_string_equal(settings.pool_socket, "/run/other.sock");
	assert_int_equal(settings.timeout_seconds, 5);
}

static void environment_wins(void **state)
{
	(void)state;
	write_file("[rekindle]\nCRIU_CUDA_STREAMS=4\nREKINDLE_CHECKSUMS=0\n");
	setenv("CRIU_CUDA_STREAMS", "7", 1);
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_int_equal(settings.streams, 7);
	assert_false(settings.checksums);
	assert_int_equal(settings.ring_bytes, 7 * (8 << 20));
	setenv("REKINDLE_RING_SIZE", "48M", 1);
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_int_equal(settings.ring_bytes, 48 << 20);
}

/* Each setting, and each of another value than its default and than the others. */
static void every_setting_comes_from_the_environment(void **state)
{
	(void)state;
	setenv("CRIU_CUDA_CONTEXT_POOL", "1", 1);
	setenv("CRIU_CUDA_PARALLEL_RESTORE", "0", 1);
	setenv("CRIU_CUDA_STREAMS", "3", 1);
	setenv("REKINDLE_CHUNK_SIZE", "4M", 1);
	setenv("REKINDLE_RING_SIZE", "56M", 1);
	setenv("REKINDLE_CHECKSUMS", "0", 1);
	setenv("REKINDLE_READ_AHEAD", "1", 1);
	setenv("REKINDLE_COPY_WHILE_RUNNING", "1", 1);
	setenv("REKINDLE_VERIFY_IMAGES", "1", 1);
	setenv("REKINDLE_POOL_IDLE", "7", 1);
	setenv("REKINDLE_TIMEOUT", "8", 1);
	setenv("REKINDLE_DEVICE_MAP", "0=1,1=0", 1);
	setenv("REKINDLE_POOL_SOCKET", "/run/a.sock", 1);
	setenv("REKINDLE_POOL_PROGRAM", "/usr/bin/a-pool", 1);
	setenv("REKINDLE_CUDA_DRIVER", "/usr/lib/a-driver.so", 1);
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_true(settings.context_pool);
	assert_false(settings.parallel_restore);
	assert_int_equal(settings.streams, 3);
	assert_int_equal(settings.chunk_bytes, 4 << 20);
	assert_int_equal(settings.ring_bytes, 56 << 20);
	assert_false(settings.checksums);
	assert_true(settings.read_ahead);
	assert_true(settings.copy_while_running);
	assert_true(settings.verify_images);
	assert_int_equal(settings.idle_seconds, 7);
	assert_int_equal(settings.timeout_seconds, 8);
	assert_string_equal(settings.device_map, "0=1,1=0");
	assert_string_equal(settings.pool_socket, "/run/a.sock");
	assert_string_equal(settings.pool_program, "/usr/bin/a-pool");
	assert_string_equal(settings.cuda_driver, "/usr/lib/a-driver.so");
}

static void environment_names_the_file(void **state)
{
	(void)state;
	write_file("[rekindle]\nREKINDLE_TIMEOUT=17\n");
	setenv("REKINDLE_CONFIGURATION", path, 1);
	assert_int_equal(settings_load(&settings, NULL, &error), 0);
	assert_int_equal(settings.timeout_seconds, 17);
	setenv("REKINDLE_CONFIGURATION", "rekindle.conf", 1);
	assert_int_equal(settings_load(&settings, NULL, &error), -EINVAL);
	assert_non_null(strstr(error.text, "REKINDLE_CONFIGURATION=rekindle.conf"));
}

static void ignores_other_parts(void **state)
{
	(void)state;
	setenv("REKINDLE_SIMCUDA_FAIL", "cuMemCreate", 1);
	setenv("REKINDLE_CRIU", "/usr/sbin/criu", 1);
	setenv("CRIU_LIBS_DIR", "/usr/lib/criu", 1);
	assert_int_equal(settings_load(&settings, path, &error), 0);
}

static void named_file_must_exist(void **state)
{
	(void)state;
	assert_int_equal(settings_load(&settings, "/nonexistent/rekindle.conf", &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nonexistent/rekindle.conf"));
}

static void names_what_is_wrong_in_the_environment(void **state)
{
	static const char *const wrong[][2] = {
		{"CRIU_CUDA_CONTEXT_POOL", "2"},
		{"CRIU_CUDA_CONTEXT_POOL", "yes"},
		{"REKINDLE_POOL_PROGRAM", "bin/rekindled"},
		{"REKINDLE_CUDA_DRIVER", "./libcuda.so.1"},
		{"REKINDLE_AGENT_MINIMUN", "4M"},
		{"CRIU_CUDA_CONTEXT_POOL", ""},
		{"CRIU_CUDA_PARALLEL_RESTORE", "-1"},
		{"CRIU_CUDA_STREAMS", "0"},
		{"CRIU_CUDA_STREAMS", "65"},
		{"CRIU_CUDA_STREAMS", "4 "},
		{"CRIU_CUDA_STREAMS", "4M"},
		{"CRIU_CUDA_STREAMS", "0x4"},
		{"CRIU_CUDA_STREAMS", "18446744073709551617"},
		{"CRIU_CUDA_STREAMSS", "4"},
		{"REKINDLE_CHUNK_SIZE", "1M"},
		{"REKINDLE_CHUNK_SIZE", "3M"},
		{"REKINDLE_CHUNK_SIZE", "66M"},
		{"REKINDLE_CHUNK_SIZE", "16MB"},
		{"REKINDLE_RING_SIZE", "7M"},
		{"REKINDLE_RING_SIZE", "17G"},
		{"REKINDLE_RING_SIZE", "17179869185G"},
		{"REKINDLE_CHECKSUMS", "true"},
		{"REKINDLE_READ_AHEAD", "3"},
		{"REKINDLE_COPY_WHILE_RUNNING", "2"},
		{"REKINDLE_VERIFY_IMAGES", "yes"},
		{"REKINDLE_POOL_IDLE", "604801"},
		{"REKINDLE_TIMEOUT", "0"},
		{"REKINDLE_TIMEOUT", "86401"},
		{"REKINDLE_DEVICE_MAP", "0=1,"},
		{"REKINDLE_DEVICE_MAP", "first"},
		{"REKINDLE_POOL_SOCKET", ""},
		{"REKINDLE_POOL_SOCKET", "pool.sock"},
		{"REKINDLE_POOL_PROGRAM", ""},
		{"REKINDLE_SOMETHING", "1"},
		{"REKINDLE_CRIUX", "1"},
	};

	(void)state;
	for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
		clearenv();
		setenv(wrong[index][0], wrong[index][1], 1);
		assert_int_equal(settings_load(&settings, path, &error), -EINVAL);
		assert_non_null(strstr(error.text, wrong[index][0]));
	}
}

static void refuses_a_path_that_does_not_fit(void **state)
{
	char value[109];

	(void)state;
	memset(value, 'a', sizeof(value));
	value[0] = '/';
	value[108] = '\0';
	setenv("REKINDLE_POOL_SOCKET", value, 1);
	assert_int_equal(settings_load(&settings, path, &error), -EINVAL);
	assert_non_null(strstr(error.text, "REKINDLE_POOL_SOCKET"));
	value[107] = '\0';
	setenv("REKINDLE_POOL_SOCKET", value, 1);
	assert_int_equal(settings_load(&settings, path, &error), 0);
	assert_string_equal(settings.pool_socket, value);
}

static void names_what_is_wrong_in_the_file(void **state)
{
	static const char *const wrong[][2] = {
		{"[rekindle]\nCRIU_CUDA_STREAMS = 900\n", "CRIU_CUDA_STREAMS"},
		{"[rekindle]\nSTREAMS = 9\n", "STREAMS"},
		{"[other]\nCRIU_CUDA_STREAMS = 9\n", "[other]"},
		{"CRIU_CUDA_STREAMS = 9\n", "CRIU_CUDA_STREAMS"},
		{"[rekindle]\nnonsense\n", "line 2"},
	};

	(void)state;
	for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
		write_file(wrong[index][0]);
		assert_int_equal(settings_load(&settings, path, &error), -EINVAL);
		assert_non_null(strstr(error.text, wrong[index][1]));
		assert_non_null(strstr(error.text, path));
	}
}

static void refuses_a_line_that_is_too_long(void **state)
{
	char text[400];

	(void)state;
	snprintf(text, sizeof(text), "[rekindle]\nREKINDLE_POOL_PROGRAM = /%0240d\n", 0);
	write_file(text);
	assert_int_equal(settings_load(&settings, path, &error), -EINVAL);
	assert_non_null(strstr(error.text, "line 2"));
}

static void assert_refused(const char *sentence)
{
	assert_int_equal(settings_load(&settings, path, &error), -EINVAL);
	assert_non_null(strstr(error.text, path));
	if (!strstr(error.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", error.text, sentence);
}

static void refuses_a_file_that_others_may_write(void **state)
{
	(void)state;
	write_file("[rekindle]\nCRIU_CUDA_STREAMS=4\n");
	chmod(path, 0644);
	assert_int_equal(settings_load(&settings, path, &error), 0);
	chmod(path, 0664);
	assert_refused("chmod go-w");
	chmod(path, 0602);
	assert_refused("chmod go-w");
	chmod(path, 0600);
	if (chown(path, 65534, 0))
		skip(); /* needs root */
	assert_refused("chown");
}

static void refuses_what_is_no_file(void **state)
{
	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused("no regular file"); /* and does not wait for somebody who writes it */
	unlink(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_refused("no regular file");
}

static void refuses_code_that_others_may_write(void **state)
{
	static const char *const settings_of_code[] = {"REKINDLE_POOL_PROGRAM", "REKINDLE_CUDA_DRIVER"};

	(void)state;
	for (size_t index = 0; index < 2; index++) {
		clearenv();
		chmod(path, 0755);
		setenv(settings_of_code[index], path, 1);
		assert_int_equal(settings_load(&settings, "/dev/null", &error), 0);
		chmod(path, 0757);
		assert_int_equal(settings_load(&settings, "/dev/null", &error), -EINVAL);
		assert_non_null(strstr(error.text, settings_of_code[index]));
		assert_non_null(strstr(error.text, "chmod go-w"));
		chmod(path, 0775);
		assert_int_equal(settings_load(&settings, "/dev/null", &error), -EINVAL);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_file, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(has_defaults),
		TEST(reads_the_file),
		TEST(environment_wins),
		TEST(every_setting_comes_from_the_environment),
		TEST(environment_names_the_file),
		TEST(ignores_other_parts),
		TEST(named_file_must_exist),
		TEST(names_what_is_wrong_in_the_environment),
		TEST(refuses_a_path_that_does_not_fit),
		TEST(names_what_is_wrong_in_the_file),
		TEST(refuses_a_line_that_is_too_long),
		TEST(refuses_a_file_that_others_may_write),
		TEST(refuses_what_is_no_file),
		TEST(refuses_code_that_others_may_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
