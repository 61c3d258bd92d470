/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_INSPECT_INSPECTION_INTERNAL_H
#define REKINDLE_INSPECT_INSPECTION_INTERNAL_H

#include <sys/stat.h>

#include "inspect/inspection.h"
#include "process/process_devices.h"

/* The mounts that the tree sees. */
struct mount_set {
	int *ids; /* sorted */
	size_t count;
};

int mount_set_add(struct mount_set *mounts, pid_t pid);
void mount_set_sort(struct mount_set *mounts);
bool mount_set_has(const struct mount_set *mounts, int id);
void mount_set_free(struct mount_set *mounts);

/* What has another end, which has to be in the tree too. */
enum end_kind {
	END_TERMINAL,	     /* its id is the number of the terminal */
	END_TERMINAL_MASTER, /* likewise */
	END_STREAM,	     /* a unix socket; its id is its inode */
	END_DATAGRAM,	     /* likewise */
};

struct end {
	const struct inspected_process *process;
	enum end_kind kind;
	uint64_t id;
};

struct ends {
	struct end *all;
	size_t count;
};

int ends_add(struct ends *ends, const struct inspected_process *process, enum end_kind kind, uint64_t id);
void ends_free(struct ends *ends);

struct look {
	struct inspection *inspection;
	const struct inspection_options *options;
	const struct mount_set *mounts;
	struct ends *ends;
	struct inspected_process *process;
	int pidfd;
};

/* Each returns 0 or -ENOMEM; what cannot be read because the process has ended is no obstacle. */
int look_at_descriptors(const struct look *look);
int look_at_mappings(const struct look *look);
/* Of all processes, when their descriptors were looked at. */
int look_at_ends(const struct look *look);

/* A file of the process that was deleted: too big to be carried, or still somewhere else under another name? */
int look_at_deleted(const struct look *look, const char *path, const struct stat *file);
/* Does the kernel's text for a file say that its name is gone? */
bool is_deleted(const char *path);
/* Memory without a name in a file system, which CRIU dumps as such. */
bool is_memory_file(const char *path);
int add_io_uring(const struct look *look);

#endif
