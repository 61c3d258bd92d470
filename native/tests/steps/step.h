/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_TESTS_STEPS_STEP_H
#define REKINDLE_TESTS_STEPS_STEP_H

#include <stdbool.h>

/*
 * Counts what criu, the pool and the agent do, and strikes at one chosen step of it: for crash_matrix.py. The library is
 * preloaded into all three and takes its orders from the folder that REKINDLE_TEST_STEPS names:
 *
 *   plan           one line: GENERATION IMAGES TARGET ROLE OCCURRENCE FAULT NAME. A new generation counts from one again;
 *                  IMAGES is the folder whose files count, TARGET the process that is dumped or restored. The fault strikes
 *                  once, at the OCCURRENCE-th step of that NAME in a process of that ROLE ("record" never strikes).
 *   record         every step that was made: ROLE, occurrence, name
 *   pid.criu, pid.pool    whom to kill
 *   reached        made when the fault strikes; says what was done
 *   full, agent-ends, agent-hangs    from then on no file of images can be written, and the agent's thread ends or waits
 *   hang           the thread that made the step waits
 *
 * ROLE is criu, task (a child of criu that is not a restored process yet, or not the pool yet), pool, guardian, seal,
 * agent or script (an action script of CRIU's; its one step, made as it starts, has the name of the action). Only raw system calls are made here: a step may be in the middle of anything, and one of its own must not count.
 */

/* A step of that name begins. Returns 0, or the number (errno) with which the call is to fail instead of being made. */
int step(const char *name);

/* What "lost" lets step_that_writes() return: the call says that all is written, and writes nothing. */
#define STEP_LOST (-1)

/* Likewise, for one that writes a file of images: after "full" each fails with ENOSPC. */
int step_that_writes(const char *name);

/* Is there anything to count in this thread? Cheap. */
bool steps_count_here(void);

/* Is the absolute path below the folder of images, and no log? *name is then what stands behind it, numbers as N. */
bool step_file_name(const char *path, char *name, unsigned int size);

/* The simulated driver calls it, where this library is preloaded, at each call of the driver. */
int rekindle_test_step(const char *name);

#endif
