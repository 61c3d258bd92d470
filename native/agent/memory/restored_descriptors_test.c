/* SPDX-License-Identifier: MIT */
#include "agent/memory/restored_descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/share_mark.h"

#define MIB ((size_t)1 << 20)

static rlim_t usual;

static void set_limit(rlim_t limit)
{
	struct rlimit numbers;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &numbers), 0);
	numbers.rlim_cur = limit;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &numbers), 0);
}

static int set_up(void **state)
{
	struct rlimit numbers;

	(void)state;
	if (getrlimit(RLIMIT_NOFILE, &numbers))
		return -1;
	usual = numbers.rlim_cur;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	restored_drop_all();
	set_limit(usual);
	return 0;
}

static int new_file(void)
{
	int descriptor = memfd_create("memory", MFD_CLOEXEC);

	assert_true(descriptor >= 0);
	return descriptor;
}

/* Keeps one that nobody else has. */
static int keep(uint64_t id, size_t bytes)
{
	int descriptor = new_file(), number = restored_keep(descriptor, id, bytes);

	close(descriptor);
	return number;
}

static bool is_one_file(int one, int other)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, one, other) == 0;
}

static void a_duplicate_is_the_same_file(void **state)
{
	int descriptor = new_file(), number = restored_keep(descriptor, 7, 4 * MIB), other;

	(void)state;
	assert_true(number > 0);
	assert_int_equal(fcntl(number, F_GETFD), FD_CLOEXEC);
	assert_true(restored_is_noted(number, 7));
	assert_false(restored_is_noted(number, 8));
	assert_false(restored_is_noted(0, 7));
	other = restored_duplicate(number, 7);
	assert_true(is_one_file(other, descriptor));
	close(other);
	errno = 0;
	assert_int_equal(restored_duplicate(number, 8), -1);
	assert_int_equal(errno, ENOENT);
	restored_drop(number, 8);
	assert_true(restored_is_noted(number, 7));
	restored_drop(number, 7);
	assert_int_equal(fcntl(number, F_GETFD), -1);
	assert_int_equal(restored_duplicate(number, 7), -1);
	close(descriptor);
}

static void what_is_taken_can_be_put_back(void **state)
{
	int number = keep(7, 4 * MIB), descriptor;

	(void)state;
	assert_int_equal(restored_take(number, 8), -1);
	assert_int_equal(restored_take(number, 7), number);
	assert_int_equal(restored_take(number, 7), -1);
	assert_true(fcntl(number, F_GETFD) >= 0);
	/* It was to be shared, and got the mark for that. */
	assert_int_equal(share_mark_of(number), 0);
	assert_int_not_equal(share_mark_set(number, 7), 0);
	assert_int_not_equal(share_mark_of(number), 0);
	restored_put_back(number, 7, 4 * MIB);
	descriptor = restored_duplicate(number, 7);
	assert_true(descriptor >= 0);
	close(descriptor);
}

/* Others know it by its mark. */
static void what_is_shared_is_not_kept(void **state)
{
	int descriptor = new_file(), mark = share_mark_set(descriptor, 5);

	(void)state;
	assert_int_not_equal(mark, 0);
	assert_int_equal(restored_keep(descriptor, 7, 4 * MIB), 0);
	assert_int_equal(share_mark_of(descriptor), mark);
	close(descriptor);
}

static void what_the_program_closed_is_nobodys(void **state)
{
	int first = keep(1, 4 * MIB), second, own;

	(void)state;
	close(first);
	assert_int_equal(restored_duplicate(first, 1), -1);
	/* Another comes to its number: it is not that memory's. */
	second = keep(2, 4 * MIB);
	assert_int_equal(second, first);
	assert_int_equal(restored_duplicate(second, 1), -1);
	restored_drop(second, 1);
	/* And a file of the program's. */
	own = new_file();
	assert_int_equal(dup2(own, second), second);
	assert_int_equal(restored_duplicate(second, 2), -1);
	assert_int_equal(restored_take(second, 2), -1);
	restored_drop_all();
	assert_true(is_one_file(own, second));
	close(own);
	close(second);
}

static void the_program_has_most_of_the_numbers(void **state)
{
	int numbers[200], descriptor;
	size_t count = 0, opened;

	(void)state;
	set_limit(256);
	while (count < 200 && (numbers[count] = keep(count + 1, 2 * MIB)))
		count++;
	assert_in_range(count, 60, 64); /* whoever started this may have left one there */
	while (count--)
		assert_in_range(numbers[count], 192, 255);
	restored_drop_all();
	/* Half of what it has left, and that the sooner the less there is. */
	for (opened = 0; (descriptor = dup(0)) >= 0 && descriptor < 200; opened++)
		;
	for (count = 0; count < 200 && keep(count + 1, 2 * MIB); count++)
		;
	assert_in_range(count, 10, 28);
	restored_drop_all();
	while (descriptor < 245)
		descriptor = dup(0);
	assert_int_equal(keep(1, 2 * MIB), 0);
	for (descriptor = 3; descriptor < 256; descriptor++)
		if (is_one_file(descriptor, 0))
			close(descriptor);
}

static void the_largest_are_kept(void **state)
{
	static const size_t pieces[] = {2, 8, 4, 2, 16, 2, 2, 4, 6, 32, 2, 8};
	size_t index, count = 0, expected = 0;
	int numbers[65], larger[12];

	(void)state;
	set_limit(256);
	while (count < 65 && (numbers[count] = keep(100 + count, 4 * MIB)))
		count++;
	assert_in_range(count, 60, 64);
	/* Each that is larger comes in the place of one, and none that is not. */
	for (index = 0; index < 12; index++) {
		larger[index] = keep(1 + index, pieces[index] * MIB);
		assert_int_equal(larger[index] > 0, pieces[index] > 4);
		expected += pieces[index] > 4;
	}
	for (index = 0; index < count; index++)
		expected -= !restored_is_noted(numbers[index], 100 + index);
	assert_int_equal(expected, 0);
	/* What is given up first is the smallest. */
	for (index = 0; index < count - 6; index++)
		assert_true(restored_drop_smallest());
	for (index = 0; index < 12; index++)
		assert_int_equal(restored_is_noted(larger[index], 1 + index), pieces[index] > 4);
	for (index = 0; index < 6; index++)
		assert_true(restored_drop_smallest());
	assert_false(restored_drop_smallest());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_duplicate_is_the_same_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_taken_can_be_put_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_shared_is_not_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_the_program_closed_is_nobodys, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_program_has_most_of_the_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_largest_are_kept, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
