/* SPDX-License-Identifier: MIT */
#include "plugin/failure_report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/pool_protocol.h"
#include "support/clock.h"
#include "support/log.h"

#define FILE_NAME POOL_STATISTICS_FILE

static void write_json_string(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text; text++) {
		unsigned char character = (unsigned char)*text;

		if (character == '"' || character == '\\')
			fprintf(file, "\\%c", character);
		else if (character < 0x20)
			fprintf(file, "\\u%04x", character);
		else
			fputc(character, file);
	}
	fputc('"', file);
}

void failure_report_write(int work_folder, uint32_t stage, uint64_t began, const char *sentence)
{
	static const char temporary[] = "." FILE_NAME ".new";
	int descriptor = openat(work_folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
	int bad;

	if (!file) {
		log_warning("cannot write " FILE_NAME ": %s", strerror(errno));
		if (descriptor >= 0)
			close(descriptor);
		return;
	}
	fprintf(file, "{\n  \"kind\": \"%s\",\n  \"succeeded\": false,\n  \"failure\": ",
		stage == POOL_STAGE_DUMP ? "checkpoint" : "restore");
	write_json_string(file, sentence);
	fprintf(file, ",\n  \"start\": %" PRIu64 ",\n  \"duration\": %" PRIu64 ",\n  \"processes\": []\n}\n", began,
		monotonic_nanoseconds() - began);
	bad = ferror(file);
	if (fclose(file) || bad || renameat(work_folder, temporary, work_folder, FILE_NAME)) {
		log_warning("cannot write " FILE_NAME ": %s", strerror(errno));
		unlinkat(work_folder, temporary, 0);
	}
}
