/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_PHASES_H
#define REKINDLE_PROTOCOL_PHASES_H

/*
 * The phases of a run: name, the number that stands in rekindle.h too, the word in stats-rekindle.json, or NULL for one
 * that is never timed and only says where something went wrong, and what it is. Numbers are never used again.
 *
 * To add one: a line here, the constant in include/rekindle.h, and what fails to compile or pass then: the bindings
 * (rekindle.jextract), PhaseKind in Java, and report/golden/stats-rekindle.json, which has each phase that is timed.
 */
#define PHASES(PHASE)                                                                                                  \
	PHASE(NONE, 0, NULL)                                                                                           \
	PHASE(START, 1, NULL)	       /* start of pool and contexts */                                                \
	PHASE(LOCK, 2, "lock")	       /* dump: wait for submitted GPU work */                                         \
	PHASE(COPY_OUT, 3, "copy_out") /* dump: device memory to the GPU image */                                      \
	PHASE(RELEASE, 4, "release")   /* dump: the agent releases physical memory */                                  \
	PHASE(DRIVER_CHECKPOINT, 5, "driver_checkpoint")                                                               \
	PHASE(CRIU, 6, NULL)	       /* CRIU's own work, end to end */                                               \
	PHASE(PREFETCH, 7, "prefetch") /* restore: GPU image to device memory */                                       \
	PHASE(DRIVER_RESTORE, 8, "driver_restore")                                                                     \
	PHASE(MAP, 9, "map")		    /* memory mapped at its old addresses */                                   \
	PHASE(WAIT, 10, "wait")		    /* restore: the process is there, its contents are not yet */              \
	PHASE(VERIFY, 11, "verify")	    /* dump: the GPU image is read back from the disk */                       \
	PHASE(STAND, 12, "stand")	    /* dump: it has been locked, and CRIU has not let it go or ended it yet */ \
	PHASE(COPY_AHEAD, 13, "copy_ahead") /* dump: device memory to the GPU image, while it runs */                  \
	PHASE(COMPARE, 14, "compare")	    /* dump: which of that has changed */

enum phase {
#define PHASE_NUMBER(name, number, word) PHASE_##name = (number),
	PHASES(PHASE_NUMBER)
#undef PHASE_NUMBER
};

/* How the device memory of a process was saved: name, number, the word in stats-rekindle.json. */
#define MODES(MODE)                                                                          \
	MODE(NONE, 0, "none")	    /* the process does not use CUDA */                      \
	MODE(OFFLOAD, 1, "offload") /* memory of 2 MiB and more outside the process image */ \
	MODE(NATIVE, 2, "native")   /* the driver put the contents into the process's own memory */

enum pool_mode {
#define MODE_NUMBER(name, number, word) POOL_MODE_##name = (number),
	MODES(MODE_NUMBER)
#undef MODE_NUMBER
};

#endif
