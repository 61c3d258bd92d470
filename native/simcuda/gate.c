/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simcuda/simcuda.h"
#include "support/clock.h"

/*
 * One word holds both the closed bit and the number of calls inside, so a thread is either inside or not: one that is
 * stopped for good on its way in never leaves a count behind that a later lock would wait for.
 */
#define GATE_CLOSED 0x80000000u
#define GATE_COUNT 0x7fffffffu

static _Atomic uint32_t gate;

static void futex_wait(uint32_t expected, const struct timespec *timeout)
{
	syscall(SYS_futex, &gate, FUTEX_WAIT_PRIVATE, expected, timeout, NULL, 0);
}

static void futex_wake_all(void)
{
	syscall(SYS_futex, &gate, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void gate_enter(void)
{
	uint32_t word = atomic_load(&gate);

	for (;;) {
		if (word & GATE_CLOSED) {
			futex_wait(word, NULL);
			word = atomic_load(&gate);
			continue;
		}
		if (atomic_compare_exchange_weak(&gate, &word, word + 1))
			return;
	}
}

void gate_leave(void)
{
	uint32_t left = atomic_fetch_sub(&gate, 1) - 1;

	if (left == GATE_CLOSED)
		futex_wake_all();
}

void gate_open(void)
{
	atomic_fetch_and(&gate, GATE_COUNT);
	futex_wake_all();
}

int gate_close(uint64_t deadline)
{
	uint32_t word = atomic_fetch_or(&gate, GATE_CLOSED) | GATE_CLOSED;

	while (word & GATE_COUNT) {
		struct timespec rest = {.tv_nsec = 100000000};

		if (deadline) {
			uint64_t now = monotonic_nanoseconds();

			if (now >= deadline) {
				gate_open();
				return -ETIMEDOUT;
			}
			if (deadline - now < 100000000u)
				rest.tv_nsec = (long)(deadline - now);
		}
		futex_wait(word, &rest);
		word = atomic_load(&gate);
	}
	return 0;
}
