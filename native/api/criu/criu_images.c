/* SPDX-License-Identifier: MIT */
#include "api/criu/criu_images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call/report.h"
#include "criu_images.pb-c.h"
#include "support/regular_file.h"

/* Magic numbers of the format: a common one, then one for the kind of image. The inventory has only its own. */
#define MAGIC_COMMON 0x54564319u
#define MAGIC_SERVICE 0x55105940u
#define MAGIC_INVENTORY 0x58313116u
#define MAGIC_PSTREE 0x50273030u
#define MAGIC_CORE 0x55053847u
#define MAGIC_PAGEMAP 0x56084025u
#define MAGIC_STATS 0x57093306u
#define MAGIC_IDS 0x54432030u

/* No image that is read here is larger; what claims to be is damaged. */
#define IMAGE_BYTES_MAX (64u << 20)

struct image {
	char path[PATH_MAX];
	uint8_t *bytes;
	size_t size;
	size_t position;
};

static void image_close(struct image *image)
{
	free(image->bytes);
	image->bytes = NULL;
}

static int damaged(const struct image *image, struct error_text *error)
{
	return fail(error, -EBADMSG, "The image %s is damaged or cut short; the checkpoint has to be taken again.",
		    image->path);
}

static bool take_number(struct image *image, uint32_t *number)
{
	if (image->size - image->position < sizeof(*number))
		return false;
	memcpy(number, image->bytes + image->position, sizeof(*number));
	image->position += sizeof(*number);
	return true;
}

