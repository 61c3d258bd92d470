/* SPDX-License-Identifier: MIT */
#include "client/pool_client.h"
#include "rekindle.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A client of a pool that does not do what it should. */

struct fake_pool {
	char path[64];
	int listener;
	pthread_t thread;
	int go; /* a pipe: it answers the second request once it can read from here */
	int let_go;
};

/* Answers the greeting at once, the next request late and with a failure that can be told, and waits for the end. */
static void *answer_late(void *context)
{
	struct fake_pool *pool = context;
	struct pool_reply reply = {.version = POOL_PROTOCOL_VERSION};
	struct pool_request request;
	char end;
	int client = accept(pool->listener, NULL, NULL);

	if (client < 0 || recv(client, &request, sizeof(request), 0) != sizeof(request) ||
	    send(client, &reply, sizeof(reply), 0) != sizeof(reply) ||
	    recv(client, &request, sizeof(request), 0) != sizeof(request) || read(pool->go, &end, 1) != 1)
		return NULL;
	reply.result = -EINVAL;
	send(client, &reply, sizeof(reply), MSG_NOSIGNAL);
	recv(client, &request, sizeof(request), 0);
	close(client);
	return NULL;
}

/* Each figure another one. */
static void *answer_with_figures(void *context)
{
	struct fake_pool *pool = context;
	struct pool_reply reply = {.version = POOL_PROTOCOL_VERSION};
	struct pool_request request;
	int client = accept(pool->listener, NULL, NULL);

	reply.status = (struct pool_status){.restores = 1,
					    .checkpoints = 2,
					    .bytes_to_device = 3,
					    .bytes_from_device = 4,
					    .ring_bytes = 5,
					    .workers = 6,
					    .contexts = 7,
					    .runs = 8,
					    .simulated = 1,
					    .driver_version = 9,
					    .pid = 10,
					    .started_nanoseconds = 11,
					    .device_bytes_held = 12,
					    .images_resident = 13,
					    .images_read = 14,
					    .images_pinned = 23,
					    .pinned_bytes_held = 24,
					    .moved_to_pinned = 25,
					    .given_up = 26,
					    .expired = 27,
					    .expired_bytes = 28};
	reply.resident = (struct pool_resident){.bytes = 15,
						.bytes_filled = 16,
						.since_nanoseconds = 17,
						.images = 18,
						.state = POOL_RESIDENT_FAILED,
						.taken = 1,
						.tier = POOL_TIER_PINNED,
						.directory = "/images"};
	reply.gpu = (struct pool_gpu){.device = 19,
				      .warm = 1,
				      .bytes_held = 20,
				      .memory_bytes = 21,
				      .free_bytes = 22,
				      .free_known = 1,
				      .uuid = {0xab},
				      .name = "Fake\n"};
	while (client >= 0 && recv(client, &request, sizeof(request), 0) == sizeof(request)) {
		/* 40 folders, whose numbers have gaps, and 2 GPUs. */
		reply.found = request.after < (request.type == POOL_GPU ? 2 : 80);
		reply.resident.number = request.after + 2;
		send(client, &reply, sizeof(reply), MSG_NOSIGNAL);
	}
	close(client);
	return NULL;
}

/* The same again and again. */
static void *answer_without_end(void *context)
{
	struct fake_pool *pool = context;
	struct pool_reply reply = {.version = POOL_PROTOCOL_VERSION, .found = 1, .resident = {.number = 1}};
	struct pool_request request;
	int client = accept(pool->listener, NULL, NULL);

	while (client >= 0 && recv(client, &request, sizeof(request), 0) == sizeof(request))
		send(client, &reply, sizeof(reply), MSG_NOSIGNAL);
	close(client);
	return NULL;
}

static void start(struct fake_pool *pool, void *(*answer)(void *))
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int ends[2];

	snprintf(pool->path, sizeof(pool->path), "/tmp/rekindle-client-%d.sock", getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", pool->path);
	unlink(pool->path);
	pool->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(pool->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(pool->listener, 1), 0);
	assert_int_equal(pipe(ends), 0);
	pool->go = ends[0];
	pool->let_go = ends[1];
	assert_int_equal(pthread_create(&pool->thread, NULL, answer, pool), 0);
}

static void stop(struct fake_pool *pool)
{
	pthread_join(pool->thread, NULL);
	close(pool->listener);
	close(pool->go);
	close(pool->let_go);
	unlink(pool->path);
}

static void a_late_answer_is_not_taken_for_the_next_one(void **state)
{
	struct pool_client client;
	struct pool_reply reply;
	struct error_text error;
	struct fake_pool pool;

	(void)state;
	start(&pool, answer_late);
	assert_int_equal(pool_client_open(&client, pool.path, 7, &error), 0);
	assert_int_equal(client.reply_timeout_ms, 7000);
	client.reply_timeout_ms = 20;
	assert_int_equal(pool_client_request(&client, POOL_STATUS, -1, &reply, &error), -ETIMEDOUT);
	assert_non_null(strstr(error.text, "did not answer within"));
	assert_int_equal(write(pool.let_go, "", 1), 1);
	client.reply_timeout_ms = 10000;
	assert_int_equal(pool_client_request(&client, POOL_STATUS, -1, &reply, &error), -ECONNRESET);
	assert_non_null(strstr(error.text, "connect to a new one"));
	pool_client_close(&client);
	stop(&pool);
}

