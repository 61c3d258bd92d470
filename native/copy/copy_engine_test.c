/* SPDX-License-Identifier: MIT */
#include "copy/copy_test_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "copy/page_cache.h"

/* What is stored and loaded again is the same, whatever disk, link and workers do; and nothing of it stays. */

static void stores_and_loads_bit_for_bit(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	uint64_t to_device, from_device;
	uint32_t i;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	for (i = 0; i < CHUNKS; i++) {
		assert_int_equal(fixture->chunks[i].zero, i == ZERO_CHUNK);
		if (i != ZERO_CHUNK)
			assert_int_equal(fixture->chunks[i].checksum,
					 XXH3_64bits(fixture->contents + i * CHUNK_BYTES, fixture->chunks[i].bytes));
	}
	/* The chunk of zeros is a hole of the file. */
	assert_int_equal(lseek(fixture->file.descriptor, ZERO_CHUNK * CHUNK_BYTES, SEEK_DATA),
			 (ZERO_CHUNK + 1) * CHUNK_BYTES);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
	copy_engine_totals(fixture->engine, &to_device, &from_device);
	assert_int_equal(to_device, BYTES);
	assert_int_equal(from_device, BYTES);
}

static void one_worker_is_enough(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	fixture->request.worker_limit = 1;
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
}

static pthread_mutex_t copiers_lock = PTHREAD_MUTEX_INITIALIZER;

static pthread_t copiers[8];

static unsigned int copier_count, wanted_copiers;

/* Remembers which threads copy, and holds each of them until all are there that are wanted. */
static void remember_copier(void)
{
	unsigned int i, tries;
	bool all = false;

	pthread_mutex_lock(&copiers_lock);
	for (i = 0; i < copier_count && !pthread_equal(copiers[i], pthread_self()); i++)
		;
	if (i == copier_count && copier_count < 8)
		copiers[copier_count++] = pthread_self();
	pthread_mutex_unlock(&copiers_lock);
	for (tries = 0; tries < 30000 && !all; tries++) {
		usleep(1000);
		pthread_mutex_lock(&copiers_lock);
		all = copier_count >= wanted_copiers;
		pthread_mutex_unlock(&copiers_lock);
	}
}

static void want_copiers(unsigned int count)
{
	copier_count = 0;
	wanted_copiers = count;
}

static CUresult remembering_copy(CUdeviceptr destination, const void *source, size_t bytes, CUstream stream)
{
	remember_copier();
	return real_driver.cuMemcpyHtoDAsync(destination, source, bytes, stream);
}

static CUresult remembering_copy_out(void *destination, CUdeviceptr source, size_t bytes, CUstream stream)
{
	remember_copier();
	return real_driver.cuMemcpyDtoHAsync(destination, source, bytes, stream);
}

static void half_of_the_workers_rest_while_others_need_the_link(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	_Atomic int others = 0;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	copy_engine_yield_to(fixture->engine, &others);
	driver.cuMemcpyHtoDAsync = remembering_copy;
	want_copiers(4);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_int_equal(copier_count, 4);

	others = 1;
	want_copiers(2);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_int_equal(copier_count, 2);
	assert_device_equals(fixture);

	/* The way out is nobody else's. */
	driver.cuMemcpyDtoHAsync = remembering_copy_out;
	want_copiers(4);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(copier_count, 4);
}

/* Copies onto the device, and tells how many threads did it. */
static unsigned int copiers_with_limit(struct fixture *fixture, unsigned int limit)
{
	struct error_text error;

	want_copiers(limit ? limit : 3);
	fixture->request.worker_limit = limit;
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
	return copier_count;
}

static void no_more_workers_than_allowed(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	driver.cuMemcpyHtoDAsync = remembering_copy;
	assert_int_equal(copiers_with_limit(fixture, 1), 1);
	assert_int_equal(copiers_with_limit(fixture, 2), 2);
	assert_true(copiers_with_limit(fixture, 0) > 2);
}

