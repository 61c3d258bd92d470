/* SPDX-License-Identifier: MIT */
#include "pool/run/revive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/agent/agent_client.h"
#include "pool/agent/agent_look.h"
#include "pool/device/driver_checkpoint.h"
#include "pool/run/pool_run.h"
#include "pool/run/shared_images.h"
#include "process/process_status.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_gpu_images.h"
#include "support/log.h"

bool revive_is_needed(struct pool *pool, const struct abandoned_process *process)
{
	CUprocessState wanted = process->was_locked ? CU_PROCESS_STATE_LOCKED : CU_PROCESS_STATE_RUNNING, state;
	struct error_text error;
	struct agent agent;
	bool needed;

	if (agent_look(&agent, &process->target, &error))
		return true;
	needed = agent.has_page &&
		 (agent.page.state != AGENT_STATE_MAPPED || agent.page.out_of_place || agent.page.gate_readers);
	agent_close(&agent);
	/* A stopped thread could not tell the driver its state; and one that stands still is to go on. */
	if (needed || process_stands_still(process->target.pid))
		return true;
	return driver_process_state(pool, &process->target, &state, &error) || state != wanted;
}

static bool is_removed(int folder)
{
	struct stat status;

	return fstat(folder, &status) == 0 && status.st_nlink == 0;
}

/* Where the images are, and whether they stay. The dump may have succeeded, and only the way back failed. */
static void take_over_folder(struct run *run, const struct abandoned_process *abandoned)
{
	run->folder = abandoned->folder >= 0 ? fcntl(abandoned->folder, F_DUPFD_CLOEXEC, 3) : -1;
	run->lock = abandoned->folder_lock >= 0 ? fcntl(abandoned->folder_lock, F_DUPFD_CLOEXEC, 3) : -1;
	memcpy(run->checkpoint_id, abandoned->checkpoint_id, sizeof(run->checkpoint_id));
	if (run->lock < 0) {
		run->settled = checkpoint_folder_is_complete(run->folder);
		return;
	}
	run_look_whether_settled(run);
	if (run->settled)
		return;
	/* The plugin has put the folder in order, and what is somebody's only copy into the folder itself. */
	if (is_removed(run->folder) && dup3(run->lock, run->folder, O_CLOEXEC) >= 0)
		close_if_open(&run->lock);
}

void revive_folder(struct pool *pool, const struct abandoned_process *process)
{
	bool is_kept, is_own;
	struct run run;

	run_init(&run, pool, -1);
	run.stage = POOL_STAGE_DUMP;
	take_over_folder(&run, process);
	/* What CRIU has written all of stays for whoever has nothing else of the process; the next run sees to it. */
	is_kept = process->one_has_ended && checkpoint_folder_may_restore(run.lock, run.folder);
	/* Where that run wrote directly, a complete checkpoint is somebody else's, who knew of no lock. */
	is_own = !run.settled && !is_kept && run_has_a_folder_of_its_own(&run);
	if (is_own && !process->images_stay)
		run_remove_left_images(&run, process->target.named);
	/* Of what is settled, what it has replaced goes. */
	if ((is_own || run.settled) && !process->others_follow)
		run_put_folder_in_order(&run);
	close_if_open(&run.folder);
	close_if_open(&run.lock);
}

/* With whom it shares memory is said by process ids. */
static int check_view(const struct run *run, const struct run_process *process, struct error_text *error)
{
	struct gpu_image_holder here = run_sharing_holder(process);
	struct shared_images images;
	int result = shared_images_find(run->folder, process->image_id, &images, error);

	if (result)
		return result;
	if (images.count > 1 && images.holder.pid && here.pid &&
	    (images.holder.pid != here.pid || images.holder.start_time != here.start_time))
		result = fail(error, -EXDEV,
			      "Process %d shares device memory with others, and had another process id (%d) for the "
			      "pool that dumped them: bring it back from that pool's pid namespace",
			      process->pid, images.holder.pid);
	shared_images_free(&images);
	return result;
}

static struct gpu_image *find_image(int folder, const uint8_t id[16])
{
	struct gpu_image_name *names = NULL;
	struct gpu_image *image = NULL;
	size_t count = 0, i;

	if (gpu_image_list(folder, &names, &count, NULL))
		return NULL;
	for (i = 0; i < count && !image; i++)
		if (names[i].has_id && !memcmp(names[i].id, id, sizeof(names[i].id)) &&
		    gpu_image_read(folder, &names[i], &image, NULL))
			image = NULL;
	free(names);
	return image;
}

static int take_piece(struct run *run, struct run_process *process, const struct gpu_image *image, int descriptor,
		      struct error_text *error)
{
	const struct gpu_image_allocation *allocation = &image->allocations[process->memory_count];
	struct held_memory *memory = &process->memory[process->memory_count];
	int result;

