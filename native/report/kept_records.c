/* SPDX-License-Identifier: MIT */
#include "report/kept_records.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FORM "[0-9]*T[0-9]*.[0-9]*-*-[0-9]*"

static int is_of_the_form(const struct dirent *entry)
{
	return !fnmatch(FORM, entry->d_name, FNM_PERIOD);
}

/* What another process has removed meanwhile is gone too. */
static void remove_record(int folder, const char *name)
{
	int record = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (record < 0)
		return;
	unlinkat(record, RUN_RECORD_FILE, 0);
	close(record);
	unlinkat(folder, name, AT_REMOVEDIR);
}

/* Their names are in the order of their times. */
static void remove_oldest(int folder)
{
	struct dirent **entries;
	int count = scandirat(folder, ".", &entries, is_of_the_form, alphasort);

	if (count < 0)
		return;
	for (int i = 0; i < count; i++) {
		if (i + KEPT_RECORDS_MAX < count)
			remove_record(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

static void choose_name(const struct run_record *record, struct kept_record *kept)
{
	struct timespec now;
	struct tm date;
	char day[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &date);
	strftime(day, sizeof(day), "%Y%m%dT%H%M%S", &date);
	snprintf(kept->name, sizeof(kept->name), "%s.%06ld-%s-%d", day, now.tv_nsec / 1000,
		 record->dump ? "checkpoint" : "restore", record->process_count ? (int)record->processes[0].pid : 0);
}

static int make_folder(int folder, const struct run_record *record, struct kept_record *kept)
{
	bool again = kept->name[0] != '\0';
	int made;

	if (!again)
		choose_name(record, kept);
	if (mkdirat(folder, kept->name, 0755) && (errno != EEXIST || !again))
		return -errno;
	made = openat(folder, kept->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return made < 0 ? -errno : made;
}

int kept_record_write(const char *folder, const struct run_record *record, struct kept_record *kept)
{
	int all, made, code;

	if (mkdir(folder, 0755) && errno != EEXIST)
		return -errno;
	all = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (all < 0)
		return -errno;
	made = make_folder(all, record, kept);
	code = made < 0 ? made : run_record_write(made, RUN_RECORD_OF_POOL, record);
	if (made >= 0)
		close(made);
	remove_oldest(all);
	close(all);
	return code;
}
