/* SPDX-License-Identifier: MIT */
#include "api/test_images.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "criu_images.pb-c.h"

static FILE *begin(const char *directory, const char *name, uint32_t first, uint32_t second)
{
	char path[PATH_MAX];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	stream = fopen(path, "we");
	if (!stream)
		abort();
	if (first)
		fwrite(&first, sizeof(first), 1, stream);
	fwrite(&second, sizeof(second), 1, stream);
	return stream;
}

static void append(FILE *stream, const void *message)
{
	uint32_t size = (uint32_t)protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(size + 1);

	if (!bytes)
		abort();
	protobuf_c_message_pack(message, bytes);
	fwrite(&size, sizeof(size), 1, stream);
	fwrite(bytes, size, 1, stream);
	free(bytes);
}

static void write_core(const char *directory, int32_t pid, const char *name)
{
	CriuImage__Task task = CRIU_IMAGE__TASK__INIT;
	CriuImage__Core core = CRIU_IMAGE__CORE__INIT;
	char file[64];
	FILE *stream;

	snprintf(file, sizeof(file), "core-%d.img", pid);
	stream = begin(directory, file, 0x54564319, 0x55053847);
	task.name = (char *)(uintptr_t)name;
	core.task = &task;
	append(stream, &core);
	fclose(stream);
}

void test_images_write(const char *directory, int32_t pid)
{
	char *names[] = {"cuda_plugin"};
	uint32_t threads[] = {(uint32_t)pid, (uint32_t)pid + 2};
	CriuImage__Plugins plugins = CRIU_IMAGE__PLUGINS__INIT;
	CriuImage__Inventory inventory = CRIU_IMAGE__INVENTORY__INIT;
	CriuImage__Process process = CRIU_IMAGE__PROCESS__INIT;
	CriuImage__PagemapHead head = CRIU_IMAGE__PAGEMAP_HEAD__INIT;
	char page[TEST_IMAGES_HOST_BYTES / 3 - 4] = {0};
	char file[64];
	FILE *stream;
	int i;

	mkdir(directory, 0700);
	stream = begin(directory, "inventory.img", 0, 0x58313116);
	inventory.has_version = 1;
	inventory.version = 2;
	plugins.names = names;
	plugins.n_names = 1;
	inventory.plugins = &plugins;
	append(stream, &inventory);
	fclose(stream);

	stream = begin(directory, "pstree.img", 0x54564319, 0x50273030);
	process.has_pid = process.has_parent_pid = 1;
	process.pid = (uint32_t)pid;
	process.threads = threads;
	process.n_threads = 2;
	append(stream, &process);
	process.pid = (uint32_t)pid + 1;
	process.parent_pid = (uint32_t)pid;
	threads[0] = (uint32_t)pid + 1;
	process.n_threads = 1;
	append(stream, &process);
	fclose(stream);

	write_core(directory, pid, "root");
	write_core(directory, pid + 1, "child");

	snprintf(file, sizeof(file), "pagemap-%d.img", pid);
	stream = begin(directory, file, 0x54564319, 0x56084025);
	head.has_pages_id = 1;
	head.pages_id = 5;
	append(stream, &head);
	fclose(stream);

	stream = begin(directory, "pages-5.img", 0, 0);
	fwrite(page, sizeof(page), 1, stream);
	for (i = 0; i < 2; i++) {
		fwrite(page, sizeof(page), 1, stream);
		fwrite(page, 4, 1, stream);
	}
	fclose(stream);
}

void test_images_share_namespace(const char *directory, int32_t pid, uint32_t of_criu, uint32_t of_tree)
{
	CriuImage__KobjIds ids = CRIU_IMAGE__KOBJ_IDS__INIT;
	CriuImage__Inventory inventory = CRIU_IMAGE__INVENTORY__INIT;
	char file[64];
	FILE *stream;

	ids.has_pid_ns_id = 1;
	ids.pid_ns_id = of_criu;
	inventory.root_ids = &ids;
	stream = begin(directory, "inventory.img", 0, 0x58313116);
	append(stream, &inventory);
	fclose(stream);
	ids.pid_ns_id = of_tree;
	snprintf(file, sizeof(file), "ids-%d.img", pid);
	stream = begin(directory, file, 0x54564319, 0x54432030);
	append(stream, &ids);
	fclose(stream);
}

void test_images_write_statistics(const char *directory)
{
	CriuImage__DumpStatistics dump = CRIU_IMAGE__DUMP_STATISTICS__INIT;
	CriuImage__RestoreStatistics restore = CRIU_IMAGE__RESTORE_STATISTICS__INIT;
	CriuImage__Statistics statistics = CRIU_IMAGE__STATISTICS__INIT;
	FILE *stream;

	dump.has_freezing_time = dump.has_frozen_time = dump.has_memdump_time = dump.has_memwrite_time = 1;
	dump.has_pages_scanned = dump.has_pages_written = 1;
	dump.freezing_time = 1;
	dump.frozen_time = 2;
	dump.memdump_time = 3;
	dump.memwrite_time = 4;
	dump.pages_scanned = 5;
	dump.pages_written = 6;
	stream = begin(directory, "stats-dump", 0x55105940, 0x57093306);
	statistics.dump = &dump;
	append(stream, &statistics);
	fclose(stream);

	restore.has_forking_time = restore.has_restore_time = restore.has_pages_restored = 1;
	restore.forking_time = 1;
	restore.restore_time = 2;
	restore.pages_restored = 3;
	stream = begin(directory, "stats-restore", 0x55105940, 0x57093306);
	statistics.dump = NULL;
	statistics.restore = &restore;
	append(stream, &statistics);
	fclose(stream);
}
