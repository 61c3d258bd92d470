/* SPDX-License-Identifier: MIT */
#include "pool/run/run_state.h"

#include "pool/run/pool_run.h"

void process_note_lock(struct run_process *process)
{
	process->was_locked = false;
	if (process->taken == TAKEN_NOTHING)
		process->taken = TAKEN_LOCK;
}

void process_note_unlock(struct run_process *process)
{
	if (process->taken == TAKEN_LOCK)
		process->taken = TAKEN_NOTHING;
}

void process_note_foreign_lock(struct run_process *process)
{
	process->was_locked = true;
	process_note_unlock(process);
}

void process_note_release(struct run_process *process)
{
	process->taken = process_is_with_driver(process) ? TAKEN_ALL : TAKEN_MEMORY;
}

void process_note_memory_back(struct run_process *process)
{
	if (process->taken == TAKEN_ALL)
		process->taken = TAKEN_BY_DRIVER;
	else if (process->taken == TAKEN_MEMORY)
		process->taken = process->was_locked ? TAKEN_NOTHING : TAKEN_LOCK;
}

void process_note_checkpoint(struct run_process *process)
{
	process->taken = process_lacks_memory(process) ? TAKEN_ALL : TAKEN_BY_DRIVER;
}

void process_note_driver_restore(struct run_process *process)
{
	process->taken = process_lacks_memory(process) ? TAKEN_MEMORY : TAKEN_NOTHING;
}

void process_note_all_back(struct run_process *process)
{
	process->taken = TAKEN_NOTHING;
}

void process_note_left_by_another(struct run_process *process, bool without_memory, bool was_locked)
{
	/* It may be that it was locked and no more; to restore it then does no harm. */
	process->taken = without_memory || process_lacks_memory(process) ? TAKEN_ALL : TAKEN_BY_DRIVER;
	process->was_locked = was_locked;
}

bool process_lacks_memory(const struct run_process *process)
{
	return process->taken == TAKEN_MEMORY || process->taken == TAKEN_ALL;
}

bool process_is_with_driver(const struct run_process *process)
{
	return process->taken == TAKEN_BY_DRIVER || process->taken == TAKEN_ALL;
}

bool process_waits_for_its_way_back(const struct run_process *process)
{
	return process->way_back == ASKED_BACK;
}

bool run_has_waiting_processes(const struct run *run)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (process_waits_for_its_way_back(run->processes[i]))
			return true;
	return false;
}

bool run_is_ending(const struct run *run)
{
	return run->life != RUN_OPEN;
}

bool run_is_finished(const struct run *run)
{
	return run->life == RUN_LEFT_BEHIND || run->life == RUN_OVER;
}
