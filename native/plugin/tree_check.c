/* SPDX-License-Identifier: MIT */
#include "plugin/tree_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inspect/inspection.h"
#include "support/log.h"

#define ARGUMENTS_MAX 256
#define ARGUMENTS_BYTES_MAX (64u << 10)

/* Started by a request (runc, podman) CRIU has its options from there, and no plugin sees them. */
static bool has_options(const char *const *arguments, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (!strcmp(arguments[i], "swrk") || !strcmp(arguments[i], "service"))
			return false;
	return count > 1;
}

static void read_options(struct inspection_options *options)
{
	static char text[ARGUMENTS_BYTES_MAX];
	const char *arguments[ARGUMENTS_MAX];
	size_t count = 0;
	ssize_t length;
	int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	*options = (struct inspection_options){.known = false};
	length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	if (file >= 0)
		close(file);
	/* Cut off, an option that allows something might be missing. */
	if (length <= 0 || (size_t)length == sizeof(text) - 1)
		return;
	text[length] = '\0';
	for (char *at = text; at < text + length; at += strlen(at) + 1) {
		if (count == ARGUMENTS_MAX)
			return;
		arguments[count++] = at;
	}
	if (has_options(arguments, count))
		inspection_options_read(options, arguments + 1, count - 1, getenv("HOME"), getenv("CRIU_CONFIG_FILE"));
}

static bool uses_cuda(const struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->process_count; i++)
		if (inspection->processes[i].has_cuda_library)
			return true;
	return false;
}

int tree_check(pid_t root, struct error_text *error)
{
	struct inspection_options options;
	struct inspection inspection;
	int code;

	read_options(&options);
	code = inspection_run(&inspection, root, &options, error);
	if (!code && inspection.obstacle_count && uses_cuda(&inspection)) {
		/* One is said by whoever reports the failure; of several that sentence may have no room for all. */
		for (size_t i = 0; inspection.obstacle_count > 1 && i < inspection.obstacle_count; i++)
			log_error("%s: %s", inspection.obstacles[i].what, inspection.obstacles[i].remedy);
		inspection_describe(&inspection, error);
		code = inspection_is_busy(&inspection) ? -EBUSY : -ENOTSUP;
	}
	inspection_free(&inspection);
	return code;
}
