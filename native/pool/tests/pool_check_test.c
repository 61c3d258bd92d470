/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "pool/tests/pool_test_support.h"
#include "store/checkpoint_folder.h"
#include "store/gpu_image.h"

/* The check of what was written, which goes on beside the dump; linked with --wrap=gpu_image_check_on_disk. */

int __real_gpu_image_check_on_disk(const struct gpu_image *image, const struct gpu_image_verification *verification,
				   struct error_text *error);

static atomic_int result_of_check; /* 0: the real one's */
static atomic_bool hold, entered, was_cancelled;

int __wrap_gpu_image_check_on_disk(const struct gpu_image *image, const struct gpu_image_verification *verification,
				   struct error_text *error)
{
	int result = atomic_load(&result_of_check);

	atomic_store(&entered, true);
	while (atomic_load(&hold)) {
		if (atomic_load(verification->cancel)) {
			atomic_store(&was_cancelled, true);
			snprintf(error->text, sizeof(error->text), "cancelled");
			return -ECANCELED;
		}
		usleep(1000);
	}
	if (result) {
		snprintf(error->text, sizeof(error->text), "%s is damaged, says the test", image->files[0].name);
		return result;
	}
	return __real_gpu_image_check_on_disk(image, verification, error);
}

static int set_up(void **state)
{
	atomic_store(&result_of_check, 0);
	atomic_store(&hold, false);
	atomic_store(&entered, false);
	atomic_store(&was_cancelled, false);
	return pool_fixture_set_up(state);
}

static struct application *dump(struct pool_fixture *fixture, int *client)
{
	struct application *application = application_start(fixture, 1, 8, "none");
	struct pool_reply reply;

	*client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(*client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(*client, application, true, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_OFFLOAD);
	return application;
}

static void wait_until_it_begins(void)
{
	int tries;

	for (tries = 0; tries < 60000 && !atomic_load(&entered); tries++)
		usleep(1000);
	assert_true(atomic_load(&entered));
}

static int check(int client, unsigned int timeout_ms, struct pool_reply *reply)
{
	struct pool_request request = {.type = POOL_CHECK, .timeout_ms = timeout_ms};

	return client_ask(client, &request, -1, reply);
}

static void the_dump_goes_on_while_it_is_checked(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application;
	struct pool_reply reply;
	char *statistics;
	int client;

	atomic_store(&hold, true);
	application = dump(fixture, &client);
	assert_int_equal(check(client, 50, &reply), -EINPROGRESS);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	atomic_store(&hold, false);
	assert_int_equal(check(client, 10000, &reply), 0);
	assert_int_equal(check(client, 0, &reply), 0);
	client_finish(client, 0);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":true"));
	assert_non_null(strstr(statistics, "\"verify\""));
	/* Half of it is zero, and holes of the file. */
	assert_non_null(strstr(statistics, "\"device_bytes\":8388608"));
	assert_non_null(strstr(statistics, "\"image_bytes\":4194304"));
	free(statistics);
}

static void what_is_found_fails_the_dump_and_leaves_the_process_whole(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application;
	struct pool_reply reply;
	char *statistics;
	int client;

	atomic_store(&result_of_check, -EBADMSG);
	application = dump(fixture, &client);
	assert_int_equal(check(client, 10000, &reply), -EBADMSG);
	assert_non_null(strstr(reply.error.text, "is damaged, says the test"));
	client_finish(client, -EIO);
	assert_false(image_is_there(fixture, application->pid));
	assert_int_equal(application_checksum(application), application->checksum);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":false"));
	assert_non_null(strstr(statistics, "is damaged, says the test"));
	assert_non_null(strstr(statistics, "\"failure_code\":-74"));
	free(statistics);
}

/* Whoever does not ask is told at the end. */
static void a_dump_is_no_success_before_it_is_checked(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_FINISH};
	struct application *application;
	struct pool_reply reply;
	char *statistics;
	int client;

	atomic_store(&result_of_check, -EIO);
	application = dump(fixture, &client);
	assert_int_equal(client_ask(client, &request, -1, &reply), -EIO);
	assert_false(image_is_there(fixture, application->pid));
	assert_int_equal(application_checksum(application), application->checksum);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"succeeded\":false"));
	free(statistics);
	close(client);
}

static const uint8_t checkpoint[16] = {3};

