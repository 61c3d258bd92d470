/* SPDX-License-Identifier: MIT */
/*
 * Which functions of the driver a program looks up, and how: a library to preload that writes a line for each different
 * look-up, to standard error or to the file that DRIVER_LOOKUPS names (appended, so that children write there too).
 *
 *	dir=benchmarks/h200 agent=native/agent
 *	gcc -O1 -shared -fPIC -fvisibility=hidden -Wl,-Bsymbolic -o lookups.so $dir/driver_lookups.c $agent/calls/dlsym.S -ldl
 *	DRIVER_LOOKUPS=lookups.txt LD_PRELOAD=$PWD/lookups.so python3 -c 'import torch; torch.zeros(1 << 22).cuda()'
 *	sort -u lookups.txt
 *
 * "cuGetProcAddress NAME VERSION FLAGS: EXPORT" where EXPORT is the driver's exported symbol of the function given, "-" for
 * none given, "?" for one that is not exported; "dlsym NAME: found" or "dlsym NAME: missing". Not beside the agent: both
 * stand in the place of dlsym.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEEN_MAX 16384
#define EXPORTED __attribute__((visibility("default")))

/* For dlsym.S, which is the agent's: it asks route_dlsym and jumps to real_dlsym where that has no answer. */
struct routed_symbol {
	void *address;
	unsigned long answered;
};
void *(*real_dlsym)(void *handle, const char *symbol);
struct routed_symbol route_dlsym(void *handle, const char *symbol);

typedef int (*look_up_1)(const char *symbol, void **function, int version, uint64_t flags);
typedef int (*look_up_2)(const char *symbol, void **function, int version, uint64_t flags, int *status);
static look_up_1 real_1;
static look_up_2 real_2;

/* Guards what follows; nothing foreign is called under it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t seen[SEEN_MAX]; /* hashes; 0: free */

static uint64_t hash_of(const char *text)
{
	uint64_t hash = 14695981039346656037u;

	while (*text)
		hash = (hash ^ (unsigned char)*text++) * 1099511628211u;
	return hash ? hash : 1;
}

static int is_new(const char *line)
{
	uint64_t hash = hash_of(line);
	size_t at = hash % SEEN_MAX, tried;
	int new = 0;

	pthread_mutex_lock(&mutex);
	for (tried = 0; tried < SEEN_MAX && seen[at] && seen[at] != hash; tried++)
		at = (at + 1) % SEEN_MAX;
	if (tried < SEEN_MAX && !seen[at]) {
		seen[at] = hash;
		new = 1;
	}
	pthread_mutex_unlock(&mutex);
	return new;
}

static void write_line(const char *line)
{
	const char *path = getenv("DRIVER_LOOKUPS");
	int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : STDERR_FILENO;

	if (file < 0 || !is_new(line))
		return;
	if (write(file, line, strlen(line)) < 0)
		perror("driver_lookups");
	if (path)
		close(file);
}

static const char *exported_as(void *function)
{
	Dl_info info;

	if (!function)
		return "-";
	return dladdr(function, &info) && info.dli_sname && info.dli_saddr == function ? info.dli_sname : "?";
}

static void note_look_up(const char *symbol, int version, uint64_t flags, void *function)
{
	char line[256];

	snprintf(line, sizeof(line), "cuGetProcAddress %s %d %llu: %s\n", symbol ? symbol : "(null)", version,
		 (unsigned long long)flags, exported_as(function));
	write_line(line);
}

EXPORTED int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags);
EXPORTED int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status);

/* The program is to ask this library on, through whatever it was given. */
static void keep_in_the_middle(const char *symbol, void **function, int version)
{
	if (!*function || !symbol || strcmp(symbol, "cuGetProcAddress"))
		return;
	if (version >= 12000) {
		real_2 = (look_up_2)*function;
		*function = (void *)cuGetProcAddress_v2;
	} else {
		real_1 = (look_up_1)*function;
		*function = (void *)cuGetProcAddress;
	}
}

static void *of_driver(const char *symbol)
{
	void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);

	return library && real_dlsym ? real_dlsym(library, symbol) : NULL;
}

int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
	int result;

	if (!real_1)
		real_1 = (look_up_1)of_driver("cuGetProcAddress");
	result = real_1 ? real_1(symbol, function, version, flags) : 500;
	note_look_up(symbol, version, flags, result ? NULL : *function);
	if (!result)
		keep_in_the_middle(symbol, function, version);
	return result;
}

int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status)
{
	int result;

	if (!real_2)
		real_2 = (look_up_2)of_driver("cuGetProcAddress_v2");
	result = real_2 ? real_2(symbol, function, version, flags, status) : 500;
	note_look_up(symbol, version, flags, result ? NULL : *function);
	if (!result)
		keep_in_the_middle(symbol, function, version);
	return result;
}

static void find_real_dlsym(void)
{
	real_dlsym = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	if (!real_dlsym)
		real_dlsym = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
}

struct routed_symbol route_dlsym(void *handle, const char *symbol)
{
	struct routed_symbol routed = {0};
	char line[256];

	if (!real_dlsym)
		find_real_dlsym();
	if (!symbol || strncmp(symbol, "cu", 2) || symbol[2] < 'A' || symbol[2] > 'Z' || handle == RTLD_NEXT ||
	    handle == RTLD_DEFAULT)
		return routed;
	routed.address = real_dlsym(handle, symbol);
	routed.answered = 1;
	snprintf(line, sizeof(line), "dlsym %s: %s\n", symbol, routed.address ? "found" : "missing");
	write_line(line);
	if (routed.address && !strcmp(symbol, "cuGetProcAddress_v2"))
		keep_in_the_middle("cuGetProcAddress", &routed.address, 12000);
	else if (routed.address && !strcmp(symbol, "cuGetProcAddress"))
		keep_in_the_middle("cuGetProcAddress", &routed.address, 11030);
	return routed;
}
