/* SPDX-License-Identifier: MIT */
#include "agent/sharing/memory_export.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/interpose/real_driver.h"
#include "agent/memory/kept_descriptors.h"
#include "agent/memory/restored_descriptors.h"

/* As the driver's own descriptors are, which is the same for all of them. */
static bool closes_on_exec(int descriptor)
{
	int flags = fcntl(descriptor, F_GETFD);

	return flags < 0 || (flags & FD_CLOEXEC);
}

/* The memory has a descriptor, or gets that one; another thread may have been faster. Returns where it is kept, or 0. */
static uint32_t keep(struct physical_memory *memory, int descriptor)
{
	uint32_t fresh = kept_add(descriptor, false, memory->allocation_id), kept, left = fresh;

	table_lock();
	if (!memory->kept && fresh) {
		memory->kept = fresh;
		left = 0;
	}
	memory->exported = true;
	kept = memory->kept;
	if (!kept)
		memory->shared = true;
	table_unlock();
	kept_drop(left);
	return kept;
}

static CUresult export_by_driver(const struct handle_use *use, struct physical_memory *memory, int *descriptor)
{
	CUresult result = real_driver()->cuMemExportToShareableHandle(descriptor, use->real,
								      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	uint32_t kept;
	int same;

	if (result != CUDA_SUCCESS)
		return result;
	kept = keep(memory, *descriptor);
	/* The one that is kept, should it be another thread's. */
	same = kept_duplicate(kept, closes_on_exec(*descriptor));
	if (same >= 0) {
		close(*descriptor);
		*descriptor = same;
	}
	return CUDA_SUCCESS;
}

/*
 * The driver exports no imported memory: others are given what a restore has brought it by, and that is kept as any other
 * which is shared. All of it with the mutex, as another thread may be about to do the same. Table locked.
 */
static void share_restored(struct physical_memory *memory)
{
	int descriptor = restored_take(memory->restored, memory->allocation_id);

	if (descriptor < 0)
		return;
	memory->kept = kept_add(descriptor, false, memory->allocation_id);
	if (memory->kept) {
		memory->exported = true;
		close(descriptor);
	} else {
		restored_put_back(descriptor, memory->allocation_id, memory->bytes);
	}
}

CUresult memory_export(const struct handle_use *use, int *descriptor, bool *restored)
{
	static atomic_bool inherited; /* whether the driver's descriptors are left to programs that are executed */
	struct physical_memory *memory = handle_use_memory(use);
	bool imported, foreign;
	CUresult result;
	uint32_t kept;

	table_lock();
	if (!memory->kept)
		share_restored(memory);
	kept = memory->kept;
	imported = memory->imported;
	foreign = memory->foreign;
	table_unlock();
	*restored = false;
	if (kept && !foreign) {
		*descriptor = kept_duplicate(kept, !atomic_load(&inherited));
		if (*descriptor >= 0)
			return CUDA_SUCCESS;
	}
	result = export_by_driver(use, memory, descriptor);
	if (result == CUDA_SUCCESS)
		atomic_store(&inherited, !closes_on_exec(*descriptor));
	else
		*restored = imported && !foreign;
	return result;
}
