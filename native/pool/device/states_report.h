/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_STATES_REPORT_H
#define REKINDLE_POOL_DEVICE_STATES_REPORT_H

#include <stdio.h>

#include "protocol/process_states.h"
#include "settings/settings.h"
#include "support/error_text.h"

/*
 * A line for each process (protocol/process_states.h), as the driver says. Makes no context, and stops nothing: a thread
 * of the process that a signal, a tracer or a filter of system calls may keep from answering is not asked.
 */
int process_states_print(const struct settings *settings, char *const *pids, int count, FILE *output,
			 struct error_text *error);

#endif
