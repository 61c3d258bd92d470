/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_STORE_GPU_IMAGE_H
#define REKINDLE_STORE_GPU_IMAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/error_text.h"

/*
 * The GPU image of a process, beside CRIU's images: rekindle-PID-ID.img, the manifest, and rekindle-pages-PID-ID.img, the
 * contents. ID is the image id, 32 hexadecimal digits, so that no dump touches the image of another one; older
 * versions left it out. A chunk lies at a fixed place of a data file, and chunks that are all zero stay holes of it. The
 * manifest is written last, so an image whose manifest is there is complete, though only a checkpoint's manifest
 * (checkpoint_manifest.h) says that it is on the disk. A process whose contents the driver put
 * into CRIU's own images (native mode) has a manifest without allocations, which says so.
 *
 * A large image has several data files, rekindle-pages-PID-ID-1.img and so on, into which its chunks go in turn: whoever
 * writes has a file to himself. One file takes 3 to 5 GB/s from 16 threads on tmpfs, whatever they do, 16 files take 35
 * (Linux 6.18, benchmarks/copy-out).
 *
 * An image may be a difference to its parent, the one that the process was restored from or dumped into before: what has not
 * changed lies in data files of the parent's, which have a second name here (a hard link), and the rest in files of its own.
 * It is as complete as any other, and the parent can be removed, or replaced in the same folder. Nobody ever writes to a
 * data file of a complete image. What of a linked file nobody refers to any more is dead: a file is linked only where at
 * least half of it is not, so that an image never takes more than twice what it holds.
 *
 * Where the caller of a dump has asked for that (REKINDLE_PARK=ephemeral), the contents are in no file: a pool has the memory
 * itself, and the image has the hashes of it (gpu_image_leave_in_pool).
 */

/*
 * 1: one data file, and the manifest says where in it each allocation is. 2: no imports. 3: no linked files. 4: no memory of
 * the host. 5: all contents are in files. Written is the oldest that has all that is in the image.
 */
#define GPU_IMAGE_FORMAT_VERSION 6u
#define GPU_IMAGE_NAME_MAX 96
#define GPU_IMAGE_FILES_MAX 64u
/* Of those so many are an image's own. Up to format 3 there are no others, and no reader takes more. */
#define GPU_IMAGE_OWN_FILES_MAX 16u
/* With the closing NUL: "rekindle-pages-", ten digits, "-", 32 digits, "-63", ".img" are 66. */
#define GPU_IMAGE_FILE_NAME_MAX 72
#define GPU_IMAGE_HASH_BYTES 16u

/* The mode's values are those of enum pool_mode. */
enum gpu_image_mode { GPU_IMAGE_OFFLOAD = 1, GPU_IMAGE_NATIVE = 2 };

struct gpu_image_device {
	uint8_t uuid[16];
	char name[GPU_IMAGE_NAME_MAX];
	int32_t ordinal;
	uint64_t memory_bytes;
	uint64_t driver_bytes; /* that the process held on it beside the image's allocations; 0: not known */
};

struct gpu_image_file {
	char name[GPU_IMAGE_FILE_NAME_MAX];
	uint64_t bytes;
	uint64_t stored_bytes; /* of the chunks that were written into it, be they in use here or not */
	bool linked;
	uint8_t origin[16]; /* where it is linked: the image that it was written for */
};

/* Where a chunk lies. */
struct gpu_image_place {
	uint32_t file; /* index into files */
	uint64_t offset;
};

struct gpu_image_allocation {
	uint64_t id, address, bytes;
	uint32_t device; /* index into devices; of the host's memory, one that can copy it */
	bool on_host;	 /* memory of the host, */
	uint32_t node;	 /* of this NUMA node of the machine of the dump */
	uint32_t chunk_count;
	struct gpu_image_place *places; /* chunk_count of them, owned by the image */
	uint64_t *checksums;		/* likewise */
	uint8_t *zero_chunks;		/* likewise: 1 = all zero, not stored */
	uint8_t *inherited; /* likewise; NULL: none. 1 = as the parent has it, of an image that is being made */
	uint8_t *hashes;    /* likewise, GPU_IMAGE_HASH_BYTES for each, see hash/chunk_hash.h; NULL: not known */
};

/* A process as the pool saw it that made the dump. */
struct gpu_image_holder {
	int32_t pid; /* 0: not known */
	uint64_t start_time;
};

