/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_H
#define REKINDLE_H

/**
 * @file
 * The C API of Rekindle: fast checkpoint and restore of GPU processes with CRIU.
 *
 * Conventions. Functions return #REKINDLE_OK (0) or a negative enum rekindle_code and, where they fail, fill the
 * struct rekindle_error that the caller passes (it may be NULL). Strings are UTF-8 and NUL-terminated; a const char *
 * in a request is read during the call only and stays the caller's. Sizes are bytes, times nanoseconds of
 * CLOCK_MONOTONIC, unless a name says otherwise. Functions may be called from any thread; a handle may be used by several
 * threads at once where its functions say so. Nothing here raises a signal or ends the process.
 *
 * Every structure is plain data of fixed layout, which another minor version may change. What a caller fills in begins with
 * structure_size: set it to sizeof the structure. A program that was built with a header of another layout is refused by
 * name, instead of being misread.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define REKINDLE_API __attribute__((visibility("default")))

/** Version of this header; rekindle_version() has the library's. They must agree in major and minor. */
#define REKINDLE_VERSION_MAJOR 0
#define REKINDLE_VERSION_MINOR 1
#define REKINDLE_VERSION_PATCH 0

#define REKINDLE_MESSAGE_MAX 512
#define REKINDLE_CRIU_LOG_MAX 4096
#define REKINDLE_REASON_MAX 256
#define REKINDLE_PHASES_MAX 16
#define REKINDLE_NAME_MAX 96
#define REKINDLE_DIRECTORY_MAX 1024

enum rekindle_code {
	REKINDLE_OK = 0,
	REKINDLE_ERROR_INVALID_ARGUMENT = -1,
	REKINDLE_ERROR_NO_SUCH_PROCESS = -2,
	REKINDLE_ERROR_PERMISSION = -3,
	REKINDLE_ERROR_CRIU_NOT_FOUND = -4,
	REKINDLE_ERROR_CRIU_FAILED = -5,
	REKINDLE_ERROR_NO_DRIVER = -6,	   /**< no CUDA driver, or older than 570 */
	REKINDLE_ERROR_GPU = -7,	   /**< a driver call failed */
	REKINDLE_ERROR_NO_IMAGE = -8,	   /**< the folder holds no checkpoint */
	REKINDLE_ERROR_CORRUPT_IMAGE = -9, /**< truncated image or wrong checksum */
	/** image, GPU, driver or CRIU of another kind, or something of the process is in the way of a dump */
	REKINDLE_ERROR_INCOMPATIBLE = -10,
	REKINDLE_ERROR_POOL_UNREACHABLE = -11,
	REKINDLE_ERROR_POOL_DIED = -12,
	REKINDLE_ERROR_NO_SPACE = -13, /**< disk or memory is full */
	REKINDLE_ERROR_TIMEOUT = -14,
	REKINDLE_ERROR_CANCELLED = -15,
	REKINDLE_ERROR_CLOSED = -16, /**< the handle was closed */
	REKINDLE_ERROR_INTERNAL = -17,
	REKINDLE_ERROR_BUSY = -18,	 /**< another run or program has the process or the folder */
	REKINDLE_ERROR_PID_IN_USE = -19, /**< another process has a process id that the checkpoint needs */
};

/** What went wrong: a code, one sentence that says what to do, and the last error lines of CRIU's log (or ""). */
struct rekindle_error {
	int32_t code;  /**< enum rekindle_code */
	int32_t phase; /**< enum rekindle_phase_kind in which it happened, #REKINDLE_PHASE_NONE where unknown */
	char message[REKINDLE_MESSAGE_MAX];
	char criu_log[REKINDLE_CRIU_LOG_MAX];
};

enum rekindle_phase_kind {
	REKINDLE_PHASE_NONE = 0,
	REKINDLE_PHASE_START = 1,	      /**< start of pool and contexts; never timed */
	REKINDLE_PHASE_LOCK = 2,	      /**< dump: wait for submitted GPU work */
	REKINDLE_PHASE_COPY_OUT = 3,	      /**< dump: device memory to the GPU image */
	REKINDLE_PHASE_RELEASE = 4,	      /**< dump: the agent releases physical memory */
	REKINDLE_PHASE_DRIVER_CHECKPOINT = 5, /**< dump: the driver saves its state */
	REKINDLE_PHASE_CRIU = 6,	      /**< CRIU's own work, end to end; never timed */
	REKINDLE_PHASE_PREFETCH = 7,	      /**< restore: GPU image to device memory */
	REKINDLE_PHASE_DRIVER_RESTORE = 8,    /**< restore: the driver rebuilds its state */
	REKINDLE_PHASE_MAP = 9,		      /**< restore: memory mapped at its old addresses */
	REKINDLE_PHASE_WAIT = 10,	      /**< restore: the process waits for contents that are not there yet */
	REKINDLE_PHASE_VERIFY = 11,	      /**< dump: the GPU image is read back from the disk */
	REKINDLE_PHASE_STAND = 12,	/**< dump: the process stands still, from its lock to the end of the run */
	REKINDLE_PHASE_COPY_AHEAD = 13, /**< dump: device memory to the GPU image while the process runs */
	REKINDLE_PHASE_COMPARE = 14,	/**< dump: which of it has changed, by hashes */
};

