/* SPDX-License-Identifier: MIT */
/* The functions of the C library that are steps. Each is the real system call, made raw, behind step(). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/agent_protocol.h"
#include "protocol/pool_protocol.h"
#include "tests/steps/raw_calls.h"
#include "tests/steps/step.h"

#define EXPORT __attribute__((visibility("default")))

static long outcome(long result)
{
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

static long refuse(int code)
{
	errno = code;
	return -1;
}

/* ---- files ---- */

/* The name of a step on a file of images: false where it is none. */
static bool name_by_path(const char *call, int directory, const char *path, char *name, size_t size)
{
	char link[40], full[PATH_MAX], file[160];
	size_t length = 0;
	long got;

	if (!path || !steps_count_here())
		return false;
	if (path[0] != '/') {
		if (directory == AT_FDCWD)
			got = RAW(SYS_readlink, "/proc/self/cwd", full, sizeof(full) - 1);
		else {
			snprintf(link, sizeof(link), "/proc/self/fd/%d", directory);
			got = RAW(SYS_readlink, link, full, sizeof(full) - 1);
		}
		if (got <= 0)
			return false;
		length = (size_t)got;
		full[length++] = '/';
	}
	if (length + strlen(path) >= sizeof(full))
		return false;
	strcpy(full + length, path);
	if (!step_file_name(full, file, sizeof(file)))
		return false;
	snprintf(name, size, "%s %s", call, file);
	return true;
}

static bool name_by_descriptor(const char *call, int descriptor, char *name, size_t size)
{
	char link[40], full[PATH_MAX], file[160];
	long length;

	if (!steps_count_here())
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
	length = RAW(SYS_readlink, link, full, sizeof(full) - 1);
	if (length <= 0)
		return false;
	full[length] = '\0';
	/* The folder itself: its flush counts. */
	if (!step_file_name(full, file, sizeof(file))) {
		if ((size_t)length + 2 > sizeof(full))
			return false;
		strcpy(full + length, "/");
		if (!step_file_name(full, file, sizeof(file)))
			return false;
		strcpy(file, "the folder");
	}
	snprintf(name, size, "%s %s", call, file);
	return true;
}

static long open_file(int directory, const char *path, int flags, unsigned int mode)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
	char name[200];
	int code = 0;

	if (!(flags & O_DIRECTORY) && name_by_path(writes ? "create" : "open", directory, path, name, sizeof(name)))
		code = writes ? step_that_writes(name) : step(name);
	return code ? refuse(code) : outcome(RAW(SYS_openat, directory, path, flags, mode));
}

static unsigned int mode_of(int flags, va_list rest)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, unsigned int) : 0;
}