/* Memory that the process has imported, and of which another image, or this one, has the contents. */
struct gpu_image_import {
	uint64_t id, address;
	uint8_t image_id[16];
	uint64_t owner_id; /* of the allocation there */
	struct gpu_image_holder owner;
};

struct gpu_image {
	uint8_t id[16];
	int32_t pid;
	int32_t own_pid; /* as the process sees itself, the same after a restore; 0: an older version's, not known */
	uint32_t mode;	 /* enum gpu_image_mode */
	char reason[256];
	int32_t driver_version;
	bool simulated;
	bool in_pool;	  /* the contents are in no file, see gpu_image_leave_in_pool */
	uint64_t created; /* seconds since the epoch */
	uint64_t chunk_bytes;
	struct gpu_image_file files[GPU_IMAGE_FILES_MAX];
	uint32_t file_count;   /* 0 where there are no allocations */
	uint32_t linked_count; /* of an image that is being made: the first ones, which are linked */
	uint64_t stored_bytes;
	uint64_t placed_chunks; /* by gpu_image_place */
	struct gpu_image_device *devices;
	uint32_t device_count;
	struct gpu_image_allocation *allocations;
	uint32_t allocation_count;
	struct gpu_image_import *imports;
	uint32_t import_count;
	struct gpu_image_holder holder; /* itself; where it has imports */
	/*
	 * XXH3 (128 bits) of the manifest as it was read, zeros in an image that is being made. Images with the same one are copies of
	 * one image: its id and the checksums of all contents are in there. An id alone can be written into any image.
	 */
	uint8_t manifest_sum[16];
};

/* What the name of a manifest says. */
struct gpu_image_name {
	int32_t pid;
	bool has_id; /* false: rekindle-PID.img, of an older version */
	uint8_t id[16];
};

/* Is it the name of a manifest? Anything else, also a number that is no pid, is not. */
bool gpu_image_name_parse(const char *text, struct gpu_image_name *name);
/* Is it that of a manifest or of a data file? *name is the image's. */
bool gpu_image_file_name_parse(const char *text, struct gpu_image_name *name);
/* Is there a process with its pid? Whose it is a number does not say: another one's does no harm but that the image stays. */
bool gpu_image_owner_runs(const struct gpu_image_name *name);

/* An image with a fresh id and the present time, room for the devices and allocations. NULL when memory is out. */
struct gpu_image *gpu_image_create(int32_t pid, uint64_t chunk_bytes, uint32_t devices, uint32_t allocations);
void gpu_image_free(struct gpu_image *image);
/* The pid by which CRIU's own images call the process: that of the process's pid namespace, where it is known. */
int32_t gpu_image_criu_pid(const struct gpu_image *image);
/* Makes room for so many imports, which are all zero. Returns 0 or -ENOMEM. */
int gpu_image_make_imports(struct gpu_image *image, uint32_t count);

/*
 * Chooses the number of data files for so many writers and bytes of contents. Call it before the first allocation is
 * placed; where it was not called there is one.
 */
void gpu_image_spread(struct gpu_image *image, unsigned int writers, uint64_t bytes);
/*
 * Makes it the image that was begun as another one, which it replaces: with its id and its data files. Call it instead of
 * gpu_image_spread.
 */
void gpu_image_continue(struct gpu_image *image, const struct gpu_image *begun);
/*
 * Lays an allocation out behind those before it in the data files and makes room for its checksums. Call it for index 0,
 * 1, ... in order. Returns 0 or -ENOMEM.
 */
int gpu_image_place(struct gpu_image *image, uint32_t index, uint64_t bytes);
/* Makes room for the hashes of an allocation that was placed. Returns 0 or -ENOMEM. */
int gpu_image_make_hashes(struct gpu_image_allocation *allocation);
/*
 * Of an image that is being made, with all of its allocations placed and their hashes: its contents stay in a pool, which has
 * the memory, and are written into no file. There are no data files then, no checksums, and nothing that could be verified.
 */
void gpu_image_leave_in_pool(struct gpu_image *image);
/* Are its contents in its files? -ENODATA, with what is missing, where they are in a pool only. */
int gpu_image_must_be_stored(const struct gpu_image *image, struct error_text *error);
/* Bytes of a chunk: chunk_bytes, or fewer at the end of its allocation. */
uint64_t gpu_image_chunk_bytes(const struct gpu_image *image, uint32_t allocation, uint32_t chunk);
/* All allocations together. */
uint64_t gpu_image_bytes(const struct gpu_image *image);
/* Those of them that are memory of the host. */
uint64_t gpu_image_host_bytes(const struct gpu_image *image);

