/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pool/device/driver_checkpoint.h"
#include "pool/run/copy_ahead.h"
#include "pool/run/parent_image.h"
#include "pool/run/pool_run.h"
#include "support/clock.h"
#include "support/log.h"

static int checkpoint_by_driver(struct run *run, struct run_process *process, struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	int result;

	run_progress(run, process, PHASE_DRIVER_CHECKPOINT, 0, 0);
	result = driver_process_checkpoint(run->pool, &process->target, error);
	if (result)
		return result;
	process_note_checkpoint(process);
	run_phase_add(process, PHASE_DRIVER_CHECKPOINT, began, 0);
	return 0;
}

/* The driver saves the contents in the process's own memory. The manifest comes first: it can fail without harm. */
static int checkpoint_native(struct run *run, struct run_process *process, struct error_text *error)
{
	struct gpu_image *image = run_make_image(run, process, GPU_IMAGE_NATIVE, 0);
	int result;

	if (!image)
		return fail(error, -ENOMEM, "Out of memory");
	process->record.mode = POOL_MODE_NATIVE;
	snprintf(image->reason, sizeof(image->reason), "%s", process->record.reason);
	result = run_commit_image(run, process, image, error);
	gpu_image_free(image);
	if (result)
		return result;
	result = checkpoint_by_driver(run, process, error);
	if (result)
		run_remove_image(run, process);
	return result;
}

int run_checkpoint(struct run *run, struct run_process *process, const char *note, struct error_text *error)
{
	struct error_text why = {""};
	CUprocessState state;
	int result;

	if (!process->stands_from) /* somebody else has locked it */
		process->stands_from = monotonic_nanoseconds();
	result = driver_process_state(run->pool, &process->target, &state, error);
	if (result)
		return result;
	if (state == CU_PROCESS_STATE_CHECKPOINTED && !process_is_with_driver(process)) {
		process->record.mode = POOL_MODE_NATIVE;
		snprintf(process->record.reason, sizeof(process->record.reason),
			 "the process was checkpointed already before the dump");
		return 0;
	}
	if (state == CU_PROCESS_STATE_RUNNING && (process->taken == TAKEN_LOCK || process->was_locked))
		return fail(
			error, -EBUSY,
			"Another program has unlocked CUDA of process %d, which was locked for this dump: dump it again "
			"when that leaves it alone",
			process->pid);
	if (state != CU_PROCESS_STATE_LOCKED)
		return fail(error, -EINVAL,
			    "Process %d is not locked (state %d): POOL_LOCK comes before POOL_CHECKPOINT", process->pid,
			    (int)state);

	if (process->agent >= 0) {
		switch (run_offload(run, process, &result, &why)) {
		case SAVED:
			process->record.mode = POOL_MODE_OFFLOAD;
			return checkpoint_by_driver(run, process, error);
		case NOT_SAVED:
			if (error)
				*error = why;
			return result;
		case LEFT_TO_DRIVER:
			break;
		}
		snprintf(process->record.reason, sizeof(process->record.reason), "%.255s", why.text);
	} else {
		run_drop_ahead(run, process);
		run_drop_parent(process);
		snprintf(process->record.reason, sizeof(process->record.reason), "%s",
			 note[0] ? note : "the process does not run under librekindle-preload.so");
	}
	pool_look_for_lost_devices(run->pool);
	log_warning("Process %d: the driver saves the contents itself (native mode): %s", process->pid,
		    process->record.reason);
	return checkpoint_native(run, process, error);
}
