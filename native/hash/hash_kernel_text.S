/* SPDX-License-Identifier: MIT */
/* The kernel as the driver takes it: text that ends with a NUL. */
	.section .rodata
	.globl hash_kernel_text
	.hidden hash_kernel_text
	.type hash_kernel_text, @object
hash_kernel_text:
	.incbin "hash/hash_kernel.ptx"
	.byte 0
	.size hash_kernel_text, . - hash_kernel_text
	.section .note.GNU-stack, "", @progbits
