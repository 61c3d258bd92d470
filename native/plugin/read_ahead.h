/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_READ_AHEAD_H
#define REKINDLE_PLUGIN_READ_AHEAD_H

/*
 * Starts a process that reads the pages-*.img files of the folder into the page cache, ahead of CRIU, and nothing else that
 * bears such a name. It is no child of this one and ends by itself. A restore goes on without it when it cannot be started.
 */
void read_ahead_start(int image_folder);

#endif
