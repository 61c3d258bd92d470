/* SPDX-License-Identifier: MIT */
#include "store/folder_test_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/folder_test_support.h"

int __real_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags);
int __real_renameat(int from_folder, const char *from, int to_folder, const char *to);
int __real_unlinkat(int folder, const char *name, int flags);
int __real_mkdirat(int folder, const char *name, mode_t mode);

struct folder_step step;
struct folder_calls calls;

static void note(const char *call, const char *name)
{
	calls.length +=
		(size_t)snprintf(calls.text + calls.length, sizeof(calls.text) - calls.length, "%s %s ", call, name);
	if (calls.length >= sizeof(calls.text) / 2)
		calls.length = 0;
}

static bool is_due(void)
{
	if (step.countdown == 0 || --step.countdown)
		return false;
	if (step.code == 0)
		_exit(77);
	errno = step.code;
	return true;
}

int __wrap_linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
	if (step.without_links) {
		errno = EPERM;
		return -1;
	}
	return is_due() ? -1 : __real_linkat(from_folder, from, to_folder, to, flags);
}

int __wrap_renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	note("rename", to);
	return is_due() ? -1 : __real_renameat(from_folder, from, to_folder, to);
}

int __wrap_unlinkat(int folder, const char *name, int flags)
{
	note("unlink", name);
	if (step.lasting && !strcmp(name, step.lasting)) {
		errno = step.code;
		return -1;
	}
	return is_due() ? -1 : __real_unlinkat(folder, name, flags);
}

int __wrap_mkdirat(int folder, const char *name, mode_t mode)
{
	return is_due() ? -1 : __real_mkdirat(folder, name, mode);
}

/* Only noted: thousands of them would take the disk's time, and nobody looks at the disk here. */
int __wrap_fsync(int file)
{
	char link[32], path[256];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	length = readlink(link, path, sizeof(path) - 1);
	path[length > 0 ? length : 0] = '\0';
	note("flush", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	if (step.flush_code) {
		errno = step.flush_code;
		return -1;
	}
	if (length < 0)
		errno = EBADF;
	return length < 0 || is_due() ? -1 : 0;
}

const char *next_call(const char *from, const char *call, const char *name)
{
	char text[128];
	const char *found;

	snprintf(text, sizeof(text), "%s %s ", call, name);
	found = strstr(from, text);
	if (!found)
		print_error("no \"%s\" in: %s\n", text, from);
	assert_non_null(found);
	return found + strlen(text);
}

const char *last_call(const char *call, const char *name)
{
	const char *at = next_call(calls.text, call, name);
	char text[128];

	snprintf(text, sizeof(text), "%s %s ", call, name);
	while (strstr(at, text))
		at = next_call(at, call, name);
	return at;
}
