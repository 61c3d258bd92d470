/* SPDX-License-Identifier: MIT */
#include "copy/copy_test_support.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Which job goes first. */

/* Blocks of the four chunks that as many workers have taken. */
#define FOUR_CHUNKS 16
#define LIMIT_MS 30000

/* Of copies to or from the first memory only so many are let through. */
static atomic_int allowed, seen;
static const struct fixture *gated;

static void pass(CUdeviceptr address)
{
	int number;

	if (address < gated->device || address >= gated->device + BYTES)
		return;
	number = atomic_fetch_add(&seen, 1);
	while (number >= atomic_load(&allowed))
		usleep(1000);
}

static CUresult gated_to_device(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	pass(destination);
	return real_driver.cuMemcpyHtoDAsync(destination, source, bytes, stream);
}

static CUresult gated_from_device(void *destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	pass(source);
	return real_driver.cuMemcpyDtoHAsync(destination, source, bytes, stream);
}

/* A second job, with memory of its own, for what the first one's file has. */
struct second {
	CUdeviceptr device;
	struct copy_chunk chunks[CHUNKS];
	struct copy_request request;
};

static void begin(struct fixture *fixture, struct second *second)
{
	struct error_text error;
	uint32_t i;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	fixture->request.direction = COPY_FILE_TO_DEVICE;
	assert_int_equal(real_driver.cuMemAlloc(&second->device, BYTES), CUDA_SUCCESS);
	memcpy(second->chunks, fixture->chunks, sizeof(second->chunks));
	for (i = 0; i < CHUNKS; i++)
		second->chunks[i].device_address += second->device - fixture->device;
	second->request = fixture->request;
	second->request.chunks = second->chunks;
	gated = fixture;
	atomic_store(&seen, 0);
	atomic_store(&allowed, 0);
	driver.cuMemcpyHtoDAsync = gated_to_device;
	driver.cuMemcpyDtoHAsync = gated_from_device;
}

static struct copy_job *start(struct fixture *fixture, const struct copy_request *request)
{
	struct error_text error;
	struct copy_job *job;

	assert_int_equal(copy_job_start(fixture->engine, request, &job, &error), 0);
	return job;
}

static void end(struct fixture *fixture, struct second *second, struct copy_job *first_job, struct copy_job *second_job)
{
	atomic_store(&allowed, INT_MAX);
	assert_true(copy_job_wait(first_job, LIMIT_MS));
	assert_true(copy_job_wait(second_job, LIMIT_MS));
	assert_int_equal(copy_job_result(first_job, NULL), 0);
	assert_int_equal(copy_job_result(second_job, NULL), 0);
	assert_int_equal(copy_job_bytes_done(first_job), BYTES);
	assert_int_equal(copy_job_bytes_done(second_job), BYTES);
	copy_job_finish(first_job);
	copy_job_finish(second_job);
	assert_device_equals(fixture);
	real_driver.cuMemFree(second->device);
}

/* Those that have a chunk of the first one finish it, and take no other. */
static void all_others_overtake_what_is_in_the_background(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *background, *urgent;
	struct second second;
	bool overtaken, over;

	begin(fixture, &second);
	fixture->request.background = true;
	background = start(fixture, &fixture->request);
	urgent = start(fixture, &second.request);
	atomic_store(&allowed, FOUR_CHUNKS);
	overtaken = copy_job_wait(urgent, LIMIT_MS);
	over = copy_job_wait(background, 0);
	end(fixture, &second, background, urgent);
	assert_true(overtaken);
	assert_false(over);
}

static void a_hurried_job_is_overtaken_no_more(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *hurried, *later;
	struct second second;
	bool goes_on;
	int i;

	begin(fixture, &second);
	fixture->request.background = true;
	hurried = start(fixture, &fixture->request);
	copy_job_hurry(hurried);
	later = start(fixture, &second.request);
	atomic_store(&allowed, FOUR_CHUNKS);
	for (i = 0; i < LIMIT_MS && atomic_load(&seen) <= FOUR_CHUNKS && !copy_job_wait(later, 0); i++)
		usleep(1000);
	goes_on = atomic_load(&seen) > FOUR_CHUNKS && copy_job_bytes_done(later) == 0;
	end(fixture, &second, hurried, later);
	assert_true(goes_on);
}

static void both_ways_are_kept_going(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *out, *in;
	struct second second;
	bool through, over;

	begin(fixture, &second);
	fixture->request.direction = COPY_DEVICE_TO_FILE;
	out = start(fixture, &fixture->request);
	in = start(fixture, &second.request);
	atomic_store(&allowed, FOUR_CHUNKS);
	through = copy_job_wait(in, LIMIT_MS);
	over = copy_job_wait(out, 0);
	end(fixture, &second, out, in);
	assert_true(through);
	assert_false(over);
}

/* Others do, with half of the workers. */
static void the_background_rests_while_others_need_the_link(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *background, *urgent;
	_Atomic int others = 1;
	struct second second;
	uint64_t bytes;

	begin(fixture, &second);
	atomic_store(&allowed, INT_MAX);
	copy_engine_yield_to(fixture->engine, &others);
	fixture->request.background = true;
	background = start(fixture, &fixture->request);
	urgent = start(fixture, &second.request);
	assert_true(copy_job_wait(urgent, LIMIT_MS));
	bytes = copy_job_bytes_done(background);
	others = 0;
	end(fixture, &second, background, urgent);
	assert_int_equal(bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_others_overtake_what_is_in_the_background),
		TEST(a_hurried_job_is_overtaken_no_more),
		TEST(both_ways_are_kept_going),
		TEST(the_background_rests_while_others_need_the_link),
	};

	return cmocka_run_group_tests(tests, open_driver, close_driver);
}
