/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_CHECKPOINT_MEMBERS_H
#define REKINDLE_STORE_CHECKPOINT_MEMBERS_H

#include "store/checkpoint_manifest.h"
#include "store/folder_files.h"

/*
 * The image files of the checkpoint in a folder, its manifest among them: those that the manifest lists. Where there is none
 * that can be read: what begins as CRIU's images do, and, where CRIU's inventory is there, what is named as the others of CRIU
 * are, and the GPU images. What else lies there is somebody's who keeps it, and no dump removes it. That holds of a GPU image,
 * too, that no manifest lists and whose process runs: a dump may have left it, and the process have its memory there only.
 *
 * With them come all that a file of the newer checkpoint takes the place of, whosever it is: that can be undone. The caller
 * frees the entries.
 */
int checkpoint_members_list(int folder, const struct checkpoint_manifest *newer, struct folder_entry **entries,
			    size_t *count, struct error_text *error);

#endif