/** One phase: when it began, how long it took, how much it moved. */
struct rekindle_phase {
	int32_t kind; /**< enum rekindle_phase_kind */
	uint32_t reserved;
	uint64_t start;	   /**< nanoseconds, CLOCK_MONOTONIC */
	uint64_t duration; /**< nanoseconds */
	uint64_t bytes;	   /**< 0 where the phase moves no data */
};

enum rekindle_mode {
	REKINDLE_MODE_NONE = 0,	   /**< the process does not use CUDA */
	REKINDLE_MODE_OFFLOAD = 1, /**< device memory outside the process image */
	REKINDLE_MODE_NATIVE = 2,  /**< contents travel in the process image */
};

/** Statistics of one process of a run. */
struct rekindle_process_statistics {
	int32_t pid;
	int32_t mode;			  /**< enum rekindle_mode */
	char reason[REKINDLE_REASON_MAX]; /**< why native, "" for offload */
	uint64_t device_bytes;		  /**< moved outside the process image */
	uint32_t allocations;
	uint32_t phase_count;
	struct rekindle_phase phases[REKINDLE_PHASES_MAX];
};

enum rekindle_run_kind { REKINDLE_RUN_CHECKPOINT = 1, REKINDLE_RUN_RESTORE = 2 };

/** Statistics of one run. CRIU's own figures keep CRIU's names and its unit, microseconds. */
struct rekindle_statistics {
	int32_t kind; /**< enum rekindle_run_kind */
	int32_t succeeded;
	uint64_t start; /**< nanoseconds, CLOCK_MONOTONIC */
	/** nanoseconds: from the call, or from plugin init where read from a folder; there CRIU's own time without CUDA */
	uint64_t duration;
	uint64_t device_bytes;
	uint64_t host_bytes;  /**< size of CRIU's pages images; from a work folder that is not theirs: 0 */
	uint64_t image_bytes; /**< stored size of the GPU images, zero chunks left out */
	uint64_t
		linked_bytes; /**< of a checkpoint: those of image_bytes that were not written, but linked to an older one */
	/**
	 * of a checkpoint: device memory that stays in the pool, see enum rekindle_park; of a restore: that was found there, on the
	 * device or in pinned memory
	 */
	uint64_t resident_bytes;
	uint64_t overlap;	 /**< nanoseconds of GPU copying hidden behind CRIU's own work */
	int32_t pool_warm;	 /**< 1: context and ring were there already */
	int32_t simulated;	 /**< 1: simulated driver */
	int32_t driver_version;	 /**< as cuDriverGetVersion says, 0 where no process used CUDA */
	int32_t restore_threads; /**< --restore-threads passed to a CRIU that has it (0: automatic); from a folder: the
				      most that the log names (level 3 and more); -1: not used or not known */
	uint64_t freezing_time, frozen_time, memdump_time, memwrite_time; /**< microseconds, checkpoint */
	uint64_t pages_scanned, pages_written;				  /**< checkpoint */
	uint64_t forking_time, restore_time;				  /**< microseconds, restore */
	uint64_t pages_restored;					  /**< restore */
	uint32_t process_count;						  /**< processes that use CUDA */
	uint32_t reserved;
	char gpu_name[REKINDLE_NAME_MAX];
	char criu_version[REKINDLE_NAME_MAX]; /**< from a folder: "" where its log has another name */
	char failure[REKINDLE_MESSAGE_MAX];   /**< the sentence, where succeeded is 0 */
};

/** Where things are. NULL or 0 members take their defaults. Read during the call only. */
struct rekindle_environment {
	uint32_t structure_size;
	int32_t context_pool; /**< 1: a pool that a run starts stays for later ones; 0: not; -1: as configured */
	const char *criu;     /**< program; default: $REKINDLE_CRIU, this release's, criu in PATH */
	const char *plugin_directory; /**< holds cuda_plugin.so; default: beside this library */
	const char *pool_socket;      /**< default: as configured */
	const char *cuda_driver;      /**< driver library; default: the system's */
	const char *configuration;    /**< default: /etc/rekindle.conf */
	int32_t streams;	      /**< copy workers, 1 to 64; 0: as configured */
	int32_t parallel_restore;     /**< 0 or 1; -1: as configured */
	int32_t checksums;	      /**< 0 or 1; -1: as configured */
	/** --dump-threads and --restore-threads of a CRIU that has them: N; 0: automatic; -1: do not use */
	int32_t restore_threads;
	int32_t restore_hugepages; /**< --restore-thp of a CRIU that has it: enum rekindle_hugepages */
	uint32_t reserved;
};

enum rekindle_hugepages {
	REKINDLE_HUGEPAGES_DEFAULT = 0,
	REKINDLE_HUGEPAGES_ADVISED = 1,
	REKINDLE_HUGEPAGES_ALWAYS = 2,
	REKINDLE_HUGEPAGES_NEVER = 3,
};

