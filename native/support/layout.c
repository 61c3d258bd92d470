/* SPDX-License-Identifier: MIT */
#include "support/layout.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACES_MAX 5
/* From lib/MULTIARCH/rekindle/criu/cuda_plugin.so, the deepest of them, it is four folders up to the prefix. */
#define FOLDERS_UP 4

/* Seen from a folder that holds one of the parts, or from one above it. */
static const char *const places[][PLACES_MAX] = {
	/* installed; bundle; build tree, which shares one criu among its builds */
	[LAYOUT_CRIU] = {"libexec/rekindle/criu", "criu/bin/criu", "../criu/rekindle/criu/criu"},
	[LAYOUT_PLUGIN] = {"criu/cuda_plugin.so", "rekindle/criu/cuda_plugin.so", "lib/criu/cuda_plugin.so"},
	[LAYOUT_AGENT] = {"librekindle-preload.so", "rekindle/librekindle-preload.so", "lib/librekindle-preload.so"},
	[LAYOUT_POOL] = {"rekindled", "bin/rekindled", "libexec/rekindle/rekindled"},
	[LAYOUT_SEAL] = {"rekindle-seal", "bin/rekindle-seal", "libexec/rekindle/rekindle-seal"},
};

static bool is_usable(enum layout_part part, const char *path)
{
	bool program = part == LAYOUT_CRIU || part == LAYOUT_POOL || part == LAYOUT_SEAL;
	struct stat status;

	return !stat(path, &status) && S_ISREG(status.st_mode) && !access(path, program ? X_OK : R_OK);
}

bool layout_find_from(const char *file, enum layout_part part, char path[PATH_MAX])
{
	char folder[PATH_MAX], candidate[PATH_MAX + 64];
	char *end;

	if (!realpath(file, folder))
		return false;
	for (int up = 0; up <= FOLDERS_UP && (end = strrchr(folder, '/')); up++) {
		*end = '\0';
		for (size_t index = 0; index < PLACES_MAX && places[part][index]; index++) {
			snprintf(candidate, sizeof(candidate), "%s/%s", folder, places[part][index]);
			if (is_usable(part, candidate) && realpath(candidate, path))
				return true;
		}
	}
	return false;
}

bool layout_find(enum layout_part part, char path[PATH_MAX])
{
	static const char here;
	Dl_info file;

	if (!dladdr(&here, &file) || !file.dli_fname)
		return false;
	/* Of a program, the loader knows only what it was called as. */
	return layout_find_from(strchr(file.dli_fname, '/') ? file.dli_fname : "/proc/self/exe", part, path);
}
