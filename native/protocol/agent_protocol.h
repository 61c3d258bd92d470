/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_AGENT_PROTOCOL_H
#define REKINDLE_PROTOCOL_AGENT_PROTOCOL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_abi.h"
#include "support/error_text.h"

/*
 * How the outside speaks with the agent in an application.
 *
 * The agent publishes one page, the mapping of a memfd named AGENT_PAGE_NAME that shows in /proc/PID/maps as
 * "/memfd:rekindle-agent (deleted)", when the program initialises CUDA: where it is missing and CUDA is in use, the program
 * has got to the driver past the agent. Whoever may ptrace the process reads it with process_vm_readv, takes a duplicate of
 * control_descriptor with pidfd_getfd and speaks the messages below over it; the agent's thread is parked in recvmsg on
 * the other end. The program may have closed either end, or have put a file of its own at that number: whoever is about to
 * use one asks protocol/socket_mark.h first. Page, sockets and thread survive a CRIU dump as they are. There is one
 * conversation at a time, and the agent answers every request with exactly one reply, except AGENT_EXPORT (below). It
 * answers from its own thread, also while every other thread of the process is stopped.
 */

#define AGENT_LIBRARY "librekindle-preload.so"
#define AGENT_SWITCH "REKINDLE_AGENT" /* variable of the process: 0 turns the agent off */
#define AGENT_PAGE_NAME "rekindle-agent"
#define AGENT_PAGE_MAGIC 0x454c444e494b4552ull /* "REKINDLE" */
#define AGENT_PROTOCOL_VERSION 3u

/* For people, with the file of that library: AGENT_LIBRARY comes before it in LD_PRELOAD, and does not call it. */
#define AGENT_PASSES_OVER \
	"the CUDA calls that " AGENT_LIBRARY " takes do not reach %s: put it before " AGENT_LIBRARY " in LD_PRELOAD"

enum agent_state {
	AGENT_STATE_MAPPED = 1, /* device memory is where it belongs */
	/* physical memory is released; image_id names the GPU image that holds the contents */
	AGENT_STATE_RELEASED = 2,
};

struct agent_page {
	uint64_t magic;
	uint32_t protocol_version;
	uint32_t state;		    /* enum agent_state */
	int32_t process_id;	    /* as the process itself sees it (its own pid namespace) */
	int32_t thread_id;	    /* the agent's thread, likewise; 0: it has ended */
	int32_t control_descriptor; /* number, in the process, of the socket end that is for the outside */
	/*
	 * Not 0: the process may hold memory that the driver's own checkpoint could not restore: imported, as all is since a
	 * restore, or the host's. Without the agent's help such a process cannot be dumped.
	 */
	uint32_t needs_agent;
	/* Of the GPU image that holds the contents, in AGENT_STATE_RELEASED; in AGENT_STATE_MAPPED of the one that held them
	 * when they were last released, be it that it was ever finished; all zero: none, or an agent that does not tell. */
	uint8_t image_id[16];
	int32_t agent_descriptor; /* number of the agent's own end */
	/* Not 0: an EXPORT has taken a piece of device memory from its place, and nothing may run without it. */
	uint32_t out_of_place;
	/* Notes of the pool's, not the agent's: see pool/device/driver_gate.h. 0 readers: nothing is taken out. */
	uint64_t gate_address;
	uint32_t gate_readers;
	uint32_t gate_phase;
	/*
	 * Where, in the process, the agent counts the pieces of device memory that other processes have made (a uint32_t): not
	 * 0, and the process cannot be dumped. 0: an agent that does not tell.
	 */
	uint64_t foreign_address;
	uint32_t filters; /* 1: one of the seccomp filters is the agent's, which forbids io_uring and nothing else */
	/*
	 * Not 0: whoever asked waits no longer and lets the process run, written by the outside before it looks at state and
	 * out_of_place. The agent, before it takes any memory from its place, first says so in these and then looks here; one of
	 * the two sees the other. It takes nothing any more until a MAP with `last` set has put this back to 0.
	 */
	uint32_t withdrawn;
	/*
	 * Not 0: CUDA was initialised by a call that came to the agent, which has been given nothing to look after yet: there
	 * is no thread, and no socket.
	 */
	uint32_t waiting;
	/* File of a library whose functions the agent's calls do not reach, though it interposes them as well; or empty. */
	char passed_over[132];
	/*
	 * Where, in the process, the agent has AGENT_KEPT_MAX times struct agent_kept: the descriptors of device memory that it
	 * shares. 0: an agent that does not tell.
	 */
	uint64_t kept_address;
};
static_assert(sizeof(struct agent_page) == 232, "struct agent_page is 232 bytes");
static_assert(offsetof(struct agent_page, control_descriptor) == 24, "struct agent_page keeps its order");
static_assert(offsetof(struct agent_page, image_id) == 32, "struct agent_page keeps its order");
static_assert(offsetof(struct agent_page, gate_address) == 56, "struct agent_page keeps its order");
static_assert(offsetof(struct agent_page, withdrawn) == 84, "struct agent_page keeps its order");
static_assert(offsetof(struct agent_page, passed_over) == 92, "struct agent_page keeps its order");

