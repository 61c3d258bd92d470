/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rekindle.h"
#include "api/test_images.h"
#include "store/image_test_support.h"

/* Which GPUs there are, what an image needs of them, and whether it finds room. */

#define GIBIBYTE (UINT64_C(1) << 30)

static struct rekindle_environment environment;
static struct rekindle_error error;

static int set_up(void **state)
{
	rekindle_environment_defaults(&environment);
	environment.cuda_driver = getenv("REKINDLE_CUDA_DRIVER");
	return folder_set_up(state);
}

static void the_gpus_of_the_machine_are_listed(void **state)
{
	struct rekindle_gpu gpus[4];
	uint32_t count = 0;

	(void)state;
	assert_int_equal(rekindle_gpus_list(&environment, NULL, 0, &count, &error), REKINDLE_OK);
	assert_int_equal(count, 2);
	memset(gpus, 7, sizeof(gpus));
	assert_int_equal(rekindle_gpus_list(&environment, gpus, 4, &count, &error), REKINDLE_OK);
	assert_int_equal(gpus[1].device, 1);
	assert_true(gpus[1].simulated);
	assert_true(gpus[1].driver_version >= 12080);
	assert_non_null(strstr(gpus[1].name, "SIMULATED"));
	assert_string_equal(gpus[1].uuid, "GPU-53494d55-4c41-5445-442d-4750552d3031");
	assert_true(gpus[1].free_known);
	assert_int_equal(gpus[0].memory_bytes, 8 * GIBIBYTE);
	assert_int_equal(gpus[0].free_bytes, 8 * GIBIBYTE);
	assert_int_equal(gpus[1].free_bytes, 3 * GIBIBYTE);
	/* What does not fit is left alone. */
	assert_int_equal(gpus[2].device, 0x07070707);
}

