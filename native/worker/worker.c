/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol/worker_protocol.h"
#include "worker/worker_driver.h"
#include "worker/worker_memory.h"
#include "worker/worker_seccomp.h"
#include "worker/worker_sharing.h"

#define CHILDREN_MAX 16
#define STEP_BYTES ((size_t)64 << 10)
#define BUSY_STEPS 8 /* without a rest of the device's */

static const char usage[] =
	"usage: rekindle-worker --state FILE --mib N [option...]\n"
	"Holds device memory with random contents and works with it until it is told to end.\n"
	"  --state FILE        where to report; rekindle-worker-control speaks to it\n"
	"  --mib N             device memory to hold\n"
	"  --seed S            of the contents (default 1)\n"
	"  --pieces K          allocations to split it into (default 8)\n"
	"  --vmm-percent P     share of them made with cuMemCreate (default 50)\n"
	"  --zero-percent Z    share of the contents that is zero (default 0)\n"
	"  --children C        C further such processes below this one, with FILE.1, FILE.2, ... (default 0)\n"
	"  --meet              each step waits, on the GPU, for the same step of all of them, as ranks do in a "
	"collective\n"
	"  --share             device memory of this one, and memory of the host that it made, is mapped in all of them, and they\n"
	"                      take steps only with it\n"
	"  --busy              no pause between the steps: it is in a CUDA call nearly always\n"
	"  --seccomp KIND      a filter that forbids what a dump does in the process: errno, kill, errno-all, "
	"kill-all\n"
	"  --semaphore NAME    hold a named semaphore, whose file CRIU meets under a name that is gone\n"
	"  --gpus ORDINALS     which GPUs to spread the memory over, as 0,1 (default 0)\n"
	"  --no-cuda           host memory only\n";

struct worker {
	struct worker_state *state;
	struct cuda_driver driver;
	struct worker_memory memory;
	bool no_cuda, busy, shares;
	struct worker_sharing sharing;
	_Atomic uint64_t *arrived; /* shared by all of a tree that meet; NULL where they do not */
	unsigned int parties;
	const char *path;
	CUdeviceptr step_buffer;
	CUstream step_stream;
	pid_t children[CHILDREN_MAX];
	unsigned int child_count;
};

static struct worker worker;

static void report_error(const struct error_text *error)
{
	snprintf(worker.state->error, sizeof(worker.state->error), "%.255s", error->text);
	fprintf(stderr, "rekindle-worker: %s\n", error->text);
}

static struct worker_state *map_state(const char *path)
{
	struct worker_state *state = MAP_FAILED;
	int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (descriptor >= 0 && !ftruncate(descriptor, 4096))
		state = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (state == MAP_FAILED) {
		fprintf(stderr, "rekindle-worker: %s: %s\n", path, strerror(errno));
		state = NULL;
	} else {
		state->version = WORKER_STATE_VERSION;
		state->process_id = getpid();
		state->magic = WORKER_STATE_MAGIC;
	}
	if (descriptor >= 0)
		close(descriptor);
	return state;
}

#define CHECK(call)                                                                  \
	do {                                                                         \
		CUresult check_result = worker.driver.call;                          \
		if (check_result != CUDA_SUCCESS)                                    \
			return fail(error, -EIO, "%s failed: %s", #call,             \
				    cuda_result_name(&worker.driver, check_result)); \
	} while (0)

static int start_cuda(struct worker_gpus *gpus, struct error_text *error)
{
	int result = worker_driver_open(&worker.driver, error);

	if (result)
		return result;
	CHECK(cuInit(0));
	CHECK(cuDeviceGetName(worker.state->device_name, sizeof(worker.state->device_name), gpus->devices[0]));
	for (unsigned int gpu = gpus->count; gpu-- > 0;) {
		CHECK(cuDevicePrimaryCtxRetain(&gpus->contexts[gpu], gpus->devices[gpu]));
		CHECK(cuCtxSetCurrent(gpus->contexts[gpu]));
	}
	CHECK(cuMemAlloc(&worker.step_buffer, STEP_BYTES));
	CHECK(cuStreamCreate(&worker.step_stream, CU_STREAM_NON_BLOCKING));
	return 0;
}

/* As the driver says now: a restore may have put others in their place. */
static int tell_gpus(struct error_text *error)
{
	const struct worker_gpus *gpus = &worker.memory.gpus;
	char *at = worker.state->gpus;
	CUuuid uuid;

	*at = '\0';
	for (unsigned int gpu = 0; gpu < gpus->count; gpu++) {
		CHECK(cuDeviceGetUuid(&uuid, gpus->devices[gpu]));
		at += sprintf(at, "%sGPU-", gpu ? "," : "");
		for (unsigned int byte = 0; byte < sizeof(uuid.bytes); byte++)
			at += sprintf(at, "%s%02x", byte == 4 || byte == 6 || byte == 8 || byte == 10 ? "-" : "",
				      uuid.bytes[byte]);
	}
	return 0;
}

