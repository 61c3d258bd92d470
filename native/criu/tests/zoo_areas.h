/* SPDX-License-Identifier: MIT */
#ifndef ZOO_AREAS_H
#define ZOO_AREAS_H

#include <stddef.h>

/* The memory of the zoo whose contents can be checked. */

#define KB 1024UL
#define MB (KB * KB)
#define PAGE 4096UL
#define HUGE (2 * MB)
#define MAX_AREAS 64
#define NR_MANY 3200

/* @len bytes, of which one page every @step pages has contents */
struct area {
	const char *name;
	unsigned char *mem;
	size_t len, step;
	int zeroes; /* the pages between have to read as zeroes */
};

extern struct area areas[MAX_AREAS];
extern int nr_areas;
extern unsigned char *many; /* these are too many for areas */

void die(const char *what);
/* Notes memory, and fills it */
struct area *add(const char *name, void *mem, size_t len, size_t step, int zeroes);
/* What differs; NULL: nothing does */
const char *check(void);

void *anon(size_t len, int prot, int flags);
/* With a page of nothing around it, so that it is a mapping of its own */
void *lone(size_t len, int flags);

#endif