static void short_and_interrupted_writes_and_reads_are_completed(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;

	atomic_store(&disk.at_most, 100000);
	atomic_store(&disk.interruptions, 3);
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(disk.interruptions, 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	atomic_store(&disk.interruptions, 3);
	fixture->request.verify = false; /* the contents are compared here */
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
}

static unsigned int open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/* Around the page cache where that works, through it where it does not; nothing stays open. */
static void a_cold_file_is_read_around_the_page_cache(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	unsigned int before;
	int fails;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	before = open_descriptors();
	for (fails = 0; fails < 2; fails++) {
		disk.cold = true;
		disk.direct_fails = fails;
		atomic_store(&disk.reads, 0);
		atomic_store(&disk.direct_reads, 0);
		real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
		assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
		disk.cold = false;
		assert_device_equals(fixture);
		assert_true(atomic_load(&disk.direct_reads) > 0);
		assert_int_equal(atomic_load(&disk.reads) > 0, fails);
		assert_int_equal(open_descriptors(), before);
	}
}

static void loads_a_file_on_disk_whose_pages_are_not_cached(void **state)
{
	char path[] = "copy-engine-XXXXXX";
	struct fixture *fixture = *state;
	struct error_text error;

	close(fixture->file.descriptor);
	fixture->file.descriptor = mkstemp(path);
	unlink(path);
	assert_int_equal(ftruncate(fixture->file.descriptor, BYTES), 0);
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	assert_int_equal(fsync(fixture->file.descriptor), 0);
	assert_int_equal(posix_fadvise(fixture->file.descriptor, 0, 0, POSIX_FADV_DONTNEED), 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
}

static void chunks_go_into_the_files_that_they_name(void **state)
{
	struct fixture *fixture = *state;
	struct copy_file files[3];
	uint64_t bytes[3] = {0};
	unsigned char byte;
	struct error_text error;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		files[i] = (struct copy_file){.descriptor = memfd_create("part", MFD_CLOEXEC), .name = "part"};
		assert_true(files[i].descriptor >= 0);
	}
	for (i = 0; i < CHUNKS; i++) {
		fixture->chunks[i].file = (i + 1) % 3;
		fixture->chunks[i].file_offset = bytes[fixture->chunks[i].file];
		bytes[fixture->chunks[i].file] += fixture->chunks[i].bytes;
	}
	fixture->request.files = files;
	fixture->request.file_count = 3;
	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	for (i = 0; i < 2; i++) { /* the first chunks, each of a file of its own */
		assert_int_equal(pread(files[i + 1].descriptor, &byte, 1, 77), 1);
		assert_int_equal(byte, fixture->contents[i * CHUNK_BYTES + 77]);
	}
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), 0);
	assert_device_equals(fixture);
	files[2].name = "the third";
	assert_int_equal(ftruncate(files[2].descriptor, 4096), 0);
	assert_int_equal(run(fixture, COPY_FILE_TO_DEVICE, &error), -ENODATA);
	assert_non_null(strstr(error.text, "the third is truncated"));
	for (i = 0; i < 3; i++)
		close(files[i].descriptor);
}

static void jobs_run_one_after_the_other(void **state)
{
	struct fixture *fixture = *state;
	struct copy_job *jobs[CHUNKS];
	struct copy_request request;
	struct error_text error;
	uint32_t i;

	fill_device(fixture, fixture->contents);
	assert_int_equal(run(fixture, COPY_DEVICE_TO_FILE, &error), 0);
	real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	for (i = 0; i < CHUNKS; i++) { /* a job of one chunk each; the last first */
		request = fixture->request;
		request.direction = COPY_FILE_TO_DEVICE;
		request.chunks = &fixture->chunks[CHUNKS - 1 - i];
		request.chunk_count = 1;
		assert_int_equal(copy_job_start(fixture->engine, &request, &jobs[i], &error), 0);
	}
	for (i = 0; i < CHUNKS; i++) {
		copy_job_wait(jobs[i], -1);
		assert_int_equal(copy_job_result(jobs[i], &error), 0);
		copy_job_finish(jobs[i]);
	}
	assert_device_equals(fixture);
}

static void empty_job_ends_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	struct copy_job *job;

	fixture->request.chunk_count = 0;
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, &error), 0);
	assert_true(copy_job_wait(job, 0));
	assert_int_equal(copy_job_result(job, &error), 0);
	copy_job_finish(job);
}

/* So many chunks are done, and not one more. */
static void assert_done(struct copy_job *job, size_t chunks)
{
	uint64_t bytes = chunks == CHUNKS ? BYTES : (uint64_t)chunks * CHUNK_BYTES;
	int i;

	for (i = 0; i < 3000 && copy_job_bytes_done(job) < bytes; i++)
		usleep(10000);
	assert_int_equal(copy_job_bytes_done(job), bytes);
}

static void a_job_that_grows_copies_what_it_is_told_of(void **state)
{
	struct fixture *fixture = *state;
	struct copy_request request;
	struct copy_job *job, *other;
	struct error_text error;
	struct copy_chunk first;
	uint32_t i;
	int way;

	fill_device(fixture, fixture->contents);
	for (way = 0; way < 2; way++) {
		fixture->request.direction = way ? COPY_FILE_TO_DEVICE : COPY_DEVICE_TO_FILE;
		fixture->request.grows = true;
		assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, &error), 0);
		for (i = 0; i < CHUNKS; i++) {
			assert_done(job, i);
			assert_false(copy_job_wait(job, 0));
			if (i == 2) { /* it keeps nobody from working */
				first = fixture->chunks[0];
				request = fixture->request;
				request.grows = false;
				request.chunks = &first;
				request.chunk_count = 1;
				assert_int_equal(copy_job_start(fixture->engine, &request, &other, &error), 0);
				copy_job_wait(other, -1);
				copy_job_finish(other);
			}
			copy_job_grow(job, i + 1, i == CHUNKS - 1);
		}
		assert_true(copy_job_wait(job, -1));
		assert_int_equal(copy_job_result(job, &error), 0);
		assert_done(job, CHUNKS);
		copy_job_finish(job);
		if (!way)
			real_driver.cuMemsetD8(fixture->device, 0xee, BYTES);
	}
	assert_device_equals(fixture);
}

