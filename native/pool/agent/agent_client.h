/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_AGENT_AGENT_CLIENT_H
#define REKINDLE_POOL_AGENT_AGENT_CLIENT_H

#include "pool/memory/held_memory.h"
#include "protocol/agent_protocol.h"

/*
 * The conversation with the agent in an application, which may be hostile: what it says is checked before it is used, and
 * it can make nobody wait for longer than timeout_ms.
 */
struct agent_client {
	int socket;	/* the control socket; not owned */
	int process;	/* pidfd of the application, -1: not known; its end ends the conversation */
	int timeout_ms; /* for each of the calls below, however many messages it takes */
	/* Once somebody else has locked the process in the driver, and the agent waits for that, nobody waits for the agent. */
	struct pool *pool;	     /* NULL: for timeout_ms all the same; else it is asked, and */
	const struct target *target; /* is the application; not owned */
};

/* Of which NUMA node of the host an allocation is. */
#define AGENT_NODE_NONE (-1) /* it is its device's */

/* Allocations, and a descriptor and a node for each. */
struct agent_offers {
	struct agent_allocation *allocations;
	int *descriptors;
	int32_t *nodes;
	uint32_t count;
};

struct agent_export {
	struct agent_offers own;	    /* the process's memory */
	struct agent_offers imports;	    /* that of others, of which it knows neither bytes nor device */
	bool shares;			    /* it has imports, or has given memory of its own to others */
	uint64_t bytes, left_out;	    /* of an offer: what the process has and its agent cannot hand out */
	uint64_t claimed[POOL_DEVICES_MAX]; /* of the memory of each of the pool's devices */
	uint64_t claimed_of_host;	    /* likewise of the host */
};

/* Hears of an export as it comes; it may take descriptors, and leaves -1. */
struct agent_listener {
	/* export->own has more than its first `from`; bytes: what the agent says that all will be, 0: it does not. */
	void (*hear)(void *context, struct agent_export *export, uint32_t from, uint64_t bytes);
	void *context;
};

/*
 * *answered: the agent gave a well-formed answer, so the process is as it was, and its sentence is in error.
 * -EOPNOTSUPP with *answered: not even the driver can save the process. listener: NULL for none; what it has heard was not
 * compared with the rest before the export is through.
 */
int agent_export_all(const struct agent_client *agent, struct pool *pool, const struct agent_listener *listener,
		     struct agent_export *export, bool *answered, struct error_text *error);
/* Nothing is taken: all that a restore has brought becomes the process's own, so that the driver can save it. */
int agent_make_own(const struct agent_client *agent, struct pool *pool, struct error_text *error);

/* Of a process that runs: what its agent offers. No failure tells more than that there is nothing. */
int agent_offer_all(const struct agent_client *agent, struct pool *pool, struct agent_export *export, bool *answered,
		    struct error_text *error);
void agent_export_free(struct agent_export *export);

int agent_release_all(const struct agent_client *agent, const uint8_t image_id[16], uint32_t expected,
		      struct error_text *error);

/* Memory for the application, which may still be made. */
struct agent_pieces {
	struct held_memory *memory;
	uint32_t count;
	/* Waits until more than the first `at` are there, and says how many in *there. NULL: all are. */
	int (*wait)(void *context, uint32_t at, uint32_t *there, struct error_text *error);
	void *context;
	bool without_access; /* which agent_map_all with no memory gives: until then the application cannot use it */
};

/*
 * Gives it to the application piece by piece as it comes, which maps each where it was. Where it ends in the middle, what has
 * come stays mapped.
 */
int agent_map(const struct agent_client *agent, const struct agent_pieces *pieces, struct error_text *error);
/*
 * Gives memory to the application, which maps it where it was; with count 0 it only gives access to what was mapped without,
 * and says that nothing is missing.
 */
int agent_map_all(const struct agent_client *agent, struct held_memory *memory, uint32_t count,
		  struct error_text *error);

#endif
