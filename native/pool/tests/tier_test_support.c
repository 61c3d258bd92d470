/* SPDX-License-Identifier: MIT */
#include "pool/tests/tier_test_support.h"

#include <stdlib.h>
#include <string.h>

#include "store/checkpoint_folder.h"

static const uint8_t checkpoint_id[16] = {7};

struct pool_status status_of(struct pool_fixture *fixture)
{
	struct pool_status status;

	pool_server_status(fixture->server, &status);
	return status;
}

struct pool_resident wait_for(struct pool_fixture *fixture, uint32_t tier)
{
	struct pool_resident entry = {.state = 0};
	int tries;

	for (tries = 0; tries < 6000 && (entry.state != POOL_RESIDENT_FILLED || entry.tier != tier); tries++) {
		pool_server_resident(fixture->server, 0, &entry);
		usleep(10000);
	}
	assert_int_equal(entry.state, POOL_RESIDENT_FILLED);
	assert_int_equal(entry.tier, tier);
	return entry;
}

void prefetch(struct pool_fixture *fixture, const char *path, enum pool_tier tier)
{
	struct error_text error = {""};
	uint64_t bytes = 1;
	int tries;

	if (pool_server_prefetch(fixture->server, path, tier, &error))
		fail_msg("%s", error.text);
	for (tries = 0; tries < 6000 && bytes; tries++) {
		assert_int_equal(pool_server_prefetched(fixture->server, path, &bytes, &error), 0);
		usleep(5000);
	}
	assert_int_equal(bytes, 0);
}

struct application *parked(struct pool_fixture *fixture, enum pool_tier tier, uint8_t *image_id,
			   struct pool_reply *reply)
{
	struct pool_request hello = {.type = POOL_HELLO,
				     .version = POOL_PROTOCOL_VERSION,
				     .stage = POOL_STAGE_DUMP,
				     .tier = tier},
			    finish = {.type = POOL_FINISH};
	int client = client_connect(fixture), folders[3] = {fixture->folder, fixture->folder, fixture->folder};
	struct application *application = application_start(fixture, 6, 6, "none");
	struct checkpoint_reading reading = {.threads = 1};
	struct error_text error;

	memcpy(hello.image_id, checkpoint_id, sizeof(hello.image_id));
	client_hello(client, &hello, folders, 3);
	assert_int_equal(client_simple(client, POOL_LOCK, application->pid, reply), 0);
	assert_int_equal(client_checkpoint(client, application, true, reply), 0);
	assert_int_equal(checkpoint_folder_seal(fixture->folder, fixture->folder, checkpoint_id, &reading, &error), 0);
	assert_int_equal(client_ask(client, &finish, -1, reply), 0);
	close(client);
	image_id_of(fixture, application->pid, image_id);
	return application;
}

void restore(struct pool_fixture *fixture, struct application *application, const uint8_t *image_id)
{
	struct pool_reply reply;
	int client = begin_restore(fixture, &reply);

	assert_int_equal(client_resume(client, application, image_id, &reply), 0);
	client_finish(client, 0);
	assert_int_equal(application_checksum(application), application->checksum);
}

void put_away(struct pool_fixture *fixture, const char *name, char *path)
{
	char command[256];

	snprintf(path, 128, "%s/%s", fixture->path, name);
	snprintf(command, sizeof(command), "mkdir %s && mv %s/rekindle-*.img %s", path, fixture->path, path);
	assert_int_equal(system(command), 0);
}

void need_room(struct pool_fixture *fixture, struct application *application, const char *also)
{
	struct pool_reply reply;
	char rules[96];
	int client;

	snprintf(rules, sizeof(rules), "cuCheckpointProcessRestore=2@1%s", also);
	inject(rules);
	client = client_begin(fixture, POOL_STAGE_RESTORE);
	assert_int_equal(client_resume(client, application, NULL, &reply), 0);
	client_finish(client, 0);
	inject("");
}

int tear_down_with_what_is_left(void **state)
{
	struct pool_fixture *fixture = *state;

	pool_server_stop(fixture->server);
	fixture->server = NULL;
	return pool_fixture_tear_down(state);
}
