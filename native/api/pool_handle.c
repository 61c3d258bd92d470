/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call/report.h"
#include "api/call/request.h"
#include "api/criu/environment.h"
#include "api/leases.h"
#include "api/pool_contents.h"
#include "client/pool_client.h"
#include "pool/server/pool_server.h"
#include "rekindle.h"
#include "settings/settings_table.h"
#include "support/error_text.h"

#define MIB (1024u * 1024u)
/* Added to `users` by the one who closes. */
#define CLOSED 0x40000000u

struct rekindle_pool {
	/* Calls under way, plus CLOSED from the close on. */
	_Atomic uint32_t users;
	pthread_mutex_t lock; /* with left: the closing thread waits for the calls under way */
	pthread_cond_t left;
	struct rekindle_pool *next; /* in the list of all handles */
	struct resources {
		struct pool_server *server; /* of a hosted pool */
		struct pool_client client;  /* of a connected one */
		struct leases leases;
	} *resources; /* freed by the close */
};

/*
 * Handles are never freed, only what they hold: so the use of a closed one, also by another thread in the middle of the
 * close, is an error and no crash. The list keeps them reachable.
 */
static _Atomic(struct rekindle_pool *) all_pools;

static void leave(struct rekindle_pool *pool)
{
	/* The handle itself outlives the close, so the lock can be taken after the last use. */
	if (atomic_fetch_sub(&pool->users, 1) != CLOSED + 1)
		return;
	pthread_mutex_lock(&pool->lock);
	pthread_cond_broadcast(&pool->left);
	pthread_mutex_unlock(&pool->lock);
}

static int enter(struct rekindle_pool *pool, struct rekindle_error *error)
{
	if (!pool)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "pool may not be NULL.");
	if (!(atomic_fetch_add(&pool->users, 1) & CLOSED))
		return REKINDLE_OK;
	leave(pool);
	return report(error, REKINDLE_ERROR_CLOSED, REKINDLE_PHASE_NONE, "The pool was closed: open another one.");
}

static int report_text(struct rekindle_error *error, int negative_errno, const struct error_text *text)
{
	return report(error, code_of_errno(negative_errno), REKINDLE_PHASE_NONE, "%s", text->text);
}

static struct rekindle_pool *make_pool(void)
{
	struct rekindle_pool *pool = calloc(1, sizeof(*pool));

	if (!pool || !(pool->resources = calloc(1, sizeof(*pool->resources)))) {
		free(pool);
		return NULL;
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->left, NULL);
	return pool;
}

static void list_pool(struct rekindle_pool *pool)
{
	pool->next = atomic_load(&all_pools);
	while (!atomic_compare_exchange_weak(&all_pools, &pool->next, pool))
		;
}

static int start_server(struct resources *resources, const struct settings *settings, struct error_text *text)
{
	const struct pool_server_options options = {.idle_seconds = 0, .warm = true};
	int result = pool_server_start(settings, &options, &resources->server, text);

	if (result)
		return result;
	result = pool_server_wait_warm(resources->server, text);
	if (!result)
		return 0;
	pool_server_stop(resources->server);
	return result;
}

static int open_pool(const struct rekindle_environment *environment, struct rekindle_pool **result_pool, bool hosted,
		     struct rekindle_error *error)
{
	struct error_text text = {""};
	struct rekindle_pool *pool;
	struct settings settings;
	int result;

	if (!result_pool)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "pool may not be NULL.");
	*result_pool = NULL;
	result = environment_settings(&settings, environment, error);
	if (result)
		return result;
	pool = make_pool();
	if (!pool)
		return report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE, "Out of memory");
	result = hosted ? start_server(pool->resources, &settings, &text)
			: pool_client_open(&pool->resources->client, settings.pool_socket, settings.timeout_seconds,
					   &text);
	if (result) {
		free(pool->resources);
		free(pool);
		return report(error, code_of_errno(result), hosted ? REKINDLE_PHASE_START : REKINDLE_PHASE_NONE, "%s",
			      text.text);
	}
	list_pool(pool);
	*result_pool = pool;
	return REKINDLE_OK;
}

int rekindle_pool_open(const struct rekindle_environment *environment, struct rekindle_pool **pool,
		       struct rekindle_error *error)
{
	return open_pool(environment, pool, true, error);
}

