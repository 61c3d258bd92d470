/* SPDX-License-Identifier: MIT */
#include "worker/worker_client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/clock.h"

static uint64_t deadline_of(const struct worker_client *client)
{
	return monotonic_nanoseconds() + (uint64_t)(client->timeout_seconds * 1e9);
}

/* Sleeps a little; false once the deadline has passed. */
static int pause_until(uint64_t deadline)
{
	const struct timespec pause = {.tv_nsec = 500000};

	nanosleep(&pause, NULL);
	return monotonic_nanoseconds() < deadline;
}

static struct worker_state *try_map(const char *path)
{
	struct worker_state *state = MAP_FAILED;
	int descriptor = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;

	if (descriptor < 0)
		return NULL;
	if (!fstat(descriptor, &status) && status.st_size >= 4096)
		state = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	close(descriptor);
	return state == MAP_FAILED ? NULL : state;
}

int worker_client_open(struct worker_client *client, const char *path, double timeout_seconds, struct error_text *error)
{
	uint64_t deadline;

	client->timeout_seconds = timeout_seconds;
	deadline = deadline_of(client);
	do {
		client->state = try_map(path);
		if (client->state && client->state->magic == WORKER_STATE_MAGIC) {
			if (client->state->version != WORKER_STATE_VERSION) {
				worker_client_close(client);
				return fail(error, -EPROTO, "%s is of another version of rekindle-worker", path);
			}
			if (client->state->ready)
				return 0;
			if (client->state->failed) {
				int result = fail(error, -EIO, "The worker failed: %s", client->state->error);

				worker_client_close(client);
				return result;
			}
		}
		worker_client_close(client);
	} while (pause_until(deadline));
	return fail(error, -ETIMEDOUT, "The worker of %s was not ready after %.1f s", path, timeout_seconds);
}

void worker_client_close(struct worker_client *client)
{
	if (client->state)
		munmap(client->state, 4096);
	client->state = NULL;
}

int worker_client_request(struct worker_client *client, enum worker_request kind, uint64_t argument, uint64_t *checksum,
			  struct error_text *error)
{
	uint64_t deadline = deadline_of(client);
	struct worker_state *state = client->state;
	uint32_t number = state->request + 1;

	state->request_kind = kind;
	state->request_argument = argument;
	state->request = number;
	while (state->response != number) {
		if (!pause_until(deadline))
			return fail(error, -ETIMEDOUT, "The worker (process %d) did not answer within %.1f s",
				    state->process_id, client->timeout_seconds);
	}
	if (state->response_result)
		return fail(error, state->response_result, "The worker (process %d) failed: %s", state->process_id,
			    state->error);
	if (checksum)
		*checksum = state->checksum;
	return 0;
}

int worker_client_wait_steps(struct worker_client *client, uint64_t steps, struct error_text *error)
{
	uint64_t deadline = deadline_of(client), wanted = client->state->steps + steps;

	while (client->state->steps < wanted) {
		if (client->state->failed)
			return fail(error, -EIO, "The worker (process %d) failed: %s", client->state->process_id,
				    client->state->error);
		if (!pause_until(deadline))
			return fail(error, -ETIMEDOUT, "The worker (process %d) made no %llu steps within %.1f s",
				    client->state->process_id, (unsigned long long)steps, client->timeout_seconds);
	}
	return 0;
}
