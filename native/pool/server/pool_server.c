/* SPDX-License-Identifier: MIT */
#include "pool/server/pool_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pool/device/pool.h"
#include "pool/memory/prefetch.h"
#include "pool/server/connection.h"
#include "pool/server/listening_socket.h"
#include "protocol/peer_trust.h"
#include "support/clock.h"
#include "support/log.h"

/* Between two tries to accept a connection while descriptors or memory are out. */
#define ACCEPT_PAUSE_US 100000

/* A thread that serves one connection. */
struct served {
	struct connection connection;
	struct pool_server *server;
	pthread_t thread;
	atomic_bool ended;
	struct served *next;
};

struct pool_server {
	struct pool *pool;
	struct listening_socket listening;
	unsigned int idle_seconds;
	int wake; /* eventfd: something changed that the listening thread should look at */
	atomic_bool stop;
	pthread_t thread;
	bool joined;
	pthread_mutex_t join_lock;
	struct served *served; /* the listening thread's alone */
};

static void wake(struct pool_server *server)
{
	uint64_t one = 1;

	while (write(server->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void *served_main(void *argument)
{
	struct served *served = argument;

	connection_serve(&served->connection);
	atomic_store(&served->ended, true);
	wake(served->server);
	return NULL;
}

static void accept_connection(struct pool_server *server)
{
	int socket = accept4(server->listening.socket, NULL, NULL, SOCK_CLOEXEC);
	struct served *served;

	if (socket < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_error("A connection has to wait: %s", errno_text(errno));
			usleep(ACCEPT_PAUSE_US); /* it would be reported again at once */
		}
		return;
	}
	if (!peer_is_trusted(socket)) {
		log_warning("A connection of another user was refused");
		close(socket);
		return;
	}
	served = calloc(1, sizeof(*served));
	if (served) {
		served->server = server;
		served->connection.pool = server->pool;
		served->connection.socket = socket;
	}
	if (!served || pthread_create(&served->thread, NULL, served_main, served)) {
		log_error("A connection was refused: there is no memory, or no thread, for it");
		free(served);
		close(socket);
		return;
	}
	served->next = server->served;
	server->served = served;
}

/* Joins the threads that have ended; with the server stopping, also ends connections that have no run under way. */
static void look_after_connections(struct pool_server *server)
{
	struct served **at = &server->served, *served;

	while ((served = *at)) {
		if (atomic_load(&served->connection.stop_asked))
			atomic_store(&server->stop, true);
		if (atomic_load(&served->ended)) {
			*at = served->next;
			pthread_join(served->thread, NULL);
			close(served->connection.socket);
			free(served);
			continue;
		}
		if (atomic_load(&server->stop) && !atomic_load(&served->connection.busy))
			shutdown(served->connection.socket, SHUT_RD);
		at = &served->next;
	}
}

/* Whoever comes from now on starts a pool of its own; the runs under way end with this one. */
static void give_way(struct pool_server *server)
{
	log_error("The pool ends: it has lost a GPU, and the next run starts another one");
	listening_socket_close(&server->listening);
	prefetch_drop_all(server->pool);
	atomic_store(&server->stop, true);
}

static bool is_idle(struct pool_server *server)
{
	return !server->served && atomic_load(&server->pool->leases) == 0 && !prefetch_any_kept(server->pool);
}

static void *server_main(void *argument)
{
	struct pool_server *server = argument;
	uint64_t active = monotonic_nanoseconds(), count;
	struct pollfd polled[2] = {
		{.fd = server->wake, .events = POLLIN},
		{.fd = server->listening.socket, .events = POLLIN},
	};

	while (!atomic_load(&server->stop) || server->served) {
		/* A client that asked for the end, or finished its run during it, shows only by looking. */
		poll(polled, atomic_load(&server->stop) ? 1 : 2,
		     server->served || server->idle_seconds || prefetch_any_kept(server->pool) ? 100 : -1);
		if (polled[0].revents & POLLIN && read(server->wake, &count, sizeof(count)) < 0)
			log_warning("The pool's event descriptor failed: %s", errno_text(errno));
		if (!atomic_load(&server->stop) && polled[1].revents & POLLIN)
			accept_connection(server);
		look_after_connections(server);
		prefetch_drop_outdated(server->pool);
		if (!atomic_load(&server->stop) && atomic_load(&server->pool->device_lost))
			give_way(server);
		if (!is_idle(server))
			active = monotonic_nanoseconds();
		if (server->idle_seconds && monotonic_nanoseconds() - active > server->idle_seconds * 1000000000ull) {
			log_info("Idle for %u s: the pool ends", server->idle_seconds);
			atomic_store(&server->stop, true);
		}
	}
	listening_socket_close(&server->listening);
	return NULL;
}

/* Begins to warm every device. */
static int warm_all(struct pool *pool, struct error_text *error)
{
	int result, i;

	result = pool_driver_prepare(pool, error);
	for (i = 0; result == 0 && i < pool->device_count; i++)
		pool_device_warm_begin(&pool->devices[i]);
	return result;
}

static void server_free(struct pool_server *server)
{
	listening_socket_close(&server->listening);
	if (server->wake >= 0)
		close(server->wake);
	if (server->pool)
		prefetch_drop_all(server->pool);
	pool_destroy(server->pool);
	pthread_mutex_destroy(&server->join_lock);
	free(server);
}

int pool_server_start(const struct settings *settings, const struct pool_server_options *options,
		      struct pool_server **server_out, struct error_text *error)
{
	struct pool_server *server = calloc(1, sizeof(*server));
	struct error_text warning;
	int result;

	if (!server)
		return fail(error, -ENOMEM, "Out of memory");
	pthread_mutex_init(&server->join_lock, NULL);
	server->idle_seconds = options->idle_seconds;
	server->listening.socket = server->listening.lock = -1;
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result =
		server->wake < 0 ? fail(error, -errno, "Could not make an event descriptor: %s", errno_text(errno)) : 0;
	if (result == 0)
		result = pool_create(&server->pool, settings, error);
	if (result == 0)
		result = listening_socket_open(&server->listening, settings->pool_socket, error);
	if (result == 0 && pthread_create(&server->thread, NULL, server_main, server))
		result = fail(error, -EAGAIN, "Could not start a thread");
	if (result) {
		server_free(server);
		return result;
	}
	/* A machine whose GPU is not there yet can still serve runs later, so this is no failure. */
	if (options->warm && warm_all(server->pool, &warning))
		log_warning("%s; the pool tries again when a run needs it", warning.text);
	*server_out = server;
	return 0;
}

int pool_server_wait_warm(struct pool_server *server, struct error_text *error)
{
	int result, i;

	result = warm_all(server->pool, error);
	for (i = 0; result == 0 && i < server->pool->device_count; i++)
		result = pool_device_warm(&server->pool->devices[i], error);
	return result;
}

void pool_server_request_stop(struct pool_server *server)
{
	atomic_store(&server->stop, true);
	wake(server);
}

void pool_server_wait(struct pool_server *server)
{
	pthread_mutex_lock(&server->join_lock);
	if (!server->joined)
		pthread_join(server->thread, NULL);
	server->joined = true;
	pthread_mutex_unlock(&server->join_lock);
}

bool pool_server_has_lost_a_device(struct pool_server *server)
{
	return atomic_load(&server->pool->device_lost);
}

void pool_server_stop(struct pool_server *server)
{
	if (!server)
		return;
	pool_server_request_stop(server);
	pool_server_wait(server);
	server_free(server);
}

int pool_serve_private(const struct settings *settings, int socket, struct error_text *error)
{
	struct connection connection = {.socket = socket};
	int result;

	result = pool_create(&connection.pool, settings, error);
	if (result == 0) {
		connection.pool->private_run = true;
		connection_serve(&connection);
		prefetch_drop_all(connection.pool);
		pool_destroy(connection.pool);
	}
	close(socket);
	return result;
}

void pool_server_status(struct pool_server *server, struct pool_status *status)
{
	pool_fill_status(server->pool, status);
}

static int find_device(struct pool_server *server, int ordinal, struct pool_device **device, struct error_text *error)
{
	int result = pool_driver_prepare(server->pool, error);

	if (result)
		return result;
	if (ordinal < 0 || ordinal >= server->pool->device_count)
		return fail(error, -EINVAL, "There is no GPU %d; this machine has %d", ordinal,
			    server->pool->device_count);
	*device = &server->pool->devices[ordinal];
	return pool_device_warm(*device, error);
}

int pool_server_acquire_context(struct pool_server *server, int ordinal, CUcontext *context, struct error_text *error)
{
	struct pool_device *device = NULL;
	int result = find_device(server, ordinal, &device, error);

	if (result)
		return result;
	atomic_fetch_add(&server->pool->leases, 1);
	*context = device->context;
	return 0;
}

void pool_server_release_context(struct pool_server *server)
{
	atomic_fetch_sub(&server->pool->leases, 1);
}

static int open_directory(const char *directory, struct error_text *error)
{
	int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return folder >= 0 ? folder
			   : fail(error, -errno, "Could not open the folder %s: %s", directory, errno_text(errno));
}

int pool_server_prefetch(struct pool_server *server, const char *directory, enum pool_tier tier,
			 struct error_text *error)
{
	int folder = open_directory(directory, error), result;
	uint64_t bytes;

	if (folder < 0)
		return folder;
	result = prefetch_keep(server->pool, folder, "", tier, &bytes, error);
	close(folder);
	wake(server); /* it watches over what is kept */
	return result;
}

int pool_server_prefetched(struct pool_server *server, const char *directory, uint64_t *bytes, struct error_text *error)
{
	int folder = open_directory(directory, error), result;

	if (folder < 0)
		return folder;
	result = prefetch_kept_remaining(server->pool, folder, "", bytes, error);
	close(folder);
	return result;
}

int pool_server_drop(struct pool_server *server, const char *directory, struct error_text *error)
{
	int folder = open_directory(directory, error), result;

	if (folder < 0)
		return folder;
	result = prefetch_drop_kept(server->pool, folder, error);
	close(folder);
	return result;
}

bool pool_server_resident(struct pool_server *server, uint64_t after, struct pool_resident *resident)
{
	return prefetch_next_resident(server->pool, after, resident);
}

bool pool_server_gpu(struct pool_server *server, uint64_t ordinal, struct pool_gpu *gpu)
{
	return pool_fill_gpu(server->pool, ordinal, gpu);
}

int pool_server_copy_measure(struct pool_server *server, int ordinal, const struct copy_measure_request *request,
			     uint64_t *nanoseconds, struct error_text *error)
{
	const struct settings *settings = &server->pool->settings;
	struct copy_measure_request sized = *request;
	struct pool_device *device = NULL;
	int result = find_device(server, ordinal, &device, error);

	if (result)
		return result;
	if (sized.ring_bytes == 0)
		sized.ring_bytes = settings->ring_bytes / settings->streams * sized.workers;
	result = copy_measure(&server->pool->driver, device->context, &sized, nanoseconds, error);
	if (result == 0)
		atomic_fetch_add(&server->pool->measured_to_device, sized.bytes);
	return result;
}
