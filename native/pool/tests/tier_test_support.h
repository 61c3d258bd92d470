/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_TESTS_TIER_TEST_SUPPORT_H
#define REKINDLE_POOL_TESTS_TIER_TEST_SUPPORT_H

#include "pool/tests/restore_test_support.h"

/* Images in device memory and in pinned memory of the host, each of this size. */
#define BYTES (UINT64_C(36) << 20)

struct pool_status status_of(struct pool_fixture *fixture);
/* Until the only folder there is anything of, or the oldest, is whole in that tier. */
struct pool_resident wait_for(struct pool_fixture *fixture, uint32_t tier);
/* As a client asks for it; comes back when it is there. */
void prefetch(struct pool_fixture *fixture, const char *path, enum pool_tier tier);
/* Dumps one whose memory is to stay in the pool; it has nothing but its image. */
struct application *parked(struct pool_fixture *fixture, enum pool_tier tier, uint8_t *image_id,
			   struct pool_reply *reply);
void restore(struct pool_fixture *fixture, struct application *application, const uint8_t *image_id);
/* Moves what was dumped last out of the fixture's folder. path: 128 bytes. */
void put_away(struct pool_fixture *fixture, const char *name, char *path);
/* The driver's own restore of another one finds no room; `also` may go wrong beside that. */
void need_room(struct pool_fixture *fixture, struct application *application, const char *also);
/* The fixture's, with what the test has left in the pool. */
int tear_down_with_what_is_left(void **state);

#endif