/* Part of the GPU work of a step: ends when all have come to it. */
static void meet(void *unused)
{
	const struct timespec pause = {.tv_nsec = 100000};
	uint64_t place = atomic_fetch_add(worker.arrived, 1), all = (place / worker.parties + 1) * worker.parties;

	(void)unused;
	while (atomic_load(worker.arrived) < all)
		nanosleep(&pause, NULL);
}

/* GPU work that takes a while and no processor: whoever waits for it is in a CUDA call all the same. */
static void rest(void *unused)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	(void)unused;
	nanosleep(&pause, NULL);
}

/* One round of real driver calls; what was written has to come back. */
static int step(struct error_text *error)
{
	unsigned char value = (unsigned char)(worker.state->steps + 1), read_back = (unsigned char)~value;
	bool goes_on = true;
	int result = 0;

	if (worker.shares && !worker.no_cuda)
		result = worker_sharing_step(&worker.sharing, &worker.driver, &goes_on, error);
	if (result || !goes_on)
		return result;

	if (!worker.no_cuda) {
		CHECK(cuMemsetD8Async(worker.step_buffer, value, STEP_BYTES, worker.step_stream));
		if (worker.arrived)
			CHECK(cuLaunchHostFunc(worker.step_stream, meet, NULL));
		if (worker.busy && worker.state->steps % BUSY_STEPS == 0)
			CHECK(cuLaunchHostFunc(worker.step_stream, rest, NULL));
		CHECK(cuStreamSynchronize(worker.step_stream));
		CHECK(cuMemcpyDtoH(&read_back, worker.step_buffer + STEP_BYTES - 1, 1));
		if (read_back != value)
			return fail(error, -EBADMSG, "The device memory holds %u where %u was written", read_back,
				    value);
	}
	worker.state->steps++;
	return 0;
}

static void end_children(void)
{
	for (unsigned int i = 0; i < worker.child_count; i++) {
		kill(worker.children[i], SIGKILL);
		waitpid(worker.children[i], NULL, 0);
	}
}

static void work(void);

/* Of a process that uses CUDA; CUDA is of no use in the child, which holds memory of its own, works on, and ends well. */
static int fork_with_cuda(uint64_t number, struct error_text *error)
{
	struct worker_options options = {.mib = 4, .pieces = 2, .seed = number, .no_cuda = true};
	char own[4096];
	pid_t child;

	if (worker.child_count == CHILDREN_MAX)
		return fail(error, -ENOSPC, "A worker has %d children at most", CHILDREN_MAX);
	child = fork();
	if (child < 0)
		return fail(error, -errno, "fork: %s", strerror(errno));
	if (child) {
		worker.children[worker.child_count++] = child;
		return 0;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	worker.child_count = 0;
	worker.no_cuda = true;
	snprintf(own, sizeof(own), "%s.%llu", worker.path, (unsigned long long)number);
	worker.state = map_state(own);
	if (!worker.state || worker_memory_create(&worker.memory, NULL, NULL, &options, error))
		_exit(1);
	worker.state->ready = 1;
	work();
	exit(0);
}

static int answer(uint32_t kind, uint64_t argument, struct error_text *error)
{
	uint64_t checksum = 0;
	int result = 0;

	switch (kind) {
	case WORKER_REQUEST_CHECKSUM:
		result = worker_memory_checksum(&worker.memory, &checksum, error);
		worker.state->checksum = checksum;
		break;
	case WORKER_REQUEST_CHANGE:
		result = worker_memory_change(&worker.memory, error);
		break;
	case WORKER_REQUEST_ALLOCATE:
		result = worker_memory_allocate(&worker.memory, argument, error);
		break;
	case WORKER_REQUEST_FREE:
		result = worker_memory_free(&worker.memory, argument, error);
		break;
	case WORKER_REQUEST_FORK:
		result = fork_with_cuda(argument, error);
		break;
	case WORKER_REQUEST_GPUS:
		result = tell_gpus(error);
		break;
	case WORKER_REQUEST_EXIT:
		break;
	default:
		result = fail(error, -EINVAL, "Unknown request %u", kind);
	}
	worker.state->device_bytes = worker_memory_device_bytes(&worker.memory);
	worker.state->pieces = worker.memory.count;
	return result;
}

/* Answers requests and makes a step about every millisecond (busy: all the time), until the request to exit. */
static void work(void)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct worker_state *state = worker.state;
	struct error_text error;

	for (;;) {
		uint32_t number = state->request;

		if (number != state->response) {
			uint32_t kind = state->request_kind;

			state->response_result = answer(kind, state->request_argument, &error);
			if (state->response_result)
				report_error(&error);
			state->response = number;
			if (kind == WORKER_REQUEST_EXIT)
				return;
		}
		if (!state->failed && step(&error)) {
			report_error(&error);
			state->failed = 1;
		}
		if (!worker.busy)
			nanosleep(&pause, NULL);
	}
}

/* Children are forked before the driver is touched: a forked child cannot use its parent's. */
static int fork_children(const char *path, unsigned int count)
{
	for (unsigned int i = 1; i <= count; i++) {
		pid_t child = fork();

		if (child < 0)
			return -errno;
		if (!child) {
			char own[4096];

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			worker.child_count = 0;
			snprintf(own, sizeof(own), "%s.%u", path, i);
			worker.state = map_state(own);
			return worker.state ? (int)i : -EIO;
		}
		worker.children[worker.child_count++] = child;
	}
	return 0;
}

