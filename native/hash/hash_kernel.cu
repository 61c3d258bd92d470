/* SPDX-License-Identifier: MIT */
/*
 * The chunk hash on the GPU, see hash_stripe.h. hash_kernel.ptx is what clang makes of this (make_ptx.sh), and lies beside it,
 * as not everybody who builds has a clang for NVPTX; kernel_text_test compares the two where there is one.
 *
 * HASH_BLOCKS blocks for each chunk, whose warps take its tiles in turn. Each lane sums up its stripes and adds that to the
 * chunk's result once.
 */
#define HASH_FUNCTION static __attribute__((device, always_inline))
#include "hash_stripe.h"

typedef hash_word two_words __attribute__((ext_vector_type(2)));

extern "C" __attribute__((global, launch_bounds(HASH_THREADS))) void
rekindle_hash_chunks(const struct hash_chunk *chunks, struct hash_state *results)
{
	unsigned int block = __nvvm_read_ptx_sreg_ctaid_x(), thread = __nvvm_read_ptx_sreg_tid_x();
	unsigned int number = block / HASH_BLOCKS, lane = thread % HASH_STRIPES;
	hash_word tile = (block % HASH_BLOCKS) * (HASH_THREADS / HASH_STRIPES) + thread / HASH_STRIPES;
	hash_word tiles = chunks[number].tiles;
	struct hash_state sum = {0, 0};

	for (; tile < tiles; tile += HASH_BLOCKS * (HASH_THREADS / HASH_STRIPES)) {
		const two_words *words = (const two_words *)(chunks[number].address + tile * HASH_TILE_BYTES) + lane;
		struct hash_state state = hash_stripe_begin(tile * HASH_STRIPES + lane);
		two_words read[HASH_STRIPE_WORDS];

		/* All asked for before the first is needed. */
#pragma unroll
		for (int i = 0; i < HASH_STRIPE_WORDS; i++)
			read[i] = words[i * HASH_STRIPES];
#pragma unroll
		for (int i = 0; i < HASH_STRIPE_WORDS; i++)
			hash_stripe_take(&state, read[i].x, read[i].y);
		hash_stripe_end(&state, &sum);
	}
	if (sum.low)
		__nvvm_atom_add_gen_ll((long long *)&results[number].low, (long long)sum.low);
	if (sum.high)
		__nvvm_atom_add_gen_ll((long long *)&results[number].high, (long long)sum.high);
}
