/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_SIMCUDA_SIMCUDA_H
#define REKINDLE_SIMCUDA_SIMCUDA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/cuda_abi.h"
#include "simcuda/functions.h"

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

extern pthread_mutex_t table_mutex;

bool process_is_initialised(void);
int device_count(void);
size_t device_memory_bytes(void);
bool device_is_valid(CUdevice device);

/* ---- gate (gate.c): closed while the process is locked ---- */

void gate_enter(void);
void gate_leave(void);
void gate_open(void);
/* Closes the gate and waits until no call is inside. deadline in monotonic nanoseconds, 0 for none. -ETIMEDOUT opens it
 * again. */
int gate_close(uint64_t deadline);

/* ---- injection (injection.c) ---- */

struct injected {
	CUresult failure; /* CUDA_SUCCESS: none */
	uint64_t delay_nanoseconds;
};

struct injected injection_for_call(const char *name, const char *symbol);
void sleep_nanoseconds(uint64_t nanoseconds);
/* The delay that the calling function is to spend on the stream; set by the entry point, taken once. */
void set_stream_delay(uint64_t nanoseconds);
uint64_t take_stream_delay(void);

/* ---- contexts (contexts.c) ---- */

struct CUctx_st {
	bool used;
	bool primary;
	unsigned int flags;
	unsigned int references; /* of a primary context */
	CUdevice device;
	CUstream default_stream;
};

CUcontext current_context(void);
bool context_is_valid(CUcontext context);
void contexts_forget(void);

/* ---- device memory (device_memory.c) ---- */

/* A piece of physical memory: a memfd, or, while the process is checkpointed, a private copy of its contents. */
struct memory {
	bool used;
	bool plain;    /* from cuMemAlloc */
	bool imported; /* made by another import or process: cannot be exported, does not survive a checkpoint */
	bool lost;     /* was imported, and a checkpoint closed it */
	int descriptor;
	CUdevice device;
	size_t bytes; /* of the memfd */
	unsigned int references;
	unsigned int mappings;
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp properties;
	void *saved;
};

enum mapping_kind { MAPPING_PLAIN, MAPPING_VIRTUAL, MAPPING_LEGACY_IPC };

struct mapping {
	bool used;
	enum mapping_kind kind;
	CUdeviceptr address;
	size_t bytes;	     /* as the application asked */
	size_t mapped_bytes; /* rounded up to pages */
	struct memory *memory;
	int access; /* CU_MEM_ACCESS_FLAGS_PROT_ */
	CUcontext context;
};

struct reservation {
	bool used;
	CUdeviceptr address;
	size_t bytes;
};

struct reservation *reservation_of(CUdeviceptr address, size_t bytes); /* virtual_memory.c */

extern struct memory memories[MEMORIES_MAX];
extern struct mapping mappings[MAPPINGS_MAX];
extern size_t memories_end, mappings_end; /* one past the highest entry ever used */

/* All of these are called with table_mutex held. */
CUresult memory_create(CUdevice device, size_t bytes, struct memory **created);
CUresult memory_adopt(int descriptor, CUdevice device, size_t bytes, struct memory **created);
/* A fresh, empty memfd for memory whose descriptor is closed. */
int memory_open_descriptor(struct memory *memory);
void memory_drop_if_unused(struct memory *memory);
struct memory *memory_by_handle(CUmemGenericAllocationHandle handle);
size_t memory_bytes_in_use(CUdevice device);
struct mapping *mapping_add(void);
struct mapping *mapping_at(CUdeviceptr address);
int mapping_place(const struct mapping *mapping); /* puts the memory at its address */
CUresult plain_allocate(size_t bytes, CUdeviceptr *address);
void mapping_remove(struct mapping *mapping, bool keep_address);
void memory_free_of_context(CUcontext context);
void *reserve_addresses(size_t bytes, size_t alignment, CUdeviceptr hint);
bool device_of_descriptor(int descriptor, CUdevice *device, size_t *bytes);

/* ---- host memory (host_memory.c) ---- */

bool host_range_is_pinned(const void *pointer, size_t bytes);
void host_memory_forget(void);

/* ---- streams and events (streams.c, events.c) ---- */

enum operation_kind {
	OPERATION_COPY,
	OPERATION_SET,
	OPERATION_CALL,
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
	unsigned int flags;
	CUcontext context;
	uint64_t submitted, completed;
	pthread_t thread;
	pthread_cond_t work;
	struct operation queue[STREAM_QUEUE_LENGTH];
};

struct CUevent_st {
	bool used;
	unsigned int flags;
	uint64_t recorded, completed; /* tickets */
	uint64_t completed_at;	      /* monotonic nanoseconds */
};

extern pthread_mutex_t work_mutex;
extern pthread_cond_t work_done;

/* Puts the operation on the stream (or the default stream of the current context), in order. */
CUresult stream_submit(CUstream stream, struct operation *operation);
CUresult stream_wait_idle(CUstream stream);
/* Waits as a synchronous call of the default stream does. */
void streams_synchronise_default(void);
void streams_synchronise_context(CUcontext context);
void streams_synchronise_all(void);
/* Until every stream is idle and its thread sleeps. 0 or -ETIMEDOUT. */
int streams_wait_parked(uint64_t deadline);
void streams_destroy_of_context(CUcontext context);
void streams_forget(void);
void operation_run(const struct operation *operation);
bool event_is_valid(CUevent event);

/* ---- checkpoint (restore_thread.c, checkpoint_memory.c) ---- */

int restore_thread_start(void);
void restore_thread_forget(void);
CUresult checkpoint_memory_save(void);
CUresult checkpoint_memory_load(void);

#endif