static void a_job_that_grows_ends_with_fewer_or_early(void **state)
{
	struct fixture *fixture = *state;
	struct error_text error;
	struct copy_job *job;

	fill_device(fixture, fixture->contents);
	fixture->request.direction = COPY_DEVICE_TO_FILE;
	fixture->request.grows = true;
	/* Fewer than there might have been, none of them, and none that anybody waits for. */
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, &error), 0);
	copy_job_grow(job, 2, false);
	assert_done(job, 2);
	copy_job_grow(job, 2, true);
	assert_true(copy_job_wait(job, -1));
	assert_int_equal(copy_job_result(job, &error), 0);
	copy_job_finish(job);
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, &error), 0);
	copy_job_grow(job, 0, true);
	assert_true(copy_job_wait(job, 0));
	assert_int_equal(copy_job_result(job, &error), 0);
	copy_job_finish(job);
	assert_int_equal(copy_job_start(fixture->engine, &fixture->request, &job, &error), 0);
	copy_job_grow(job, 1, false);
	assert_done(job, 1);
	copy_job_cancel(job);
	assert_true(copy_job_wait(job, -1));
	assert_int_equal(copy_job_result(job, &error), -ECANCELED);
	/* Whoever makes the chunks may not know yet. */
	copy_job_grow(job, 2, false);
	copy_job_grow(job, 3, true);
	assert_done(job, 1);
	copy_job_finish(job);
}

static bool is_wiped(struct copy_engine *engine)
{
	bool wiped = true;
	unsigned int i;

	pthread_mutex_lock(&engine->lock);
	for (i = 0; i < engine->worker_count; i++)
		wiped = wiped && engine->workers[i].used_bytes == 0;
	pthread_mutex_unlock(&engine->lock);
	return wiped;
}

/* The ring outlives the process whose memory went through it. */
static void an_idle_engine_keeps_nothing_of_what_it_copied(void **state)
{
	struct fixture *fixture = *state;
	struct copy_engine *engine = fixture->engine;
	struct error_text error = {""};
	size_t at, round;
	int i;

	for (round = 0; round < 2; round++) {
		assert_int_equal(driver.cuMemcpyHtoD(fixture->device, fixture->contents, BYTES), CUDA_SUCCESS);
		assert_int_equal(run(fixture, round ? COPY_FILE_TO_DEVICE : COPY_DEVICE_TO_FILE, &error), 0);
		for (i = 0; i < 3000 && !is_wiped(engine); i++)
			usleep(10000);
		assert_true(is_wiped(engine));
		for (at = 0; at < engine->ring_bytes; at++)
			if (engine->ring[at])
				fail_msg("byte %zu of the ring is still there", at);
	}
}

/* Does the mapping at address have that flag (see proc(5), VmFlags)? */
static bool has_flag(const void *address, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	char line[4096], wanted[8];
	unsigned long start, end;

	assert_non_null(file);
	snprintf(wanted, sizeof(wanted), " %s ", flag);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (unsigned long)address && (unsigned long)address < end;
		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, wanted) != NULL;
	}
	fclose(file);
	return found;
}

static void the_ring_is_in_no_core_dump_and_no_child(void **state)
{
	struct fixture *fixture = *state;

	assert_true(has_flag(fixture->engine->ring, "dd"));
	assert_true(has_flag(fixture->engine->ring + fixture->engine->ring_bytes - 1, "dd"));
	assert_true(has_flag(fixture->engine->ring, "dc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stores_and_loads_bit_for_bit),
		TEST_SMALL(stores_and_loads_bit_for_bit),
		TEST(one_worker_is_enough),
		TEST(half_of_the_workers_rest_while_others_need_the_link),
		TEST(no_more_workers_than_allowed),
		TEST(short_and_interrupted_writes_and_reads_are_completed),
		TEST(a_cold_file_is_read_around_the_page_cache),
		TEST(loads_a_file_on_disk_whose_pages_are_not_cached),
		TEST(chunks_go_into_the_files_that_they_name),
		TEST(jobs_run_one_after_the_other),
		TEST(empty_job_ends_at_once),
		TEST(a_job_that_grows_copies_what_it_is_told_of),
		TEST_SMALL(a_job_that_grows_copies_what_it_is_told_of),
		TEST(a_job_that_grows_ends_with_fewer_or_early),
		TEST(an_idle_engine_keeps_nothing_of_what_it_copied),
		TEST(the_ring_is_in_no_core_dump_and_no_child),
	};

	return cmocka_run_group_tests(tests, open_driver, close_driver);
}
