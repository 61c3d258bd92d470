/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_SIMCUDA_H
#define REKINDLE_SIMCUDA_SIMCUDA_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_abi.h"
#include "simcuda/functions.h"
#include "simcuda/wakeup.h"

/*
 * The simulated driver's own state. Everything lives in tables of fixed size in the library: a checkpoint can stop any
 * thread anywhere, and a driver call must not then wait for a lock of malloc that a stopped thread holds. For the same
 * reason table_mutex and work_mutex are taken only by calls that are through the gate, so that a locked process holds
 * neither.
 */

#define SIMCUDA_DRIVER_VERSION 13000
#define DEVICES_MAX 16
#define CONTEXTS_MAX 64
#define MEMORIES_MAX 16384
#define MAPPINGS_MAX 32768
#define RESERVATIONS_MAX 16384
#define HOST_RANGES_MAX 4096
#define STREAMS_MAX 256
#define STREAM_QUEUE_LENGTH 256
#define EVENTS_MAX 8192
#define GRANULARITY ((size_t)2 << 20)

/* ---- process (process.c) ---- */

bool process_is_initialised(void);

/* ---- devices (devices.c) ---- */

/* False where the settings name none. */
bool devices_find(void);
int device_count(void);
/* What others leave of it. */
size_t device_memory_bytes(CUdevice device);
bool device_is_valid(CUdevice device);
/* Its number in the machine, and back: false where the process does not see it. */
int device_physical(CUdevice device);
bool device_of_physical(int number, CUdevice *device);
bool physical_of_uuid(const CUuuid *uuid, int *number);
void device_make_uuid(int number, CUuuid *uuid);
void device_name(int number, char *name, size_t capacity);
/* Each device of the process is that one of the machine from now on. */
void devices_move(const int8_t numbers[DEVICES_MAX]);
/*
 * What the CUDA reference says of some errors, illegal addresses among them: "This leaves the process in an inconsistent
 * state and any further CUDA work will return the same error." Kept for each device: all work on it, in whatever context,
 * fails from then on.
 */
void device_break(CUdevice device, CUresult error);
/* A NUMA node of the machine? */
bool node_is_valid(int node);
/* CUDA_SUCCESS where it works. */
CUresult device_error(CUdevice device);

/* ---- device file (device_file.c): 0, or -1 ---- */

int device_file_open(void);
int device_file_close(void);
int device_file_open_again(void);

/* ---- gate (gate.c): closed while the process is locked ---- */

void gate_enter(void);
void gate_leave(void);
void gate_open(void);
/* Closes the gate and waits until no call is inside. deadline in monotonic nanoseconds, 0 for none. -ETIMEDOUT opens it
 * again. */
int gate_close(uint64_t deadline);

/* ---- injection (injection.c) ---- */

struct injected {
	CUresult failure;	    /* CUDA_SUCCESS: none */
	bool breaks;		    /* the failure is for good */
	uint64_t delay_nanoseconds; /* or DELAY_HELD, and the number of the rules */
	uint64_t alone_nanoseconds; /* likewise, without any other thread */
};

#define DELAY_HELD (UINT64_C(1) << 63) /* as long as the rules with that number are in force */

struct injected injection_for_call(const char *name, const char *symbol);
void sleep_nanoseconds(uint64_t nanoseconds);
/* A delay of the above. */
void spend_delay(uint64_t nanoseconds);
void sleep_alone(uint64_t nanoseconds);
/* The delay that the calling function is to spend on the stream; set by the entry point, taken once. */
void set_stream_delay(uint64_t nanoseconds);
uint64_t take_stream_delay(void);

/* ---- contexts (contexts.c) ---- */

struct CUctx_st {
	bool used;
	bool primary;
	unsigned int flags;
	unsigned int references; /* retains of a primary context, uses of another */
	uint32_t peers;		 /* bit set of devices whose memory this context may use */
	CUdevice device;
	CUstream default_stream;
};

/* The stack of the calling thread (current_context.c). Without room nothing may be pushed; false: there was none. */
CUcontext current_context(void);
bool current_has_room(void);
void current_push(CUcontext context);
bool current_pop(CUcontext *context);
void current_forget(void);

bool context_is_valid(CUcontext context);
void contexts_forget(void);

/* ---- device memory (device_memory.c) ---- */

/* Over the tables of contexts, of memory and of what is mapped where. */
extern pthread_mutex_t table_mutex;

/* A piece of physical memory: a memfd, or, while the process is checkpointed, a private copy of its contents. */
struct memory {
	bool used;
	bool plain;    /* from cuMemAlloc */
	bool imported; /* made by another import or process: cannot be exported, does not survive a checkpoint */
	bool lost;     /* was imported, or the host's, and a checkpoint closed it */
	bool host;     /* of the host, on that NUMA node; device is -1 then */
	int node;
	int descriptor; /* -1: none; the program may have closed it, and another file be there */
	uint64_t inode; /* of the memfd */
	CUdevice device;
	size_t bytes; /* of the memfd */
	unsigned int references;
	unsigned int mappings;
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp properties;
	void *saved;
};

enum mapping_kind { MAPPING_PLAIN, MAPPING_VIRTUAL, MAPPING_LEGACY_IPC };

#define ALL_DEVICES UINT32_MAX
static_assert(DEVICES_MAX <= 32, "a bit for every device");

