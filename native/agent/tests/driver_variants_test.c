/* SPDX-License-Identifier: MIT */
/* Of every function that the agent interposes, each variant that drivers export is the agent's, or is left out on purpose. */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/interpose/interposed.h"
#include "agent/tests/driver.h"

/* What drivers up to 590 (CUDA 13.1) export under the names of interposed.h, variants of the same name side by side. */
static const struct variant {
	const char *symbol;
	bool interposed;
} variants[] = {
	{"cuInit", true},
	{"cuGetProcAddress", true},
	{"cuGetProcAddress_v2", true},
	{"cuMemAlloc", false}, /* CUDA 2: 32-bit addresses, likewise below */
	{"cuMemAlloc_v2", true},
	{"cuMemAllocPitch", false},
	{"cuMemAllocPitch_v2", true},
	{"cuMemFree", false},
	{"cuMemFree_v2", true},
	{"cuMemFreeAsync", true},
	{"cuMemFreeAsync_ptsz", true},
	{"cuMemGetAddressRange", false},
	{"cuMemGetAddressRange_v2", true},
	{"cuPointerGetAttribute", true},
	{"cuPointerGetAttributes", true},
	{"cuMemCreate", true},
	{"cuMemRelease", true},
	{"cuMemMap", true},
	{"cuMemUnmap", true},
	{"cuMemSetAccess", true},
	{"cuMemRetainAllocationHandle", true},
	{"cuMemGetAllocationPropertiesFromHandle", true},
	{"cuMemExportToShareableHandle", true},
	{"cuMemImportFromShareableHandle", true},
	{"cuMemGetHandleForAddressRange", true},
	{"cuMulticastBindMem", true},
	{"cuMulticastBindMem_v2", true},
	{"cuMulticastBindAddr", true},
	{"cuMulticastBindAddr_v2", true},
	{"cuIpcGetMemHandle", true},
	{"cuIpcOpenMemHandle", true},
	{"cuIpcOpenMemHandle_v2", true},
	{"cuIpcCloseMemHandle", true},
	{"cuDevicePrimaryCtxRetain", true},
	{"cuDevicePrimaryCtxRelease", true},
	{"cuDevicePrimaryCtxRelease_v2", true},
	{"cuDevicePrimaryCtxReset", true},
	{"cuDevicePrimaryCtxReset_v2", true},
	{"cuCtxDestroy", true},
	{"cuCtxDestroy_v2", true},
	{"cuCtxDetach", true},
	{"cuCtxEnablePeerAccess", true},
};

#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

/* The table of interposed.h. */
static const struct entry {
	const char *name, *symbol;
	int version;
	bool per_thread;
} entries[] = {
#define ENTRY(name, symbol, version, per_thread) {#name, #symbol, version, per_thread},
	INTERPOSED_FUNCTIONS(ENTRY)
#undef ENTRY
};

#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static void *driver;

static int open_driver(void **state)
{
	(void)state;
	driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
	return driver ? 0 : -1;
}

static const struct variant *find_variant(const char *symbol)
{
	for (size_t index = 0; index < VARIANTS; index++)
		if (!strcmp(variants[index].symbol, symbol))
			return &variants[index];
	return NULL;
}

static bool is_entry(const char *symbol)
{
	for (size_t index = 0; index < ENTRIES; index++)
		if (!strcmp(entries[index].symbol, symbol))
			return true;
	return false;
}

static void the_table_has_every_variant(void **state)
{
	(void)state;
	for (size_t index = 0; index < VARIANTS; index++)
		if (is_entry(variants[index].symbol) != variants[index].interposed)
			fail_msg("%s", variants[index].symbol);
	for (size_t index = 0; index < ENTRIES; index++)
		if (!find_variant(entries[index].symbol))
			fail_msg("%s is not in the list of variants", entries[index].symbol);
}