/** Fills an environment with defaults (all "as configured", restore_threads automatic). */
REKINDLE_API void rekindle_environment_defaults(struct rekindle_environment *environment);

/** A run that another thread can cancel and watch. */
struct rekindle_operation;

/**
 * Called on the thread that runs the operation, about 50 times a second while it runs and once at its end.
 * bytes_total is 0 until it is known. Must not call back into the same operation.
 */
typedef void (*rekindle_progress_callback)(uint64_t bytes_done, uint64_t bytes_total, int32_t phase, void *context);

/** Makes an operation; callback may be NULL. Returns NULL when memory is out. One operation serves one run at a time. */
REKINDLE_API struct rekindle_operation *rekindle_operation_create(rekindle_progress_callback callback, void *context);
/** Cancels the run under way, or the next one. Any thread. The process that was to be dumped goes on running. */
REKINDLE_API void rekindle_operation_cancel(struct rekindle_operation *operation);
/** Frees it; no run may be under way. NULL is allowed. */
REKINDLE_API void rekindle_operation_destroy(struct rekindle_operation *operation);

/** Flags of a checkpoint or restore; the CRIU option of the same name says what each does. */
enum rekindle_flags {
	REKINDLE_LEAVE_RUNNING = 1,
	REKINDLE_SHELL_JOB = 2,
	REKINDLE_TCP_ESTABLISHED = 4,
	REKINDLE_FILE_LOCKS = 8,
	REKINDLE_LINK_REMAP = 16,
	REKINDLE_EXTERNAL_MASTERS = 32,
	REKINDLE_EXTERNAL_UNIX_SOCKETS = 64,
	REKINDLE_TCP_CLOSE = 128,
	REKINDLE_LEAVE_STOPPED = 256,
};

/** Where a dump leaves device memory, beside the images that it writes unless it is EPHEMERAL. */
enum rekindle_park {
	REKINDLE_PARK_AS_CONFIGURED = 0, /**< REKINDLE_PARK; FILE for a tree that is left running or stopped */
	REKINDLE_PARK_FILE = 1,		 /**< nowhere else */
	/**
	 * Where it is, in the hands of the pool, until the next restore from the folder takes it without a copy, or something
	 * else needs the room. Where that cannot be resident_bytes of the statistics is 0, and dump.log says why: so it is
	 * without a pool that lasts, and where processes share device memory.
	 */
	REKINDLE_PARK_DEVICE = 2,
	/**
	 * In pinned memory of the host, in the hands of the pool, which copies it there when the tree has ended, as far as its
	 * REKINDLE_PINNED_BUDGET has room. Every restore from the folder copies from there. Where that cannot be, as for
	 * REKINDLE_PARK_DEVICE.
	 */
	REKINDLE_PARK_PINNED = 3,
	/**
	 * As REKINDLE_PARK_DEVICE, and in no file: it makes room for nobody, and the checkpoint is lost where the pool ends or
	 * drops it, and after the one restore that takes it. Where that cannot be, the images are written as ever, and dump.log
	 * says why: so it is in the cases of REKINDLE_PARK_DEVICE, without Rekindle's CRIU, and beyond REKINDLE_PARK_BUDGET.
	 */
	REKINDLE_PARK_EPHEMERAL = 4,
};

struct rekindle_checkpoint_request {
	uint32_t structure_size;
	int32_t pid;		    /**< root of the tree to dump, 2 or more */
	const char *directory;	    /**< images; made where missing (mode 0700) */
	const char *work_directory; /**< logs and statistics; NULL: the images' */
	const char *log_file;	    /**< name in the work folder, none of the checkpoint's own; NULL: dump.log */
	uint32_t flags;		    /**< enum rekindle_flags */
	int32_t log_level;	    /**< CRIU's -v, 1 to 4; 0: 4 */
	uint32_t timeout_seconds;   /**< CRIU's --timeout; 0: CRIU's default of 10 */
	uint32_t argument_count;    /**< of arguments */
	/**
	 * further arguments for criu, as they are; none that the library gives itself, as --tree or --images-dir, and none
	 * that leaves memory out of the folder: --page-server, --lazy-pages, --stream
	 */
	const char *const *arguments;
	struct rekindle_operation *operation; /**< or NULL */
	int32_t park; /**< enum rekindle_park; of a tree that is left running or stopped only AS_CONFIGURED and FILE */
	uint32_t reserved;
	/**
	 * A folder beside `directory` in which the image may lie that a process was restored from or dumped into before: what has
	 * not changed since then is linked, and not written again. "none": all is written; "": only `directory` is looked at;
	 * NULL: as configured (REKINDLE_PARENT). A folder that is not there, or holds no such image, is no failure.
	 */
	const char *parent;
};

/**
 * Dumps a process tree with CRIU and the plugin. Blocks; any thread; runs of different trees may go on at once.
 * On failure the tree goes on running as it was, but for one that comes after the checkpoint is complete: where the tree
 * was to be left running or stopped and a process did not get its GPU back (REKINDLE_ERROR_GPU in
 * REKINDLE_PHASE_DRIVER_RESTORE, the message says so). statistics and error may be NULL; processes has room for capacity
 * entries and takes the first statistics->process_count of them.
 */
