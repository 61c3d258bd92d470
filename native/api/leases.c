/* SPDX-License-Identifier: MIT */
#include "api/leases.h"

uint32_t leases_take(struct leases *leases)
{
	static _Atomic uint32_t serial;
	uint32_t tries;

	for (tries = 0; tries < LEASES_MAX; tries++) {
		uint32_t slot = atomic_fetch_add_explicit(&leases->next, 1, memory_order_relaxed) % LEASES_MAX;
		uint32_t number;
		uint32_t free_slot = 0;

		if (atomic_load_explicit(&leases->slots[slot], memory_order_relaxed))
			continue;
		do
			number = (atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed) + 1) * LEASES_MAX + slot;
		while (!number);
		if (atomic_compare_exchange_strong(&leases->slots[slot], &free_slot, number)) {
			atomic_fetch_add_explicit(&leases->count, 1, memory_order_relaxed);
			return number;
		}
	}
	return 0;
}

bool leases_give_back(struct leases *leases, uint32_t number)
{
	uint32_t expected = number;

	if (!number || !atomic_compare_exchange_strong(&leases->slots[number % LEASES_MAX], &expected, 0))
		return false;
	atomic_fetch_sub_explicit(&leases->count, 1, memory_order_relaxed);
	return true;
}
