/* SPDX-License-Identifier: MIT */
#include "pool/tests/pool_test_support.h"

#include <fcntl.h>

#include "pool/run/revive.h"
#include "process/process_lock.h"
#include "protocol/message_socket.h"
#include "store/checkpoint_folder.h"

static const uint8_t older_checkpoint[16] = {1}, new_checkpoint[16] = {2};

static void seal(int folder, int images, const uint8_t id[16])
{
	struct checkpoint_reading reading = {.threads = 1};
	struct error_text error;

	assert_int_equal(checkpoint_folder_seal(folder, images, id, &reading, &error), 0);
}

/* As the plugin begins a dump into a folder. */
static int begin_in_folder(struct pool_fixture *fixture, int images)
{
	struct pool_request hello = {.type = POOL_HELLO, .version = POOL_PROTOCOL_VERSION, .stage = POOL_STAGE_DUMP};
	int client = client_connect(fixture), folders[3] = {images, fixture->folder, fixture->folder};

	memcpy(hello.image_id, new_checkpoint, sizeof(hello.image_id));
	client_hello(client, &hello, folders, 3);
	return client;
}

/* Dumps into images and gives it back; no FINISH. */
static int dump_and_resume(struct pool_fixture *fixture, struct application *application, int images)
{
	int client = begin_in_folder(fixture, images), folder = fixture->folder;
	struct pool_reply reply;
	uint8_t image_id[16];

	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, &reply), 0);
	fixture->folder = images;
	image_id_of(fixture, application->pid, image_id);
	fixture->folder = folder;
	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	return client;
}

/* Whoever is not told that a dump was good must not undo it; and of one that is not known to be good all is undone. */
static void a_lost_client_leaves_a_sealed_checkpoint(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	struct error_text error;
	int client, images;

	client = dump_and_resume(fixture, application, fixture->folder);
	close(client);
	wait_until_nothing_is_held(fixture);
	assert_false(image_is_there(fixture, application->pid));

	client = dump_and_resume(fixture, application, fixture->folder);
	seal(fixture->folder, fixture->folder, new_checkpoint);
	close(client);
	wait_until_nothing_is_held(fixture);
	assert_true(image_is_there(fixture, application->pid));
	assert_true(checkpoint_folder_holds(fixture->folder, new_checkpoint));

	/* Over an older one. */
	seal(fixture->folder, fixture->folder, older_checkpoint);
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	client = dump_and_resume(fixture, application, images);
	seal(fixture->folder, images, new_checkpoint);
	assert_true(checkpoint_folder_holds(fixture->folder, new_checkpoint));
	close(client);
	close(images);
	wait_until_nothing_is_held(fixture);
	assert_true(checkpoint_folder_holds(fixture->folder, older_checkpoint));

	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	client = dump_and_resume(fixture, application, images);
	seal(fixture->folder, images, new_checkpoint);
	close(images);
	assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
	close(client);
	wait_until_nothing_is_held(fixture);
	assert_true(checkpoint_folder_holds(fixture->folder, new_checkpoint));
	assert_true(image_is_there(fixture, application->pid));
	assert_int_equal(application_checksum(application), application->checksum);
}

/* The client is there, and only what it says is not understood. */
static void a_lost_word_is_no_failed_dump(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	int client = dump_and_resume(fixture, application, fixture->folder);
	char *statistics;

	seal(fixture->folder, fixture->folder, new_checkpoint);
	assert_int_equal(message_send(client, "garbage", 7, NULL, 0), 0);
	wait_until_nothing_is_held(fixture);
	close(client);
	assert_true(image_is_there(fixture, application->pid));
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":true"));
	free(statistics);
}

static void run_in_folder(const struct pool_fixture *fixture, const char *command)
{
	char line[256];

	snprintf(line, sizeof(line), "cd %s && %s", fixture->path, command);
	assert_int_equal(system(line), 0);
}

static struct abandoned_process as_its_guardian_knows_it(struct pool_fixture *fixture, struct application *application,
							 int images)
{
	struct abandoned_process process = {.folder = images, .folder_lock = fixture->folder, .lock = -1};

	assert_int_equal(target_open(&process.target, client_pidfd(application->pid), application->pid, NULL), 0);
	memcpy(process.checkpoint_id, new_checkpoint, sizeof(process.checkpoint_id));
	return process;
}

#define IMAGE_OF_ANOTHER "rekindle-4194303-00112233445566778899aabbccddeeff.img"

