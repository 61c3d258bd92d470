/* SPDX-License-Identifier: MIT */
#include "api/call/criu_arguments.h"

#include <stddef.h>
#include <string.h>

/* Of CRIU 4.2.1, crtools.c and config.c. */
static const char *const our_options[] = {
	"help",	   "version",	       "images-dir",	  "work-dir", "log-file",      "tree",		"libdir",
	"pidfile", "restore-detached", "restore-sibling", "daemon",   "leave-running", "leave-stopped",
};
static const char *const without_pages[] = {"page-server", "lazy-pages", "stream"};
static const char letters[] = "hVDWotLdSRs";
/* Of the other letters: what follows is its value. */
static const char with_value[] = "vxrJM";

/* A long option may be cut short and have its value in itself. */
static bool is_one_of(const char *argument, const char *const *options, size_t count)
{
	size_t i, length = strcspn(argument, "=");

	for (i = 0; length > 2 && i < count; i++)
		if (!strncmp(options[i], argument + 2, length - 2))
			return true;
	return false;
}

bool criu_argument_is_ours(const char *argument)
{
	size_t i;

	if (argument[0] != '-' || !argument[1])
		return false;
	if (argument[1] != '-') {
		for (i = 1; argument[i] && !strchr(with_value, argument[i]); i++)
			if (strchr(letters, argument[i]))
				return true;
		return false;
	}
	return is_one_of(argument, our_options, sizeof(our_options) / sizeof(our_options[0]));
}

bool criu_argument_keeps_pages_out(const char *argument)
{
	return !strncmp(argument, "--", 2) &&
	       is_one_of(argument, without_pages, sizeof(without_pages) / sizeof(without_pages[0]));
}