int rekindle_pool_connect(const struct rekindle_environment *environment, struct rekindle_pool **pool,
			  struct rekindle_error *error)
{
	return open_pool(environment, pool, false, error);
}

void rekindle_pool_close(struct rekindle_pool *pool)
{
	struct resources *resources;
	uint32_t leases;

	if (!pool || atomic_fetch_or(&pool->users, CLOSED) & CLOSED)
		return;
	pthread_mutex_lock(&pool->lock);
	while (atomic_load(&pool->users) != CLOSED)
		pthread_cond_wait(&pool->left, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	resources = pool->resources;
	pool->resources = NULL;
	if (resources->server) {
		for (leases = atomic_load(&resources->leases.count); leases; leases--)
			pool_server_release_context(resources->server);
		pool_server_stop(resources->server);
	} else {
		pool_client_close(&resources->client);
	}
	free(resources);
}

/* A hosted pool answers without a system call; of another process only the number of contexts is known. */
static int acquire_context(struct resources *resources, int32_t device, CUcontext *context, struct error_text *text)
{
	struct pool_reply reply;
	int result;

	*context = NULL;
	if (resources->server)
		return pool_server_acquire_context(resources->server, device, context, text);
	result = pool_client_request(&resources->client, POOL_STATUS, -1, &reply, text);
	if (!result && (device < 0 || (uint32_t)device >= reply.status.contexts))
		result = fail(text, -EINVAL, "The pool has no warm context of device %d.", device);
	return result;
}

int rekindle_pool_acquire(struct rekindle_pool *pool, int32_t device, struct rekindle_context_lease *lease,
			  struct rekindle_error *error)
{
	struct error_text text;
	CUcontext context;
	int result;

	if (!lease)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "lease may not be NULL.");
	result = enter(pool, error);
	if (result)
		return result;
	result = acquire_context(pool->resources, device, &context, &text);
	if (result) {
		result = report_text(error, result, &text);
		goto out;
	}
	lease->number = leases_take(&pool->resources->leases);
	lease->context = (uint64_t)(uintptr_t)context;
	lease->device = device;
	if (lease->number)
		goto out;
	if (pool->resources->server)
		pool_server_release_context(pool->resources->server);
	result = report(error, REKINDLE_ERROR_NO_SPACE, REKINDLE_PHASE_NONE,
			"All %u leases of the pool are out: give some back.", LEASES_MAX);
out:
	leave(pool);
	return result;
}

int rekindle_pool_release(struct rekindle_pool *pool, const struct rekindle_context_lease *lease,
			  struct rekindle_error *error)
{
	int result;

	if (!lease)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "lease may not be NULL.");
	result = enter(pool, error);
	if (result)
		return result;
	if (!leases_give_back(&pool->resources->leases, lease->number))
		result =
			report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			       "Lease %u is not out on this pool: give each lease back once, to the pool it came from.",
			       lease->number);
	else if (pool->resources->server)
		pool_server_release_context(pool->resources->server);
	leave(pool);
	return result;
}

/* Asks a pool of another process. */
static_assert((int)REKINDLE_TIER_DEVICE == (int)POOL_TIER_DEVICE, "tiers have the pool's numbers");
static_assert((int)REKINDLE_TIER_PINNED == (int)POOL_TIER_PINNED, "tiers have the pool's numbers");

/* What a pool is asked about a folder. */
struct folder_question {
	enum pool_request_type type;
	enum pool_tier tier; /* of PREFETCH */
	uint64_t *bytes;     /* of PREFETCHED */
};

static int request_with_folder(struct resources *resources, const struct folder_question *question,
			       const char *directory, struct error_text *text)
{
	struct pool_reply reply;
	int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result;

	if (folder < 0)
		return fail(text, -errno, "The folder %.300s cannot be opened: %s.", directory, errno_text(errno));
	if (question->type == POOL_PREFETCH)
		result = pool_client_prefetch(&resources->client, folder, question->tier, &reply, text);
	else
		result = pool_client_request(&resources->client, question->type, folder, &reply, text);
	if (!result && question->bytes)
		*question->bytes = reply.bytes;
	close(folder);
	return result;
}