/* A descriptor by which memory of the process was handed to others, or by which others' memory came to it. */
struct agent_kept {
	int32_t descriptor; /* number in the process; 0: the entry is free */
	uint32_t imported;  /* 1: it is another process's memory */
	uint64_t allocation_id;
};
static_assert(sizeof(struct agent_kept) == 16, "struct agent_kept is 16 bytes");
#define AGENT_KEPT_MAX 4096u

/*
 * Another note of the pool's, further on in the page: which threads the process had when CRIU had stopped it and the
 * agent was asked. What comes later was made by the driver for the agent, which waits for it, see pool/run/hold_threads.h.
 */
#define AGENT_PAGE_THREADS_OFFSET 1024u
#define AGENT_PAGE_THREADS_MAX 767u

struct agent_page_threads {
	uint32_t count;			     /* 0: nothing is noted */
	int32_t ids[AGENT_PAGE_THREADS_MAX]; /* as the process itself sees them */
};
static_assert(AGENT_PAGE_THREADS_OFFSET + sizeof(struct agent_page_threads) == 4096, "the notes end with the page");

enum agent_message_type {
	/*
	 * Request EXPORT: the agent answers with zero or more ALLOCATIONS messages, then IMPORTS, then one REPLY. Each ALLOCATIONS message
	 * carries `count` entries and `count` descriptors, one exportable POSIX descriptor for each entry, in order. The agent
	 * closes its own copies. IMPORTS, in the same form, are of other processes' memory that this one has imported: the
	 * descriptor is the open file by which it came, and the owner's ALLOCATIONS have the same one; bytes and device are the
	 * owner's to say, and 0. In the REPLY `last` says whether the process shares any memory, and so cannot be saved
	 * without the others, nor by the driver. Nothing is unmapped yet; a failure here leaves the application as it was, and the driver's
	 * own checkpoint can still save everything (native mode), except after -EOPNOTSUPP: then the process holds memory
	 * that the driver cannot restore either, or that others have, too, and the dump must fail with the reply's sentence. Neither can it as long as the
	 * page says needs_agent: with `last` set in the request what a restore has brought becomes the process's own, as far
	 * as there is room for it twice. In any case the socket with
	 * a name of agent/sharing/sharing_thread.h is gone until the process goes on.
	 */
	AGENT_EXPORT = 1,
	AGENT_ALLOCATIONS = 2,
	/*
	 * Request RELEASE: unmap and release the physical memory of everything that the last EXPORT sent, others' memory too,
	 * close every descriptor of shared memory, keep the reserved addresses, remember image_id and go to AGENT_STATE_RELEASED. Answered by REPLY; `count` is the number released. On a
	 * failure in the middle the state is AGENT_STATE_RELEASED too (some memory is gone), and MAP mends it. Answered with
	 * -ECANCELED, and nothing done, where the page says withdrawn.
	 */
	AGENT_RELEASE = 3,
	/*
	 * Request MAP: `count` entries with one descriptor each; import the memory and map it wherever the allocation was
	 * mapped. Answered by REPLY. An entry that is mapped already is left alone, unless other processes have that memory, too, and
	 * a MAP brought it: then this one takes its place, except where the page says withdrawn, and the answer is -ECANCELED. With `last` set all of it gets the access
	 * that it had, and nothing may be left unmapped afterwards: state goes to AGENT_STATE_MAPPED, or the reply says what is
	 * missing. Until then nobody can use what was mapped (an older agent gives the access with each entry). A failure
	 * leaves mapped what was mapped, and the state as it was; the same request again goes on from there.
	 */
	AGENT_MAP = 4,
	AGENT_REPLY = 5,
	AGENT_IMPORTS = 6,
	/*
	 * Request OFFER: like EXPORT, but asked of a process that runs, and goes on running: the agent hands out descriptors of
	 * what it can at that moment, takes nothing from its place, and what it has handed out binds nobody. Left out is what an
	 * EXPORT would have to replace first: memory that a restore has brought, and of which no descriptor is kept. The program may free, share or make memory meanwhile and afterwards; what it
	 * frees is its device's again when whoever asked has let go of it too. A failure means nothing but that there is no
	 * offer. RELEASE and MAP still go by the last EXPORT. An agent that does not know it says -EPROTO.
	 */
	AGENT_OFFER = 7,
	/*
	 * In the answer to EXPORT, between ALLOCATIONS and IMPORTS, and in the form of ALLOCATIONS: of memory of the host that the
	 * driver has made on the NUMA node of number `last`, for all of the message; device is one that can copy it. Older agents
	 * leave such memory to the driver, which cannot bring it back.
	 */
	AGENT_HOST_ALLOCATIONS = 8,
};

