/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_AGENT_AGENT_CLAIMS_H
#define REKINDLE_POOL_AGENT_AGENT_CLAIMS_H

#include "pool/agent/agent_client.h"

/*
 * What an agent says that its process holds is what root then writes to root's disk, so it must be possible. That a piece
 * has the size that is claimed the driver checks: it maps a handle whole or not at all.
 */

/* Counts in what a message claims: sizes are possible, and no GPU has less memory than all claims together. */
int agent_claims_add(struct pool *pool, struct agent_export *export, const struct agent_message *message,
		     struct error_text *error);

/* Likewise of a message that says what it has imported. */
int agent_claims_add_imports(const struct agent_export *export, const struct agent_message *message,
			     struct error_text *error);

/* All of them, at the end: no id comes twice, and no two lie at one address. */
int agent_claims_check(const struct agent_export *export, struct error_text *error);

#endif
