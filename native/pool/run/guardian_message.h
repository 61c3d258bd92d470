/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_RUN_GUARDIAN_MESSAGE_H
#define REKINDLE_POOL_RUN_GUARDIAN_MESSAGE_H

#include <stdint.h>

#include "protocol/message_socket.h"
#include "settings/settings.h"

/* What guardian.c, in the pool, tells guardian_process.c, in the guardian, which is of the same program; and its first word. */

#define GUARDIAN_NAME "rekindle-guard"
#define GUARDED_DESCRIPTORS 3
/* Of one message. */
#define GUARDED_PIECES (MESSAGE_DESCRIPTORS_MAX - 1)

/* From the guardian, once it has its name and can be told of processes. */
struct guardian_greeting {
	uint32_t message_size; /* another one where the program was replaced since the pool was started */
};

/*
 * From the pool. Descriptors: [0] a pidfd of the process, [1] the folder of the run's images, [2] what locks that; where it
 * holds memory, that behind [0], a piece each.
 */
struct guardian_message {
	struct settings settings; /* the pool's, which need not be those of the environment */
	uint8_t checkpoint_id[16];
	int32_t named;
	uint32_t was_locked;
	uint32_t untouched; /* it runs as it did before the run: what becomes of it is somebody else's doing */
	uint32_t holds;	    /* memory of a process that it knows: */
	uint32_t from;	    /* so many pieces came before these */
	uint32_t dismissed; /* the run is over: nothing else counts, and there is no descriptor */
};

#endif
