/* SPDX-License-Identifier: MIT */

/*
 * void *dlsym(void *handle, const char *symbol)
 *
 * Asks route_dlsym (dlsym.c) first. Where the agent has no answer it jumps to the dlsym that has, so that the return
 * address, by which RTLD_NEXT and RTLD_DEFAULT know their caller, stays the caller's.
 *
 * It has libc's versions, because a library that comes before the agent and has a dlsym too asks for the next one by
 * version (dlvsym), which passes over functions without. dlsym.map defines them.
 */
#ifndef __x86_64__
#error "dlsym.S is written for x86-64"
#endif

	.text
	.globl agent_dlsym
	.type agent_dlsym, @function
	.p2align 4
agent_dlsym:
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
	jnz 1f
	ret
1:	jmp *%rdx
	.cfi_endproc
	.size agent_dlsym, . - agent_dlsym

	.globl agent_dlsym_older
	.type agent_dlsym_older, @function
	.set agent_dlsym_older, agent_dlsym
	.size agent_dlsym_older, 0

	.symver agent_dlsym, dlsym@@GLIBC_2.34, remove
	.symver agent_dlsym_older, dlsym@GLIBC_2.2.5, remove

	.section .note.GNU-stack, "", @progbits