static void a_machine_without_a_driver_has_none(void **state)
{
	uint32_t count = 7;

	(void)state;
	environment.cuda_driver = "/nowhere/libcuda.so.1";
	assert_int_equal(rekindle_gpus_list(&environment, NULL, 0, &count, &error), REKINDLE_ERROR_NO_DRIVER);
	assert_non_null(strstr(error.message, "/nowhere/libcuda.so.1"));
	assert_int_equal(rekindle_gpus_list(&environment, NULL, 1, &count, &error), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(rekindle_gpus_list(&environment, NULL, 0, NULL, &error), REKINDLE_ERROR_INVALID_ARGUMENT);
}

static void an_image_says_what_each_process_has_on_each_gpu(void **state)
{
	struct folder_fixture *fixture = *state;
	struct rekindle_image_gpu gpus[2];
	uint32_t count;

	gpu_image_free(write_image(fixture->folder, 42, NULL));
	gpu_image_free(write_image(fixture->folder, 43, NULL));
	assert_int_equal(rekindle_image_gpus(fixture->path, gpus, 1, &count, &error), REKINDLE_OK);
	assert_int_equal(count, 2);
	assert_int_equal(rekindle_image_gpus(fixture->path, gpus, 2, &count, &error), REKINDLE_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(gpus[i].pid, 1042 + i);
		assert_string_equal(gpus[i].name, "Test GPU");
		assert_int_equal(strlen(gpus[i].uuid), 40);
		assert_int_equal(gpus[i].device_bytes, 7 * MEBIBYTE);
		assert_int_equal(gpus[i].driver_bytes, 3 * MEBIBYTE);
		assert_int_equal(gpus[i].allocations, 2);
	}
	assert_int_equal(rekindle_image_gpus("/nowhere", gpus, 2, &count, &error), REKINDLE_ERROR_NO_IMAGE);
}

/* CRIU's images call a process of a container by its pid in there, those of its device memory by the one outside. */
static void a_process_of_a_container_has_its_device_memory(void **state)
{
	struct folder_fixture *fixture = *state;
	struct rekindle_image_process processes[2];
	struct rekindle_image image;

	test_images_write(fixture->path, 1001);
	gpu_image_free(write_image(fixture->folder, 1, NULL));
	assert_int_equal(rekindle_image_read(fixture->path, &image, processes, 2, &error), REKINDLE_OK);
	assert_int_equal(image.process_count, 2);
	assert_int_equal(processes[0].pid, 1001);
	assert_int_equal(processes[0].mode, REKINDLE_MODE_OFFLOAD);
	assert_int_equal(processes[0].device_bytes, 7 * MEBIBYTE);
	assert_int_equal(processes[1].device_bytes, 0);
}

/* The GPU of the images, on a machine that has it. */
static struct rekindle_gpu gpu_of(const char *directory)
{
	struct rekindle_gpu gpu = {.simulated = 1, .free_known = 1, .free_bytes = GIBIBYTE};
	struct rekindle_image_gpu needed;
	uint32_t count;

	assert_int_equal(rekindle_image_gpus(directory, &needed, 1, &count, &error), REKINDLE_OK);
	gpu.memory_bytes = needed.memory_bytes;
	strcpy(gpu.name, needed.name);
	strcpy(gpu.uuid, needed.uuid);
	return gpu;
}

static int fits(const char *directory, const struct rekindle_gpu *gpus, uint32_t count, const char *map)
{
	const struct rekindle_fit_request request = {
		.structure_size = sizeof(request),
		.gpu_count = count,
		.directory = directory,
		.gpus = gpus,
		.device_map = map,
	};

	error.message[0] = '\0';
	return rekindle_image_fits(&request, &error);
}

static void an_image_fits_where_there_is_room_of_its_kind(void **state)
{
	struct folder_fixture *fixture = *state;
	struct rekindle_gpu gpus[2];

	gpu_image_free(write_image(fixture->folder, 42, NULL));
	gpus[0] = gpu_of(fixture->path);
	gpus[1] = gpus[0];
	gpus[1].device = 1;
	gpus[1].uuid[39] ^= 1;
	assert_int_equal(fits(fixture->path, gpus, 1, NULL), REKINDLE_OK);
	/* Another one of its kind does as well. */
	assert_int_equal(fits(fixture->path, &gpus[1], 1, NULL), REKINDLE_OK);
	/* 7 MiB of its own, 3 of the driver's. */
	gpus[0].free_bytes = 10 * MEBIBYTE;
	assert_int_equal(fits(fixture->path, gpus, 1, NULL), REKINDLE_OK);
	gpus[0].free_bytes--;
	assert_int_equal(fits(fixture->path, gpus, 1, NULL), REKINDLE_ERROR_NO_SPACE);
	assert_non_null(strstr(error.message, "9 MiB free, and 10 MiB are needed"));
	assert_int_equal(fits(fixture->path, gpus, 2, NULL), REKINDLE_OK);
	assert_int_equal(fits(fixture->path, gpus, 2, "0=0"), REKINDLE_ERROR_NO_SPACE);
	assert_int_equal(fits(fixture->path, gpus, 2, "0=1"), REKINDLE_OK);
	assert_int_equal(fits(fixture->path, gpus, 2, "0=2"), REKINDLE_ERROR_INVALID_ARGUMENT);
	gpus[1].free_bytes = 0;
	assert_int_equal(fits(fixture->path, gpus, 2, NULL), REKINDLE_ERROR_NO_SPACE);
	gpus[1].free_known = 0;
	assert_int_equal(fits(fixture->path, gpus, 2, NULL), REKINDLE_OK);
}

static void an_image_does_not_fit_on_gpus_of_another_kind(void **state)
{
	struct folder_fixture *fixture = *state;
	struct rekindle_gpu gpu;

	gpu_image_free(write_image(fixture->folder, 42, NULL));
	gpu = gpu_of(fixture->path);
	assert_int_equal(fits(fixture->path, NULL, 0, NULL), REKINDLE_ERROR_INCOMPATIBLE);
	assert_non_null(strstr(error.message, "this machine has none"));
	gpu.simulated = 0;
	assert_int_equal(fits(fixture->path, &gpu, 1, NULL), REKINDLE_ERROR_INCOMPATIBLE);
	gpu.simulated = 1;
	gpu.uuid[39] ^= 1;
	gpu.name[0] = 'X';
	assert_int_equal(fits(fixture->path, &gpu, 1, NULL), REKINDLE_ERROR_INCOMPATIBLE);
	assert_non_null(strstr(error.message, "Test GPU"));
	strcpy(gpu.uuid, "0");
	assert_int_equal(fits(fixture->path, &gpu, 1, NULL), REKINDLE_ERROR_INVALID_ARGUMENT);
	assert_int_equal(fits("/nowhere", NULL, 0, NULL), REKINDLE_ERROR_NO_IMAGE);
	assert_int_equal(rekindle_image_fits(NULL, &error), REKINDLE_ERROR_INVALID_ARGUMENT);
}

static void an_image_of_native_mode_needs_a_gpu_of_its_kind(void **state)
{
	struct folder_fixture *fixture = *state;
	struct gpu_image *image = gpu_image_create(42, CHUNK, 1, 0);
	struct rekindle_gpu gpu;

	assert_non_null(image);
	image->mode = GPU_IMAGE_NATIVE;
	image->simulated = true;
	strcpy(image->devices[0].name, "Test GPU");
	image->devices[0].memory_bytes = GIBIBYTE;
	assert_int_equal(gpu_image_commit(fixture->folder, image, NULL), 0);
	gpu_image_free(image);
	gpu = gpu_of(fixture->path);
	assert_int_equal(fits(fixture->path, &gpu, 1, NULL), REKINDLE_OK);
	gpu.name[0] = 'X';
	gpu.uuid[39] ^= 1;
	assert_int_equal(fits(fixture->path, &gpu, 1, NULL), REKINDLE_ERROR_INCOMPATIBLE);
}

static void a_checkpoint_without_cuda_fits_anywhere(void **state)
{
	struct folder_fixture *fixture = *state;

	assert_int_equal(fits(fixture->path, NULL, 0, NULL), REKINDLE_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_gpus_of_the_machine_are_listed),
		TEST(a_machine_without_a_driver_has_none),
		TEST(an_image_says_what_each_process_has_on_each_gpu),
		TEST(a_process_of_a_container_has_its_device_memory),
		TEST(an_image_fits_where_there_is_room_of_its_kind),
		TEST(an_image_does_not_fit_on_gpus_of_another_kind),
		TEST(an_image_of_native_mode_needs_a_gpu_of_its_kind),
		TEST(a_checkpoint_without_cuda_fits_anywhere),
	};

	/* Before the driver starts, once in this process. */
	setenv("REKINDLE_SIMCUDA_DEVICES", "2", 1);
	setenv("REKINDLE_SIMCUDA_MEMORY", "8G", 1);
	setenv("REKINDLE_SIMCUDA_USED", "0,5G", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