static void every_figure_of_a_pool_is_its_own(void **state)
{
	struct rekindle_environment environment;
	struct rekindle_pool_statistics statistics;
	struct rekindle_resident_images images[40];
	struct rekindle_context_lease lease;
	struct rekindle_pool_gpu gpus[2];
	struct rekindle_pool *connected;
	struct rekindle_error error;
	struct fake_pool pool;
	uint32_t count;

	(void)state;
	start(&pool, answer_with_figures);
	rekindle_environment_defaults(&environment);
	environment.pool_socket = pool.path;
	assert_int_equal(rekindle_pool_connect(&environment, &connected, &error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_acquire(connected, 0, &lease, &error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_acquire(connected, 0, &lease, &error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_status(connected, &statistics, &error), REKINDLE_OK);
	assert_int_equal(statistics.restores, 1);
	assert_int_equal(statistics.checkpoints, 2);
	assert_int_equal(statistics.bytes_to_device, 3);
	assert_int_equal(statistics.bytes_from_device, 4);
	assert_int_equal(statistics.ring_bytes, 5);
	assert_int_equal(statistics.workers, 6);
	assert_int_equal(statistics.contexts, 7);
	assert_int_equal(statistics.runs, 8);
	assert_int_equal(statistics.simulated, 1);
	assert_int_equal(statistics.driver_version, 9);
	assert_int_equal(statistics.pid, 10);
	assert_int_equal(statistics.started, 11);
	assert_int_equal(statistics.device_bytes_held, 12);
	assert_int_equal(statistics.leases, 2);
	assert_int_equal(statistics.images_resident, 13);
	assert_int_equal(statistics.images_read, 14);
	assert_int_equal(statistics.images_pinned, 23);
	assert_int_equal(statistics.pinned_bytes, 24);
	assert_int_equal(statistics.moved_to_pinned, 25);
	assert_int_equal(statistics.given_up, 26);
	assert_int_equal(statistics.expired, 27);
	assert_int_equal(statistics.expired_bytes, 28);
	memset(images, 7, sizeof(images));
	assert_int_equal(rekindle_pool_images(connected, images, 39, &count, &error), REKINDLE_OK);
	assert_int_equal(count, 40);
	assert_int_equal(images[39].images, 0x07070707);
	assert_int_equal(images[38].bytes, 15);
	assert_int_equal(images[38].bytes_filled, 16);
	assert_int_equal(images[38].since, 17);
	assert_int_equal(images[38].images, 18);
	assert_int_equal(images[38].state, REKINDLE_RESIDENT_FAILED);
	assert_int_equal(images[38].taken, 1);
	assert_int_equal(images[38].tier, REKINDLE_TIER_PINNED);
	assert_string_equal(images[38].directory, "/images");
	assert_int_equal(rekindle_pool_gpus(connected, gpus, 2, &count, &error), REKINDLE_OK);
	assert_int_equal(count, 2);
	assert_int_equal(gpus[1].device, 19);
	assert_int_equal(gpus[1].warm, 1);
	assert_int_equal(gpus[1].bytes_held, 20);
	assert_int_equal(gpus[1].memory_bytes, 21);
	assert_int_equal(gpus[1].free_bytes, 22);
	assert_int_equal(gpus[1].free_known, 1);
	assert_string_equal(gpus[1].uuid, "GPU-ab000000-0000-0000-0000-000000000000");
	assert_string_equal(gpus[1].name, "Fake?");
	rekindle_pool_close(connected);
	stop(&pool);
}

/* Nobody waits for the end of its lists for ever. */
static void lists_without_an_end_have_one(void **state)
{
	struct rekindle_environment environment;
	struct rekindle_pool *connected;
	struct rekindle_error error;
	struct fake_pool pool;
	uint32_t count;

	(void)state;
	start(&pool, answer_without_end);
	rekindle_environment_defaults(&environment);
	environment.pool_socket = pool.path;
	assert_int_equal(rekindle_pool_connect(&environment, &connected, &error), REKINDLE_OK);
	assert_int_equal(rekindle_pool_images(connected, NULL, 0, &count, &error), REKINDLE_OK);
	assert_int_equal(count, 1);
	assert_int_equal(rekindle_pool_gpus(connected, NULL, 0, &count, &error), REKINDLE_OK);
	assert_int_equal(count, 64);
	rekindle_pool_close(connected);
	stop(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_late_answer_is_not_taken_for_the_next_one),
		cmocka_unit_test(every_figure_of_a_pool_is_its_own),
		cmocka_unit_test(lists_without_an_end_have_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
