/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SETTINGS_PROGRAM_FIND_H
#define REKINDLE_SETTINGS_PROGRAM_FIND_H

#include <limits.h>

#include "settings/settings.h"
#include "support/error_text.h"
#include "support/layout.h"

/* Finds LAYOUT_POOL or LAYOUT_SEAL: of the own release, else in the usual folders. program has room for PATH_MAX. */
int program_find(enum layout_part part, const struct settings *settings, char *program, struct error_text *error);
/* Finds the pool program: as configured, else as the other. */
int pool_program_find(const struct settings *settings, char program[PATH_MAX], struct error_text *error);

#endif
