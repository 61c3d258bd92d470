/* SPDX-License-Identifier: MIT */
#include "api/gpu_images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call/report.h"
#include "store/checkpoint_gpu_images.h"

void gpu_images_close(struct gpu_images *gpu)
{
	size_t i;

	for (i = 0; i < gpu->count; i++)
		gpu_image_free(gpu->images[i]);
	free(gpu->images);
	checkpoint_manifest_free(gpu->checkpoint);
	if (gpu->folder >= 0)
		close(gpu->folder);
}

static int open_folder(const char *directory, int *folder, struct rekindle_error *error)
{
	struct stat status;

	if (!directory || !*directory)
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "directory may not be NULL or empty.");
	if (stat(directory, &status))
		return report(error, errno == ENOENT ? REKINDLE_ERROR_NO_IMAGE : code_of_errno(-errno),
			      REKINDLE_PHASE_NONE, "The folder %.300s cannot be read: %s.", directory,
			      errno_text(errno));
	if (!S_ISDIR(status.st_mode))
		return report(error, REKINDLE_ERROR_INVALID_ARGUMENT, REKINDLE_PHASE_NONE,
			      "%.300s is a file: name the folder of a checkpoint.", directory);
	*folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0)
		return report(error, code_of_errno(-errno), REKINDLE_PHASE_NONE,
			      "The folder %.300s cannot be read: %s.", directory, errno_text(errno));
	return REKINDLE_OK;
}

int gpu_images_open(const char *directory, struct gpu_images *gpu, struct rekindle_error *error)
{
	struct error_text text = {""};
	struct gpu_image_name *names = NULL;
	size_t count = 0;
	size_t i;
	int result;

	memset(gpu, 0, sizeof(*gpu));
	gpu->folder = -1;
	result = open_folder(directory, &gpu->folder, error);
	if (result)
		return result;
	result = checkpoint_manifest_read(gpu->folder, &gpu->checkpoint, &text);
	if (result == -ENOENT)
		gpu->checkpoint = NULL;
	else if (!result)
		result = checkpoint_check_files(gpu->folder, gpu->checkpoint, &text);
	if (result && result != -ENOENT)
		goto fail;
	result = checkpoint_gpu_images(gpu->folder, &names, &count, &text);
	if (!result && !(gpu->images = calloc(count + 1, sizeof(*gpu->images))))
		result = fail(&text, -ENOMEM, "Out of memory");
	for (i = 0; !result && i < count; i++) {
		result = gpu_image_read(gpu->folder, &names[i], &gpu->images[i], &text);
		gpu->count += !result;
	}
	free(names);
	if (!result)
		return REKINDLE_OK;
fail:
	gpu_images_close(gpu);
	return report(error, code_of_errno(result), REKINDLE_PHASE_NONE, "%s", text.text);
}