/* As the plugin asks for it: the folder is locked for the run, and is to be put in order after a failure. */
static struct application *dump_into_folder_of_run(struct pool_fixture *fixture, int *client)
{
	struct pool_request hello = {.type = POOL_HELLO, .version = POOL_PROTOCOL_VERSION, .stage = POOL_STAGE_DUMP};
	struct application *application = application_start(fixture, 1, 8, "none");
	int folders[3] = {fixture->folder, fixture->folder, fixture->folder};
	struct pool_reply reply;

	*client = client_connect(fixture);
	memcpy(hello.image_id, checkpoint, sizeof(hello.image_id));
	client_hello(*client, &hello, folders, 3);
	assert_int_equal(client_simple(*client, POOL_LOCK, application->pid, &reply), 0);
	assert_int_equal(client_checkpoint(*client, application, true, &reply), 0);
	return application;
}

/* Its client did not ask either, and has put it in its place: the process may have ended, and nothing else be left of it. */
static void a_checkpoint_in_its_place_stays(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request finish = {.type = POOL_FINISH};
	struct checkpoint_reading reading = {.threads = 1};
	struct application *application;
	struct error_text error;
	struct pool_reply reply;
	int client;

	atomic_store(&result_of_check, -EIO);
	application = dump_into_folder_of_run(fixture, &client);
	assert_int_equal(checkpoint_folder_seal(fixture->folder, fixture->folder, checkpoint, &reading, &error), 0);
	assert_int_equal(client_ask(client, &finish, -1, &reply), -EIO);
	close(client);
	assert_true(image_is_there(fixture, application->pid));
	assert_true(checkpoint_folder_holds(fixture->folder, checkpoint));
	assert_int_equal(application_checksum(application), application->checksum);
}

/* Its client has put it nowhere, and CRIU ends the process all the same: what there is of it, damaged or not, stays. */
static void what_is_to_stay_stays(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request finish = {.type = POOL_FINISH, .images_stay = 1};
	struct application *application;
	struct pool_reply reply;
	unsigned int i;
	int client;

	atomic_store(&result_of_check, -EIO);
	for (i = 0; i < 2; i++) {
		application = dump_into_folder_of_run(fixture, &client);
		close(openat(fixture->folder, "inventory.img", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		/* The pool finds it, or the client has said so. */
		finish.criu_result = i ? -EIO : 0;
		assert_int_equal(client_ask(client, &finish, -1, &reply), i ? 0 : -EIO);
		close(client);
		wait_until_nothing_is_held(fixture);
		assert_true(image_is_there(fixture, application->pid));
		assert_int_equal(faccessat(fixture->folder, "inventory.img", F_OK, 0), 0);
		assert_int_equal(application_checksum(application), application->checksum);
	}
}

static void a_lost_client_cancels_the_check(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application;
	int client;

	atomic_store(&hold, true);
	application = dump(fixture, &client);
	wait_until_it_begins();
	close(client);
	wait_until_nothing_is_held(fixture);
	assert_true(atomic_load(&was_cancelled));
	assert_false(image_is_there(fixture, application->pid));
	assert_int_equal(application_checksum(application), application->checksum);
}

static void a_client_that_leaves_while_it_waits_is_noticed(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_request request = {.type = POOL_CHECK, .timeout_ms = 1000000};
	struct application *application;
	int client;

	atomic_store(&hold, true);
	application = dump(fixture, &client);
	assert_int_equal(send(client, &request, sizeof(request), 0), sizeof(request));
	close(client);
	wait_until_nothing_is_held(fixture);
	assert_int_equal(application_checksum(application), application->checksum);
}

static void check_belongs_into_a_dump(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_reply reply;
	int client = client_begin(fixture, POOL_STAGE_RESTORE);

	assert_int_equal(check(client, 10, &reply), -EPROTO);
	close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, pool_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_dump_goes_on_while_it_is_checked),
		TEST(what_is_found_fails_the_dump_and_leaves_the_process_whole),
		TEST(a_dump_is_no_success_before_it_is_checked),
		TEST(a_checkpoint_in_its_place_stays),
		TEST(what_is_to_stay_stays),
		TEST(a_lost_client_cancels_the_check),
		TEST(a_client_that_leaves_while_it_waits_is_noticed),
		TEST(check_belongs_into_a_dump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
