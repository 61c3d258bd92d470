/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_CRIU_IMAGE_CHECK_H
#define REKINDLE_STORE_CRIU_IMAGE_CHECK_H

#include <stdbool.h>

#include "support/error_text.h"

/* Does the file begin as images of CRIU do? */
bool criu_image_begins(int folder, const char *name);
/* Is it the name of one that begins with what it holds: pages, file systems in memory, and some of the network's? */
bool criu_image_is_named(const char *name);
/* Is there an inventory of CRIU's, without which its images are no checkpoint? It is written when nearly all others are. */
bool criu_inventory_is_there(int folder);
/*
 * Are the images of namespaces in this folder whole? CRIU writes them in children of its own, whose failures it overlooks
 * (criu/patches, 18), so a dump that lost one succeeds and does not restore. Everything else it asks for itself. What
 * CRIU does not write at once ends in the middle of an entry or before the first; the two kinds whose entries only CRIU
 * can tell apart are held to begin as images do. -EIO with the file named where one is not whole.
 */
int criu_image_check(int folder, struct error_text *error);

#endif
