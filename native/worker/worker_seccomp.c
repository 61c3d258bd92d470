/* SPDX-License-Identifier: MIT */
#include "worker/worker_seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define FORBID(call, action) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, action)

int worker_seccomp(const char *kind, struct error_text *error)
{
	uint32_t action = strncmp(kind, "kill", 4) ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS;
	struct sock_filter filter[] = {
		LOAD_NUMBER,
		FORBID(sendmsg, action),
		FORBID(memfd_create, action),
		FORBID(ftruncate, action),
		FORBID(fcntl, action),
		FORBID(getsockopt, action),
		FORBID(pread64, action),
		FORBID(pwrite64, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
	unsigned int flags = strstr(kind, "-all") ? SECCOMP_FILTER_FLAG_TSYNC : 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program))
		return fail(error, -errno, "The seccomp filter cannot be set: %s", strerror(errno));
	return 0;
}
