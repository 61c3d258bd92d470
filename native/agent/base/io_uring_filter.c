/* SPDX-License-Identifier: MIT */
#include "agent/base/io_uring_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which number the audit calls have here is not known"
#endif

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define UNLESS_EQUAL_SKIP(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count)
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)

/*
 * To this number of entries, which nobody wants, the filter has an answer that no kernel gives and no other filter. ENOSYS
 * may also come from a kernel without io_uring, or from a container's filter, which forbids more than that.
 */
#define QUESTION 0x726b6e64u
#define OWN_ANSWER 3001

static bool is_own;

/*
 * Of number and architecture alone but for that one call, so that the kernel works it out once for each other call and keeps
 * the answers in a bitmap (since Linux 5.11); benchmarks/io-uring-off/run measures what a call costs more. The call has one
 * number on all architectures since 5.1.
 */
static bool set_filter(void)
{
	struct sock_filter instructions[] = {
		LOAD(arch),
		UNLESS_EQUAL_SKIP(OWN_ARCHITECTURE, 6),
		LOAD(nr),
		UNLESS_EQUAL_SKIP(SYS_io_uring_setup, 4),
		LOAD(args[0]), /* its lower half: both architectures are little-endian */
		UNLESS_EQUAL_SKIP(QUESTION, 1),
		ANSWER(SECCOMP_RET_ERRNO | OWN_ANSWER),
		ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
		ANSWER(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(instructions) / sizeof(*instructions), .filter = instructions};

	if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
		return true;
	/* Only who may do more than the program's user could gets by without. */
	return errno == EACCES && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

/* Never valid: without a filter it makes no ring. */
static bool is_answered(unsigned int entries, int code)
{
	return syscall(SYS_io_uring_setup, entries, NULL) < 0 && errno == code;
}

bool io_uring_filter_is_own(void)
{
	return is_own;
}

/* Before the program runs, and has threads or a ring. A program that one with a filter has started has it already. */
__attribute__((constructor)) static void turn_off_where_asked(void)
{
	int before = errno;

	if (agent_wants_no_io_uring() && agent_is_enabled()) {
		is_own = is_answered(QUESTION, OWN_ANSWER);
		if (!is_own && !is_answered(0, ENOSYS)) {
			is_own = set_filter() && is_answered(QUESTION, OWN_ANSWER);
			if (!is_own)
				agent_complain("io_uring cannot be turned off (%s); a program that uses it cannot be "
					       "checkpointed",
					       strerror(errno));
		}
	}
	errno = before;
}
