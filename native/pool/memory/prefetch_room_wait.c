/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "pool/memory/prefetch.h"
#include "support/clock.h"

/*
 * How long memory may take to come free on a full GPU, or half of the operator's limit where that is less: what ends just
 * now frees it at once, and for what goes on running there is no use in waiting.
 */
#define ROOM_TIMEOUT_NS (3 * UINT64_C(1000000000))

/* Well within the limit of a step, so that who waits for the memory learns what is wrong with it. */
static uint64_t room_timeout(const struct pool *pool)
{
	uint64_t half = pool->settings.timeout_seconds * UINT64_C(500000000);

	return half < ROOM_TIMEOUT_NS ? half : ROOM_TIMEOUT_NS;
}

void prefetch_room_wait_begin(const struct pool *pool, struct room_wait *wait)
{
	if (wait->deadline == 0)
		wait->deadline = monotonic_nanoseconds() + room_timeout(pool);
}

int prefetch_room_wait_look(struct pool *pool, const struct room_wait *wait, struct error_text *error)
{
	if (wait->prefetch && prefetch_is_cancelled(wait->prefetch))
		return fail(error, -ECANCELED, "Nobody wants it in pinned memory any more");
	if (monotonic_nanoseconds() > wait->deadline && (!wait->yields || atomic_load(&pool->room_waits)))
		return fail(error, -ETIMEDOUT, "The way to pinned memory takes too long for whoever needs its room");
	return 0;
}
