/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/socket_mark.h"
#include "simcuda/restore_page.h"
#include "simcuda/simcuda.h"
#include "support/clock.h"

/*
 * The thread that carries out checkpoint calls of other processes (and of this one). It is the only thread that has to
 * run for them, so the rest of the process may be stopped.
 */

static_assert(RESTORE_DEVICES_MAX == DEVICES_MAX, "the page has room for every device");

static struct restore_page *page;
static int thread_end = -1, control_end = -1;
static unsigned int next_answer;

static CUresult lock_process(uint32_t timeout_milliseconds)
{
	uint64_t deadline = timeout_milliseconds ? monotonic_nanoseconds() + timeout_milliseconds * 1000000ull : 0;

	if (page->state != CU_PROCESS_STATE_RUNNING)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (gate_close(deadline))
		return CUDA_ERROR_NOT_READY;
	if (streams_wait_parked(deadline)) {
		gate_open();
		return CUDA_ERROR_NOT_READY;
	}
	page->state = CU_PROCESS_STATE_LOCKED;
	return CUDA_SUCCESS;
}

static CUresult unlock_process(void)
{
	if (page->state != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	page->state = CU_PROCESS_STATE_RUNNING;
	gate_open();
	return CUDA_SUCCESS;
}

static CUresult checkpoint_process(void)
{
	CUresult result;

	if (page->state != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	result = checkpoint_memory_save();
	page->state = result == CUDA_SUCCESS ? CU_PROCESS_STATE_CHECKPOINTED : CU_PROCESS_STATE_FAILED;
	return result;
}

static void publish_devices(void)
{
	page->device_count = (uint32_t)device_count();
	for (CUdevice device = 0; device < device_count(); device++)
		page->devices[device] = (int8_t)device_physical(device);
}

static CUresult restore_process(const struct restore_request *request)
{
	CUresult result;

	if (page->state != CU_PROCESS_STATE_CHECKPOINTED)
		return CUDA_ERROR_ILLEGAL_STATE;
	if (request->moves)
		devices_move(request->devices);
	publish_devices();
	result = checkpoint_memory_load();
	page->state = result == CUDA_SUCCESS ? CU_PROCESS_STATE_LOCKED : CU_PROCESS_STATE_FAILED;
	return result;
}

static CUresult carry_out(const struct restore_request *request)
{
	switch (request->action) {
	case RESTORE_ACTION_LOCK:
		return lock_process(request->timeout_milliseconds);
	case RESTORE_ACTION_CHECKPOINT:
		return checkpoint_process();
	case RESTORE_ACTION_RESTORE:
		return restore_process(request);
	case RESTORE_ACTION_UNLOCK:
		return unlock_process();
	case RESTORE_ACTION_STATE:
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static void *restore_thread(void *unused)
{
	(void)unused;
	page->thread_id = (int32_t)syscall(SYS_gettid);
	__atomic_store_n(&page->magic, RESTORE_PAGE_MAGIC, __ATOMIC_RELEASE);
	for (;;) {
		struct restore_request request;
		struct restore_answer *answer;
		ssize_t length = recv(thread_end, &request, sizeof(request), 0);

		/* The program may have closed it meanwhile, and have put a socket of its own there. */
		if (!socket_is_marked(thread_end, SOCKET_MARK_SIMCUDA))
			break;
		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			break;
		if ((size_t)length != sizeof(request) || monotonic_nanoseconds() > request.accept_deadline)
			continue;
		answer = &page->answers[next_answer++ % RESTORE_ANSWERS];
		answer->progress = RESTORE_PROGRESS_ACCEPTED;
		answer->token = request.token;
		answer->result = carry_out(&request);
		answer->progress = RESTORE_PROGRESS_DONE;
	}
	return NULL;
}

int restore_thread_start(void)
{
	int ends[2] = {-1, -1}, descriptor, result;
	pthread_t thread;
	sigset_t all, old;

	descriptor = memfd_create(RESTORE_PAGE_NAME, MFD_CLOEXEC);
	if (descriptor < 0)
		return -errno;
	if (ftruncate(descriptor, 4096)) {
		result = -errno;
		goto out;
	}
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (page == MAP_FAILED) {
		result = -errno;
		page = NULL;
		goto out;
	}
	/* A forked child must not look as if it used the driver. */
	madvise(page, 4096, MADV_DONTFORK);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		result = -errno;
		goto unmap;
	}
	thread_end = ends[0];
	control_end = ends[1];
	result = socket_mark(ends[0], SOCKET_MARK_SIMCUDA);
	if (!result)
		result = socket_mark(ends[1], SOCKET_MARK_SIMCUDA_OUTSIDE);
	if (result)
		goto close_ends;
	page->control_descriptor = ends[1];
	publish_devices();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	result = -pthread_create(&thread, NULL, restore_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (result)
		goto close_ends;
	pthread_setname_np(thread, "simcuda-restore");
	pthread_detach(thread);
	while (__atomic_load_n(&page->magic, __ATOMIC_ACQUIRE) != RESTORE_PAGE_MAGIC)
		sleep_nanoseconds(50000);
	goto out;
close_ends:
	close(ends[0]);
	close(ends[1]);
unmap:
	munmap(page, 4096);
	page = NULL;
out:
	close(descriptor);
	return result;
}

void restore_thread_forget(void)
{
	socket_close_marked(thread_end, SOCKET_MARK_SIMCUDA);
	socket_close_marked(control_end, SOCKET_MARK_SIMCUDA_OUTSIDE);
	thread_end = control_end = -1;
	page = NULL;
}