REKINDLE_API int rekindle_checkpoint(const struct rekindle_environment *environment,
				     const struct rekindle_checkpoint_request *request,
				     struct rekindle_statistics *statistics,
				     struct rekindle_process_statistics *processes, uint32_t capacity,
				     struct rekindle_error *error);

struct rekindle_restore_request {
	uint32_t structure_size;
	uint32_t flags;		    /**< enum rekindle_flags; LEAVE_RUNNING means nothing here */
	const char *directory;	    /**< images */
	const char *work_directory; /**< logs and statistics; NULL: the images' */
	const char *log_file;	    /**< likewise; NULL: restore.log */
	int32_t log_level;	    /**< CRIU's -v, 1 to 4; 0: 4 */
	uint32_t argument_count;
	const char *const *arguments;	      /**< likewise */
	struct rekindle_operation *operation; /**< or NULL */
	/**
	 * The GPUs that it takes: "OLD=NEW,..." with numbers or UUIDs ("GPU-..."), "NEW" where the tree's memory lies on one
	 * GPU, "auto" for the same numbers whatever their UUIDs, "" for those of the dump, or equal ones where these are gone or
	 * full; NULL: as configured (REKINDLE_DEVICE_MAP). What cannot be met is refused before a process is made:
	 * REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_ERROR_INCOMPATIBLE for another model, REKINDLE_ERROR_NO_SPACE.
	 */
	const char *device_map;
};

/**
 * Restores a process tree. Blocks until the tree runs. *pid: its root, which is not this process's child, but where this
 * process is the first of its pid namespace (as in a container) or a child subreaper: then the library waits for its end,
 * and for those of its descendants, and rekindle_wait tells how it ended. No image is changed, whatever happens. A restore whose GPU part failed is a failure,
 * also on CRIU versions that ignore it, and leaves no process behind. Where another process has an id that the tree
 * needs it is REKINDLE_ERROR_PID_IN_USE, and the message says which one; ids of processes that are just ending are waited
 * for, two seconds at most.
 */
REKINDLE_API int rekindle_restore(const struct rekindle_environment *environment,
				  const struct rekindle_restore_request *request, int32_t *pid,
				  struct rekindle_statistics *statistics, struct rekindle_process_statistics *processes,
				  uint32_t capacity, struct rekindle_error *error);

/**
 * Waits for the end of a restored process that has become a child of this one (see rekindle_restore), timeout_ms at most
 * (-1: no limit), and takes its exit status: as a shell has it, 128 and the signal where one ended it. REKINDLE_ERROR_TIMEOUT: it runs still. REKINDLE_ERROR_NO_SUCH_PROCESS: no restored process of this id is
 * a child of this process, or its status was taken before.
 */
REKINDLE_API int rekindle_wait(int32_t pid, int32_t timeout_ms, int32_t *exit_status, struct rekindle_error *error);

/** Reads stats-rekindle.json and CRIU's statistics that a run left in a work folder. */
REKINDLE_API int rekindle_statistics_read(const char *work_directory, int32_t kind,
					  struct rekindle_statistics *statistics,
					  struct rekindle_process_statistics *processes, uint32_t capacity,
					  struct rekindle_error *error);

/* ---- what a tree of processes holds, before it is dumped ---- */

enum rekindle_cuda_state {
	REKINDLE_CUDA_NONE = 0,		/**< the driver is not loaded */
	REKINDLE_CUDA_LOADED = 1,	/**< the driver is loaded and not in use */
	REKINDLE_CUDA_RUNNING = 2,	/**< in use */
	REKINDLE_CUDA_LOCKED = 3,	/**< somebody has locked it; a dump leaves it so */
	REKINDLE_CUDA_CHECKPOINTED = 4, /**< somebody has checkpointed it; a dump leaves it so */
	REKINDLE_CUDA_FAILED = 5,	/**< the driver gave it up */
	/** has devices open or mapped of the process that forked it, and no CUDA of its own */
	REKINDLE_CUDA_INHERITED = 6,
	REKINDLE_CUDA_UNKNOWN = 7, /**< in use; the process cannot be asked now: it is stopped, traced or has a seccomp
					      filter, or the driver's answer could not be had */
};

enum rekindle_agent_state {
	REKINDLE_AGENT_NONE = 0,     /**< librekindle-preload.so is not loaded */
	REKINDLE_AGENT_DISABLED = 1, /**< loaded, and switched off with REKINDLE_AGENT=0 */
	/** loaded, and nothing has come to it yet that it looks after; agent_note says more */
	REKINDLE_AGENT_IDLE = 2,
	REKINDLE_AGENT_READY = 3,	/**< device memory travels outside the process image */
	REKINDLE_AGENT_UNREACHABLE = 4, /**< was there; agent_note says what is wrong */
};

