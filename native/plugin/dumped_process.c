/* SPDX-License-Identifier: MIT */
#include "plugin/dumped_process.h"

#include "driver/cuda_abi.h"

void dumped_process_reached(struct dumped_process *process, enum dump_progress progress)
{
	if (process->progress < progress)
		process->progress = progress;
}

bool dumped_process_uses_cuda(const struct dumped_process *process)
{
	return process->progress >= DUMP_USES_CUDA;
}

/* Was it not locked by somebody else? */
static bool is_ours_to_lock(const struct dumped_process *process)
{
	return process->initial_state == CU_PROCESS_STATE_RUNNING;
}

bool dumped_process_is_to_be_locked(const struct dumped_process *process)
{
	return dumped_process_uses_cuda(process) && process->progress < DUMP_AT_REST && is_ours_to_lock(process) &&
	       !process_handle_has_ended(&process->handle);
}

bool dumped_process_is_to_be_saved(const struct dumped_process *process)
{
	return dumped_process_uses_cuda(process) && process->progress < DUMP_SAVING_TRIED &&
	       !process_handle_has_ended(&process->handle);
}

bool dumped_process_lacks_memory(const struct dumped_process *process)
{
	return process->progress == DUMP_CHECKPOINT_TRIED && !process->is_ended;
}

bool dumped_process_lacks_something(const struct dumped_process *process)
{
	return dumped_process_lacks_memory(process) ||
	       (!process->is_ended && process->progress >= DUMP_LOCK_TRIED && is_ours_to_lock(process));
}
