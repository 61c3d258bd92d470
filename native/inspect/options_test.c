/* SPDX-License-Identifier: MIT */
#include "inspect/inspection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void options_are_read_as_criu_reads_them(void **state)
{
	static const char *const arguments[] = {"dump",
						"-t",
						"1",
						"--tcp-est",
						"--ghost-limit",
						"4M",
						"--link-remap",
						"-j",
						"--external=file[1:2]",
						"-l",
						"--ext-unix-sk"};
	struct inspection_options options;
	char path[] = "/tmp/inspection-options-test-XXXXXX";
	FILE *file;

	(void)state;
	inspection_options_read(&options, NULL, 0, NULL, NULL);
	assert_true(options.known);
	assert_false(options.connections || options.links || options.shell_job || options.external_files);
	assert_false(options.terminals || options.file_locks || options.datagrams || options.unix_sockets);
	assert_int_equal(options.ghost_bytes, 1 << 20);
	inspection_options_read(&options, arguments, sizeof(arguments) / sizeof(*arguments), NULL, NULL);
	assert_true(options.connections && options.links && options.shell_job && options.external_files);
	assert_int_equal(options.ghost_bytes, 4 << 20);
	assert_true(options.file_locks && options.datagrams);
	assert_false(options.terminals || options.unix_sockets);
	file = fdopen(mkstemp(path), "w");
	assert_non_null(file);
	fputs("# link-remap\ntcp-close\nghost-limit 1G # much\nexternal mnt[]\norphan-pts-master\nexternal unix[7]\n",
	      file);
	fclose(file);
	inspection_options_read(&options, NULL, 0, NULL, path);
	assert_true(options.connections);
	assert_false(options.links || options.file_locks);
	assert_true(options.terminals && options.unix_sockets);
	assert_int_equal(options.ghost_bytes, 1 << 30);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_read_as_criu_reads_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
