/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zoo_areas.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct area areas[MAX_AREAS];
int nr_areas;
unsigned char *many;

static const uint64_t seed = 1;

void die(const char *what)
{
	fprintf(stderr, "zoo: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t word(const struct area *a, size_t i)
{
	uint64_t x = ((uint64_t)(a - areas + 1) << 40) + i * 0x9e3779b97f4a7c15ULL + seed;

	return x ^ (x >> 31);
}

static void fill_page(const struct area *a, size_t off)
{
	uint64_t *p = (uint64_t *)(a->mem + off);
	size_t i;

	for (i = 0; i < PAGE / 8; i++)
		p[i] = word(a, off / 8 + i);
}

static int page_differs(const struct area *a, size_t off)
{
	const uint64_t *p = (const uint64_t *)(a->mem + off);
	size_t i;

	for (i = 0; i < PAGE / 8; i++)
		if (p[i] != word(a, off / 8 + i))
			return 1;
	return 0;
}

struct area *add(const char *name, void *mem, size_t len, size_t step, int zeroes)
{
	struct area *a = &areas[nr_areas++];
	size_t off;

	if (mem == MAP_FAILED)
		die(name);
	*a = (struct area){name, mem, len, step, zeroes};
	for (off = 0; off < len; off += step * PAGE)
		fill_page(a, off);
	return a;
}

const char *check(void)
{
	static char text[128];
	size_t off, i;
	int n;

	for (i = 0; many && i < NR_MANY; i++)
		for (off = 0; off < 64 * KB; off++)
			if (many[i * 68 * KB + off] != (unsigned char)(i | 1)) {
				snprintf(text, sizeof(text), "mapping %zu differs at offset %#zx", i, off);
				return text;
			}

	for (n = 0; n < nr_areas; n++) {
		const struct area *a = &areas[n];

		for (off = 0; off < a->len; off += PAGE) {
			if ((off / PAGE) % a->step == 0) {
				if (!page_differs(a, off))
					continue;
			} else if (a->zeroes) {
				const uint64_t *p = (const uint64_t *)(a->mem + off);

				for (i = 0; i < PAGE / 8 && !p[i]; i++)
					;
				if (i == PAGE / 8)
					continue;
			} else {
				continue;
			}
			snprintf(text, sizeof(text), "%s differs at offset %#zx", a->name, off);
			return text;
		}
	}
	return NULL;
}

void *anon(size_t len, int prot, int flags)
{
	return mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

void *lone(size_t len, int flags)
{
	unsigned char *p = anon(len + 2 * PAGE, PROT_NONE, 0);

	if (p == MAP_FAILED)
		return p;
	return mmap(p + PAGE, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0);
}
