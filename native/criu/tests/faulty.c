/*
 * Preloaded into criu: reads of pages images or of memory fail or are short, or criu dies at one certain step.
 *
 *   FAULTY_EIO=OFFSET  a read that touches this offset fails with EIO
 *   FAULTY_ONCE=1      only the first one does
 *   FAULTY_DIRECT=1    reads with O_DIRECT fail with EINVAL, as on a filesystem that wants another alignment
 *   FAULTY_SHORT=1     no read returns more than one page and a half
 *   FAULTY_SLOW=MS     each read takes so much longer
 *   FAULTY_MEMORY=N    the Nth read of another process's memory fails with EIO; with 0 all do, with EPERM
 *   FAULTY_END=1       a task that criu interrupts for the second time, to take its own code out of it, is killed just then
 *   FAULTY_KILL=1      who asks to be told of its parent's death kills that first, and asks when it is dead
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int is_pages(int fd)
{
	char path[64], name[4096];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof(name) - 1);
	if (n < 0)
		return 0;
	name[n] = 0;
	return strstr(name, "/pages-") != NULL;
}

static int failed;

static int fails(int fd, off64_t off, size_t len)
{
	const char *at = getenv("FAULTY_EIO");
	long long eio = at ? atoll(at) : -1;

	if (!is_pages(fd))
		return 0;
	if (getenv("FAULTY_DIRECT") && (fcntl(fd, F_GETFL) & O_DIRECT)) {
		errno = EINVAL;
		return 1;
	}
	if (eio < off || eio >= (long long)off + (long long)len)
		return 0;
	if (getenv("FAULTY_ONCE") && __atomic_exchange_n(&failed, 1, __ATOMIC_RELAXED))
		return 0;
	errno = EIO;
	return 1;
}

/* As a system call, in threads that libc does not know */
static void be_slow(int fd)
{
	const char *text = getenv("FAULTY_SLOW");
	long ms = text ? atol(text) : 0;
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	if (ms && is_pages(fd))
		syscall(SYS_nanosleep, &pause, NULL);
}

static ssize_t (*real_pread64)(int, void *, size_t, off64_t);
static ssize_t (*real_preadv64)(int, const struct iovec *, int, off64_t);
static ssize_t (*real_preadv64v2)(int, const struct iovec *, int, off64_t, int);
static long (*real_ptrace)(enum __ptrace_request, ...);
static ssize_t (*real_process_vm_readv)(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
					unsigned long);

/*
 * Before there are threads: CRIU's reader threads share the first one's libc state, so that locks of libc, which
 * dlsym() takes, do not keep them apart.
 */
__attribute__((constructor)) static void resolve(void)
{
	real_ptrace = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	real_pread64 = (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
	real_preadv64 = (ssize_t(*)(int, const struct iovec *, int, off64_t))dlsym(RTLD_NEXT, "preadv64");
	real_preadv64v2 = (ssize_t(*)(int, const struct iovec *, int, off64_t, int))dlsym(RTLD_NEXT, "preadv64v2");
	real_process_vm_readv = (ssize_t(*)(pid_t, const struct iovec *, unsigned long, const struct iovec *,
					    unsigned long, unsigned long))dlsym(RTLD_NEXT, "process_vm_readv");
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t off)
{
	if (fails(fd, off, len))
		return -1;
	if (getenv("FAULTY_SHORT") && len > 6144 && is_pages(fd))
		len = 6144;
	return real_pread64(fd, buf, len, off);
}

ssize_t preadv64(int fd, const struct iovec *iov, int nr, off64_t off)
{
	struct iovec first;
	size_t len = 0;
	int i;

	for (i = 0; i < nr; i++)
		len += iov[i].iov_len;
	be_slow(fd);
	if (fails(fd, off, len))
		return -1;
	if (getenv("FAULTY_SHORT") && nr && is_pages(fd)) {
		first = iov[0];
		if (first.iov_len > 6144)
			first.iov_len = 6144;
		return real_preadv64(fd, &first, 1, off);
	}
	return real_preadv64(fd, iov, nr, off);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int nr, off64_t off, int flags)
{
	size_t len = 0;
	int i;

	for (i = 0; i < nr; i++)
		len += iov[i].iov_len;
	if (fails(fd, off, len))
		return -1;
	return real_preadv64v2(fd, iov, nr, off, flags);
}

ssize_t process_vm_readv(pid_t pid, const struct iovec *to, unsigned long nr_to, const struct iovec *from,
			 unsigned long nr_from, unsigned long flags)
{
	static int calls;
	const char *text = getenv("FAULTY_MEMORY");
	int failing = text ? atoi(text) : -1;

	if (failing == 0 || __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == failing) {
		errno = failing ? EIO : EPERM;
		return -1;
	}
	return real_process_vm_readv(pid, to, nr_to, from, nr_from, flags);
}

long ptrace(enum __ptrace_request request, ...)
{
	static pid_t interrupted;
	va_list list;
	pid_t pid;
	void *address, *data;

	va_start(list, request);
	pid = va_arg(list, pid_t);
	address = va_arg(list, void *);
	data = va_arg(list, void *);
	va_end(list);
	if (request == PTRACE_INTERRUPT && getenv("FAULTY_END")) {
		if (pid == interrupted)
			kill(pid, SIGKILL);
		else if (!interrupted)
			interrupted = pid;
	}
	return real_ptrace(request, pid, address, data);
}

static void kill_parent(void)
{
	pid_t parent = getppid();
	struct timespec pause = {0, 1000000};

	kill(parent, SIGKILL);
	while (getppid() == parent)
		syscall(SYS_nanosleep, &pause, NULL);
}

int prctl(int option, ...)
{
	unsigned long arguments[4];
	va_list list;
	int i;

	va_start(list, option);
	for (i = 0; i < 4; i++)
		arguments[i] = va_arg(list, unsigned long);
	va_end(list);
	if (option == PR_SET_PDEATHSIG && getenv("FAULTY_KILL"))
		kill_parent();
	return (int)syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
}