struct mapping {
	bool used;
	enum mapping_kind kind;
	CUdeviceptr address;
	size_t bytes;	     /* as the application asked */
	size_t mapped_bytes; /* rounded up to pages */
	struct memory *memory;
	uint32_t readers, writers; /* bit sets of devices that may read it, and that may write it */
	int processor;		   /* CU_MEM_ACCESS_FLAGS_PROT_ of the processor, to memory of the host */
	CUcontext context;
};

struct reservation {
	bool used;
	CUdeviceptr address;
	size_t bytes;
};

struct reservation *reservation_of(CUdeviceptr address, size_t bytes); /* mapped_memory.c, as is the next */
size_t reservations_in_use(void);

extern struct memory memories[MEMORIES_MAX];
extern struct mapping mappings[MAPPINGS_MAX];
extern size_t memories_end, mappings_end; /* one past the highest entry ever used */

/* All of these are called with table_mutex held. */
struct place {
	bool host;
	int number; /* of the device or, of the host's memory, the NUMA node */
};
CUresult memory_create(struct place place, size_t bytes, struct memory **created);
CUresult memory_adopt(int descriptor, struct place place, size_t bytes, struct memory **created);
/* A fresh, empty memfd for memory whose descriptor is closed. */
int memory_open_descriptor(struct memory *memory);
/* Closes it where it is that memfd still. */
void memory_close_descriptor(struct memory *memory);
void memory_drop_if_unused(struct memory *memory);
struct memory *memory_by_handle(CUmemGenericAllocationHandle handle);
size_t memory_bytes_in_use(CUdevice device); /* made by this process */
size_t memory_bytes_alive(CUdevice device);  /* that this process keeps alive, imported memory too */
/* CU_MEM_ACCESS_FLAGS_PROT_ of the device. */
int mapping_access(const struct mapping *mapping, CUdevice device);
/* Is all of the range mapped? Takes table_mutex. */
bool device_range_is_mapped(const void *address, size_t bytes);
struct mapping *mapping_add(void);
struct mapping *mapping_at(CUdeviceptr address);
int mapping_place(const struct mapping *mapping); /* puts the memory at its address */
CUresult plain_allocate(size_t bytes, CUdeviceptr *address);
void mapping_remove(struct mapping *mapping, bool keep_address);
void memory_free_of_context(CUcontext context);
void *reserve_addresses(size_t bytes, size_t alignment, CUdeviceptr hint);
bool place_of_descriptor(int descriptor, struct place *place, size_t *bytes);
/* 0 where it is closed. */
uint64_t inode_of_descriptor(int descriptor);

/* ---- host memory (host_memory.c) ---- */

bool host_range_is_pinned(const void *pointer, size_t bytes);
void host_memory_forget(void);

/* ---- streams and events (streams.c, events.c) ---- */

enum operation_kind {
	OPERATION_COPY,
	OPERATION_SET,
	OPERATION_CALL,
	OPERATION_HASH,
	OPERATION_RECORD_EVENT,
	OPERATION_WAIT_EVENT,
	OPERATION_WAIT_STREAM,
};

struct operation {
	enum operation_kind kind;
	unsigned int width; /* SET: bytes of the value */
	unsigned int value;
	uint64_t delay_nanoseconds;
	void *destination;
	const void *source;
	bool to_device, from_device; /* where the memory was of a device when the operation was submitted */
	size_t bytes;
	CUhostFn function;
	void *data;
	CUevent event;
	CUstream stream; /* WAIT_STREAM */
	uint64_t ticket; /* WAIT_EVENT, RECORD_EVENT, WAIT_STREAM: what to reach */
};

/* Tickets only grow, also when an entry is used again, so a wait on an old entry is over and never confused. */
struct CUstream_st {
	bool used;
	bool blocking; /* synchronises with the default stream */
	bool parked;   /* the thread sleeps for want of work */
	bool ending;
	bool running; /* an operation works on memory */
	unsigned int flags;
	CUcontext context;
	uint64_t submitted, completed;
	pthread_t thread;
	struct wakeup work;
	struct operation queue[STREAM_QUEUE_LENGTH];
};

struct CUevent_st {
	bool used;
	unsigned int flags;
	uint64_t recorded, completed; /* tickets */
	uint64_t completed_at;	      /* monotonic nanoseconds */
};

extern pthread_mutex_t work_mutex;
extern struct wakeup work_done;

/* Puts the operation on the stream (or the default stream of the current context), in order. */
CUresult stream_submit(CUstream stream, struct operation *operation);
CUresult stream_wait_idle(CUstream stream);
/* The device that a stream's operations run on; that of the current context for the default stream. */
CUresult stream_device(CUstream stream, CUdevice *device);
/* Keeps operations from beginning, with none of them working; to be followed by streams_go_on. table_mutex is free. */
void streams_hold(void);
void streams_go_on(void);
/* Waits as a synchronous call of the default stream does. */
void streams_synchronise_default(void);
void streams_synchronise_context(CUcontext context);
void streams_synchronise_all(void);
/* Until every stream is idle and its thread sleeps. 0 or -ETIMEDOUT. */
int streams_wait_parked(uint64_t deadline);
void streams_destroy_of_context(CUcontext context);
void streams_forget(void);
bool event_is_valid(CUevent event);

/* ---- kernels (kernels.c) ---- */

/* HASH: the one kernel that there is. False where it came upon memory that is not mapped. */
bool hash_carry_out(const struct operation *operation);

/* ---- checkpoint (restore_thread.c, checkpoint_memory.c) ---- */

int restore_thread_start(void);
void restore_thread_forget(void);
CUresult checkpoint_memory_save(void);
CUresult checkpoint_memory_load(void);

#endif