struct rekindle_inspected_process {
	int32_t pid;
	int32_t parent_pid;
	int32_t cuda_state;  /**< enum rekindle_cuda_state */
	int32_t agent_state; /**< enum rekindle_agent_state */
	uint32_t threads;
	uint32_t reserved;
	char name[REKINDLE_NAME_MAX];
	/** why the agent is not ready, or what does not reach others through it; else "" */
	char agent_note[REKINDLE_REASON_MAX];
};

enum rekindle_obstacle_kind {
	REKINDLE_OBSTACLE_IO_URING = 1,
	REKINDLE_OBSTACLE_TRACER = 2,
	REKINDLE_OBSTACLE_GHOST_FILE = 3,   /**< deleted, and bigger than --ghost-limit */
	REKINDLE_OBSTACLE_CONNECTION = 4,   /**< TCP, without a flag for it */
	REKINDLE_OBSTACLE_LINKED_FILE = 5,  /**< named semaphores and the like, without #REKINDLE_LINK_REMAP */
	REKINDLE_OBSTACLE_OTHER_MOUNTS = 6, /**< a file of a mount namespace that no process of the tree has */
	REKINDLE_OBSTACLE_IMPORTED_MEMORY = 7,
	REKINDLE_OBSTACLE_RELEASED_MEMORY = 8, /**< since an earlier run failed */
	REKINDLE_OBSTACLE_LOST_AGENT = 9,      /**< of a restored process, which cannot do without */
	REKINDLE_OBSTACLE_MPS = 10,
	REKINDLE_OBSTACLE_STOPPED = 11,	  /**< by SIGSTOP, with CUDA in use */
	REKINDLE_OBSTACLE_SUSPENDED = 12, /**< a restored process whose CUDA somebody has checkpointed */
	REKINDLE_OBSTACLE_SESSION = 13,	  /**< the root leads no session, without #REKINDLE_SHELL_JOB */
	REKINDLE_OBSTACLE_TERMINAL = 14,  /**< whose other end is outside of the tree, likewise */
	REKINDLE_OBSTACLE_FILE_LOCK = 15, /**< without #REKINDLE_FILE_LOCKS */
	/** connected to outside of the tree, in the network namespace of the caller */
	REKINDLE_OBSTACLE_UNIX_SOCKET = 16,
};

struct rekindle_obstacle {
	int32_t kind; /**< enum rekindle_obstacle_kind */
	int32_t pid;
	char what[REKINDLE_MESSAGE_MAX];  /**< what is there */
	char remedy[REKINDLE_REASON_MAX]; /**< what to do about it */
};

struct rekindle_inspect_request {
	uint32_t structure_size;
	int32_t pid;	/**< root of the tree */
	uint32_t flags; /**< those of the dump to come, enum rekindle_flags */
	uint32_t argument_count;
	const char *const *arguments; /**< further arguments for criu, likewise */
};

struct rekindle_inspection {
	uint32_t process_count;
	uint32_t obstacle_count;
	uint64_t duration; /**< nanoseconds */
};

/**
 * Says what a tree holds without stopping it: its processes with their CUDA and their agents, the root first, and
 * what of enum rekindle_obstacle_kind is in the way of a dump with these flags and arguments. CRIU may refuse what is none
 * of these. rekindle_checkpoint looks for the same, and refuses with all of it at once. processes and obstacles may be NULL
 * where their capacity is 0; counts are those of all.
 * Obstacles are no failure of this function.
 */
REKINDLE_API int rekindle_inspect_process(const struct rekindle_environment *environment,
					  const struct rekindle_inspect_request *request,
					  struct rekindle_inspection *inspection,
					  struct rekindle_inspected_process *processes, uint32_t process_capacity,
					  struct rekindle_obstacle *obstacles, uint32_t obstacle_capacity,
					  struct rekindle_error *error);

/* ---- what is in a checkpoint ---- */

struct rekindle_image {
	uint32_t process_count;	    /**< all processes of the tree */
	uint32_t gpu_process_count; /**< of them, processes that use CUDA */
	uint64_t host_bytes;	    /**< CRIU's pages images */
	uint64_t device_bytes;	    /**< device memory outside the process image, and the host's that the driver made */
	uint64_t image_bytes;	    /**< stored size of the GPU images */
	uint64_t linked_bytes;	    /**< of it, what lies in data files that were written for older images */
	uint64_t dead_bytes;	    /**< what those files hold beside that, and nobody needs here */
	int32_t root_pid;
	int32_t driver_version;		      /**< of the driver at dump; 0 where no process used CUDA */
	int32_t simulated;		      /**< dumped from the simulated driver */
	int32_t uses_cuda_plugin;	      /**< CRIU's inventory names cuda_plugin */
	uint64_t created;		      /**< seconds since the epoch */
	char criu_version[REKINDLE_NAME_MAX]; /**< as dump.log beside the images says, "" where there is none */
	char gpu_name[REKINDLE_NAME_MAX];
	char gpu_uuid[REKINDLE_NAME_MAX];
	char driver_text[REKINDLE_NAME_MAX]; /**< driver version for people */
	int32_t has_manifest;		     /**< 1: a manifest lists all files of it with their sizes and checksums */
	uint32_t reserved;
};

