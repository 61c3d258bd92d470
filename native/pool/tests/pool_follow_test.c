/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Several restores of one image at the same time. There is one application, so one of them brings it back; the others are
 * there to have the memory filled.
 */

#define IMAGE_BYTES (UINT64_C(36) << 20)
#define ZERO_BYTES (UINT64_C(4) << 20) /* of them, which each restore makes for itself */

static uint64_t bytes_read(struct pool_fixture *fixture)
{
	struct pool_status status;

	pool_server_status(fixture->server, &status);
	return status.bytes_to_device;
}

static void wait_until_read(struct pool_fixture *fixture, uint64_t bytes)
{
	int tries;

	for (tries = 0; tries < 12000 && bytes_read(fixture) < bytes; tries++)
		usleep(5000);
	assert_true(bytes_read(fixture) >= bytes);
}

static int begin_restore_on(struct pool_fixture *fixture, const char *device_map)
{
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_RESTORE,
				     .parallel = 1,
				     .verify = 1};
	int client = client_connect(fixture), folders[2] = {fixture->folder, fixture->folder};
	struct pool_reply reply;

	snprintf(hello.device_map, sizeof(hello.device_map), "%s", device_map);
	client_hello(client, &hello, folders, 2);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), 0);
	return client;
}

/* What this restore has filled is the application's. */
static void bring_back(int client, struct application *application, const uint8_t *image_id)
{
	struct pool_reply reply;

	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, 0);
}

static void make_later(struct gpu_image *image)
{
	image->created++;
}

static void make_earlier(struct gpu_image *image)
{
	image->created--;
}

static void several_restores_read_the_files_once(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first, second, last;

	inject("cuMemcpyHtoDAsync=20ms");
	first = begin_restore(fixture, &reply);
	second = begin_restore(fixture, &reply);
	last = begin_restore(fixture, &reply);
	bring_back(last, application, image_id);
	wait_until_read(fixture, IMAGE_BYTES + 2 * ZERO_BYTES); /* the other two may still be at their zeros */
	client_finish(first, -1);
	client_finish(second, -1);
	assert_int_equal(bytes_read(fixture), IMAGE_BYTES + 2 * ZERO_BYTES);
}

static void one_that_is_filled_gives_what_it_has(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first = begin_restore(fixture, &reply), last;

	wait_until_read(fixture, IMAGE_BYTES);
	last = begin_restore(fixture, &reply);
	bring_back(last, application, image_id);
	client_finish(first, -1);
	assert_int_equal(bytes_read(fixture), IMAGE_BYTES + ZERO_BYTES);
}

static void from_one_gpu_to_another(void **state)
{
	struct pool_fixture *fixture = *state;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first, last;

	inject("cuMemcpyHtoDAsync=20ms");
	first = begin_restore_on(fixture, "");
	last = begin_restore_on(fixture, "0=1");
	bring_back(last, application, image_id);
	wait_until_read(fixture, IMAGE_BYTES + ZERO_BYTES);
	client_finish(first, -1);
	assert_int_equal(bytes_read(fixture), IMAGE_BYTES + ZERO_BYTES);
}

/* As where the GPUs cannot reach each other. */
static void what_cannot_be_copied_is_read(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first = begin_restore(fixture, &reply), last;

	wait_until_read(fixture, IMAGE_BYTES);
	inject("cuMemcpyDtoDAsync=801@2");
	last = begin_restore(fixture, &reply);
	bring_back(last, application, image_id);
	client_finish(first, -1);
	assert_int_equal(bytes_read(fixture), 2 * IMAGE_BYTES);
}

static void one_that_ends_leaves_the_rest_to_be_read(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first, last;

	inject("cuMemcpyHtoDAsync=50ms");
	first = begin_restore(fixture, &reply);
	last = begin_restore(fixture, &reply);
	wait_until_read(fixture, 8 << 20);
	close(first);
	bring_back(last, application, image_id);
}

static void one_that_gets_nothing_done_is_not_waited_for(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first, last;

	/* The first piece of the first one; all others are made at once. */
	inject("cuMemMap=held@1");
	first = begin_restore(fixture, &reply);
	wait_until_held();
	last = begin_restore(fixture, &reply);
	bring_back(last, application, image_id);
	assert_int_equal(bytes_read(fixture), IMAGE_BYTES); /* by the last one: the first one has not begun */
	inject("");
	client_finish(first, -1);
}

static void damage_is_found_by_all(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first, last;

	damage(fixture, application->pid, 15 << 20);
	inject("cuMemcpyHtoDAsync=20ms");
	first = begin_restore(fixture, &reply);
	last = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(last, application, image_id, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "allocation 3, chunk 1"));
	client_finish(last, -1);
	client_finish(first, -1);
}

/* From the moment at which a process runs its memory is no image any more. */
static void nobody_copies_from_a_process_that_is_back(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first = begin_restore(fixture, &reply), last;

	assert_int_equal(client_resume(first, application, image_id, &reply), 0);
	application_write(application);
	last = begin_restore(fixture, &reply);
	wait_until_read(fixture, 2 * IMAGE_BYTES);
	client_finish(last, -1);
	client_finish(first, 0);
}

/* An id is in file names and logs, and anybody can write it into an image of his own. */
static void another_image_with_its_id_is_read(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int first = begin_restore(fixture, &reply), last;

	wait_until_read(fixture, IMAGE_BYTES);
	rewrite_manifest(fixture, application->pid, make_later);
	last = begin_restore(fixture, &reply);
	bring_back(last, application, image_id);
	client_finish(first, -1);
	assert_int_equal(bytes_read(fixture), 2 * IMAGE_BYTES);
}

static void what_is_filled_ahead_is_for_no_other_image_with_its_id(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	struct error_text error;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	uint64_t bytes;

	assert_int_equal(pool_server_prefetch(fixture->server, fixture->path, POOL_TIER_DEVICE, &error), 0);
	wait_until_read(fixture, IMAGE_BYTES);
	rewrite_manifest(fixture, application->pid, make_later);
	assert_int_equal(pool_server_prefetched(fixture->server, fixture->path, &bytes, &error), -ENOENT);
	bring_back(begin_restore(fixture, &reply), application, image_id);
	assert_int_equal(bytes_read(fixture), 2 * IMAGE_BYTES);
	rewrite_manifest(fixture, application->pid, make_earlier);
	assert_int_equal(pool_server_drop(fixture->server, fixture->path, &error), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(several_restores_read_the_files_once),
		TEST(one_that_is_filled_gives_what_it_has),
		TEST(from_one_gpu_to_another),
		TEST(what_cannot_be_copied_is_read),
		TEST(one_that_ends_leaves_the_rest_to_be_read),
		TEST(one_that_gets_nothing_done_is_not_waited_for),
		TEST(damage_is_found_by_all),
		TEST(nobody_copies_from_a_process_that_is_back),
		TEST(another_image_with_its_id_is_read),
		TEST(what_is_filled_ahead_is_for_no_other_image_with_its_id),
	};

	setenv("REKINDLE_SIMCUDA_DEVICES", "2", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
