/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pool/driver_checkpoint.h"
#include "pool/pool_run.h"
#include "rekindle.h"
#include "support/clock.h"
#include "support/log.h"

static int checkpoint_by_driver(struct run *run, struct run_process *process, struct error_text *error)
{
	uint64_t began = monotonic_nanoseconds();
	int result;

	run_progress(run, REKINDLE_PHASE_DRIVER_CHECKPOINT, 0, 0);
	result = driver_process_checkpoint(run->pool, process->pid, error);
	if (result)
		return result;
	process->checkpointed = true;
	run_phase_add(process, "driver_checkpoint", began, 0);
	return 0;
}

/* The driver saves the contents in the process's own memory. The manifest comes first: it can fail without harm. */
static int checkpoint_native(struct run *run, struct run_process *process, struct error_text *error)
{
	struct gpu_image *image = run_make_image(run, process, GPU_IMAGE_NATIVE, 0);
	int result;

	if (!image)
		return fail(error, -ENOMEM, "Out of memory");
	process->mode = POOL_MODE_NATIVE;
	snprintf(image->reason, sizeof(image->reason), "%s", process->reason);
	result = run_commit_image(run, image, error);
	gpu_image_free(image);
	if (result)
		return result;
	process->image_written = true;
	result = checkpoint_by_driver(run, process, error);
	if (result) {
		gpu_image_remove(run->folder, process->pid);
		process->image_written = false;
	}
	return result;
}

/* Failures that the driver's own checkpoint would meet as well, or that mean that nobody wants the dump any more. */
static bool is_final(int result)
{
	return result == -ENOSPC || result == -EDQUOT || result == -EROFS || result == -EACCES || result == -EPERM ||
	       result == -ECANCELED || result == -ESRCH || result == -EOPNOTSUPP;
}

int run_checkpoint(struct run *run, struct run_process *process, const char *note, struct error_text *error)
{
	struct error_text why = {""};
	bool native_works = false;
	CUprocessState state;
	int result;

	result = driver_process_state(run->pool, process->pid, &state, error);
	if (result)
		return result;
	if (state == CU_PROCESS_STATE_CHECKPOINTED && !process->checkpointed) {
		process->mode = POOL_MODE_NATIVE;
		snprintf(process->reason, sizeof(process->reason),
			 "the process was checkpointed already before the dump");
		return 0;
	}
	if (state != CU_PROCESS_STATE_LOCKED)
		return fail(error, -EINVAL,
			    "Process %d is not locked (state %d): POOL_LOCK comes before POOL_CHECKPOINT", process->pid,
			    (int)state);

	if (process->agent >= 0) {
		result = run_offload(run, process, &native_works, &why);
		if (result == 0) {
			process->mode = POOL_MODE_OFFLOAD;
			return checkpoint_by_driver(run, process, error);
		}
		if (!native_works || is_final(result)) {
			if (error)
				*error = why;
			return result;
		}
		snprintf(process->reason, sizeof(process->reason), "%.255s", why.text);
	} else {
		snprintf(process->reason, sizeof(process->reason), "%s",
			 note[0] ? note : "the process does not run under librekindle-preload.so");
	}
	log_warning("Process %d: the driver saves the contents itself (native mode): %s", process->pid,
		    process->reason);
	return checkpoint_native(run, process, error);
}