struct rekindle_image_process {
	int32_t pid; /**< in the tree's own pid namespace */
	int32_t parent_pid;
	int32_t mode; /**< enum rekindle_mode */
	uint32_t threads;
	uint32_t allocations;
	uint32_t reserved;
	uint64_t host_bytes;
	uint64_t device_bytes;
	uint64_t image_bytes;
	uint64_t linked_bytes; /**< of it, as above */
	uint64_t dead_bytes;   /**< likewise */
	char name[REKINDLE_NAME_MAX];
	char reason[REKINDLE_REASON_MAX];
	char linked_to
		[REKINDLE_REASON_MAX]; /**< ids of the images that linked files were written for, by blanks; "": none */
};

/**
 * Reads what a folder holds without restoring it. A file that its manifest lists and that is missing, or has another size,
 * is REKINDLE_ERROR_CORRUPT_IMAGE with the file named. processes and capacity as in rekindle_checkpoint. */
REKINDLE_API int rekindle_image_read(const char *directory, struct rekindle_image *image,
				     struct rekindle_image_process *processes, uint32_t capacity,
				     struct rekindle_error *error);

/**
 * Reads the files of a checkpoint and compares their checksums; *bytes (may be NULL): how much was read and right. With a
 * manifest (rekindle_image.has_manifest) that is every file, CRIU's and ours; without one it is the GPU images, and
 * nothing is known of CRIU's.
 */
REKINDLE_API int rekindle_image_verify(const char *directory, struct rekindle_operation *operation, uint64_t *bytes,
				       struct rekindle_error *error);

/* ---- on which GPUs a checkpoint can be restored ---- */

/** A GPU of a machine. */
struct rekindle_gpu {
	int32_t device;	    /**< its number, as the driver counts in this process */
	int32_t simulated;  /**< 1: of the simulated driver */
	int32_t free_known; /**< 0: nobody says what is free, and free_bytes is 0 */
	int32_t driver_version;
	uint64_t memory_bytes;
	uint64_t free_bytes;	      /**< now */
	char name[REKINDLE_NAME_MAX]; /**< its model */
	char uuid[REKINDLE_NAME_MAX]; /**< "GPU-..." */
};

/**
 * Says which GPUs this machine has. Starts the driver in this process, which takes 0.2 seconds the first time where nobody
 * else uses it, and makes no context. *count: how many there are; gpus takes the first capacity of them, and may be NULL
 * where that is 0. REKINDLE_ERROR_NO_DRIVER where there is no driver, or no GPU that it can use.
 */
REKINDLE_API int rekindle_gpus_list(const struct rekindle_environment *environment, struct rekindle_gpu *gpus,
				    uint32_t capacity, uint32_t *count, struct rekindle_error *error);

/** What one process of a checkpoint has on one GPU of the machine of the dump. */
struct rekindle_image_gpu {
	int32_t pid;	       /**< as in rekindle_image_process */
	int32_t device;	       /**< its number there */
	uint64_t memory_bytes; /**< of the GPU */
	uint64_t device_bytes; /**< the process's memory that is outside its image */
	uint64_t driver_bytes; /**< that the driver holds for the process beside it; 0: not known */
	uint32_t allocations;
	uint32_t reserved;
	char name[REKINDLE_NAME_MAX];
	char uuid[REKINDLE_NAME_MAX];
};

/**
 * Says what the processes of a checkpoint have on which GPU, and so what a restore needs: of one GPU that is the sum of
 * device_bytes and driver_bytes over all processes. A process in native mode has GPUs without device_bytes. count and
 * capacity as in rekindle_gpus_list; else as rekindle_image_read.
 */
REKINDLE_API int rekindle_image_gpus(const char *directory, struct rekindle_image_gpu *gpus, uint32_t capacity,
				     uint32_t *count, struct rekindle_error *error);

struct rekindle_fit_request {
	uint32_t structure_size;
	uint32_t gpu_count;
	const char *directory;
	const struct rekindle_gpu *gpus; /**< as rekindle_gpus_list tells them, here or on another machine */
	const char *device_map;		 /**< as in rekindle_restore_request; NULL: "" */
};

/**
 * Can the checkpoint be restored on these GPUs as they are? #REKINDLE_OK, or the reason: REKINDLE_ERROR_NO_SPACE where
 * memory has to become free first, REKINDLE_ERROR_INCOMPATIBLE where none of them will do, REKINDLE_ERROR_INVALID_ARGUMENT
 * for a device map that names GPUs that are not there. Only the manifests are read, and no driver is asked. A checkpoint
 * without CUDA can be restored anywhere.
 */
REKINDLE_API int rekindle_image_fits(const struct rekindle_fit_request *request, struct rekindle_error *error);

/* ---- warm pools ---- */

/** A warm pool: hosted in this process, or a connection to one that runs. Functions on it are thread-safe. */
struct rekindle_pool;

/**
 * Hosts a pool in this process: contexts, pinned ring and the socket at environment->pool_socket, so that every run with
 * the same pool_socket uses it. Blocks until it is warm.
 */
