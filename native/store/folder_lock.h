/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_FOLDER_LOCK_H
#define REKINDLE_STORE_FOLDER_LOCK_H

#include <stdbool.h>

#include "support/error_text.h"

/*
 * One run at a time in a folder of images: a dump has it for itself, restores share it. It is a flock on a description of
 * the folder of its own, so it leaves nothing behind, lasts as long as any duplicate of the descriptor is open, whoever
 * holds it, and ends with the last of them.
 */

/*
 * Returns the descriptor that holds the lock. -EBUSY where another run has the folder, with that one named; it does not
 * wait. Where the file system knows no locks the descriptor holds none, and a warning is logged.
 */
int folder_lock(int folder, bool shared, struct error_text *error);
/* Lets others share a lock that was exclusive. */
int folder_lock_share(int lock, struct error_text *error);
/* Lets go of the lock for every duplicate of the descriptor, and closes this one. -1 is allowed. */
void folder_unlock(int lock);

#endif