/* The pool has brought the process back and was killed before it had put the folder in order. */
static void a_guardian_clears_what_its_pool_has_left(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 4, "none");
	struct abandoned_process process;
	struct error_text error;
	struct pool *pool;
	int client, images;

	assert_int_equal(pool_create(&pool, &fixture->settings, &error), 0);
	seal(fixture->folder, fixture->folder, older_checkpoint);
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	client = dump_and_resume(fixture, application, images);
	run_in_folder(fixture, "cp -a " CHECKPOINT_NEW_FOLDER " kept");
	close(client);
	close(images);
	wait_until_nothing_is_held(fixture);
	run_in_folder(fixture, "test ! -e " CHECKPOINT_NEW_FOLDER " && mv kept " CHECKPOINT_NEW_FOLDER);
	images = openat(fixture->folder, CHECKPOINT_NEW_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	process = as_its_guardian_knows_it(fixture, application, images);
	/* Another process of the tree has its memory there only, and comes next. */
	run_in_folder(fixture, "touch " CHECKPOINT_NEW_FOLDER "/" IMAGE_OF_ANOTHER);
	process.others_follow = true;
	revive_folder(pool, &process);
	run_in_folder(fixture, "cd " CHECKPOINT_NEW_FOLDER " && test \"$(echo rekindle-*)\" = " IMAGE_OF_ANOTHER);
	run_in_folder(fixture, "rm " CHECKPOINT_NEW_FOLDER "/" IMAGE_OF_ANOTHER);
	process.others_follow = false;
	revive_folder(pool, &process);
	close(images);
	run_in_folder(fixture, "test ! -e " CHECKPOINT_NEW_FOLDER);
	assert_false(image_is_there(fixture, application->pid));
	assert_true(checkpoint_folder_holds(fixture->folder, older_checkpoint));

	/* Nothing of what is settled, nor of what another run has put there since. */
	run_in_folder(fixture, "rm " CHECKPOINT_MANIFEST_NAME);
	client = dump_and_resume(fixture, application, fixture->folder);
	seal(fixture->folder, fixture->folder, new_checkpoint);
	client_finish(client, 0);
	process = as_its_guardian_knows_it(fixture, application, fixture->folder);
	revive_folder(pool, &process);
	assert_true(image_is_there(fixture, application->pid));
	seal(fixture->folder, fixture->folder, older_checkpoint);
	revive_folder(pool, &process);
	assert_true(image_is_there(fixture, application->pid));
	pool_destroy(pool);
	assert_int_equal(application_checksum(application), application->checksum);
}

/* A folder that cannot be looked at any more, as on a server that has lost it, may be a hidden one beside an older checkpoint. */
static void what_cannot_be_looked_at_removes_nothing(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 1, 2, "none");
	struct abandoned_process process;
	struct error_text error;
	struct pool *pool;

	assert_int_equal(pool_create(&pool, &fixture->settings, &error), 0);
	/* A checkpoint of a plain CRIU: no manifest says whose it is. */
	run_in_folder(fixture, "touch inventory.img core-1.img");
	process = as_its_guardian_knows_it(fixture, application, -1);
	revive_folder(pool, &process);
	run_in_folder(fixture, "test -e inventory.img && test -e core-1.img");
	process.lock = process_lock_take(process.target.pidfd, application->pid, &error);
	assert_true(process.lock >= 0);
	assert_int_equal(revive(pool, &process), 0);
	run_in_folder(fixture, "test -e inventory.img && test -e core-1.img");
	close(process.lock);
	pool_destroy(pool);
	assert_int_equal(application_checksum(application), application->checksum);
}

/* The process has ended with criu and pool, or was ended by a criu that found another pool and could not seal the images. */
static void what_may_be_all_of_a_process_outlives_it(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 1, 2, "none");
	struct abandoned_process process;
	struct error_text error;
	struct pool *pool;
	int client, images;

	assert_int_equal(pool_create(&pool, &fixture->settings, &error), 0);
	client = dump_and_resume(fixture, application, fixture->folder);
	client_finish(client, 0);
	assert_true(image_is_there(fixture, application->pid));
	process = as_its_guardian_knows_it(fixture, application, fixture->folder);
	process.one_has_ended = true;
	run_in_folder(fixture, "printf '\\026\\061\\061\\130' >inventory.img");
	revive_folder(pool, &process);
	assert_true(image_is_there(fixture, application->pid));
	run_in_folder(fixture, "test -e inventory.img && rm inventory.img");
	revive_folder(pool, &process);
	assert_false(image_is_there(fixture, application->pid));

	/* Over an older one. */
	seal(fixture->folder, fixture->folder, older_checkpoint);
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	process.folder = images;
	seal(fixture->folder, images, new_checkpoint);
	revive_folder(pool, &process);
	assert_true(checkpoint_folder_holds(fixture->folder, new_checkpoint));
	process.one_has_ended = false;
	revive_folder(pool, &process);
	assert_true(checkpoint_folder_holds(fixture->folder, older_checkpoint));

	/* Known to be good, and not through with what it has replaced. */
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &process.folder, &error), 0);
	seal(fixture->folder, process.folder, new_checkpoint);
	assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
	process.one_has_ended = true;
	revive_folder(pool, &process);
	assert_true(checkpoint_folder_holds(fixture->folder, new_checkpoint));
	run_in_folder(fixture, "test ! -e " CHECKPOINT_REPLACED_FOLDER " && test ! -e " CHECKPOINT_NEW_FOLDER);
	close(process.folder);
	close(images);
	pool_destroy(pool);
}

static void a_new_dump_touches_no_image_of_an_earlier_one(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *first = application_start(fixture, 1, 2, "none");
	struct application *second = application_start(fixture, 1, 2, "none");
	struct pool_reply reply;
	int client;

	assert_int_equal(client_begin_dump(fixture, first, true, &reply, &client), 0);
	client_finish(client, 0);
	assert_true(image_is_there(fixture, first->pid));
	assert_int_equal(client_begin_dump(fixture, second, true, &reply, &client), 0);
	client_finish(client, 0);
	assert_true(image_is_there(fixture, first->pid));
	assert_true(image_is_there(fixture, second->pid));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lost_client_leaves_a_sealed_checkpoint), TEST(a_lost_word_is_no_failed_dump),
		TEST(a_guardian_clears_what_its_pool_has_left), TEST(what_cannot_be_looked_at_removes_nothing),
		TEST(what_may_be_all_of_a_process_outlives_it), TEST(a_new_dump_touches_no_image_of_an_earlier_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
