/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_CRIU_CRIU_LOG_H
#define REKINDLE_API_CRIU_CRIU_LOG_H

#include <stddef.h>

/* How it learns what the kernel does with TCP, where it has not kept that of an earlier run: it connects to itself. */
#define CRIU_LOG_NO_LOOPBACK "Unable to connect a socket: Network is unreachable"
#define CRIU_LOG_NO_LOOPBACK_ADVICE "the network that criu runs in has no loopback: run 'ip link set lo up' there"

/* What a log of CRIU says about a failure. */
struct criu_log_excerpt {
	char lines[4096];	/* the last error lines that fit, whole, newline after each but the last */
	char first_error[512];	/* text of the first error line, without time, pid and source place */
	char last_error[512];	/* likewise of the last one */
	char plugin_error[512]; /* likewise of the last one that our plugin wrote, "" where it wrote none */
	char version[64];	/* CRIU's version, "" where the log does not say it */
	int reader_threads;	/* the most that the patched CRIU read an image with, 0 where the log names none */
};

/* Reads a log file. Returns 0 or a negative errno code; the excerpt is empty then. */
int criu_log_read(const char *path, struct criu_log_excerpt *excerpt);
/* The same from text gathered otherwise, such as CRIU's stderr; every line of it counts as an error line. */
void criu_log_parse(const char *text, size_t length, struct criu_log_excerpt *excerpt);

/* Takes time, pid and source place off an error line. */
void criu_log_strip(char *line);

#endif
