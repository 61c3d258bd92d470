/* SPDX-License-Identifier: MIT */
/*
 * Requests to the pool, one after the other on one connection, with descriptors of all kinds, about a process that does
 * nothing. The driver answers as the input says, and has no memory to give.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/fuzz_input.h"
#include "pool/run/pool_run.h"
#include "protocol/message_socket.h"

static struct fuzz_input input;
static struct pool *pool;
static pid_t process;

/* The calls come from several threads, where more than one process is worked on. */
static pthread_mutex_t input_lock = PTHREAD_MUTEX_INITIALIZER;

static uint8_t next_byte(void)
{
	uint8_t byte;

	pthread_mutex_lock(&input_lock);
	byte = fuzz_byte(&input);
	pthread_mutex_unlock(&input_lock);
	return byte;
}

static bool is_more(void)
{
	bool more;

	pthread_mutex_lock(&input_lock);
	more = input.size > 0;
	pthread_mutex_unlock(&input_lock);
	return more;
}

static CUresult next_result(void)
{
	return next_byte() % 4 ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

/* Nothing but the calls on processes can succeed. */
#define REFUSING_FUNCTION(name, symbol, version)           \
	static CUresult refused_##name PARAMETERS_##symbol \
	{                                                  \
		return CUDA_ERROR_NOT_SUPPORTED;           \
	}
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-parameter"
CUDA_DRIVER_FUNCTIONS(REFUSING_FUNCTION)
#pragma clang diagnostic pop

static CUresult error_name(CUresult error, const char **name)
{
	*name = error ? "CUDA_ERROR_FUZZ" : "CUDA_SUCCESS";
	return CUDA_SUCCESS;
}

static CUresult restore_thread(int pid, int *thread)
{
	*thread = pid;
	return next_result();
}

static CUresult get_state(int pid, CUprocessState *state)
{
	(void)pid;
	*state = (CUprocessState)(next_byte() % 5);
	return next_result();
}

static CUresult lock(int pid, CUcheckpointLockArgs *arguments)
{
	(void)pid;
	(void)arguments;
	return next_result();
}

static CUresult checkpoint(int pid, CUcheckpointCheckpointArgs *arguments)
{
	(void)pid;
	(void)arguments;
	return next_result();
}

static CUresult restore(int pid, CUcheckpointRestoreArgs *arguments)
{
	(void)pid;
	(void)arguments;
	return next_result();
}

static CUresult unlock(int pid, CUcheckpointUnlockArgs *arguments)
{
	(void)pid;
	(void)arguments;
	return next_result();
}

static void prepare(void)
{
	struct settings settings = {.streams = 1,
				    .chunk_bytes = 2 << 20,
				    .ring_bytes = 8 << 20,
				    .timeout_seconds = 1,
				    .side_by_side = 2,
				    .checksums = true,
				    .pool_program = "/nonexistent/rekindled" /* no guardians */};
	struct error_text error;

	fuzz_be_silent();
	if (pool_create(&pool, &settings, &error))
		abort();
#define REFUSE(name, symbol, version) pool->driver.name = refused_##name;
	CUDA_DRIVER_FUNCTIONS(REFUSE)
	pool->driver.cuGetErrorName = error_name;
	pool->driver.cuCheckpointProcessGetRestoreThreadId = restore_thread;
	pool->driver.cuCheckpointProcessGetState = get_state;
	pool->driver.cuCheckpointProcessLock = lock;
	pool->driver.cuCheckpointProcessCheckpoint = checkpoint;
	pool->driver.cuCheckpointProcessRestore = restore;
	pool->driver.cuCheckpointProcessUnlock = unlock;
	pool->device_count = 1;
	pool->devices[0].pool = pool;
	pool->devices[0].memory_bytes = 1ull << 33;
	atomic_store(&pool->driver_opened, true);
	atomic_store(&pool->driver_ready, true);
}

/* A process that does nothing: the pool may stop it, and end it. */
static void start_process(void)
{
	if (process && waitpid(process, NULL, WNOHANG | __WALL) == 0)
		return;
	process = fork();
	if (process < 0)
		abort();
	if (process)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* A pidfd of one that has ended. */
static int ended_process(void)
{
	pid_t ended = fork();
	int descriptor;

	if (ended < 0)
		abort();
	if (ended == 0)
		_exit(0);
	descriptor = (int)syscall(SYS_pidfd_open, ended, 0);
	waitpid(ended, NULL, 0);
	return descriptor;
}

static int make_descriptor(uint8_t kind)
{
	int pair[2];

	switch (kind % 8) {
	case 0:
		return fcntl(fuzz_folder(), F_DUPFD_CLOEXEC, 0);
	case 1:
		return (int)syscall(SYS_pidfd_open, process, 0);
	case 2:
		return memfd_create("fuzz", MFD_CLOEXEC);
	case 3: /* nobody answers */
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			abort();
		close(pair[1]);
		return pair[0];
	case 4:
		if (pipe2(pair, O_CLOEXEC))
			abort();
		close(pair[1]);
		return pair[0];
	case 5:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 6:
		return ended_process();
	default:
		return open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	}
}

/* Of the usual descriptors for its type, or of any. */
static size_t make_descriptors(uint8_t shape, uint32_t type, int *descriptors)
{
	static const uint8_t folders[] = {0, 0, 0}, of_process[] = {1, 2, 3};
	const bool of_folder =
		type == POOL_HELLO || type == POOL_PREFETCH || type == POOL_PREFETCHED || type == POOL_DROP;
	const uint8_t *usual = of_folder ? folders : of_process;
	size_t count = shape & 1 ? 3 : next_byte() % 6u, i;

	for (i = 0; i < count; i++)
		descriptors[i] = make_descriptor(shape & 1 ? usual[i] : next_byte());
	return count;
}

static void send_request(struct run *run)
{
	struct pool_request request = {.type = next_byte()};
	int descriptors[MESSAGE_DESCRIPTORS_MAX];
	struct pool_reply reply;
	uint8_t shape = next_byte();
	size_t count, i;

	request.version = shape & 2 ? next_byte() : POOL_PROTOCOL_VERSION;
	request.stage = next_byte() % 5;
	request.pid = shape & 4 ? -1 : process;
	request.timeout_ms = 1;
	request.wants_state = shape & 8;
	request.has_agent = shape & 16;
	request.agent_released = shape & 32;
	request.initial_state = shape & 64 ? next_byte() : 0;
	request.criu_result = shape & 128 ? -1 : 0;
	request.parallel = request.verify = shape & 1;
	request.begin = request.criu_result != 0;
	request.after = shape & 4 ? UINT64_MAX : shape & 1;
	memset(request.note, shape & 2 ? 0xff : 0, sizeof(request.note));
	memset(request.device_map, shape & 2 ? '1' : 0, shape & 4 ? sizeof(request.device_map) : 1);
	count = make_descriptors(shape, request.type, descriptors);
	run_request(run, &request, descriptors, count, &reply);
	if (reply.result > 0 || (reply.result < 0 && !memchr(reply.error.text, 0, sizeof(reply.error.text))))
		abort();
	for (i = 0; i < count; i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	run_after_reply(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run;
	int first, last, pair[2];

	if (!pool)
		prepare();
	start_process();
	first = dup(fuzz_folder());
	close(first);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	input = (struct fuzz_input){data, size};
	run_init(&run, pool, pair[0]);
	while (is_more())
		send_request(&run);
	run_close(&run);
	close(pair[0]);
	close(pair[1]);
	last = dup(fuzz_folder());
	close(last);
	if (last != first)
		abort(); /* a descriptor is left open */
	return 0;
}
