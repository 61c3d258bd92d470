/* SPDX-License-Identifier: MIT */
#include "plugin/dump_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "plugin/criu_plugin_abi.h"
#include "plugin/removed_files.h"
#include "process/agent_page.h"
#include "process/process_maps.h"
#include "protocol/seal_order.h"
#include "settings/program_find.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_gpu_images.h"
#include "store/folder_lock.h"
#include "support/log.h"

#define SEAL_PROGRAM "rekindle-seal"

static int make_order(struct dump_folder *folder, const struct settings *settings, struct error_text *error)
{
	char number[16];

	folder->order_file = memfd_create("rekindle-seal-order", MFD_CLOEXEC);
	if (folder->order_file < 0 || ftruncate(folder->order_file, sizeof(*folder->order)))
		return fail(error, -errno, "cannot make a memory file: %s", errno_text(errno));
	folder->order = mmap(NULL, sizeof(*folder->order), PROT_READ | PROT_WRITE, MAP_SHARED, folder->order_file, 0);
	if (folder->order == MAP_FAILED) {
		folder->order = NULL;
		return fail(error, -errno, "cannot map a memory file: %s", errno_text(errno));
	}
	folder->order->lock = folder->lock;
	folder->order->pool_socket = -1;
	folder->order->threads = settings->streams;
	folder->order->timeout_ms = settings->timeout_seconds * 1000u;
	if (getrandom(folder->order->checkpoint_id, sizeof(folder->order->checkpoint_id), 0) !=
	    sizeof(folder->order->checkpoint_id))
		return fail(error, -EIO, "the system has no random numbers");
	snprintf(number, sizeof(number), "%d", folder->order_file);
	return setenv(SEAL_ORDER_VARIABLE, number, 1) ? fail(error, -ENOMEM, "Out of memory") : 0;
}

static int add_seal(const struct settings *settings, struct error_text *error)
{
	char program[PATH_MAX];
	int code = program_find(LAYOUT_SEAL, settings, program, error);

	if (code)
		return code;
	if (!add_script)
		return fail(error, -ENOSYS, "this CRIU lets plugins add no scripts: use one from 4.1 on");
	return add_script(program) ? fail(error, -ENOMEM, "CRIU could not add the script " SEAL_PROGRAM) : 0;
}

