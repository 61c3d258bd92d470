/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <stddef.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "process/agent_page.h"
#include "store/checkpoint_manifest.h"
#include "store/gpu_image.h"

/* A process that goes on after its dump, and what the next one takes over of its image. */

/* Makes a checkpoint of what is in the folder, as rekindle-seal does. */
static void seal(struct pool_fixture *fixture)
{
	const uint8_t id[16] = {1};
	const struct checkpoint_reading reading = {.threads = 1};
	struct checkpoint_manifest *manifest;
	struct error_text error;

	unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	assert_int_equal(checkpoint_manifest_make(fixture->folder, id, &reading, &manifest, &error), 0);
	assert_int_equal(checkpoint_manifest_write(fixture->folder, manifest, &error), 0);
	checkpoint_manifest_free(manifest);
}

/* LOCK, CHECKPOINT, RESUME, FINISH. Returns the image as it was read from the folder, the newest one. */
static struct gpu_image *dump(struct pool_fixture *fixture, struct application *application, uint32_t parent)
{
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_DUMP,
				     .parallel = 1,
				     .verify = 1,
				     .parent = parent};
	const int folders[] = {fixture->folder, fixture->folder, fixture->folder};
	int client = client_connect(fixture);
	struct gpu_image_name name = {.pid = application->pid, .has_id = true};
	struct gpu_image *image;
	struct error_text error;
	struct pool_reply reply;

	client_hello(client, &hello, folders, 3);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	image_id_of(fixture, application->pid, name.id);
	assert_int_equal(client_resume(client, application, name.id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &image, &error), 0);
	return image;
}

static void expect_verified(struct pool_fixture *fixture, const struct gpu_image *image)
{
	struct gpu_image_data data;
	const struct gpu_image_verification verification = {.data = &data, .threads = 2};
	struct error_text error = {""};

	assert_int_equal(gpu_image_open_data(fixture->folder, image, &data, &error), 0);
	assert_int_equal(gpu_image_verify(image, &verification, &error), 0);
	gpu_image_close_data(&data);
}

static void set_image_id(pid_t pid, const uint8_t id[16])
{
	struct iovec here = {.iov_base = (void *)(uintptr_t)id, .iov_len = 16}, there = here;
	struct process_maps maps;
	struct error_text error;
	struct agent agent;

	assert_int_equal(process_maps_read(pid, &maps, &error), 0);
	agent_open(&agent, pid, &maps);
	there.iov_base = (void *)(uintptr_t)(agent.page_address + offsetof(struct agent_page, image_id));
	assert_int_equal(process_vm_writev(pid, &here, 1, &there, 1, 0), 16);
	agent_close(&agent);
}

static void what_has_not_changed_is_linked(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 5, 6, "none");
	struct gpu_image *first = dump(fixture, application, POOL_PARENT_IN_FOLDER), *second;
	char *statistics;

	assert_int_equal(gpu_image_linked_bytes(first), 0);
	assert_non_null(first->allocations[4].hashes);
	seal(fixture);
	second = dump(fixture, application, POOL_PARENT_IN_FOLDER);
	assert_int_equal(gpu_image_linked_bytes(second), second->stored_bytes);
	assert_int_equal(second->stored_bytes, first->stored_bytes);
	assert_memory_equal(second->files[0].origin, first->id, 16);
	statistics = read_statistics(fixture);
	assert_null(strstr(statistics, "\"linked_bytes\":0,"));
	free(statistics);
	expect_verified(fixture, second);
	assert_int_equal(application_checksum(application), application->checksum);
	gpu_image_free(first);
	gpu_image_free(second);
}

/* All but the chunks that are zero, which are no more than a few, and of which the files would hardly be in use. */
static void what_has_changed_is_not(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 4, 6, "none");
	struct gpu_image *first = dump(fixture, application, POOL_PARENT_IN_FOLDER), *second;

	seal(fixture);
	application_write(application);
	second = dump(fixture, application, POOL_PARENT_IN_FOLDER);
	assert_true(gpu_image_linked_bytes(second) < second->stored_bytes);
	expect_verified(fixture, second);
	gpu_image_free(first);
	gpu_image_free(second);
}

static void expect_whole(struct pool_fixture *fixture, struct application *application, uint32_t parent)
{
	struct gpu_image *image = dump(fixture, application, parent);

	assert_int_equal(gpu_image_linked_bytes(image), 0);
	assert_true(image->stored_bytes > 0);
	expect_verified(fixture, image);
	gpu_image_free(image);
}

static void no_image_but_that_of_a_complete_checkpoint_is_a_parent(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 6, "none");

	expect_whole(fixture, application, POOL_PARENT_IN_FOLDER);
	expect_whole(fixture, application, POOL_PARENT_IN_FOLDER); /* there is no manifest */
	seal(fixture);
	expect_whole(fixture, application, POOL_PARENT_NONE);
}

/* It says that it comes from another one's image, and has the very same in its memory. */
static void nobody_gets_at_the_image_of_another_process(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *owner = application_start(fixture, 3, 6, "none"),
			   *thief = application_start(fixture, 3, 6, "none");
	struct gpu_image *image = dump(fixture, owner, POOL_PARENT_IN_FOLDER);

	seal(fixture);
	set_image_id(thief->pid, image->id);
	expect_whole(fixture, thief, POOL_PARENT_IN_FOLDER);
	gpu_image_free(image);
}

static void files_that_others_may_write_to_are_not_linked(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 6, "none");
	struct gpu_image *image = dump(fixture, application, POOL_PARENT_IN_FOLDER);

	seal(fixture);
	assert_int_equal(fchmodat(fixture->folder, image->files[0].name, 0620, 0), 0);
	expect_whole(fixture, application, POOL_PARENT_IN_FOLDER);
	gpu_image_free(image);
}

static void without_the_kernel_all_is_written(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 3, 6, "none");

	gpu_image_free(dump(fixture, application, POOL_PARENT_IN_FOLDER));
	seal(fixture);
	inject("cuLaunchKernel=999");
	expect_whole(fixture, application, POOL_PARENT_IN_FOLDER);
	inject("");
	assert_int_equal(application_checksum(application), application->checksum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_has_not_changed_is_linked),
		TEST(what_has_changed_is_not),
		TEST(no_image_but_that_of_a_complete_checkpoint_is_a_parent),
		TEST(nobody_gets_at_the_image_of_another_process),
		TEST(files_that_others_may_write_to_are_not_linked),
		TEST(without_the_kernel_all_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