/* Of stored_bytes: what lies in linked files. */
uint64_t gpu_image_linked_bytes(const struct gpu_image *image);
/* What linked files store beside that, which this image has no use for. */
uint64_t gpu_image_dead_bytes(const struct gpu_image *image);

/* The open data files of an image. */
struct gpu_image_data {
	int files[GPU_IMAGE_FILES_MAX];
	uint32_t count;
};
void gpu_image_close_data(struct gpu_image_data *data);

/* ---- writing; folder is an open descriptor of the folder ---- */

/*
 * An allocation that was placed is, in this chunk, as the parent has it in one of the same size: place, checksum and whether
 * it is zero are taken over. Returns 0 or -ENOMEM.
 */
int gpu_image_inherit(struct gpu_image *image, uint32_t allocation, uint32_t chunk,
		      const struct gpu_image_allocation *from);
/*
 * Of an image all of whose allocations are placed: links those of the parent's data files of which enough was inherited, under
 * temporary names, and lays out what is left anew, for so many writers; what lies in other files of the parent's is not
 * inherited after this. Where a link cannot be made nothing is inherited, and the negative errno code says why.
 */
int gpu_image_link(int folder, struct gpu_image *image, const struct gpu_image *parent,
		   const struct gpu_image_data *parent_data, unsigned int writers, struct error_text *error);

/* Makes the data files, under temporary names and at their full size, and opens those that are linked. Returns 0 or a negative errno code. */
int gpu_image_create_data(int folder, const struct gpu_image *image, struct gpu_image_data *data,
			  struct error_text *error);
/* Gives those of an image that was begun, and has none linked, the size that they have now. */
int gpu_image_resize_data(const struct gpu_image *image, const struct gpu_image_data *data, struct error_text *error);
/* Waits until the disk has what was written so far. */
int gpu_image_flush_data(const struct gpu_image *image, const struct gpu_image_data *data, struct error_text *error);
/*
 * Finishes an image: stored_bytes is counted, the data files get their names, then the manifest is written, flushed and
 * named, and the folder is flushed. The data are good when gpu_image_check_on_disk has said so.
 */
int gpu_image_commit(int folder, struct gpu_image *image, struct error_text *error);
/* Removes what there is of one image, finished or not. Missing files are no error. */
void gpu_image_remove(int folder, const struct gpu_image_name *name);
/* Removes every unfinished image of a process. */
void gpu_image_remove_unfinished(int folder, int32_t pid);

/* ---- reading ---- */

/* The manifests in the folder, by pid and id. The caller frees *names. */
int gpu_image_list(int folder, struct gpu_image_name **names, size_t *count, struct error_text *error);
/*
 * Reads and checks a manifest and the sizes of its data files. -ENOENT where there is none, -EBADMSG where it is damaged or
 * not of this name, -ENOTSUP where a newer version wrote it, -ENODATA where a data file is too short.
 */
int gpu_image_read(int folder, const struct gpu_image_name *name, struct gpu_image **image, struct error_text *error);
/* Opens a manifest, to be locked. Returns a descriptor, or a negative errno code. */
int gpu_image_open_manifest(int folder, const struct gpu_image_name *name);
/* Opens the data files of an image that was read. Returns 0 or a negative errno code. */
int gpu_image_open_data(int folder, const struct gpu_image *image, struct gpu_image_data *data,
			struct error_text *error);

struct gpu_image_verification {
	const struct gpu_image_data *data;
	unsigned int threads;
	_Atomic uint64_t *bytes_done; /* counted up as chunks are read, NULL for none */
	const atomic_bool *cancel;    /* NULL for none */
};

/* Reads every stored chunk, also of linked files, and compares its checksum: 0, -EBADMSG with the chunk named, -ECANCELED, ... */
int gpu_image_verify(const struct gpu_image *image, const struct gpu_image_verification *verification,
		     struct error_text *error);
/*
 * Flushes the data files to the disk, and verifies what the disk gives back: the page cache is told to forget it first. On
 * a file system in memory it is what the memory gives back; that is not for nothing either, as the kernel takes a page that
 * was written with pwrite() among the active ones when it is read first, which costs as much as the reading (28 against 80
 * GB/s, benchmarks/copy-out), and here nobody waits for it. What is linked is left alone: it was checked so for the image
 * that it was written for, before that image's checkpoint was complete.
 */
int gpu_image_check_on_disk(const struct gpu_image *image, const struct gpu_image_verification *verification,
			    struct error_text *error);

#endif
