/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_INSPECT_INSPECTION_H
#define REKINDLE_INSPECT_INSPECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "process/agent_page.h"
#include "process/process_status.h"
#include "support/error_text.h"

/*
 * What a tree of processes holds that a dump of it would meet, found out from /proc and from duplicates of descriptors:
 * nothing is stopped, and nothing of a process changes.
 */

/* The values of enum rekindle_obstacle_kind in rekindle.h. */
enum obstacle_kind {
	OBSTACLE_IO_URING = 1,
	OBSTACLE_TRACER = 2,
	OBSTACLE_GHOST_FILE = 3,
	OBSTACLE_CONNECTION = 4,
	OBSTACLE_LINKED_FILE = 5,
	OBSTACLE_OTHER_MOUNTS = 6,
	OBSTACLE_IMPORTED_MEMORY = 7,
	OBSTACLE_RELEASED_MEMORY = 8,
	OBSTACLE_LOST_AGENT = 9,
	OBSTACLE_MPS = 10,
	OBSTACLE_STOPPED = 11,
	OBSTACLE_SUSPENDED = 12,
	OBSTACLE_SESSION = 13,
	OBSTACLE_TERMINAL = 14,
	OBSTACLE_FILE_LOCK = 15,
	OBSTACLE_UNIX_SOCKET = 16,
};

struct obstacle {
	enum obstacle_kind kind;
	pid_t pid;
	char what[320];	  /* a clause: what is there */
	char remedy[192]; /* a clause: what to do */
};

struct inspected_process {
	pid_t pid, parent;
	uint32_t threads;
	bool stopped; /* by a SIGSTOP */
	char name[PROCESS_NAME_MAX];
	bool has_cuda_library;
	bool has_device; /* an NVIDIA device is open or mapped */
	bool agent_usable;
	bool needs_agent; /* was restored, for one: the driver alone cannot save its memory */
	enum agent_presence presence;
	char agent_note[256]; /* why the agent is not usable */
};

/* What the options of a dump allow. */
struct inspection_options {
	bool known; /* false: only what no option of CRIU allows is an obstacle */
	bool connections;
	bool links;
	bool shell_job;
	bool external_files;
	bool terminals; /* whose other end is outside */
	bool file_locks;
	bool datagrams;	      /* unix sockets of that type whose other end is outside */
	bool unix_sockets;    /* any of them */
	uint64_t ghost_bytes; /* largest deleted file */
};

struct inspection {
	struct inspected_process *processes; /* the root first */
	size_t process_count;
	struct obstacle *obstacles;
	size_t obstacle_count;
};

/*
 * The options of a criu that is started with arguments, in its default configuration files and in that of the environment
 * (home and configuration are HOME and CRIU_CONFIG_FILE, or NULL).
 */
void inspection_options_read(struct inspection_options *options, const char *const *arguments, size_t count,
			     const char *home, const char *configuration);

/* Undo with inspection_free, also after a failure. A process that ends meanwhile is left out. */
int inspection_run(struct inspection *inspection, pid_t root, const struct inspection_options *options,
		   struct error_text *error);
/* Adds an obstacle that was found otherwise. */
int inspection_add(struct inspection *inspection, enum obstacle_kind kind, pid_t pid, const char *remedy,
		   const char *what, ...) __attribute__((format(printf, 5, 6)));
void inspection_free(struct inspection *inspection);

/* Is others' hold of it all that is in the way? */
bool inspection_is_busy(const struct inspection *inspection);

/* All obstacles in one sentence, as far as they fit; how many do not is said. */
void inspection_describe(const struct inspection *inspection, struct error_text *text);

#endif