/* The smallest piece of memory: every driver so far makes it in multiples of that. */
#define AGENT_UNIT_BYTES (2u << 20)

/* One piece of physical memory, of a device or of the host. */
struct agent_allocation {
	uint64_t allocation_id; /* unique in the process for its life */
	uint64_t bytes;		/* multiple of AGENT_UNIT_BYTES */
	uint64_t address;	/* where it is mapped first, 0 when it is not mapped; for people and statistics */
	CUuuid device;
};
static_assert(sizeof(struct agent_allocation) == 40, "struct agent_allocation is 40 bytes");
static_assert(offsetof(struct agent_allocation, address) == 16, "struct agent_allocation keeps its order");
static_assert(offsetof(struct agent_allocation, device) == 24, "struct agent_allocation keeps its order");

#define AGENT_ALLOCATIONS_MAX 64

struct agent_message {
	uint32_t type;	/* enum agent_message_type */
	uint32_t count; /* entries used */
	int32_t result; /* REPLY: 0 or a negative errno code */
	/* MAP: this is the last batch; REPLY to EXPORT: the process shares memory; HOST_ALLOCATIONS: the NUMA node */
	uint32_t last;
	/*
	 * Chosen by whoever asks, different each time; ALLOCATIONS and REPLY carry that of their request. Messages with
	 * another one are late answers to somebody who is gone, and are thrown away.
	 */
	uint64_t request_id;
	uint8_t image_id[16];
	/*
	 * REPLY to RELEASE: those released; to OFFER: those left out. ALLOCATIONS of an EXPORT: those of all that will come,
	 * IMPORTS apart; 0: not told.
	 */
	uint64_t bytes;
	uint64_t nanoseconds;	 /* REPLY: what the request took */
	struct error_text error; /* REPLY: the sentence where result is negative */
	struct agent_allocation allocations[AGENT_ALLOCATIONS_MAX];
};
static_assert(sizeof(struct agent_message) == 3128, "struct agent_message is 3128 bytes");
static_assert(offsetof(struct agent_message, request_id) == 16, "struct agent_message keeps its order");
static_assert(offsetof(struct agent_message, error) == 56, "struct agent_message keeps its order");
static_assert(offsetof(struct agent_message, allocations) == 568, "struct agent_message keeps its order");

#endif