	*memory = (struct held_memory){
		.allocation_id = allocation->id,
		.address = allocation->address,
		.bytes = allocation->bytes,
		.on_host = allocation->on_host,
		.node = allocation->node,
		.device = pool_device_find(run->pool, image->devices[allocation->device].uuid),
		.descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 3),
	};
	process->memory_count++;
	if (memory->descriptor < 0)
		return fail(error, -errno, "A descriptor could not be duplicated: %s", errno_text(errno));
	if (!memory->device)
		return fail(error, -ENODEV, "Process %d holds memory on a GPU that is not there", process->pid);
	result = pool_device_warm(memory->device, error);
	return result ? result : pool_device_use(memory->device, error);
}

/* What no file has, as the run had it that is gone. */
static int take_over_memory(struct run *run, struct run_process *process, const struct abandoned_process *abandoned,
			    struct error_text *error)
{
	struct gpu_image *image = find_image(run->folder, process->image_id);
	int result = 0;
	uint32_t i;

	if (image && image->in_pool && image->allocation_count == abandoned->memory_count) {
		process->memory = calloc(abandoned->memory_count + 1, sizeof(*process->memory));
		result =
			process->memory ? pool_driver_prepare(run->pool, error) : fail(error, -ENOMEM, "Out of memory");
		for (i = 0; i < abandoned->memory_count && result == 0; i++)
			result = take_piece(run, process, image, abandoned->memory[i], error);
		process->own_count = process->memory_count;
	}
	gpu_image_free(image);
	return result;
}

/* As the run had it that is gone. */
static int take_over(struct run *run, const struct abandoned_process *abandoned, struct error_text *error)
{
	struct target target = {.pidfd = fcntl(abandoned->target.pidfd, F_DUPFD_CLOEXEC, 3),
				.pid = abandoned->target.pid,
				.named = abandoned->target.named};
	int lock = fcntl(abandoned->lock, F_DUPFD_CLOEXEC, 3), result;
	struct run_process *process;
	struct agent agent;

	run->stage = POOL_STAGE_DUMP;
	run->parallel = true;
	run->verify = true;
	run->images_stay = abandoned->images_stay;
	take_over_folder(run, abandoned);
	if (abandoned->others_follow)
		close_if_open(&run->lock);
	process = run_process_get(run, &target, &lock);
	close_if_open(&lock);
	target_close(&target);
	if (!process)
		return fail(error, -ENOMEM, "Out of memory");
	result = agent_look(&agent, &process->target, error);
	if (result)
		return result;
	process->agent = agent.control;
	process_note_left_by_another(process, agent.has_page && agent.page.state == AGENT_STATE_RELEASED,
				     abandoned->was_locked);
	/* Before it is held, which lets it go on. */
	process->may_be_unlocked =
		abandoned->was_locked && process->agent >= 0 && process_stands_still(process->target.pid);
	process->image_written = process->image_found = process_lacks_memory(process);
	memcpy(process->image_id, agent.page.image_id, sizeof(process->image_id));
	/* Who knows of no run asks whether the checkpoint that lies there is that of the image; it may be an older one. */
	if (process_lacks_memory(process) && abandoned->folder_lock < 0)
		run->settled = checkpoint_has_gpu_image(run->folder, process->image_id);
	if (!process_lacks_memory(process))
		return 0;
	if (run->folder < 0)
		return fail(error, -EINVAL,
			    "The device memory of process %d is in a GPU image: name its folder with --images",
			    process->pid);
	if (abandoned->memory_count)
		result = take_over_memory(run, process, abandoned, error);
	return result ? result : check_view(run, process, error);
}

/*
 * Until the agent has ended what the run that is gone had asked of it, whoever allocates or frees device memory in the
 * process waits. One that waits itself for a thread that was held gets on now.
 */
static int check_agent(const struct run *run)
{
	const struct run_process *process = run->processes[0];
	struct agent_client agent = run_agent(run, process);
	struct error_text error;
	int result;

	if (process->agent < 0 || target_has_ended(&process->target))
		return 0;
	result = agent_map_all(&agent, NULL, 0, &error);
	if (result == 0 || target_has_ended(&process->target))
		return 0;
	log_error("Process %d goes on, but what allocates or frees device memory in it may wait for its agent: %s. To "
		  "wait for that once more: rekindled --revive %d",
		  process->pid, error.text, process->target.pid);
	return result;
}

int revive(struct pool *pool, const struct abandoned_process *process)
{
	struct error_text error;
	struct run run;
	int result;

	run_init(&run, pool, -1);
	run.life = RUN_ENDING;
	run.lost = true;
	result = take_over(&run, process, &error);
	if (result)
		log_error("%s", error.text);
	else
		result = run_bring_back(&run);
	if (result == 0)
		result = check_agent(&run);
	run.life = RUN_OVER;
	run_close(&run);
	return result;
}
