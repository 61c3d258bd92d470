/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/message_socket.h"
#include "protocol/pool_protocol.h"
#include "protocol/seal_order.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_gpu_images.h"
#include "support/clock.h"

/* How often the pool is asked for its progress. */
#define ASK_MS 1000u

/*
 * An action script of CRIU's, added by the plugin. CRIU has written its images then, and holds the processes still: what
 * fails here makes CRIU let them go on, and the dump a failure, by CRIU's own doing. That cannot be said any more in the
 * plugin's exit hook. The script runs before those of the user's, which find the checkpoint whole and in its place.
 */

static struct seal_order *open_order(void)
{
	const char *number = getenv(SEAL_ORDER_VARIABLE);
	char path[64];
	void *order;
	int file;

	if (!number)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getppid(), atoi(number));
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0)
		return NULL;
	order = mmap(NULL, sizeof(struct seal_order), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	return order == MAP_FAILED ? NULL : order;
}

/* A duplicate of a descriptor of CRIU's, which closes all of them before it runs a script. */
static int take_from_criu(int number, struct error_text *error)
{
	int criu = (int)syscall(SYS_pidfd_open, getppid(), 0);
	int taken = criu < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, criu, number, 0);
	int code = errno;

	if (criu >= 0)
		close(criu);
	return taken < 0 ? fail(error, -code, "cannot take over a descriptor of CRIU's: %s", errno_text(code)) : taken;
}

static bool is_lost(int result)
{
	return result == -ECONNRESET || result == -EPIPE || result == -ENOTCONN;
}

/* The pool has checked the GPU images meanwhile, or is about to be done. Its limit is for time without progress. */
static int ask_pool(const struct seal_order *order, int pool, struct error_text *error)
{
	struct pool_request request = {.type = POOL_CHECK, .timeout_ms = ASK_MS};
	uint64_t last_progress = monotonic_nanoseconds(), bytes = 0;
	struct pool_reply reply;
	ssize_t received;
	int result;

	for (;;) {
		/* The plugin knows by it what is not its own, should this one not live to hear the reply. */
		request.number = monotonic_nanoseconds();
		result = message_send(pool, &request, sizeof(request), NULL, 0);
		if (result)
			return fail(error, result, "the pool ended: %s", errno_text(-result));
		received = message_receive(pool, &reply, sizeof(reply), NULL, NULL, (int)(order->timeout_ms + ASK_MS));
		if (received == -ETIMEDOUT)
			return fail(error, -ETIMEDOUT,
				    "the pool did not say within %u s (REKINDLE_TIMEOUT) whether the GPU images are "
				    "good: see its log",
				    order->timeout_ms / 1000u);
		if (received < 0)
			return fail(error, (int)received, "the pool did not say whether the GPU images are good: %s",
				    errno_text((int)-received));
		if (received != sizeof(reply))
			return fail(error, -EPROTO, POOL_OF_ANOTHER_VERSION);
		if (reply.result != -EINPROGRESS)
			break;
		if (reply.bytes != bytes)
			last_progress = monotonic_nanoseconds();
		bytes = reply.bytes;
		if (monotonic_nanoseconds() - last_progress > order->timeout_ms * UINT64_C(1000000))
			return fail(error, -ETIMEDOUT,
				    "the GPU images were not flushed and read back: no progress for %u s "
				    "(REKINDLE_TIMEOUT)",
				    order->timeout_ms / 1000);
	}
	reply.error.text[sizeof(reply.error.text) - 1] = '\0';
	return reply.result ? fail(error, reply.result, "%s", reply.error.text) : 0;
}

static int check_device_memory(const struct seal_order *order, int images, struct error_text *error)
{
	int pool = order->pool_socket < 0 ? -1 : take_from_criu(order->pool_socket, error), result;

	if (order->pool_socket < 0)
		return gpu_images_check_on_disk(images, order->threads, error);
	if (pool < 0)
		return pool;
	result = ask_pool(order, pool, error);
	if (is_lost(result))
		result = gpu_images_check_on_disk(images, order->threads, error);
	/* Not closed: as long as this works, the pool must not take the run for abandoned. */
	return result;
}

static int seal(const struct seal_order *order, int images, struct error_text *error)
{
	struct checkpoint_reading reading = {.threads = order->threads};
	int folder = take_from_criu(order->lock, error), result;

	if (folder < 0)
		return folder;
	result = check_device_memory(order, images, error);
	return result ? result : checkpoint_folder_seal(folder, images, order->checkpoint_id, &reading, error);
}

/* What CRIU begins it ends: without it nobody would know of a checkpoint that this completes. */
static bool end_with_criu(void)
{
	pid_t criu = getppid();

	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == criu;
}

int main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *path = getenv("CRTOOLS_IMAGE_DIR");
	struct error_text error = {""};
	struct seal_order *order;
	int images, result;

	/* CRIU runs it for every action of a dump. */
	if (!action || strcmp(action, "post-dump"))
		return 0;
	order = end_with_criu() ? open_order() : NULL;
	images = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (!order || images < 0) {
		fprintf(stderr, "Error (rekindle): cuda_plugin: rekindle-seal is for CRIU to run, with the plugin\n");
		return 1;
	}
	__atomic_store_n(&order->state, SEAL_BEGUN, __ATOMIC_RELEASE);
	result = seal(order, images, &error);
	order->code = result;
	order->error = error;
	__atomic_store_n(&order->state, result ? SEAL_FAILED : SEAL_DONE, __ATOMIC_RELEASE);
	/* The plugin writes the sentence into CRIU's log. */
	return result ? 1 : 0;
}
