/* SPDX-License-Identifier: MIT */
#include "pool/tests/restore_test_support.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct application *dumped(struct pool_fixture *fixture, bool with_agent, uint8_t *image_id)
{
	struct application *application = application_start(fixture, 6, 6, "none");
	int client = client_begin(fixture, POOL_STAGE_DUMP);
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, with_agent, &reply), 0);
	client_finish(client, 0);
	wait_until_nothing_is_held(fixture);
	image_id_of(fixture, application->pid, image_id);
	return application;
}

int begin_restore(struct pool_fixture *fixture, struct pool_reply *reply)
{
	int client = client_begin(fixture, POOL_STAGE_RESTORE);

	assert_int_equal(client_simple(client, POOL_PREFETCH, 0, reply), 0);
	return client;
}

void damage(struct pool_fixture *fixture, pid_t pid, off_t offset)
{
	char name[64];
	int file;

	image_file_of(fixture, pid, "rekindle-pages-", name);
	file = openat(fixture->folder, name, O_WRONLY);
	assert_int_equal(pwrite(file, "damage", 6, offset), 6);
	close(file);
}

void rewrite_manifest(struct pool_fixture *fixture, pid_t pid, void (*change)(struct gpu_image *image))
{
	struct gpu_image_name name = {.pid = pid, .has_id = true};
	char temporary[GPU_IMAGE_NAME_MAX];
	struct gpu_image *image = NULL;
	struct error_text error;

	image_id_of(fixture, pid, name.id);
	assert_int_equal(gpu_image_read(fixture->folder, &name, &image, &error), 0);
	change(image);
	if (image->file_count) {
		/* Where a dump has it until the manifest is written. */
		snprintf(temporary, sizeof(temporary), "%s.tmp", image->files[0].name);
		assert_int_equal(renameat(fixture->folder, image->files[0].name, fixture->folder, temporary), 0);
	}
	assert_int_equal(gpu_image_commit(fixture->folder, image, &error), 0);
	gpu_image_free(image);
}
