/* SPDX-License-Identifier: MIT */
/* A library whose constructor does what the program that opens it says. */

extern void (*constructor_work)(void);

__attribute__((constructor)) static void begin(void)
{
	constructor_work();
	__asm__ volatile(""); /* no tail call, which would take this library off the stack */
}
