/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_TESTS_STEPS_RAW_CALLS_H
#define REKINDLE_TESTS_STEPS_RAW_CALLS_H

/* System calls past the C library, whose functions this library takes the place of. They return -errno. */
static inline long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long fourth __asm__("r10") = d;
	register long fifth __asm__("r8") = e;
	register long sixth __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "rcx", "r11", "memory");
	return result;
}

#define RAW(number, ...) RAW_6(number, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define RAW_6(number, a, b, c, d, e, f, ...) \
	raw_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#endif
