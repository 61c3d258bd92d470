/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_DUMP_FOLDER_H
#define REKINDLE_PLUGIN_DUMP_FOLDER_H

#include <limits.h>
#include <stdbool.h>

#include "plugin/run.h"
#include "settings/settings.h"
#include "support/error_text.h"

/*
 * The folder that a dump writes into: it is this run's alone, an older checkpoint in it stays until the new one is good,
 * and what CRIU wrote is on the disk before CRIU says so. See store/checkpoint_folder.h.
 */

struct seal_order;

enum dump_place {
	DUMP_NOT_BEGUN, /* all that lies in the folder is somebody else's */
	DUMP_INTO_FOLDER,
	DUMP_INTO_HIDDEN, /* beside an older checkpoint */
};

struct dump_folder {
	int lock; /* the folder itself; its description holds the lock, -1: none */
	enum dump_place place;
	bool keep_images; /* they may be all that there will be of the processes */
	int order_file;
	struct seal_order *order;
};

#define DUMP_FOLDER_NONE ((struct dump_folder){.lock = -1, .order_file = -1})

/* CRIU has written nothing yet. From here on it writes where its image folder's descriptor leads. */
int dump_folder_begin(struct dump_folder *folder, const struct settings *settings, struct error_text *error);
/*
 * Where the images will be found, as this process sees it: not the hidden folder into which CRIU writes, which may have
 * another name by then. lock: the folder's, or -1.
 */
void dump_folder_path(int lock, char path[PATH_MAX]);
/* Who is to be asked whether the GPU images are good; -1: nobody. */
void dump_folder_set_pool(struct dump_folder *folder, int socket);
/*
 * Has the checkpoint been sealed? Else a negative errno code, with the reason. Asked where CRIU says success; keep_images says
 * then whether CRIU stays with that.
 */
int dump_folder_sealed(struct dump_folder *folder, struct error_text *error);
/*
 * The dump is good, and stays so from here on: before the pool is told that the run is over, as that word may get lost, or
 * whoever should hear it. CRIU hears of no failure any more. False: the checkpoint is not in its place, and the log says
 * where it is.
 */
bool dump_folder_commit(const struct dump_folder *folder);
/* Of a dump that failed: removes the GPU image of a process that has its memory, where no pool is there to do so. */
void dump_folder_drop_images(const struct dump_folder *folder, pid_t pid);
/* The older checkpoint goes; or with good false the folder becomes what it was, where no pool sees to that. */
void dump_folder_end(struct dump_folder *folder, bool good, enum run_rest rest);

#endif