#define OPEN(function)                                                            \
	EXPORT int function(const char *path, int flags, ...);                    \
	int function(const char *path, int flags, ...)                            \
	{                                                                         \
		unsigned int mode;                                                \
		va_list rest;                                                     \
                                                                                  \
		va_start(rest, flags);                                            \
		mode = mode_of(flags, rest);                                      \
		va_end(rest);                                                     \
		return (int)open_file(AT_FDCWD, path, flags | O_LARGEFILE, mode); \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(function)                                                           \
	EXPORT int function(int directory, const char *path, int flags, ...);      \
	int function(int directory, const char *path, int flags, ...)              \
	{                                                                          \
		unsigned int mode;                                                 \
		va_list rest;                                                      \
                                                                                   \
		va_start(rest, flags);                                             \
		mode = mode_of(flags, rest);                                       \
		va_end(rest);                                                      \
		return (int)open_file(directory, path, flags | O_LARGEFILE, mode); \
	}
OPENAT(openat)
OPENAT(openat64)

EXPORT ssize_t write(int descriptor, const void *data, size_t size)
{
	char name[200];
	int code = 0;

	if (name_by_descriptor("write", descriptor, name, sizeof(name)))
		code = step_that_writes(name);
	if (code == STEP_LOST)
		return (ssize_t)size;
	return code ? refuse(code) : outcome(RAW(SYS_write, descriptor, data, size));
}

/* call(descriptor, ...) on a file of images. */
#define ON_DESCRIPTOR(type, function, number, word, kind, parameters, ...)                            \
	EXPORT type function parameters;                                                              \
	type function parameters                                                                      \
	{                                                                                             \
		char name[200];                                                                       \
		int code = 0;                                                                         \
                                                                                                      \
		if (name_by_descriptor(word, descriptor, name, sizeof(name)))                         \
			code = kind(name);                                                            \
		return (type)(code ? refuse(code) : outcome(RAW(number, descriptor, ##__VA_ARGS__))); \
	}
ON_DESCRIPTOR(ssize_t, writev, SYS_writev, "write", step_that_writes,
	      (int descriptor, const struct iovec *parts, int count), parts, count)
ON_DESCRIPTOR(ssize_t, pwrite, SYS_pwrite64, "write", step_that_writes,
	      (int descriptor, const void *data, size_t size, off_t at), data, size, at)
ON_DESCRIPTOR(ssize_t, pwrite64, SYS_pwrite64, "write", step_that_writes,
	      (int descriptor, const void *data, size_t size, off64_t at), data, size, at)
ON_DESCRIPTOR(ssize_t, read, SYS_read, "read", step, (int descriptor, void *data, size_t size), data, size)
ON_DESCRIPTOR(ssize_t, pread, SYS_pread64, "read", step, (int descriptor, void *data, size_t size, off_t at), data,
	      size, at)
ON_DESCRIPTOR(ssize_t, pread64, SYS_pread64, "read", step, (int descriptor, void *data, size_t size, off64_t at), data,
	      size, at)
ON_DESCRIPTOR(ssize_t, preadv, SYS_preadv, "read", step,
	      (int descriptor, const struct iovec *parts, int count, off_t at), parts, count, at)
ON_DESCRIPTOR(ssize_t, preadv64, SYS_preadv, "read", step,
	      (int descriptor, const struct iovec *parts, int count, off64_t at), parts, count, at)
ON_DESCRIPTOR(int, ftruncate, SYS_ftruncate, "size", step_that_writes, (int descriptor, off_t size), size)
ON_DESCRIPTOR(int, ftruncate64, SYS_ftruncate, "size", step_that_writes, (int descriptor, off64_t size), size)
ON_DESCRIPTOR(int, fallocate, SYS_fallocate, "size", step_that_writes, (int descriptor, int mode, off_t at, off_t size),
	      mode, at, size)
ON_DESCRIPTOR(int, fallocate64, SYS_fallocate, "size", step_that_writes,
	      (int descriptor, int mode, off64_t at, off64_t size), mode, at, size)
ON_DESCRIPTOR(int, fsync, SYS_fsync, "flush", step_that_writes, (int descriptor))
ON_DESCRIPTOR(int, fdatasync, SYS_fdatasync, "flush", step_that_writes, (int descriptor))
ON_DESCRIPTOR(int, syncfs, SYS_syncfs, "flush all of", step_that_writes, (int descriptor))
ON_DESCRIPTOR(int, flock, SYS_flock, "lock", step, (int descriptor, int operation), operation)

EXPORT ssize_t splice(int from, off64_t *from_at, int descriptor, off64_t *at, size_t size, unsigned int flags);
ssize_t splice(int from, off64_t *from_at, int descriptor, off64_t *at, size_t size, unsigned int flags)
{
	char name[200];
	int code = 0;

	if (name_by_descriptor("write", descriptor, name, sizeof(name)))
		code = step_that_writes(name);
	return code ? refuse(code) : outcome(RAW(SYS_splice, from, from_at, descriptor, at, size, flags));
}

static int rename_file(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags)
{
	char name[200];
	int code = 0;

	if (name_by_path("rename to", to_folder, to, name, sizeof(name)))
		code = step(name);
	return (int)(code ? refuse(code) : outcome(RAW(SYS_renameat2, from_folder, from, to_folder, to, flags)));
}

EXPORT int rename(const char *from, const char *to)
{
	return rename_file(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	return rename_file(from_folder, from, to_folder, to, 0);
}

EXPORT int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags)
{
	return rename_file(from_folder, from, to_folder, to, flags);
}

EXPORT int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
	char name[200];
	int code = 0;

	if (name_by_path("link to", to_folder, to, name, sizeof(name)))
		code = step(name);
	return (int)(code ? refuse(code) : outcome(RAW(SYS_linkat, from_folder, from, to_folder, to, flags)));
}

static int remove_file(int directory, const char *path, int flags)
{
	char name[200];
	int code = 0;

	if (name_by_path("remove", directory, path, name, sizeof(name)))
		code = step(name);
	return (int)(code ? refuse(code) : outcome(RAW(SYS_unlinkat, directory, path, flags)));
}

EXPORT int unlink(const char *path)
{
	return remove_file(AT_FDCWD, path, 0);
}

EXPORT int unlinkat(int directory, const char *path, int flags)
{
	return remove_file(directory, path, flags);
}

/* ---- messages ---- */

static bool is_message_socket(int descriptor)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return steps_count_here() && RAW(SYS_getsockopt, descriptor, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_SEQPACKET;
}

/* Which message it is: its size says whose, its first number which. */
static const char *message_name(const struct msghdr *header, size_t size)
{
	static const char *const requests[] = {"",	     "HELLO",	 "PREFETCH", "QUERY",	  "LOCK",
					       "CHECKPOINT", "RESUME",	 "UNLOCK",   "FINISH",	  "STATUS",
					       "STOP",	     "DROP",	 "COMPLETE", "CHECK",	  "AWAIT",
					       "PREFETCHED", "RESIDENT", "GPU",	     "COPY_AHEAD"};
	static const char *const agent_messages[] = {
		"", "EXPORT", "ALLOCATIONS", "RELEASE", "MAP", "the agent's reply", "message", "OFFER"};
	uint32_t type = 0;

	if (header->msg_iovlen < 1 || header->msg_iov[0].iov_len < sizeof(type) || size < sizeof(type))
		return "message";
	memcpy(&type, header->msg_iov[0].iov_base, sizeof(type));
	if (size == sizeof(struct pool_reply))
		return "the pool's reply";
	if (size == sizeof(struct pool_request))
		return type < sizeof(requests) / sizeof(requests[0]) ? requests[type] : "new request";
	if (size == sizeof(struct agent_message))
		return type < sizeof(agent_messages) / sizeof(agent_messages[0]) ? agent_messages[type]
										 : "new request to the agent";
	return "message";
}

EXPORT ssize_t sendmsg(int socket, const struct msghdr *header, int flags)
{
	char name[200];
	int code = 0;

	if (header->msg_iovlen == 1 && is_message_socket(socket)) {
		snprintf(name, sizeof(name), "send %s", message_name(header, header->msg_iov[0].iov_len));
		code = step(name);
	}
	return code ? refuse(code) : outcome(RAW(SYS_sendmsg, socket, header, flags));
}

static void close_received(struct msghdr *header)
{
	struct cmsghdr *control;

	for (control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
		size_t bytes = control->cmsg_len - CMSG_LEN(0);
		int descriptor;

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(descriptor) <= bytes; at += sizeof(descriptor)) {
			memcpy(&descriptor, CMSG_DATA(control) + at, sizeof(descriptor));
			RAW(SYS_close, descriptor);
		}
	}
}

/* The step is at the arrival: one that fails has lost the message. */
EXPORT ssize_t recvmsg(int socket, struct msghdr *header, int flags)
{
	long received = RAW(SYS_recvmsg, socket, header, flags);
	char name[200];
	int code;

	if (received <= 0 || header->msg_iovlen != 1 || !is_message_socket(socket))
		return outcome(received);
	snprintf(name, sizeof(name), "receive %s", message_name(header, (size_t)received));
	code = step(name);
	if (!code)
		return received;
	close_received(header);
	return refuse(code);
}

EXPORT int connect(int socket, const struct sockaddr *address, socklen_t size)
{
	int code = is_message_socket(socket) ? step("connect") : 0;

	return (int)(code ? refuse(code) : outcome(RAW(SYS_connect, socket, address, size)));
}

EXPORT int socketpair(int domain, int type, int protocol, int ends[2])
{
	int code = (type & 0xf) == SOCK_SEQPACKET && steps_count_here() ? step("socketpair") : 0;

	return (int)(code ? refuse(code) : outcome(RAW(SYS_socketpair, domain, type, protocol, ends)));
}

/* ---- processes ---- */

EXPORT long ptrace(enum __ptrace_request request, ...)
{
	static const struct {
		int request;
		const char *name;
	} counted[] = {{PTRACE_SEIZE, "ptrace SEIZE"},
		       {PTRACE_INTERRUPT, "ptrace INTERRUPT"},
		       {PTRACE_CONT, "ptrace CONT"},
		       {PTRACE_SETOPTIONS, "ptrace SETOPTIONS"},
		       {PTRACE_SETSIGMASK, "ptrace SETSIGMASK"},
		       {PTRACE_GETSIGMASK, "ptrace GETSIGMASK"},
		       {PTRACE_DETACH, "ptrace DETACH"}};
	long pid, address, data, word, result;
	va_list rest;
	int code = 0;

	va_start(rest, request);
	pid = va_arg(rest, int);
	address = va_arg(rest, long);
	data = va_arg(rest, long);
	va_end(rest);
	for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]) && !code; i++)
		if (counted[i].request == (int)request && steps_count_here())
			code = step(counted[i].name);
	if (code)
		return refuse(code);
	if ((int)request != PTRACE_PEEKTEXT && (int)request != PTRACE_PEEKDATA && (int)request != PTRACE_PEEKUSER)
		return outcome(RAW(SYS_ptrace, request, pid, address, data));
	/* The C library returns what the kernel stores. */
	result = outcome(RAW(SYS_ptrace, request, pid, address, &word));
	if (result < 0)
		return result;
	errno = 0;
	return word;
}

