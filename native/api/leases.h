/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_LEASES_H
#define REKINDLE_API_LEASES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEASES_MAX 4096u

/*
 * Which leases of a pool are out. Taking and giving back is one atomic exchange on a slot each, without a lock and
 * without memory: it is on the way of every program that asks for a warm context.
 */
struct leases {
	_Atomic uint32_t slots[LEASES_MAX]; /* the number of the lease that is out, 0: free */
	_Atomic uint32_t next;		    /* where to look for a free slot */
	_Atomic uint32_t count;
};

/* Returns the number of a new lease, unique among all pools for a million leases to come, or 0 when all are out. */
uint32_t leases_take(struct leases *leases);
/* Returns false where the number is not out. */
bool leases_give_back(struct leases *leases, uint32_t number);

#endif
