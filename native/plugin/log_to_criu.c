/* SPDX-License-Identifier: MIT */
#include "plugin/log_to_criu.h"

#include <stdio.h>

#include "plugin/criu_plugin_abi.h"
#include "support/log.h"

/* CRIU numbers its levels as we do: 1 error, 2 warning, 3 information, 4 debug. */
static void write_to_criu(enum log_level level, const char *line, void *context)
{
	/* The words that CRIU's own lines begin with, which people and programs search its log for. */
	const char *word = level == LOG_LEVEL_ERROR	? "Error (rekindle): "
			   : level == LOG_LEVEL_WARNING ? "Warn  (rekindle): "
							: "";

	(void)context;
	if (print_on_level)
		print_on_level(level, "%scuda_plugin: %s\n", word, line);
	else if (level <= LOG_LEVEL_WARNING)
		fprintf(stderr, "%scuda_plugin: %s\n", word, line);
}

void criu_log_open(void)
{
	log_set_sink(write_to_criu, NULL, LOG_LEVEL_DEBUG);
}