/* "cuMemAlloc" of "cuMemAlloc_v2", "cuMemFreeAsync" of "cuMemFreeAsync_ptsz". */
static void stem_of(const char *symbol, char stem[128])
{
	char *end;

	strncpy(stem, symbol, 127);
	stem[127] = '\0';
	end = strstr(stem, "_pts");
	if (end)
		*end = '\0';
	end = strrchr(stem, '_');
	if (end && end[1] == 'v')
		*end = '\0';
}

static void check_export(const char *symbol)
{
	char stem[128];

	stem_of(symbol, stem);
	for (size_t index = 0; index < ENTRIES; index++) {
		if (strcmp(entries[index].name, stem) != 0)
			continue;
		if (!find_variant(symbol))
			fail_msg("the driver exports %s, which is not in the list of variants", symbol);
		return;
	}
}

/* The number of symbols in a hash table of the GNU kind: one past the last of the last chain. */
static size_t count_symbols(const uint32_t *table)
{
	uint32_t buckets = table[0], first = table[1], bloom = table[2];
	const uint32_t *bucket = table + 4 + bloom * (sizeof(ElfW(Addr)) / 4);
	const uint32_t *chain = bucket + buckets;
	uint32_t last = 0;

	for (uint32_t index = 0; index < buckets; index++)
		if (bucket[index] > last)
			last = bucket[index];
	while (last && !(chain[last - first] & 1))
		last++;
	return last + 1;
}

static void every_export_of_the_driver_is_listed(void **state)
{
	const ElfW(Sym) *symbols = NULL;
	const uint32_t *hash = NULL;
	const char *strings = NULL;
	struct link_map *map;
	size_t seen = 0;

	(void)state;
	assert_int_equal(dlinfo(driver, RTLD_DI_LINKMAP, &map), 0);
	for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
		const void *pointer = (const void *)entry->d_un.d_ptr;

		if (entry->d_tag == DT_SYMTAB)
			symbols = pointer;
		else if (entry->d_tag == DT_STRTAB)
			strings = pointer;
		else if (entry->d_tag == DT_GNU_HASH)
			hash = pointer;
	}
	assert_true(symbols && strings && hash);
	for (size_t index = 1; index < count_symbols(hash); index++) {
		if (symbols[index].st_shndx == SHN_UNDEF)
			continue;
		check_export(strings + symbols[index].st_name);
		seen++;
	}
	assert_true(seen > 100);
}

/* dlsym and cuGetProcAddress give the agent's function for each that the driver has. */
static void every_way_leads_to_the_agent(void **state)
{
	(void)state;
	for (size_t index = 0; index < ENTRIES; index++) {
		const struct entry *entry = &entries[index];
		void *found = dlsym(driver, entry->symbol), *asked = NULL;

		if (!found) /* a driver without multicast, for one */
			continue;
		assert_true(is_of_agent(found));
		assert_success(cuGetProcAddress(entry->name, &asked, entry->version, entry->per_thread ? 2 : 0));
		if (asked != found)
			fail_msg("%s of version %d is not %s", entry->name, entry->version, entry->symbol);
	}
}

static void what_is_yet_to_come_is_left_alone(void **state)
{
	void *known = NULL, *later = NULL;

	(void)state;
	assert_success(cuGetProcAddress("cuMemAllocPitch", &known, 18990, 0));
	assert_ptr_equal(known, (void *)cuMemAllocPitch_v2);
	/* The driver has another function for it. */
	assert_success(cuGetProcAddress("cuMemAllocPitch", &later, 19000, 0));
	assert_non_null(later);
	assert_false(is_of_agent(later));
	assert_success(cuGetProcAddress_v2("cuMemAllocPitch", &later, 19000, 0, NULL));
	assert_false(is_of_agent(later));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_has_every_variant),
		cmocka_unit_test(every_export_of_the_driver_is_listed),
		cmocka_unit_test(every_way_leads_to_the_agent),
		cmocka_unit_test(what_is_yet_to_come_is_left_alone),
	};

	return cmocka_run_group_tests(tests, open_driver, NULL);
}
