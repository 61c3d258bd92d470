/* SPDX-License-Identifier: MIT */
#include "hash/chunk_hash.h"

#include <string.h>

#include "hash/hash_stripe.h"

static void add_tile(struct hash_state *sum, const unsigned char *tile, hash_word number)
{
	for (unsigned int lane = 0; lane < HASH_STRIPES; lane++) {
		struct hash_state state = hash_stripe_begin(number * HASH_STRIPES + lane);
		hash_word words[2];

		for (unsigned int word = 0; word < HASH_STRIPE_WORDS; word++) {
			memcpy(words, tile + (size_t)(word * HASH_STRIPES + lane) * sizeof(words), sizeof(words));
			hash_stripe_take(&state, words[0], words[1]);
		}
		hash_stripe_end(&state, sum);
	}
}

void chunk_hash_add(struct chunk_hash *hash, const void *data, size_t bytes, uint64_t at)
{
	struct hash_state sum = {hash->low, hash->high};
	const unsigned char *tile = data;

	for (size_t done = 0; done < bytes; done += HASH_TILE_BYTES)
		add_tile(&sum, tile + done, (at + done) / HASH_TILE_BYTES);
	hash->low = sum.low;
	hash->high = sum.high;
}
