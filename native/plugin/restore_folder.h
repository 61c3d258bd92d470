/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_RESTORE_FOLDER_H
#define REKINDLE_PLUGIN_RESTORE_FOLDER_H

/*
 * The folder that a restore reads: no dump may change it meanwhile, and what its manifest lists is there, or the restore
 * ends before anything has been started.
 */

/* As init returns it: 0, or -1 with the reason in the log and the statistics. *lock: -1 where none is held. */
int restore_folder_begin(int *lock);
/* CRIU reads no images any more. */
void restore_folder_end(int *lock);

#endif