REKINDLE_API int rekindle_pool_open(const struct rekindle_environment *environment, struct rekindle_pool **pool,
				    struct rekindle_error *error);
/** Reaches a running pool. */
REKINDLE_API int rekindle_pool_connect(const struct rekindle_environment *environment, struct rekindle_pool **pool,
				       struct rekindle_error *error);
/** Closes it: a hosted one waits for its runs and ends; leases become invalid. NULL is allowed. */
REKINDLE_API void rekindle_pool_close(struct rekindle_pool *pool);

/** A warm primary context, retained for the holder. */
struct rekindle_context_lease {
	/** CUcontext of a hosted pool (this process); 0 for a connected pool, which keeps its own warm */
	uint64_t context;
	int32_t device;
	uint32_t number; /**< identifies the lease for rekindle_pool_release */
};

/** Takes a lease on the context of a device. Takes under a microsecond on a hosted pool. */
REKINDLE_API int rekindle_pool_acquire(struct rekindle_pool *pool, int32_t device, struct rekindle_context_lease *lease,
				       struct rekindle_error *error);
/** Gives a lease back. Giving back twice, or to another pool, is REKINDLE_ERROR_INVALID_ARGUMENT. */
REKINDLE_API int rekindle_pool_release(struct rekindle_pool *pool, const struct rekindle_context_lease *lease,
				       struct rekindle_error *error);

/** Starts filling device memory from the GPU images in a folder; the next restore of it on this pool finds it done. */
REKINDLE_API int rekindle_pool_prefetch(struct rekindle_pool *pool, const char *directory,
					struct rekindle_error *error);
/** Where a pool keeps what images hold of device memory. */
enum rekindle_tier {
	REKINDLE_TIER_DEVICE = 1, /**< in device memory, which the next restore takes */
	/**
	 * in pinned memory of the host, which restores copy from, any number of them; as far as REKINDLE_PINNED_BUDGET of the
	 * pool has room
	 */
	REKINDLE_TIER_PINNED = 2,
};

/** Likewise with an enum rekindle_tier. */
REKINDLE_API int rekindle_pool_prefetch_to(struct rekindle_pool *pool, const char *directory, int32_t tier,
					   struct rekindle_error *error);
/**
 * Says how many bytes of that are still to come, 0 where all is there. Fails with what the filling failed with, and where
 * nothing is held for the folder: nobody has asked for it, or a restore has taken it.
 */
REKINDLE_API int rekindle_pool_prefetched(struct rekindle_pool *pool, const char *directory, uint64_t *bytes,
					  struct rekindle_error *error);
/** Drops what rekindle_pool_prefetch and rekindle_pool_prefetch_to hold for a folder, and what a dump has parked of it. */
REKINDLE_API int rekindle_pool_drop(struct rekindle_pool *pool, const char *directory, struct rekindle_error *error);

struct rekindle_pool_statistics {
	uint64_t restores, checkpoints; /**< processes since the pool started */
	uint64_t bytes_to_device, bytes_from_device;
	uint64_t ring_bytes;
	uint64_t device_bytes_held; /**< physical device memory held now */
	uint64_t started;	    /**< nanoseconds, CLOCK_MONOTONIC */
	/**
	 * of the restores: all device memory in the process's GPU image was there before, see rekindle_pool_prefetch and enum
	 * rekindle_park
	 */
	uint64_t images_resident;
	uint64_t images_read;	/**< likewise, but some of it still had to be read, or all */
	uint64_t images_pinned; /**< likewise, and all of it was copied from pinned memory of the host */
	uint64_t
		pinned_bytes; /**< of images in pinned memory now, or on their way there; REKINDLE_PINNED_BUDGET at most */
	uint64_t moved_to_pinned; /**< folders whose images made room in device memory so, since the pool started */
	uint64_t given_up;	  /**< likewise, of which the next restore reads the files */
	uint64_t expired; /**< folders that were prefetched and nobody took in time, see REKINDLE_PREFETCH_EXPIRY */
	uint64_t expired_bytes; /**< of device memory, or pinned memory, of all these together */
	uint32_t workers, contexts;
	uint32_t leases; /**< of this handle */
	uint32_t runs;
	int32_t simulated;
	int32_t driver_version;
	int32_t pid;
	uint32_t reserved;
};
REKINDLE_API int rekindle_pool_status(struct rekindle_pool *pool, struct rekindle_pool_statistics *statistics,
				      struct rekindle_error *error);

enum rekindle_resident_state {
	REKINDLE_RESIDENT_FILLING = 1,
	REKINDLE_RESIDENT_FILLED = 2, /**< and, where the pool compares checksums, right */
	REKINDLE_RESIDENT_FAILED = 3, /**< rekindle_pool_prefetched says why */
};

