/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/gpu_image.h"

/* An image that is damaged, missing or in the way fails the restore and is left as it is. */

static void damaged_contents_fail_the_restore(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	char *statistics;
	int client;

	damage(fixture, application->pid, 15 << 20); /* the third allocation, its second chunk */
	client = begin_restore(fixture, &reply);
	assert_int_equal(client_resume(client, application, image_id, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "allocation 3, chunk 1"));
	assert_non_null(strstr(reply.error.text, "rekindle-pages-"));
	client_finish(client, 0); /* CRIU up to 4.2 does not know */
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":false"));
	assert_non_null(strstr(statistics, "\"failure_code\":-74"));
	assert_non_null(strstr(statistics, "\"failure_phase\":7"));
	free(statistics);
}

static void damage_is_found_before_a_living_process_maps_it(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = client_begin(fixture, POOL_STAGE_DUMP);

	damage(fixture, application->pid, 15 << 20);
	assert_int_equal(client_resume(client, application, image_id, &reply), -EBADMSG);
	close(client);
}

static void truncated_image_fails_at_once(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	char name[64];
	int client, file;

	image_file_of(fixture, application->pid, "rekindle-pages-", name);
	file = openat(fixture->folder, name, O_WRONLY);
	assert_int_equal(ftruncate(file, 35 << 20), 0);
	close(file);
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), -ENODATA);
	assert_non_null(strstr(reply.error.text, "truncated"));
	client_finish(client, -1);
}

static void missing_image_is_named(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	int client = begin_restore(fixture, &reply);

	image_id[0] ^= 1;
	assert_int_equal(client_resume(client, application, image_id, &reply), -ENOENT);
	assert_non_null(strstr(reply.error.text, "needs its GPU image"));
	client_finish(client, -1);
}

static void assert_image_is_whole(struct pool_fixture *fixture, pid_t pid)
{
	struct gpu_image_data data;
	struct gpu_image_verification verification = {.data = &data, .threads = 2};
	struct gpu_image_name name = {.pid = pid, .has_id = true};
	struct gpu_image *image = NULL;
	struct error_text error = {""};

	image_id_of(fixture, pid, name.id);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &image, &error), 0);
	assert_int_equal(gpu_image_open_data(fixture->folder, image, &data, &error), 0);
	assert_int_equal(gpu_image_verify(image, &verification, &error), 0);
	gpu_image_close_data(&data);
	gpu_image_free(image);
}

static void injected_failures_fail_the_restore_and_leave_the_image(void **state)
{
	static const char *const rules[] = {"cuCheckpointProcessRestore=999@1",
					    "cuMemCreate=2",
					    "cuMemAddressReserve=999@1",
					    "cuMemMap=999@3",
					    "cuMemSetAccess=999@1",
					    "cuMemcpyHtoDAsync=700@4",
					    "cuMemsetD8Async=700@1",
					    "cuEventRecord=999@2",
					    "cuStreamSynchronize=999@1",
					    "cuMemExportToShareableHandle=999@2"};
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	uint8_t image_id[16];
	struct application *application = dumped(fixture, true, image_id);
	unsigned int i;
	int client;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		inject(rules[i]);
		client = begin_restore(fixture, &reply);
		if (client_resume(client, application, image_id, &reply) == 0)
			fail_msg("%s did not fail the restore", rules[i]);
		if (!strstr(reply.error.text, "CUDA_ERROR") && !strstr(reply.error.text, "no room"))
			fail_msg("%s: \"%s\"", rules[i], reply.error.text);
		client_finish(client, -1);
		inject("");
		wait_until_nothing_is_held(fixture);
	}
	/* That process is lost, as CRIU would kill it; its image was not touched. */
	assert_image_is_whole(fixture, application->pid);
}

/* Nobody writes into that pipe: whoever opened it for reading would wait for ever, and the pool never end. */
static void a_pipe_in_the_place_of_an_image_is_refused_at_once(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_PREFETCH};
	struct pool_reply reply;
	int client = client_begin(fixture, POOL_STAGE_CLIENT);

	assert_int_equal(mkfifoat(fixture->folder, "rekindle-1.img", 0600), 0);
	assert_int_equal(client_ask(client, &request, fixture->folder, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "rekindle-1.img is no regular file"));
	close(client);
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, &reply), -EBADMSG);
	client_finish(client, -EBADMSG);
	pool_server_request_stop(fixture->server);
	pool_server_wait(fixture->server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(damaged_contents_fail_the_restore),
		TEST(damage_is_found_before_a_living_process_maps_it),
		TEST(truncated_image_fails_at_once),
		TEST(missing_image_is_named),
		TEST(injected_failures_fail_the_restore_and_leave_the_image),
		TEST(a_pipe_in_the_place_of_an_image_is_refused_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