EXPORT int kill(pid_t pid, int signal)
{
	int code = signal == SIGKILL && steps_count_here() ? step("kill") : 0;

	return (int)(code ? refuse(code) : outcome(RAW(SYS_kill, pid, signal)));
}

EXPORT ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote,
				unsigned long remotes, unsigned long flags)
{
	int code = steps_count_here() ? step("process_vm_readv") : 0;

	return code ? refuse(code) : outcome(RAW(SYS_process_vm_readv, pid, local, locals, remote, remotes, flags));
}

/* A pool is started without what was preloaded into criu; these libraries it gets again. */
static char *const *environment_with_steps(void)
{
	static char *environment[512], preload[PATH_MAX];
	const char *libraries = getenv("REKINDLE_TEST_STEPS_PRELOAD");
	size_t count = 0;

	if (!libraries || getenv("LD_PRELOAD"))
		return environ;
	while (environ[count] && count < sizeof(environment) / sizeof(environment[0]) - 2) {
		environment[count] = environ[count];
		count++;
	}
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", libraries);
	environment[count++] = preload;
	environment[count] = NULL;
	return environment;
}

EXPORT int execv(const char *path, char *const *arguments)
{
	int code = steps_count_here() ? step("execv") : 0;

	return (int)(code ? refuse(code) : outcome(RAW(SYS_execve, path, arguments, environment_with_steps())));
}

EXPORT long syscall(long number, ...)
{
	static const struct {
		long number;
		const char *name;
	} counted[] = {{SYS_pidfd_open, "pidfd_open"},
		       {SYS_pidfd_getfd, "pidfd_getfd"},
		       {SYS_pidfd_send_signal, "pidfd_send_signal"}};
	long argument[6];
	va_list rest;
	int code = 0;

	va_start(rest, number);
	for (size_t i = 0; i < 6; i++)
		argument[i] = va_arg(rest, long);
	va_end(rest);
	for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]) && !code; i++)
		if (counted[i].number == number && steps_count_here())
			code = step(counted[i].name);
	return code ? refuse(code)
		    : outcome(raw_call(number, argument[0], argument[1], argument[2], argument[3], argument[4],
				       argument[5]));
}