static int check_folder(const char *directory, struct rekindle_error *error)
{
	char path[PATH_MAX];
	struct stat status;

	if (!directory || !*directory)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "directory may not be NULL or empty.");
	if (!stat(directory, &status) && !S_ISDIR(status.st_mode))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "%.300s is a file: name the folder of a checkpoint.", directory);
	if ((size_t)snprintf(path, sizeof(path), "%s/inventory.img", directory) >= sizeof(path) || access(path, F_OK))
		return report(error, REKINDLE_ERROR_NO_IMAGE, REKINDLE_PHASE_NONE,
			      "The folder %.300s holds no checkpoint.", directory);
	return REKINDLE_OK;
}

/* Of a pool here, or in another process. */
static int ask_about_folder(struct rekindle_pool *pool, const struct folder_question *question, const char *directory,
			    struct rekindle_error *error)
{
	struct error_text text = {""};
	struct pool_server *server;
	int result = enter(pool, error);

	if (result)
		return result;
	result = check_folder(directory, error);
	if (result)
		goto out;
	server = pool->resources->server;
	if (!server)
		result = request_with_folder(pool->resources, question, directory, &text);
	else if (question->type == POOL_PREFETCH)
		result = pool_server_prefetch(server, directory, question->tier, &text);
	else if (question->type == POOL_PREFETCHED)
		result = pool_server_prefetched(server, directory, question->bytes, &text);
	else
		result = pool_server_drop(server, directory, &text);
	if (result)
		result = report_text(error, result, &text);
out:
	leave(pool);
	return result;
}

int rekindle_pool_prefetch(struct rekindle_pool *pool, const char *directory, struct rekindle_error *error)
{
	return rekindle_pool_prefetch_to(pool, directory, REKINDLE_TIER_DEVICE, error);
}

int rekindle_pool_prefetch_to(struct rekindle_pool *pool, const char *directory, int32_t tier,
			      struct rekindle_error *error)
{
	const struct folder_question question = {.type = POOL_PREFETCH, .tier = (enum pool_tier)tier};

	if (tier != REKINDLE_TIER_DEVICE && tier != REKINDLE_TIER_PINNED)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "tier is %d: set it to an enum rekindle_tier.", tier);
	return ask_about_folder(pool, &question, directory, error);
}

int rekindle_pool_prefetched(struct rekindle_pool *pool, const char *directory, uint64_t *bytes,
			     struct rekindle_error *error)
{
	const struct folder_question question = {.type = POOL_PREFETCHED, .bytes = bytes};

	if (!bytes)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "bytes may not be NULL.");
	return ask_about_folder(pool, &question, directory, error);
}

int rekindle_pool_drop(struct rekindle_pool *pool, const char *directory, struct rekindle_error *error)
{
	const struct folder_question question = {.type = POOL_DROP};

	return ask_about_folder(pool, &question, directory, error);
}

int rekindle_pool_status(struct rekindle_pool *pool, struct rekindle_pool_statistics *statistics,
			 struct rekindle_error *error)
{
	struct error_text text = {""};
	struct pool_reply reply = {0};
	int result;

	if (!statistics)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "statistics may not be NULL.");
	result = enter(pool, error);
	if (result)
		return result;
	if (pool->resources->server)
		pool_server_status(pool->resources->server, &reply.status);
	else
		result = pool_client_request(&pool->resources->client, POOL_STATUS, -1, &reply, &text);
	if (result) {
		result = report_text(error, result, &text);
		goto out;
	}
	*statistics = (struct rekindle_pool_statistics){
		.restores = reply.status.restores,
		.checkpoints = reply.status.checkpoints,
		.bytes_to_device = reply.status.bytes_to_device,
		.bytes_from_device = reply.status.bytes_from_device,
		.ring_bytes = reply.status.ring_bytes,
		.device_bytes_held = reply.status.device_bytes_held,
		.started = reply.status.started_nanoseconds,
		.workers = reply.status.workers,
		.contexts = reply.status.contexts,
		.leases = atomic_load(&pool->resources->leases.count),
		.runs = reply.status.runs,
		.simulated = (int32_t)reply.status.simulated,
		.driver_version = reply.status.driver_version,
		.pid = reply.status.pid,
		.images_resident = reply.status.images_resident,
		.images_read = reply.status.images_read,
		.images_pinned = reply.status.images_pinned,
		.pinned_bytes = reply.status.pinned_bytes_held,
		.moved_to_pinned = reply.status.moved_to_pinned,
		.given_up = reply.status.given_up,
		.expired = reply.status.expired,
		.expired_bytes = reply.status.expired_bytes,
	};
