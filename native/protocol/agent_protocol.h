/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_AGENT_PROTOCOL_H
#define REKINDLE_PROTOCOL_AGENT_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

#include "driver/cuda_abi.h"
#include "support/error_text.h"

/*
 * How the outside speaks with the agent in an application.
 *
 * The agent publishes one page, the mapping of a memfd named AGENT_PAGE_NAME that shows in /proc/PID/maps as
 * "/memfd:rekindle-agent (deleted)". Whoever may ptrace the process reads it with process_vm_readv, takes a duplicate of
 * control_descriptor with pidfd_getfd and speaks the messages below over it; the agent's thread is parked in recvmsg on
 * the other end. Page, sockets and thread survive a CRIU dump as they are. There is one conversation at a time, and the
 * agent answers every request with exactly one reply, except AGENT_EXPORT (below). It answers from its own thread, also
 * while every other thread of the process is stopped.
 */

#define AGENT_PAGE_NAME "rekindle-agent"
#define AGENT_PAGE_MAGIC 0x454c444e494b4552ull /* "REKINDLE" */
#define AGENT_PROTOCOL_VERSION 2u

enum agent_state {
	AGENT_STATE_MAPPED = 1, /* device memory is where it belongs */
	AGENT_STATE_RELEASED =
		2, /* physical memory is released; image_id names the GPU image that holds the contents */
};

struct agent_page {
	uint64_t magic;
	uint32_t protocol_version;
	uint32_t state;		    /* enum agent_state */
	int32_t process_id;	    /* as the process itself sees it (its own pid namespace) */
	int32_t thread_id;	    /* the agent's thread, likewise */
	int32_t control_descriptor; /* number, in the process, of the socket end that is for the outside */
	/*
	 * Not 0: since a restore the process may hold imported memory, which the driver's own checkpoint could not restore
	 * again. Without the agent's help such a process cannot be dumped.
	 */
	uint32_t needs_agent;
	uint8_t image_id[16]; /* valid in AGENT_STATE_RELEASED */
	/* Notes of the pool's, not the agent's: see pool/driver_gate.h. 0 readers: nothing is taken out. */
	uint64_t gate_address;
	uint32_t gate_readers;
	uint32_t gate_phase;
};
static_assert(sizeof(struct agent_page) == 64, "struct agent_page is 64 bytes");

enum agent_message_type {
	/*
	 * Request EXPORT: the agent answers with zero or more ALLOCATIONS messages, then one REPLY. Each ALLOCATIONS message
	 * carries `count` entries and `count` descriptors, one exportable POSIX descriptor for each entry, in order. The agent
	 * closes its own copies. Nothing is unmapped yet; a failure here leaves the application as it was, and the driver's
	 * own checkpoint can still save everything (native mode), except after -EOPNOTSUPP: then the process holds memory
	 * that the driver cannot restore either, and the dump must fail with the reply's sentence.
	 */
	AGENT_EXPORT = 1,
	AGENT_ALLOCATIONS = 2,
	/*
	 * Request RELEASE: unmap and release the physical memory of everything that the last EXPORT sent, keep the reserved
	 * addresses, remember image_id and go to AGENT_STATE_RELEASED. Answered by REPLY; `count` is the number released. On a
	 * failure in the middle the state is AGENT_STATE_RELEASED too (some memory is gone), and MAP mends it.
	 */
	AGENT_RELEASE = 3,
	/*
	 * Request MAP: `count` entries with one descriptor each; import the memory and map it wherever the allocation was
	 * mapped, with the access it had. Answered by REPLY. An entry that is mapped already is left alone. With `last` set
	 * nothing may be left unmapped afterwards: state goes to AGENT_STATE_MAPPED, or the reply says what is missing.
	 */
	AGENT_MAP = 4,
	AGENT_REPLY = 5,
};

/* One piece of physical device memory of 2 MiB or more. */
struct agent_allocation {
	uint64_t allocation_id; /* unique in the process for its life */
	uint64_t bytes;		/* multiple of the allocation granularity (2 MiB) */
	uint64_t address;	/* where it is mapped first, 0 when it is not mapped; for people and statistics */
	CUuuid device;
};
static_assert(sizeof(struct agent_allocation) == 40, "struct agent_allocation is 40 bytes");

#define AGENT_ALLOCATIONS_MAX 64

struct agent_message {
	uint32_t type;	/* enum agent_message_type */
	uint32_t count; /* entries used */
	int32_t result; /* REPLY: 0 or a negative errno code */
	uint32_t last;	/* MAP: this is the last batch */
	/*
	 * Chosen by whoever asks, different each time; ALLOCATIONS and REPLY carry that of their request. Messages with
	 * another one are late answers to somebody who is gone, and are thrown away.
	 */
	uint64_t request_id;
	uint8_t image_id[16];
	uint64_t released_bytes; /* REPLY to RELEASE */
	uint64_t nanoseconds;	 /* REPLY: what the request took */
	struct error_text error; /* REPLY: the sentence where result is negative */
	struct agent_allocation allocations[AGENT_ALLOCATIONS_MAX];
};

#endif
