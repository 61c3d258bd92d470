/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_CHECKPOINT_FOLDER_H
#define REKINDLE_STORE_CHECKPOINT_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "store/checkpoint_manifest.h"
#include "support/error_text.h"

/*
 * A dump into a folder that holds an older checkpoint leaves that one alone until it is known good itself: it writes into
 * a hidden folder inside, and its files take the place of the older ones at its end. Whatever ends it before, the older
 * checkpoint is in its place, or is put back there by the next run. All of this happens under the folder's lock.
 *
 *   .rekindle-new       what the dump writes; without .rekindle-older the folder itself is untouched
 *   .rekindle-older     links to the older checkpoint's files, while the new ones are put into the folder: the dump is
 *                       not known good, and undoing it moves them back
 *   .rekindle-replaced  the dump is known good, and nobody undoes it any more: what is left to do is to remove them
 *
 * At each moment the folder has an inventory, a tree and the tree's cores, so that CRIU reads on until the plugin is asked.
 * A folder without image files is written into directly.
 */

#define CHECKPOINT_NEW_FOLDER ".rekindle-new"
#define CHECKPOINT_OLDER_FOLDER ".rekindle-older"
#define CHECKPOINT_REPLACED_FOLDER ".rekindle-replaced"

/*
 * Finishes or undoes what an earlier run left, then says where to write: *images is the hidden folder, -1: the folder. Where
 * it fails nothing was begun, what lies in the folder is not this dump's, and there is nothing to abandon.
 */
int checkpoint_folder_begin(int folder, int *images, struct error_text *error);
/*
 * The last step of a dump whose files are all written, into images (the hidden folder, or the folder itself): what CRIU
 * may have lost unnoticed is looked for, each is flushed, their manifest is written, and they are put into their place.
 */
int checkpoint_folder_seal(int folder, int images, const uint8_t id[16], const struct checkpoint_reading *reading,
			   struct error_text *error);
/* Puts the files of the hidden folder, of which the manifest is there, into the place of the older ones. */
int checkpoint_folder_publish(int folder, struct error_text *error);
/* Is the checkpoint with this id the folder's own? */
bool checkpoint_folder_holds(int folder, const uint8_t id[16]);
/* Does a checkpoint lie there, whosever it is? */
bool checkpoint_folder_is_complete(int folder);
/*
 * The dump is known good: from here on the new checkpoint is the folder's own, whoever dies and whatever message is lost.
 * Comes before anybody is told so. Where it fails, the next run puts the older checkpoint back.
 */
int checkpoint_folder_commit(int folder, struct error_text *error);
/*
 * Is the checkpoint with this id in its place, whole, and is there nothing older to be put back? What has lost whoever
 * made it must not undo it then.
 */
bool checkpoint_folder_is_settled(int folder, const uint8_t id[16]);
/*
 * Has CRIU written all of the checkpoint that a dump was making, in images (the hidden folder, or the folder itself)? It was
 * not said to be good, and may restore all the same.
 */
bool checkpoint_folder_may_restore(int folder, int images);
/* Likewise known good, and the older checkpoint goes. */
int checkpoint_folder_keep(int folder, struct error_text *error);
/* For whoever comes after one that ended in the middle of that: only where the new one is known good already. */
int checkpoint_folder_tidy(int folder, struct error_text *error);
/*
 * The dump failed: the folder is as before. written_directly: there was no hidden folder. GPU images that are still
 * there are the only copies of somebody's memory, and stay in the folder.
 */
int checkpoint_folder_abandon(int folder, bool written_directly, struct error_text *error);
/*
 * For a restore: shares the folder's lock, and undoes or finishes what an earlier run left of a change of the checkpoint.
 * *changed: who has read the folder before may have read something else than what is in place now. Returns the
 * descriptor that holds the lock, see store/folder_lock.h.
 */
int checkpoint_folder_share(int folder, bool *changed, struct error_text *error);

#endif
