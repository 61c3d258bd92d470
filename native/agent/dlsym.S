/* SPDX-License-Identifier: MIT */

/*
 * void *dlsym(void *handle, const char *symbol)
 *
 * Asks route_dlsym (dlsym.c) first. Where the agent has no answer it jumps to the real dlsym, so that the return address,
 * by which RTLD_NEXT and RTLD_DEFAULT know their caller, stays the caller's.
 */
#ifndef __x86_64__
#error "dlsym.S is written for x86-64"
#endif

	.text
	.globl dlsym
	.type dlsym, @function
	.p2align 4
dlsym:
	.cfi_startproc
	endbr64
	pushq %rdi
	.cfi_adjust_cfa_offset 8
	pushq %rsi
	.cfi_adjust_cfa_offset 8
	subq $8, %rsp
	.cfi_adjust_cfa_offset 8
	call route_dlsym
	addq $8, %rsp
	.cfi_adjust_cfa_offset -8
	popq %rsi
	.cfi_adjust_cfa_offset -8
	popq %rdi
	.cfi_adjust_cfa_offset -8
	testq %rdx, %rdx
	jz 1f
	ret
1:	jmp *real_dlsym(%rip)
	.cfi_endproc
	.size dlsym, . - dlsym

	.section .note.GNU-stack, "", @progbits
