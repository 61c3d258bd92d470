/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_HASH_HASH_STRIPE_H
#define REKINDLE_HASH_HASH_STRIPE_H

/*
 * What is computed, for processor and GPU: this text is part of chunk_hash.c and of hash_kernel.cu, so that the two cannot
 * differ. No other header is included here, as the GPU's compiler has none.
 *
 * A chunk is cut into tiles of 4096 bytes, a tile into 32 stripes, one for each lane of a warp: stripe s has the words of 16
 * bytes at s, s + 32, s + 64, ..., which is what the lanes of a warp read side by side. Each stripe goes through the
 * body of MurmurHash3 x64 128 (Appleby, public domain), with its number in the chunk as the seed; every step of that is
 * one to one in what it takes in, so that a change in one word of a stripe always shows. The hash of the chunk is the sum of
 * those of its stripes, half by half and modulo 2^64, in whatever order they come. As the number is in the seed, contents
 * that moved within the chunk hash differently.
 *
 * Two contents that differ by accident have the same hash once in 2^128. It is no protection from somebody who looks for
 * such contents, and nothing is ever shared between owners on its word.
 */

#define HASH_TILE_BYTES 4096
#define HASH_STRIPES 32	    /* of a tile */
#define HASH_STRIPE_WORDS 8 /* of 16 bytes each */

typedef unsigned long long hash_word;

struct hash_state {
	hash_word low, high;
};

#ifndef HASH_FUNCTION
#define HASH_FUNCTION static inline
#endif

HASH_FUNCTION hash_word hash_rotate(hash_word word, int bits)
{
	return (word << bits) | (word >> (64 - bits));
}

HASH_FUNCTION hash_word hash_mix(hash_word word)
{
	word ^= word >> 33;
	word *= 0xff51afd7ed558ccdull;
	word ^= word >> 33;
	word *= 0xc4ceb9fe1a85ec53ull;
	return word ^ (word >> 33);
}

HASH_FUNCTION struct hash_state hash_stripe_begin(hash_word number)
{
	struct hash_state state = {number, ~number};

	return state;
}

HASH_FUNCTION void hash_stripe_take(struct hash_state *state, hash_word low, hash_word high)
{
	low = hash_rotate(low * 0x87c37b91114253d5ull, 31) * 0x4cf5ad432745937full;
	state->low = hash_rotate(state->low ^ low, 27) + state->high;
	state->low = state->low * 5 + 0x52dce729;
	high = hash_rotate(high * 0x4cf5ad432745937full, 33) * 0x87c37b91114253d5ull;
	state->high = hash_rotate(state->high ^ high, 31) + state->low;
	state->high = state->high * 5 + 0x38495ab5;
}

/* Adds what the stripe has come to. */
HASH_FUNCTION void hash_stripe_end(struct hash_state *state, struct hash_state *sum)
{
	state->low ^= HASH_STRIPE_WORDS * 16;
	state->high ^= HASH_STRIPE_WORDS * 16;
	state->low += state->high;
	state->high += state->low;
	state->low = hash_mix(state->low);
	state->high = hash_mix(state->high);
	state->low += state->high;
	state->high += state->low;
	sum->low += state->low;
	sum->high += state->high;
}

/* ---- the kernel's side ---- */

#define HASH_KERNEL rekindle_hash_chunks
#define HASH_THREADS 256 /* of a block: 8 warps */
#define HASH_BLOCKS 16	 /* for each chunk */

/* A chunk in device memory. The kernel adds to the result of the same number, which is to be 0. */
struct hash_chunk {
	hash_word address; /* a multiple of 16 */
	hash_word tiles;
};

#endif
