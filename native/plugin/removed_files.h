/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_REMOVED_FILES_H
#define REKINDLE_PLUGIN_REMOVED_FILES_H

/*
 * The space of files that are removed while processes stand still. A file system in memory takes two seconds to free
 * 15 GiB, and does so within the call that removes the last link; while somebody has the file open that is when he closes
 * it. So they are held open, removed, and closed by several threads, when CRIU lets the processes go on. CRIU ends when the
 * threads have: who waits for CRIU finds the space free, as ever.
 */

struct removed_files;

/*
 * Holds the large files of a folder in `folder` that are to be removed. NULL where there are none, or where there is no
 * memory or descriptor for it: they are freed within their removal then.
 */
struct removed_files *removed_files_hold(int folder, const char *name);
/* They were removed: lets go of them in the background. Takes over files, which may be NULL. */
void removed_files_let_go(struct removed_files *files);

#endif
