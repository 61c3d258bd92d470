/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SUPPORT_LAYOUT_H
#define REKINDLE_SUPPORT_LAYOUT_H

#include <limits.h>
#include <stdbool.h>

/*
 * Where the parts of one release are, seen from whichever of them asks: in a build tree, in a bundle, unpacked from a jar,
 * and installed. Whoever moves a part changes layout.c, and nothing else.
 */

enum layout_part {
	LAYOUT_CRIU,   /* the criu program that was built with it */
	LAYOUT_PLUGIN, /* cuda_plugin.so, alone in its folder */
	LAYOUT_AGENT,  /* librekindle-preload.so */
	LAYOUT_POOL,   /* rekindled */
	LAYOUT_SEAL,   /* rekindle-seal */
};

/* Writes the real path of a part; false where it is in none of its places (and path holds nothing of use). */
bool layout_find(enum layout_part part, char path[PATH_MAX]);

/* The same, seen from a file that is not this one. */
bool layout_find_from(const char *file, enum layout_part part, char path[PATH_MAX]);

#endif