/* CRIU opens all images through one descriptor: from here on it leads into the hidden folder. */
static int lead_criu(int images, struct error_text *error)
{
	int descriptor = criu_get_image_dir();
	int flags = fcntl(descriptor, F_GETFD);

	if (flags < 0 || dup3(images, descriptor, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		return fail(error, -errno, "cannot change CRIU's folder of images: %s", errno_text(errno));
	return 0;
}

/* Of a dump that succeeded and could not give the process its memory back, there may be no other copy of that. */
static int check_is_not_the_only_memory(const struct gpu_image_name *name, struct error_text *error)
{
	struct process_maps maps;
	struct agent agent;
	int code;

	if (!name->has_id || !gpu_image_owner_runs(name))
		return 0;
	code = process_maps_read(name->pid, &maps, error);
	if (code)
		return code == -ESRCH ? 0 : code;
	agent_open(&agent, name->pid, &maps);
	agent_close(&agent);
	code = agent_must_be_known(&agent, name->pid, error);
	if (code || !agent.has_page || agent.page.state != AGENT_STATE_RELEASED ||
	    memcmp(agent.page.image_id, name->id, sizeof(name->id)))
		return code;
	return fail(error, -EBUSY,
		    "process %d has its device memory in the older checkpoint of this folder only: run "
		    "\"rekindled --revive %d --images\" with the folder, or end the process, or use another folder",
		    name->pid, name->pid);
}

/* The older checkpoint is removed in the end. What no manifest lists stays anyway, see store/checkpoint_members.h. */
static int check_older(int lock, struct error_text *error)
{
	struct gpu_image_name *names = NULL;
	size_t count = 0, i;
	int code = 0;

	if (!checkpoint_folder_is_complete(lock) || checkpoint_gpu_images(lock, &names, &count, error))
		return 0;
	for (i = 0; i < count && !code; i++)
		code = check_is_not_the_only_memory(&names[i], error);
	free(names);
	return code;
}

int dump_folder_begin(struct dump_folder *folder, const struct settings *settings, struct error_text *error)
{
	int images = -1, code;

	*folder = DUMP_FOLDER_NONE;
	if (criu_get_image_dir() < 0)
		return fail(error, -EBADF, "CRIU has no image folder open");
	folder->lock = folder_lock(criu_get_image_dir(), false, error);
	if (folder->lock < 0)
		return folder->lock;
	code = make_order(folder, settings, error);
	if (!code)
		code = add_seal(settings, error);
	if (!code)
		code = checkpoint_folder_begin(folder->lock, &images, error);
	if (!code)
		folder->place = images < 0 ? DUMP_INTO_FOLDER : DUMP_INTO_HIDDEN;
	if (!code)
		code = check_older(folder->lock, error);
	if (!code && images >= 0) {
		log_info("the folder holds an older checkpoint, which stays until this one is complete");
		code = lead_criu(images, error);
	}
	if (images >= 0)
		close(images);
	return code;
}

void dump_folder_path(int lock, char path[PATH_MAX])
{
	char link[32];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", lock >= 0 ? lock : criu_get_image_dir());
	length = readlink(link, path, PATH_MAX - 1);
	path[length > 0 ? length : 0] = '\0';
}

void dump_folder_set_pool(struct dump_folder *folder, int socket)
{
	folder->order->pool_socket = socket;
}

/*
 * CRIU has not run the program: it knows of no failure then, and ends the processes next. So this is done here, whatever the
 * pool has checked already, and whatever comes of it the images stay.
 */
static int seal_here(struct dump_folder *folder, struct error_text *error)
{
	struct checkpoint_reading reading = {.threads = 1};
	struct error_text why;
	int code;

	log_warning("CRIU did not run " SEAL_PROGRAM ": the checkpoint is flushed and sealed by the plugin");
	code = gpu_images_check_on_disk(criu_get_image_dir(), folder->order->threads, &why);
	if (!code)
		code = checkpoint_folder_seal(folder->lock, criu_get_image_dir(), folder->order->checkpoint_id,
					      &reading, &why);
	folder->keep_images = code != 0;
	return code ? fail(error, code, "%s; the images stay where CRIU wrote them: copy them to another disk",
			   why.text)
		    : 0;
}

int dump_folder_sealed(struct dump_folder *folder, struct error_text *error)
{
	int state = folder->order ? __atomic_load_n(&folder->order->state, __ATOMIC_ACQUIRE) : SEAL_NOT_BEGUN;

	if (state == SEAL_DONE)
		return 0;
	if (state == SEAL_FAILED)
		return fail(error, folder->order->code, "%s", folder->order->error.text);
	/* What was begun and did not end is a failure to CRIU too. */
	if (state == SEAL_BEGUN)
		return fail(error, -EIO,
			    "the program " SEAL_PROGRAM ", which flushes the checkpoint to the disk, was ended: the "
			    "checkpoint is not complete; dump it again");
	return seal_here(folder, error);
}

bool dump_folder_commit(const struct dump_folder *folder)
{
	struct error_text error;

	if (folder->lock < 0 || folder->keep_images)
		return false;
	if (!checkpoint_folder_commit(folder->lock, &error))
		return true;
	log_error("%s; the next run in this folder puts the older checkpoint back: the new one is complete "
		  "in " CHECKPOINT_NEW_FOLDER " in it, copy it to another folder before that",
		  error.text);
	return false;
}

void dump_folder_drop_images(const struct dump_folder *folder, pid_t pid)
{
	struct gpu_image_name *names = NULL;
	int images = criu_get_image_dir();
	struct error_text error;
	size_t count = 0, i;

	if (folder->place == DUMP_NOT_BEGUN)
		return;
	if (gpu_image_list(images, &names, &count, &error))
		log_warning("%s", error.text);
	for (i = 0; i < count; i++)
		if (names[i].pid == pid)
			gpu_image_remove(images, &names[i]);
	free(names);
	gpu_image_remove_unfinished(images, pid);
}

void dump_folder_end(struct dump_folder *folder, bool good, enum run_rest rest)
{
	struct removed_files *removed = NULL;
	struct error_text error;
	int code = 0;

	if (folder->lock >= 0 && good && !folder->keep_images) {
		removed = removed_files_hold(folder->lock, CHECKPOINT_REPLACED_FOLDER);
		code = checkpoint_folder_keep(folder->lock, &error);
	} else if (folder->place != DUMP_NOT_BEGUN && !good && rest == RUN_REST_OURS)
		code = checkpoint_folder_abandon(folder->lock, folder->place == DUMP_INTO_FOLDER, &error);
	if (code)
		log_warning("%s; the next dump into this folder does it", error.text);
	removed_files_let_go(removed);
	if (folder->order)
		munmap(folder->order, sizeof(*folder->order));
	if (folder->order_file >= 0)
		close(folder->order_file);
	/* Closing alone would leave the duplicates of programs that the pool starts, but not what it has still to do. */
	if (rest == RUN_REST_NONE)
		folder_unlock(folder->lock);
	else if (folder->lock >= 0)
		close(folder->lock);
	*folder = DUMP_FOLDER_NONE;
}