static int read_file(struct image *image, struct error_text *error)
{
	struct stat status;
	int file = regular_file_open(image->path);
	ssize_t got;
	int result;

	if (file == -EBADMSG)
		return damaged(image, error);
	if (file < 0 || fstat(file, &status)) {
		result = file < 0 ? file : -errno;
		fail(error, result, "Cannot read the image %s: %s.", image->path, errno_text(-result));
		goto out;
	}
	if (status.st_size > IMAGE_BYTES_MAX) {
		result = damaged(image, error);
		goto out;
	}
	image->bytes = malloc((size_t)status.st_size + 1);
	if (!image->bytes) {
		result = fail(error, -ENOMEM, "Out of memory while reading %s", image->path);
		goto out;
	}
	while (image->size < (size_t)status.st_size) {
		got = read(file, image->bytes + image->size, (size_t)status.st_size - image->size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		image->size += (size_t)got;
	}
	result = image->size == (size_t)status.st_size ? 0 : damaged(image, error);
out:
	if (file >= 0)
		close(file);
	return result;
}

/* Opens directory/name and checks its magic numbers; first is 0 where the image has only one. */
static int image_open(struct image *image, const char *directory, const char *name, uint32_t first, uint32_t second,
		      struct error_text *error)
{
	uint32_t number;
	int result;

	memset(image, 0, sizeof(*image));
	snprintf(image->path, sizeof(image->path), "%s/%s", directory, name);
	result = read_file(image, error);
	if (!result && first && (!take_number(image, &number) || number != first))
		result = damaged(image, error);
	if (!result && (!take_number(image, &number) || number != second))
		result = damaged(image, error);
	if (result)
		image_close(image);
	return result;
}

/* Unpacks the next entry. *message is NULL at the end of the image. */
static int image_next(struct image *image, const ProtobufCMessageDescriptor *type, ProtobufCMessage **message,
		      struct error_text *error)
{
	uint32_t size;

	*message = NULL;
	if (image->position == image->size)
		return 0;
	if (!take_number(image, &size) || size > image->size - image->position)
		return damaged(image, error);
	*message = protobuf_c_message_unpack(type, NULL, size, image->bytes + image->position);
	image->position += size;
	return *message ? 0 : damaged(image, error);
}

/* The first entry of an image that has one. */
static int image_only(const char *directory, const char *name, uint32_t first, uint32_t second,
		      const ProtobufCMessageDescriptor *type, ProtobufCMessage **message, struct error_text *error)
{
	struct image image;
	int result = image_open(&image, directory, name, first, second, error);

	*message = NULL;
	if (result)
		return result;
	result = image_next(&image, type, message, error);
	if (!result && !*message)
		result = damaged(&image, error);
	image_close(&image);
	return result;
}

static int read_inventory(const char *directory, struct criu_checkpoint *checkpoint, uint32_t *criu_namespace,
			  struct error_text *error)
{
	CriuImage__Inventory *inventory;
	ProtobufCMessage *message;
	char path[PATH_MAX];
	struct stat status;
	size_t i;
	int result;

	snprintf(path, sizeof(path), "%s/inventory.img", directory);
	if (stat(path, &status))
		return fail(error, -errno,
			    errno == ENOENT ? "The folder %s holds no checkpoint: inventory.img is missing."
					    : "The folder %s cannot be read.",
			    directory);
	checkpoint->created = status.st_mtim.tv_sec;
	result = image_only(directory, "inventory.img", 0, MAGIC_INVENTORY, &criu_image__inventory__descriptor,
			    &message, error);
	if (result)
		return result;
	inventory = (CriuImage__Inventory *)message;
	for (i = 0; inventory->plugins && i < inventory->plugins->n_names; i++)
		if (!strcmp(inventory->plugins->names[i], "cuda_plugin"))
			checkpoint->uses_cuda_plugin = true;
	*criu_namespace = inventory->root_ids ? inventory->root_ids->pid_ns_id : 0;
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

/* Which pid namespace the root of the tree is in; 0 where the images do not say. */
static int read_namespace(const char *directory, int32_t root, uint32_t *namespace, struct error_text *error)
{
	ProtobufCMessage *message;
	char name[64];
	int result;

	*namespace = 0;
	snprintf(name, sizeof(name), "ids-%d.img", root);
	result = image_only(directory, name, MAGIC_COMMON, MAGIC_IDS, &criu_image__kobj_ids__descriptor, &message,
			    error);
	if (result)
		return result == -ENOENT ? 0 : result;
	*namespace = ((CriuImage__KobjIds *)message)->pid_ns_id;
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

/* CRIU lists the first thread, whose id is the process's, among the threads; a zombie has none. */
static int add_ids(struct criu_checkpoint *checkpoint, const CriuImage__Process *process)
{
	int32_t *grown = realloc(checkpoint->ids, (checkpoint->id_count + process->n_threads + 1) * sizeof(*grown));
	size_t i;

	if (!grown)
		return -ENOMEM;
	checkpoint->ids = grown;
	grown[checkpoint->id_count++] = (int32_t)process->pid;
	for (i = 0; i < process->n_threads; i++)
		if (process->threads[i] != process->pid)
			grown[checkpoint->id_count++] = (int32_t)process->threads[i];
	return 0;
}

static int read_tree(const char *directory, struct criu_checkpoint *checkpoint, struct error_text *error)
{
	struct criu_process *grown;
	ProtobufCMessage *message;
	struct image image;
	int result = image_open(&image, directory, "pstree.img", MAGIC_COMMON, MAGIC_PSTREE, error);

	if (result)
		return result == -ENOENT ? damaged(&image, error) : result;
	while (!(result = image_next(&image, &criu_image__process__descriptor, &message, error)) && message) {
		const CriuImage__Process *process = (const CriuImage__Process *)message;

		grown = realloc(checkpoint->processes, (checkpoint->process_count + 1) * sizeof(*grown));
		if (grown)
			checkpoint->processes = grown;
		if (!grown || add_ids(checkpoint, process)) {
			protobuf_c_message_free_unpacked(message, NULL);
			result = fail(error, -ENOMEM, "Out of memory while reading %s", image.path);
			break;
		}
		grown += checkpoint->process_count++;
		memset(grown, 0, sizeof(*grown));
		grown->pid = (int32_t)process->pid;
		grown->parent_pid = (int32_t)process->parent_pid;
		grown->threads = (uint32_t)process->n_threads;
		protobuf_c_message_free_unpacked(message, NULL);
	}
	if (!result && !checkpoint->process_count)
		result = damaged(&image, error);
	image_close(&image);
	return result;
}

static uint64_t file_bytes(const char *directory, const char *name)
{
	char path[PATH_MAX];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return stat(path, &status) ? 0 : (uint64_t)status.st_size;
}

/* Name and memory of one process. A zombie has no pagemap. */
static int read_process(const char *directory, struct criu_process *process, struct error_text *error)
{
	ProtobufCMessage *message;
	char name[64];
	int result;

	snprintf(name, sizeof(name), "core-%d.img", process->pid);
	result = image_only(directory, name, MAGIC_COMMON, MAGIC_CORE, &criu_image__core__descriptor, &message, error);
	if (result)
		return result;
	if (((CriuImage__Core *)message)->task)
		copy_text(process->name, sizeof(process->name), ((CriuImage__Core *)message)->task->name);
	protobuf_c_message_free_unpacked(message, NULL);

	snprintf(name, sizeof(name), "pagemap-%d.img", process->pid);
	result = image_only(directory, name, MAGIC_COMMON, MAGIC_PAGEMAP, &criu_image__pagemap_head__descriptor,
			    &message, error);
	if (result)
		return result == -ENOENT ? 0 : result;
	snprintf(name, sizeof(name), "pages-%u.img", ((CriuImage__PagemapHead *)message)->pages_id);
	process->host_bytes = file_bytes(directory, name);
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

int criu_checkpoint_read(const char *directory, struct criu_checkpoint *checkpoint, struct error_text *error)
{
	uint32_t criu_namespace, namespace;
	size_t i;
	int result;

	memset(checkpoint, 0, sizeof(*checkpoint));
	result = read_inventory(directory, checkpoint, &criu_namespace, error);
	if (!result)
		result = read_tree(directory, checkpoint, error);
	if (!result)
		result = read_namespace(directory, checkpoint->processes[0].pid, &namespace, error);
	if (!result)
		checkpoint->shares_pid_namespace = criu_namespace && criu_namespace == namespace;
	for (i = 0; !result && i < checkpoint->process_count; i++)
		result = read_process(directory, &checkpoint->processes[i], error);
	checkpoint->host_bytes = criu_pages_bytes(directory);
	if (result)
		criu_checkpoint_free(checkpoint);
	return result;
}

void criu_checkpoint_free(struct criu_checkpoint *checkpoint)
{
	free(checkpoint->processes);
	free(checkpoint->ids);
	memset(checkpoint, 0, sizeof(*checkpoint));
}

uint64_t criu_pages_bytes(const char *directory)
{
	DIR *folder = opendir(directory);
	struct dirent *entry;
	uint64_t bytes = 0;
	unsigned int number;
	int end;

	if (!folder)
		return 0;
	while ((entry = readdir(folder))) {
		end = 0;
		if (sscanf(entry->d_name, "pages-%u.img%n", &number, &end) == 1 && end && !entry->d_name[end])
			bytes += file_bytes(directory, entry->d_name);
	}
	closedir(folder);
	return bytes;
}

int criu_statistics_read(const char *work_directory, struct rekindle_statistics *statistics, struct error_text *error)
{
	bool dump = statistics->kind == REKINDLE_RUN_CHECKPOINT;
	const CriuImage__Statistics *read;
	ProtobufCMessage *message;
	int result = image_only(work_directory, dump ? "stats-dump" : "stats-restore", MAGIC_SERVICE, MAGIC_STATS,
				&criu_image__statistics__descriptor, &message, error);

	if (result)
		return result;
	read = (const CriuImage__Statistics *)message;
	if (dump && read->dump) {
		statistics->freezing_time = read->dump->freezing_time;
		statistics->frozen_time = read->dump->frozen_time;
		statistics->memdump_time = read->dump->memdump_time;
		statistics->memwrite_time = read->dump->memwrite_time;
		statistics->pages_scanned = read->dump->pages_scanned;
		statistics->pages_written = read->dump->pages_written;
	}
	if (!dump && read->restore) {
		statistics->forking_time = read->restore->forking_time;
		statistics->restore_time = read->restore->restore_time;
		statistics->pages_restored = read->restore->pages_restored;
	}
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}
