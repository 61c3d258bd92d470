/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_TREE_CHECK_H
#define REKINDLE_PLUGIN_TREE_CHECK_H

#include <sys/types.h>

#include "support/error_text.h"

/*
 * Looks for everything in the tree that a dump of it would meet, and refuses with all of it at once: 0, -EBUSY where
 * others hold it, -ENOTSUP, or another negative errno code. A tree without CUDA is CRIU's alone: 0.
 */
int tree_check(pid_t root, struct error_text *error);

#endif