static bool parse_number(const char *text, unsigned long long most, unsigned long long *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return !errno && end != text && !*end && *value <= most;
}

/* "0,1" */
static bool parse_gpus(const char *text, struct worker_gpus *gpus)
{
	char *end;

	for (gpus->count = 0; gpus->count < WORKER_GPUS_MAX; text = end + 1) {
		gpus->devices[gpus->count++] = (CUdevice)strtoul(text, &end, 10);
		if (end == text || (*end && *end != ','))
			return false;
		if (!*end)
			return true;
	}
	return false;
}

static const struct option long_options[] = {
	{"state", required_argument, NULL, 's'},
	{"mib", required_argument, NULL, 'm'},
	{"seed", required_argument, NULL, 'S'},
	{"pieces", required_argument, NULL, 'p'},
	{"vmm-percent", required_argument, NULL, 'v'},
	{"children", required_argument, NULL, 'c'},
	{"zero-percent", required_argument, NULL, 'z'},
	{"meet", no_argument, NULL, 'M'},
	{"share", no_argument, NULL, 'H'},
	{"busy", no_argument, NULL, 'b'},
	{"seccomp", required_argument, NULL, 'F'},
	{"semaphore", required_argument, NULL, 'e'},
	{"gpus", required_argument, NULL, 'g'},
	{"no-cuda", no_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

int main(int argument_count, char **arguments)
{
	struct worker_options options = {.seed = 1, .pieces = 8, .vmm_percent = 50};
	const char *path = NULL, *seccomp = NULL, *semaphore = NULL;
	unsigned int children = 0;
	bool meets = false;
	struct error_text error;
	struct worker_gpus gpus = {.count = 1};
	unsigned long long value;
	int option, child, result = 0;

	while ((option = getopt_long(argument_count, arguments, "", long_options, NULL)) != -1) {
		static const struct {
			int option;
			unsigned long long most;
		} limits[] = {{'m', 1u << 20}, {'S', UINT64_MAX},   {'p', 4000},
			      {'v', 100},      {'c', CHILDREN_MAX}, {'z', 100}};

		value = 0;
		for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
			if (limits[i].option == option && !parse_number(optarg, limits[i].most, &value))
				goto bad_usage;
		}
		switch (option) {
		case 's':
			path = optarg;
			break;
		case 'm':
			options.mib = value;
			break;
		case 'S':
			options.seed = value;
			break;
		case 'p':
			options.pieces = (unsigned int)value;
			break;
		case 'v':
			options.vmm_percent = (unsigned int)value;
			break;
		case 'c':
			children = (unsigned int)value;
			break;
		case 'z':
			options.zero_percent = (unsigned int)value;
			break;
		case 'F':
			seccomp = optarg;
			break;
		case 'e':
			semaphore = optarg;
			break;
		case 'g':
			if (!parse_gpus(optarg, &gpus))
				goto bad_usage;
			break;
		case 'b':
			worker.busy = true;
			break;
		case 'M':
			meets = true;
			break;
		case 'H':
			worker.shares = true;
			break;
		case 'n':
			options.no_cuda = true;
			break;
		default:
			goto bad_usage;
		}
	}
	if (!path || !options.mib || options.mib % 2 || !options.pieces || optind != argument_count)
		goto bad_usage;
	worker.no_cuda = options.no_cuda;
	worker.path = path;
	worker.state = map_state(path);
	if (!worker.state)
		return 1;
	if (semaphore && sem_open(semaphore, O_CREAT, 0600, 1) == SEM_FAILED) {
		fprintf(stderr, "rekindle-worker: the semaphore %s: %s\n", semaphore, strerror(errno));
		return 1;
	}
	worker.parties = children + 1;
	if (meets)
		worker.arrived = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (worker.arrived == MAP_FAILED)
		return 1;
	if (worker.shares && worker_sharing_prepare(&worker.sharing, children, &error))
		return 1;
	child = fork_children(path, children);
	if (child < 0)
		return 1;
	options.seed += (uint64_t)child * 7919u;
	if (!options.no_cuda)
		result = start_cuda(&gpus, &error);
	if (!result && worker.shares)
		result = worker_sharing_start(&worker.sharing, &worker.driver, gpus.devices[0], child == 0, &error);
	if (!result)
		result = worker_memory_create(&worker.memory, options.no_cuda ? NULL : &worker.driver,
					      options.no_cuda ? NULL : &gpus, &options, &error);
	if (!result && seccomp)
		result = worker_seccomp(seccomp, &error);
	if (result) {
		report_error(&error);
		worker.state->failed = 1;
		end_children();
		return 1;
	}
	worker.state->device_bytes = worker_memory_device_bytes(&worker.memory);
	worker.state->pieces = worker.memory.count;
	worker.state->ready = 1;
	work();
	end_children();
	return 0;
bad_usage:
	fputs(usage, stderr);
	fputs("N is even and at least 2, K at least 1.\n", stderr);
	return 2;
}
