/* SPDX-License-Identifier: MIT */
#include "store/checkpoint_manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t on the stack */
#include <xxhash.h>

#include "checkpoint_manifest.pb-c.h"
#include "store/folder_files.h"
#include "store/manifest_file.h"
#include "store/parallel.h"

#define FORMAT_VERSION 1u
#define CHUNK_BYTES (16u * 1024u * 1024u)
#define FILES_MAX 10000000u

static const struct manifest_kind manifest_kind = {
	.magic = 0x544b504b43524b00ull,
	.format_version = FORMAT_VERSION,
	.oldest_version = FORMAT_VERSION,
	.what = "checkpoint manifest",
};

void checkpoint_manifest_free(struct checkpoint_manifest *manifest)
{
	size_t i;

	if (!manifest)
		return;
	for (i = 0; manifest->files && i < manifest->count; i++) {
		free(manifest->files[i].name);
		free(manifest->files[i].checksums);
	}
	free(manifest->files);
	free(manifest);
}

bool checkpoint_manifest_lists(const struct checkpoint_manifest *manifest, const char *name)
{
	size_t low = 0, high = manifest->count, middle;
	int order;

	while (low < high) {
		middle = low + (high - low) / 2;
		order = strcmp(name, manifest->files[middle].name);
		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

uint64_t checkpoint_manifest_bytes(const struct checkpoint_manifest *manifest, bool with_gpu_data)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < manifest->count; i++)
		if (with_gpu_data || !manifest->files[i].gpu_data)
			bytes += manifest->files[i].bytes;
	return bytes;
}

static uint32_t chunks_of(uint64_t bytes, uint64_t chunk_bytes)
{
	return (uint32_t)((bytes + chunk_bytes - 1) / chunk_bytes);
}

/* ---- reading the files ---- */

/* A chunk of a file, as work for one thread. */
struct chunk {
	uint32_t file, number;
};

struct reading {
	int folder;
	const struct checkpoint_manifest *manifest;
	const struct checkpoint_reading *options;
	struct chunk *chunks;
	size_t chunk_count;
	bool compare; /* else keep */
};

static int list_chunks(struct reading *reading, struct error_text *error)
{
	const struct checkpoint_manifest *manifest = reading->manifest;
	uint32_t i, number;

	for (i = 0; i < manifest->count; i++)
		reading->chunk_count += manifest->files[i].chunk_count;
	reading->chunks = calloc(reading->chunk_count + 1, sizeof(*reading->chunks));
	if (!reading->chunks)
		return fail(error, -ENOMEM, "Out of memory");
	reading->chunk_count = 0;
	for (i = 0; i < manifest->count; i++)
		for (number = 0; number < manifest->files[i].chunk_count; number++)
			reading->chunks[reading->chunk_count++] = (struct chunk){i, number};
	return 0;
}

