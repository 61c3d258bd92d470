/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_SEAL_ORDER_H
#define REKINDLE_PROTOCOL_SEAL_ORDER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * What the plugin and rekindle-seal, which CRIU runs when it has written its images, share: a memfd of the plugin, whose
 * descriptor number is in SEAL_ORDER_VARIABLE of CRIU's environment, and which the program finds as
 * /proc/PARENT/fd/NUMBER. CRIU closes every descriptor before it runs a script, and knows only its exit status.
 */

#define SEAL_ORDER_VARIABLE "REKINDLE_SEAL_ORDER"

enum seal_state { SEAL_NOT_BEGUN = 0, SEAL_BEGUN = 1, SEAL_DONE = 2, SEAL_FAILED = 3 };

struct seal_order {
	uint8_t checkpoint_id[16];
	int32_t lock;	     /* the locked folder, as a descriptor number of CRIU */
	int32_t pool_socket; /* likewise the plugin's connection to the pool; -1: none */
	uint32_t timeout_ms; /* longest that the pool may take without progress */
	uint32_t threads;
	/* Written by the program. */
	int32_t state; /* enum seal_state */
	int32_t code;  /* SEAL_FAILED: a negative errno code */
	struct error_text error;
};

static_assert(offsetof(struct seal_order, state) == 32, "the state is at 32");
static_assert(sizeof(struct seal_order) == 40 + ERROR_TEXT_MAX, "struct seal_order has no holes");

#endif
