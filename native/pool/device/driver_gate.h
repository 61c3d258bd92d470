/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_DEVICE_DRIVER_GATE_H
#define REKINDLE_POOL_DEVICE_DRIVER_GATE_H

#include "pool/device/pool.h"
#include "process/target.h"

/*
 * The lock at which the driver holds back the CUDA calls of a locked process is a pthread_rwlock_t of glibc: the restore
 * thread is the writer, and every thread that calls waits as a reader (seen on an H200 with driver 580: such a thread is
 * in futex, waiting for the lock's write phase to end). glibc counts a reader when it begins to wait, and unlocking hands
 * the lock to all that are counted. A thread that CRIU has stopped there cannot give it back, so that the driver could
 * not lock the process a second time: every dump that met such a thread waited until its time was over.
 *
 * So the count is taken out while the process is unlocked for its agent, and put back when it is locked again. The
 * stopped threads notice nothing: once they run, they find the lock as they left it. The agent's page notes what is
 * taken out, for the pool that comes after one that died.
 *
 * Only while every thread of the process is stopped but the driver's and the agent's, and those have nothing to do.
 */

/*
 * Unlocks a process whose agent is there, so that it can be locked again. A lock that looks otherwise than described is
 * left alone, and the result is -EBUSY: the process stays locked, and the driver can save everything itself. -EOPNOTSUPP:
 * that it cannot either, as the process was restored.
 */
int driver_gate_unlock(struct pool *pool, const struct target *target, struct error_text *error);

/*
 * Locks it again, within the pool's timeout, though the GPU is quiet and the driver has nothing to wait for. Where that
 * fails, it is not locked.
 */
int driver_gate_lock(struct pool *pool, const struct target *target, struct error_text *error);

/*
 * Does its agent wait at that lock, which somebody else has taken since the process was unlocked for it? As long as that
 * lasts it can do nothing.
 */
bool driver_gate_keeps_agent(struct pool *pool, const struct target *target);

/* Has a pool that died left notes of what it had taken out? Fails where that cannot be seen. */
int driver_gate_look(const struct target *target, bool *has_notes, struct error_text *error);

/*
 * Puts back what another pool had taken out when it died, if anything; the process may be locked or not. Its agent must
 * have answered what that pool asked it, where it is not locked.
 */
int driver_gate_show(const struct target *target, struct error_text *error);

#endif