out:
	leave(pool);
	return result;
}

/* One of the two lists, into room for `capacity` of its entries. */
static int list(struct rekindle_pool *pool, pool_contents_function *contents, void *entries, uint32_t capacity,
		uint32_t *count, struct rekindle_error *error)
{
	struct error_text text = {""};
	struct pool_asked asked;
	int result;

	if (!count || (!entries && capacity))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE, "%s may not be NULL.",
			      count ? "The room for the list" : "count");
	result = enter(pool, error);
	if (result)
		return result;
	asked = (struct pool_asked){pool->resources->server, &pool->resources->client};
	result = contents(&asked, entries, capacity, count, &text);
	if (result)
		result = report_text(error, result, &text);
	leave(pool);
	return result;
}

int rekindle_pool_images(struct rekindle_pool *pool, struct rekindle_resident_images *images, uint32_t capacity,
			 uint32_t *count, struct rekindle_error *error)
{
	return list(pool, pool_contents_images, images, capacity, count, error);
}

int rekindle_pool_gpus(struct rekindle_pool *pool, struct rekindle_pool_gpu *gpus, uint32_t capacity, uint32_t *count,
		       struct rekindle_error *error)
{
	return list(pool, pool_contents_gpus, gpus, capacity, count, error);
}

static int check_copy(const struct rekindle_copy_request *request, struct rekindle_error *error)
{
	struct stat status;

	if (request->source < REKINDLE_COPY_PINNED || request->source > REKINDLE_COPY_DISK)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "source is %d: use an enum rekindle_copy_source.", request->source);
	if (request->workers < SETTING_streams_lowest || request->workers > SETTING_streams_highest)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "A copy has %d to %d workers, not %u.", SETTING_streams_lowest, SETTING_streams_highest,
			      request->workers);
	if (request->chunk_bytes < SETTING_chunk_bytes_lowest * MIB ||
	    request->chunk_bytes > SETTING_chunk_bytes_highest * MIB)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "A chunk has %d to %d MiB, not %llu bytes.", SETTING_chunk_bytes_lowest,
			      SETTING_chunk_bytes_highest, (unsigned long long)request->chunk_bytes);
	if (!request->bytes)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "There is nothing to copy: say how many bytes.");
	if (request->source == REKINDLE_COPY_PINNED)
		return REKINDLE_OK;
	if (!request->file || !*request->file)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "This source of a copy needs a file: name one.");
	if (stat(request->file, &status))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "The file %.300s cannot be read: %s.", request->file, errno_text(errno));
	if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size < request->bytes)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "%.300s is not a file of at least %llu bytes.", request->file,
			      (unsigned long long)request->bytes);
	return REKINDLE_OK;
}

int rekindle_copy_measure(struct rekindle_pool *pool, const struct rekindle_copy_request *request,
			  uint64_t *nanoseconds, struct rekindle_error *error)
{
	struct copy_measure_request measure;
	struct error_text text = {""};
	int result = request_check(request, request ? request->structure_size : 0, sizeof(*request),
				   "rekindle_copy_request", error);

	if (result)
		return result;
	if (!nanoseconds)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "nanoseconds may not be NULL.");
	result = check_copy(request, error);
	if (result)
		return result;
	result = enter(pool, error);
	if (result)
		return result;
	if (!pool->resources->server) {
		result = report(
			error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			"Copies are measured on a pool in this process, not on one that was connected to: open one.");
		goto out;
	}
	measure = (struct copy_measure_request){
		/* ring_bytes 0: as configured */
		.source = (enum copy_measure_source)request->source,
		.workers = request->workers,
		.chunk_bytes = request->chunk_bytes,
		.bytes = request->bytes,
		.file = request->file,
	};
	result = pool_server_copy_measure(pool->resources->server, request->device, &measure, nanoseconds, &text);
	if (result)
		result = report_text(error, result, &text);
out:
	leave(pool);
	return result;
}