static int hash_range(const struct reading *reading, int file, const char *name, uint64_t offset, uint64_t bytes,
		      void *buffer, uint64_t *checksum, struct error_text *error)
{
	XXH3_state_t state;
	uint64_t done = 0;
	ssize_t count;

	XXH3_64bits_reset(&state);
	while (done < bytes) {
		count = pread(file, buffer, bytes - done < PARALLEL_BUFFER_BYTES ? bytes - done : PARALLEL_BUFFER_BYTES,
			      (off_t)(offset + done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return fail(error, -errno, "Reading %s failed: %s", name, errno_text(errno));
		if (count == 0)
			return fail(error, -ENODATA, "%s is truncated: it ends at %llu bytes", name,
				    (unsigned long long)(offset + done));
		XXH3_64bits_update(&state, buffer, (size_t)count);
		done += (uint64_t)count;
		if (reading->options->bytes_done)
			atomic_fetch_add_explicit(reading->options->bytes_done, (uint64_t)count, memory_order_relaxed);
	}
	*checksum = XXH3_64bits_digest(&state);
	return 0;
}

static int read_chunk(void *context, size_t index, void *buffer, struct error_text *error)
{
	const struct reading *reading = context;
	const struct chunk *chunk = &reading->chunks[index];
	const struct checkpoint_file *listed = &reading->manifest->files[chunk->file];
	uint64_t offset = chunk->number * reading->manifest->chunk_bytes, left = listed->bytes - offset, checksum = 0;
	int file = open_regular(reading->folder, listed->name, error), result;

	if (file < 0)
		return file == -ENOENT ? -ENODATA : file;
	result = hash_range(reading, file, listed->name, offset,
			    left < reading->manifest->chunk_bytes ? left : reading->manifest->chunk_bytes, buffer,
			    &checksum, error);
	close(file);
	if (result)
		return result;
	if (!reading->compare)
		listed->checksums[chunk->number] = checksum;
	else if (listed->checksums[chunk->number] != checksum)
		return fail(error, -EBADMSG,
			    "%s is damaged: the checksum of its bytes from %llu on does not match; use another copy of "
			    "the checkpoint",
			    listed->name, (unsigned long long)offset);
	return 0;
}

static int read_files(struct reading *reading, struct error_text *error)
{
	int result = list_chunks(reading, error);

	if (result == 0)
		result = parallel_for(reading->chunk_count, reading->options->threads, reading->options->cancel,
				      read_chunk, reading, error);
	free(reading->chunks);
	return result;
}

int checkpoint_verify_files(int folder, const struct checkpoint_manifest *manifest,
			    const struct checkpoint_reading *options, struct error_text *error)
{
	struct reading reading = {.folder = folder, .manifest = manifest, .options = options, .compare = true};

	return read_files(&reading, error);
}

int checkpoint_check_files(int folder, const struct checkpoint_manifest *manifest, struct error_text *error)
{
	const struct checkpoint_file *file;
	struct stat status;
	size_t i;

	for (i = 0; i < manifest->count; i++) {
		file = &manifest->files[i];
		if (fstatat(folder, file->name, &status, AT_SYMLINK_NOFOLLOW))
			return fail(error, errno == ENOENT ? -ENODATA : -errno,
				    errno == ENOENT ? "%s is missing from the checkpoint; use another copy of it"
						    : "%s of the checkpoint cannot be looked at",
				    file->name);
		if (!S_ISREG(status.st_mode))
			return fail(error, -EBADMSG, "%s of the checkpoint is no regular file; use another copy of it",
				    file->name);
		if ((uint64_t)status.st_size != file->bytes)
			return fail(error, -ENODATA,
				    "%s %s: it has %llu bytes and had %llu when it was written; use another copy of "
				    "the checkpoint",
				    file->name,
				    (uint64_t)status.st_size < file->bytes ? "is truncated" : "is longer than it was",
				    (unsigned long long)status.st_size, (unsigned long long)file->bytes);
	}
	return 0;
}

/* ---- making it ---- */

static bool is_gpu_data(const char *name)
{
	return strncmp(name, "rekindle-pages-", 15) == 0;
}

static int take_file(const struct folder_entry *entry, struct checkpoint_file *file)
{
	file->name = strdup(entry->name);
	file->bytes = entry->bytes;
	file->gpu_data = is_gpu_data(entry->name);
	file->chunk_count = file->gpu_data ? 0 : chunks_of(file->bytes, CHUNK_BYTES);
	file->checksums = calloc(file->chunk_count + 1, sizeof(*file->checksums));
	return file->name && file->checksums ? 0 : -ENOMEM;
}

static int take_files(int folder, struct checkpoint_manifest *manifest, struct error_text *error)
{
	struct folder_entry *entries = NULL;
	size_t count = 0, i;
	int result = folder_list_images(folder, &entries, &count, error);

	if (result)
		return result;
	manifest->files = calloc(count + 1, sizeof(*manifest->files));
	if (!manifest->files)
		result = -ENOMEM;
	for (i = 0; i < count && result == 0; i++)
		if (strcmp(entries[i].name, CHECKPOINT_MANIFEST_NAME))
			result = take_file(&entries[i], &manifest->files[manifest->count++]);
	folder_entries_free(entries, count);
	return result ? fail(error, result, "Out of memory") : 0;
}

static int flush_file(void *context, size_t index, void *buffer, struct error_text *error)
{
	const struct reading *reading = context;
	const char *name = reading->manifest->files[index].name;
	int file = open_regular(reading->folder, name, error), result = 0;

	(void)buffer;
	if (file < 0)
		return file;
	if (fsync(file) < 0)
		result = file_failure(error, errno, "flush", name);
	close(file);
	return result;
}

int checkpoint_manifest_make(int folder, const uint8_t id[16], const struct checkpoint_reading *options,
			     struct checkpoint_manifest **manifest_out, struct error_text *error)
{
	struct checkpoint_manifest *manifest = calloc(1, sizeof(*manifest));
	struct reading reading = {.folder = folder, .manifest = manifest, .options = options};
	int result;

	if (!manifest)
		return fail(error, -ENOMEM, "Out of memory");
	memcpy(manifest->id, id, sizeof(manifest->id));
	manifest->created = (uint64_t)time(NULL);
	manifest->chunk_bytes = CHUNK_BYTES;
	result = take_files(folder, manifest, error);
	if (result == 0)
		result = read_files(&reading, error);
	if (result == 0)
		result = parallel_for(manifest->count, options->threads, options->cancel, flush_file, &reading, error);
	if (result == 0)
		result = flush_folder(folder, "the checkpoint", error);
	if (result) {
		checkpoint_manifest_free(manifest);
		return result;
	}
	*manifest_out = manifest;
	return 0;
}

static int pack(const struct checkpoint_manifest *manifest, uint8_t **buffer, size_t *bytes)
{
	Rekindle__Checkpoint message = REKINDLE__CHECKPOINT__INIT;
	Rekindle__CheckpointFile *files = calloc(manifest->count + 1, sizeof(*files));
	Rekindle__CheckpointFile **pointers = calloc(manifest->count + 1, sizeof(*pointers));
	uint8_t id[16];
	size_t i;

	*buffer = NULL;
	for (i = 0; files && pointers && i < manifest->count; i++) {
		rekindle__checkpoint_file__init(&files[i]);
		files[i].name = manifest->files[i].name;
		files[i].bytes = manifest->files[i].bytes;
		files[i].gpu_data = manifest->files[i].gpu_data;
		files[i].checksums = manifest->files[i].checksums;
		files[i].n_checksums = manifest->files[i].chunk_count;
		pointers[i] = &files[i];
	}
	memcpy(id, manifest->id, sizeof(id));
	message.format_version = FORMAT_VERSION;
	message.checkpoint_id.data = id;
	message.checkpoint_id.len = sizeof(id);
	message.created = manifest->created;
	message.chunk_bytes = manifest->chunk_bytes;
	message.files = pointers;
	message.n_files = manifest->count;
	if (files && pointers) {
		*bytes = rekindle__checkpoint__get_packed_size(&message);
		*buffer = malloc(sizeof(struct manifest_header) + *bytes);
	}
	if (*buffer)
		rekindle__checkpoint__pack(&message, *buffer + sizeof(struct manifest_header));
	free(files);
	free(pointers);
	return *buffer ? 0 : -ENOMEM;
}

int checkpoint_manifest_write(int folder, const struct checkpoint_manifest *manifest, struct error_text *error)
{
	uint8_t *buffer;
	size_t bytes;
	int result;

	if (pack(manifest, &buffer, &bytes))
		return fail(error, -ENOMEM, "Out of memory");
	result = manifest_write(folder, CHECKPOINT_MANIFEST_NAME, &manifest_kind, buffer, bytes, error);
	if (result == 0)
		result = rename_temporary(folder, CHECKPOINT_MANIFEST_NAME, error);
	if (result)
		unlinkat(folder, CHECKPOINT_MANIFEST_NAME MANIFEST_TEMPORARY, 0);
	else
		result = flush_folder(folder, CHECKPOINT_MANIFEST_NAME, error);
	free(buffer);
	return result;
}

/* ---- reading it ---- */

static const char *find_fault(const Rekindle__Checkpoint *message)
{
	const Rekindle__CheckpointFile *file;
	uint64_t chunks;
	size_t i;

	if (message->format_version != FORMAT_VERSION)
		return "the format version";
	if (message->checkpoint_id.len != 16)
		return "the checkpoint id";
	if (message->chunk_bytes < 4096 || message->chunk_bytes > 1u << 30)
		return "the chunk size";
	if (message->n_files > FILES_MAX)
		return "the number of files";
	for (i = 0; i < message->n_files; i++) {
		file = message->files[i];
		if (!file->name[0] || strchr(file->name, '/') || strlen(file->name) > FOLDER_NAME_MAX ||
		    !strcmp(file->name, ".") || !strcmp(file->name, ".."))
			return "a file's name";
		if (i > 0 && strcmp(message->files[i - 1]->name, file->name) >= 0)
			return "the order of the files";
		if (file->bytes > INT64_MAX)
			return "a file's size";
		chunks = file->bytes / message->chunk_bytes + (file->bytes % message->chunk_bytes != 0);
		if (file->n_checksums != (file->gpu_data ? 0 : chunks) || chunks > UINT32_MAX)
			return "a file's checksums";
	}
	return NULL;
}

static struct checkpoint_manifest *copy_message(const Rekindle__Checkpoint *message)
{
	struct checkpoint_manifest *manifest = calloc(1, sizeof(*manifest));
	const Rekindle__CheckpointFile *from;
	struct checkpoint_file *to;

	if (!manifest)
		return NULL;
	memcpy(manifest->id, message->checkpoint_id.data, sizeof(manifest->id));
	manifest->created = message->created;
	manifest->chunk_bytes = message->chunk_bytes;
	manifest->files = calloc(message->n_files + 1, sizeof(*manifest->files));
	while (manifest->files && manifest->count < message->n_files) {
		from = message->files[manifest->count];
		to = &manifest->files[manifest->count++];
		to->name = strdup(from->name);
		to->bytes = from->bytes;
		to->gpu_data = from->gpu_data;
		to->chunk_count = (uint32_t)from->n_checksums;
		to->checksums = calloc(from->n_checksums + 1, sizeof(*to->checksums));
		if (!to->name || !to->checksums)
			break;
		if (from->n_checksums)
			memcpy(to->checksums, from->checksums, from->n_checksums * sizeof(*to->checksums));
	}
	if (manifest->files && (manifest->count == 0 || (manifest->files[manifest->count - 1].name &&
							 manifest->files[manifest->count - 1].checksums)))
		return manifest;
	checkpoint_manifest_free(manifest);
	return NULL;
}

int checkpoint_manifest_read(int folder, struct checkpoint_manifest **manifest, struct error_text *error)
{
	Rekindle__Checkpoint *message;
	const char *fault;
	uint8_t *buffer;
	size_t bytes;
	int result;

	result = manifest_load(folder, CHECKPOINT_MANIFEST_NAME, &manifest_kind, &buffer, &bytes, error);
	if (result)
		return result;
	message = rekindle__checkpoint__unpack(NULL, bytes, buffer);
	free(buffer);
	fault = message ? find_fault(message) : "its encoding";
	if (fault) {
		result = fail(error, -EBADMSG, CHECKPOINT_MANIFEST_NAME " is damaged: %s makes no sense", fault);
	} else {
		*manifest = copy_message(message);
		if (!*manifest)
			result = fail(error, -ENOMEM, "Out of memory");
	}
	if (message)
		rekindle__checkpoint__free_unpacked(message, NULL);
	return result;
}
