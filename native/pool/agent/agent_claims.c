/* SPDX-License-Identifier: MIT */
#include "pool/agent/agent_claims.h"

#include <errno.h>
#include <stdlib.h>

/* No kernel numbers more NUMA nodes. */
#define NODES_MAX 1024u
/* Allocations of that size fill the largest device many times over before there are this many. */
#define EXPORT_COUNT_MAX (1u << 18)

static int add_one_of_device(struct pool *pool, struct agent_export *export, const struct agent_allocation *allocation,
			     struct error_text *error)
{
	/* One that is not found is refused when it is to be used, where the driver can still save the process. */
	const struct pool_device *device = pool_device_find(pool, allocation->device.bytes);
	uint64_t *claimed = device ? &export->claimed[device - pool->devices] : NULL;

	if (claimed && allocation->bytes > device->memory_bytes - *claimed)
		return fail(error, -EPROTO,
			    "The agent in the process reports more device memory than GPU %d has (%llu MiB)",
			    device->device, (unsigned long long)(device->memory_bytes >> 20));
	if (claimed)
		*claimed += allocation->bytes;
	return 0;
}

static int add_one_of_host(struct agent_export *export, const struct agent_allocation *allocation,
			   struct error_text *error)
{
	uint64_t all = pool_host_bytes();

	if (allocation->bytes > all - export->claimed_of_host)
		return fail(error, -EPROTO,
			    "The agent in the process reports more memory of the host than there is (%llu MiB)",
			    (unsigned long long)(all >> 20));
	export->claimed_of_host += allocation->bytes;
	return 0;
}

static int add_one(struct pool *pool, struct agent_export *export, const struct agent_allocation *allocation,
		   bool of_host, struct error_text *error)
{
	if (allocation->bytes == 0 || allocation->bytes % AGENT_UNIT_BYTES)
		return fail(error, -EPROTO, "The agent in the process reports an allocation with an impossible size");
	return of_host ? add_one_of_host(export, allocation, error)
		       : add_one_of_device(pool, export, allocation, error);
}

int agent_claims_add(struct pool *pool, struct agent_export *export, const struct agent_message *message,
		     struct error_text *error)
{
	bool of_host = message->type == AGENT_HOST_ALLOCATIONS;
	int result = 0;
	uint32_t i;

	if (export->own.count + message->count > EXPORT_COUNT_MAX)
		return fail(error, -EPROTO, "The agent in the process reports more than %u allocations",
			    EXPORT_COUNT_MAX);
	if (of_host && message->last >= NODES_MAX)
		return fail(error, -EPROTO, "The agent in the process reports memory on an impossible NUMA node");
	for (i = 0; result == 0 && i < message->count; i++)
		result = add_one(pool, export, &message->allocations[i], of_host, error);
	return result;
}

int agent_claims_add_imports(const struct agent_export *export, const struct agent_message *message,
			     struct error_text *error)
{
	if (export->imports.count + message->count <= EXPORT_COUNT_MAX)
		return 0;
	return fail(error, -EPROTO, "The agent in the process reports more than %u imported allocations",
		    EXPORT_COUNT_MAX);
}

static int compare_ids(const void *left, const void *right)
{
	uint64_t a = (*(const struct agent_allocation *const *)left)->allocation_id,
		 b = (*(const struct agent_allocation *const *)right)->allocation_id;

	return (a > b) - (a < b);
}

static int compare_addresses(const void *left, const void *right)
{
	uint64_t a = (*(const struct agent_allocation *const *)left)->address,
		 b = (*(const struct agent_allocation *const *)right)->address;

	return (a > b) - (a < b);
}

/* Where one is not mapped, and so at no address, it is 0. */
static bool overlap(const struct agent_allocation *first, const struct agent_allocation *second)
{
	return first->address && second->address - first->address < first->bytes;
}

int agent_claims_check(const struct agent_export *export, struct error_text *error)
{
	uint32_t count = export->own.count, all = count + export->imports.count, i;
	const struct agent_allocation **sorted = calloc(all + 1, sizeof(*sorted));
	const char *fault = NULL;

	if (!sorted)
		return fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < all; i++)
		sorted[i] = i < count ? &export->own.allocations[i] : &export->imports.allocations[i - count];
	qsort(sorted, all, sizeof(*sorted), compare_ids);
	for (i = 1; i < all; i++)
		if (sorted[i - 1]->allocation_id == sorted[i]->allocation_id)
			fault = "with one id";
	qsort(sorted, all, sizeof(*sorted), compare_addresses);
	for (i = 1; i < all; i++)
		if (overlap(sorted[i - 1], sorted[i]))
			fault = "at one address";
	free(sorted);
	return fault ? fail(error, -EPROTO, "The agent in the process reports two allocations %s", fault) : 0;
}