/** The GPU images of a folder that a pool has in device memory or pinned memory, or is filling it from. */
struct rekindle_resident_images {
	uint64_t bytes; /**< of memory; what processes have taken and the pool has let go of is not in it */
	uint64_t bytes_filled;
	uint64_t since;	 /**< when it was asked for: nanoseconds, CLOCK_MONOTONIC */
	uint32_t images; /**< one for each process */
	int32_t state;	 /**< enum rekindle_resident_state */
	int32_t taken;	 /**< 1: a run has them; 0: they wait for one */
	int32_t parked;	 /**< 1: a dump has left them, see enum rekindle_park; 0: they were read */
	int32_t tier;	 /**< enum rekindle_tier */
	uint32_t reserved;
	char directory[REKINDLE_DIRECTORY_MAX]; /**< as the pool saw it; "" where that is longer, or not known */
};

/**
 * Says what lies in the device memory and the pinned memory of a pool, for clients and for runs, the oldest first. count and capacity as in
 * rekindle_gpus_list.
 */
REKINDLE_API int rekindle_pool_images(struct rekindle_pool *pool, struct rekindle_resident_images *images,
				      uint32_t capacity, uint32_t *count, struct rekindle_error *error);

/** What a pool has of a GPU. */
struct rekindle_pool_gpu {
	int32_t device;		      /**< its number, as the driver counts in the pool */
	int32_t warm;		      /**< 1: the pool has a warm context on it */
	int32_t free_known;	      /**< 0: nobody says what is free, and free_bytes is 0 */
	uint32_t reserved;	      /**< 0 */
	uint64_t bytes_held;	      /**< of its memory by the pool, now; contexts take more */
	uint64_t memory_bytes;	      /**< all of its memory */
	uint64_t free_bytes;	      /**< now */
	char name[REKINDLE_NAME_MAX]; /**< its model */
	char uuid[REKINDLE_NAME_MAX]; /**< "GPU-..." */
};

/**
 * Says what a pool has of each GPU; none before it has started the driver. Asks the driver what is free. count and capacity
 * as in rekindle_gpus_list.
 */
REKINDLE_API int rekindle_pool_gpus(struct rekindle_pool *pool, struct rekindle_pool_gpu *gpus, uint32_t capacity,
				    uint32_t *count, struct rekindle_error *error);

/* ---- measurement ---- */

enum rekindle_copy_source {
	REKINDLE_COPY_PINNED = 1,     /**< pinned host memory, one stream: the machine's limit */
	REKINDLE_COPY_PAGE_CACHE = 2, /**< a file in the page cache, through the copy engine */
	REKINDLE_COPY_DISK = 3,	      /**< the same file, its pages dropped from the cache first */
};

struct rekindle_copy_request {
	uint32_t structure_size;
	int32_t device;
	int32_t source;	      /**< enum rekindle_copy_source */
	uint32_t workers;     /**< 1 to 64 */
	uint64_t chunk_bytes; /**< 2 MiB to 64 MiB */
	uint64_t bytes;	      /**< how much to copy, at most the file's size */
	const char *file;     /**< NULL for REKINDLE_COPY_PINNED */
};

/** Runs the copy engine once, host to device, and says how long it took. For benchmarks. */
REKINDLE_API int rekindle_copy_measure(struct rekindle_pool *pool, const struct rekindle_copy_request *request,
				       uint64_t *nanoseconds, struct rekindle_error *error);

/* ---- about the library ---- */

/** "major.minor.patch". Never NULL. */
REKINDLE_API const char *rekindle_version(void);
/** major * 1000000 + minor * 1000 + patch. The cheapest call there is. */
REKINDLE_API uint32_t rekindle_version_number(void);
/**
 * Can this machine checkpoint and restore? #REKINDLE_OK, or the reason: CRIU not found or failing its own check,
 * missing privileges, no plugin. A missing GPU is no reason: processes without CUDA can still be restored. What only makes
 * runs slower is said by a warning in the log.
 */
REKINDLE_API int rekindle_check(const struct rekindle_environment *environment, struct rekindle_error *error);

/** What belongs to a release, for programs that start it or preload it. */
enum rekindle_part {
	REKINDLE_PART_CRIU = 1,	  /**< the criu program that a run takes */
	REKINDLE_PART_PLUGIN = 2, /**< the folder of cuda_plugin.so */
	REKINDLE_PART_AGENT = 3,  /**< librekindle-preload.so, for LD_PRELOAD */
	REKINDLE_PART_POOL = 4,	  /**< rekindled */
};

/**
 * Writes the absolute path of a part to path, which has room for capacity bytes: the one that a run with this environment
 * (NULL: the defaults) takes.
 */
REKINDLE_API int rekindle_find_part(const struct rekindle_environment *environment, int32_t part, char *path,
				    uint32_t capacity, struct rekindle_error *error);

enum rekindle_log_level {
	REKINDLE_LOG_ERROR = 1,
	REKINDLE_LOG_WARNING = 2,
	REKINDLE_LOG_INFO = 3,
	REKINDLE_LOG_DEBUG = 4,
};

/** A line of log, without a newline. May come from any thread. */
typedef void (*rekindle_log_callback)(int32_t level, const char *line, void *context);
/** Where log lines go; NULL: nowhere (the default for the library). Set it before other calls. */
REKINDLE_API void rekindle_set_log(rekindle_log_callback callback, void *context, int32_t highest);

#ifdef __cplusplus
}
#endif

#endif
