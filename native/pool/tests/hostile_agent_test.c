/* SPDX-License-Identifier: MIT */
/*
 * What an application can do to the pool that dumps it: nothing but fail its own dump, in the time that a request may
 * take. The attacks are in hostile_agent.c.
 */
#include "pool/tests/pool_test_support.h"

#include <dirent.h>

static size_t open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static int dump(struct pool_fixture *fixture, struct application *application, int *client, struct pool_reply *reply)
{
	*client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(*client, POOL_LOCK, application->pid, reply), 0);
	return client_checkpoint(*client, application, true, reply);
}

/* The dump fails with that sentence, the process is whole, and the pool serves others and holds nothing of it. */
static void assert_attack_fails(struct pool_fixture *fixture, const char *attack, const char *sentence)
{
	struct application *application = application_start(fixture, 2, 2, attack);
	size_t descriptors = open_descriptors();
	struct pool_reply reply;
	int client, other, i;

	assert_true(dump(fixture, application, &client, &reply) < 0);
	if (!strstr(reply.error.text, sentence))
		fail_msg("%s: \"%s\" does not say \"%s\"", attack, reply.error.text, sentence);
	other = client_begin(fixture, POOL_STAGE_CLIENT);
	assert_int_equal(client_simple(other, POOL_STATUS, 0, &reply), 0);
	assert_int_equal(reply.status.device_bytes_held, 0);
	close(other);
	assert_false(image_is_there(fixture, application->pid));
	assert_int_equal(client_simple(client, POOL_UNLOCK, application->pid, &reply), 0);
	assert_int_equal(application_checksum(application), application->checksum);
	client_finish(client, -1);
	wait_until_nothing_is_held(fixture);
	for (i = 0; i < 1000 && open_descriptors() > descriptors; i++)
		usleep(10000);
	if (open_descriptors() > descriptors)
		fail_msg("%s: %zu descriptors are left, %zu were there", attack, open_descriptors(), descriptors);
	application_kill(application);
	fixture->application_count = 0;
}

static void an_answer_ends_at_its_deadline(void **state)
{
	assert_attack_fails(*state, "hostile-trickle", "did not answer within 2 s");
}

static void answers_that_say_nothing_end_it(void **state)
{
	assert_attack_fails(*state, "hostile-nothing", "does not speak this protocol");
	assert_attack_fails(*state, "hostile-strangers", "");
}

static void what_no_gpu_has_is_not_written(void **state)
{
	assert_attack_fails(*state, "hostile-terabytes", "more device memory than GPU 0 has");
	assert_attack_fails(*state, "hostile-host-terabytes", "more memory of the host than there is");
	assert_attack_fails(*state, "hostile-host-node", "an impossible NUMA node");
	assert_attack_fails(*state, "hostile-overlap", "two allocations at one address");
	/* The driver maps a handle whole or not at all, so it knows better. */
	assert_attack_fails(*state, "hostile-larger", "cuMemMap");
}

static void files_that_are_no_device_memory_are_not_touched(void **state)
{
	assert_attack_fails(*state, "hostile-fifo", "no device memory");
	assert_attack_fails(*state, "hostile-file", "no device memory");
	/* Its close is not waited for, here or at the end of the application. */
	assert_attack_fails(*state, "hostile-lingering", "no device memory");
}

static void its_words_cannot_move_a_terminal(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "hostile-text");
	struct pool_reply reply;
	char *statistics;
	int client;

	assert_int_equal(dump(fixture, application, &client, &reply), 0);
	assert_string_equal(reply.reason, "?[2Jno?export ?");
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	statistics = read_statistics(fixture);
	assert_non_null(strstr(statistics, "\"reason\":\"?[2Jno?export ?\""));
	free(statistics);
}

static void an_agent_that_never_reads_is_not_waited_for(void **state)
{
	struct pool_fixture *fixture = *state;
	struct application *application = application_start(fixture, 2, 2, "hostile-deaf");
	struct pool_reply reply;
	int client;

	assert_int_equal(dump(fixture, application, &client, &reply), 0);
	assert_int_equal(reply.mode, POOL_MODE_NATIVE);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
	assert_int_equal(
		client_simple(client = client_begin(fixture, POOL_STAGE_DUMP), POOL_LOCK, application->pid, &reply), 0);
	assert_true(client_checkpoint(client, application, true, &reply) < 0);
	assert_non_null(strstr(reply.error.text, "did not answer within 2 s"));
	client_finish(client, -1);
	assert_int_equal(application_checksum(application), application->checksum);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fixture_set_up, pool_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_answer_ends_at_its_deadline),	TEST(answers_that_say_nothing_end_it),
		TEST(what_no_gpu_has_is_not_written),	TEST(files_that_are_no_device_memory_are_not_touched),
		TEST(its_words_cannot_move_a_terminal), TEST(an_agent_that_never_reads_is_not_waited_for),
	};

	pool_fixture_timeout_seconds = 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
