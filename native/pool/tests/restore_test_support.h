/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_TESTS_RESTORE_TEST_SUPPORT_H
#define REKINDLE_POOL_TESTS_RESTORE_TEST_SUPPORT_H

#include "pool/tests/pool_test_support.h"
#include "store/gpu_image.h"

/*
 * There is no CRIU here: after a dump the application stays as it is, checkpointed and without its device memory, and
 * what the pool held of it is dropped. For the pool that is exactly a process that CRIU has just restored.
 */
struct application *dumped(struct pool_fixture *fixture, bool with_agent, uint8_t *image_id);

int begin_restore(struct pool_fixture *fixture, struct pool_reply *reply);

void damage(struct pool_fixture *fixture, pid_t pid, off_t offset);

/* Puts another manifest in the place of a process's, under its id; the contents are left alone. */
void rewrite_manifest(struct pool_fixture *fixture, pid_t pid, void (*change)(struct gpu_image *image));

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

#endif
