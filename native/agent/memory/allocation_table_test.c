/* SPDX-License-Identifier: MIT */
#include "agent/memory/allocation_table.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/fork_handler.h"
#include "support/clock.h"

#define MIB ((size_t)1 << 20)

/* The table alone is under test; forking is not. */
void fork_handler_add(enum fork_part part, void (*forget)(void))
{
	(void)part;
	(void)forget;
}

static int set_up(void **state)
{
	(void)state;
	table_after_fork();
	return table_open() ? 0 : -1;
}

static struct physical_memory *add_memory(CUdeviceptr address, size_t bytes)
{
	struct physical_memory *memory = memory_add();
	struct mapping mapping = {.address = address, .bytes = bytes, .mapped = true};

	assert_non_null(memory);
	memory->bytes = bytes;
	mapping.memory = memory_index(memory);
	if (address)
		assert_true(mapping_add(&mapping));
	return memory;
}

static void handles_are_valid_while_their_memory_is(void **state)
{
	struct physical_memory *first, *second;
	CUmemGenericAllocationHandle handle;

	(void)state;
	first = add_memory(0, 2 * MIB);
	handle = virtual_handle(first);
	assert_true(handle_is_virtual(handle));
	assert_ptr_equal(memory_of_handle(handle), first);
	assert_null(memory_of_handle(handle + 1));
	assert_false(handle_is_virtual(0x51000001));
	assert_false(handle_is_virtual((CUmemGenericAllocationHandle)(uintptr_t)&handle));
	memory_remove(first);
	assert_null(memory_of_handle(handle));
	/* The entry is used again; the old handle stays invalid. */
	second = add_memory(0, 2 * MIB);
	assert_ptr_equal(first, second);
	assert_null(memory_of_handle(handle));
	assert_ptr_equal(memory_of_handle(virtual_handle(second)), second);
	second->leaving = true;
	assert_null(memory_of_handle(virtual_handle(second)));
}

static void mappings_are_found_by_any_address_in_them(void **state)
{
	(void)state;
	add_memory(0x30000000, 4 * MIB);
	add_memory(0x10000000, 2 * MIB);
	add_memory(0x20000000, 2 * MIB);
	assert_int_equal(table.mapping_count, 3);
	assert_null(mapping_containing(0x10000000 - 1));
	assert_int_equal(mapping_containing(0x10000000)->address, 0x10000000);
	assert_int_equal(mapping_containing(0x10000000 + 2 * MIB - 1)->address, 0x10000000);
	assert_null(mapping_containing(0x10000000 + 2 * MIB));
	assert_int_equal(mapping_containing(0x30000000 + 3 * MIB)->address, 0x30000000);
	assert_int_equal(mapping_find(0x30000000 + 4 * MIB), 3);
	mapping_remove(mapping_find(0x20000000));
	assert_null(mapping_containing(0x20000000));
	assert_int_equal(mapping_containing(0x30000000)->address, 0x30000000);
}

static void a_walk_visits_the_mappings_of_one_memory(void **state)
{
	struct physical_memory *memory;
	struct mapping second = {.bytes = 2 * MIB, .mapped = true};
	struct mapping_walk walk;

	(void)state;
	memory = add_memory(0x20000000, 2 * MIB);
	add_memory(0x18000000, 2 * MIB);
	second.memory = memory_index(memory);
	second.address = 0x10000000;
	assert_true(mapping_add(&second));
	walk = mapping_walk(memory);
	assert_int_equal(mapping_next(&walk)->address, 0x10000000);
	assert_int_equal(mapping_next(&walk)->address, 0x20000000);
	assert_null(mapping_next(&walk));
	mapping_remove(mapping_find(0x10000000));
	walk = mapping_walk(memory);
	assert_int_equal(mapping_next(&walk)->address, 0x20000000);
	assert_null(mapping_next(&walk));
}

static void flights_are_seen_by_handle_and_by_range(void **state)
{
	struct physical_memory *memory, *other;
	struct flight by_range = {.address = 0x10100000, .bytes = 4 * MIB, .memory = TABLE_NONE};
	struct flight by_handle = {0};

	(void)state;
	memory = add_memory(0x10000000, 2 * MIB);
	other = add_memory(0x10600000, 2 * MIB);
	assert_false(memory_has_flight(memory_index(memory)));
	flight_begin(&by_range);
	assert_true(memory_has_flight(memory_index(memory)));
	assert_false(memory_has_flight(memory_index(other)));
	by_handle.memory = memory_index(other);
	flight_begin(&by_handle);
	assert_true(memory_has_flight(memory_index(other)));
	flight_end(&by_range);
	assert_false(memory_has_flight(memory_index(memory)));
	assert_true(memory_has_flight(memory_index(other)));
	flight_end(&by_handle);
	assert_false(memory_has_flight(memory_index(other)));
}

static void memory_is_unused_without_handle_mapping_and_flight(void **state)
{
	struct physical_memory *memory;
	struct flight flight = {0};

	(void)state;
	memory = add_memory(0x10000000, 2 * MIB);
	memory->references = 1;
	assert_false(memory_is_unused(memory));
	memory->references = 0;
	assert_false(memory_is_unused(memory));
	mapping_remove(mapping_find(0x10000000));
	assert_true(memory_is_unused(memory));
	flight.memory = memory_index(memory);
	flight_begin(&flight);
	assert_false(memory_is_unused(memory));
	flight_end(&flight);
}

static void plain_allocations_cover_their_reservation(void **state)
{
	struct plain_allocation allocation = {.address = 0x10000000, .bytes = 3 * MIB, .reserved = 4 * MIB};

	(void)state;
	assert_true(plain_add(&allocation));
	assert_int_equal(plain_containing(0x10000000 + 4 * MIB - 1)->bytes, 3 * MIB);
	assert_null(plain_containing(0x10000000 + 4 * MIB));
	assert_true(plain_overlaps(0x10000000 - MIB, 2 * MIB));
	assert_true(plain_overlaps(0x10000000 + MIB, 1));
	assert_false(plain_overlaps(0x10000000 - MIB, MIB));
	assert_false(plain_overlaps(0x10000000 + 4 * MIB, MIB));
	plain_remove(plain_containing(0x10000000));
	assert_null(plain_containing(0x10000000));
}

static void imported_memory_is_counted_once(void **state)
{
	struct physical_memory *memory;

	(void)state;
	memory = add_memory(0, 2 * MIB);
	memory_set_imported(memory, true);
	memory_set_imported(memory, true);
	assert_int_equal(atomic_load(&table.imported_count), 1);
	memory_remove(memory);
	assert_int_equal(atomic_load(&table.imported_count), 0);
}

/* ---- two threads ---- */

static atomic_int holder_step;

static void *hold_the_mutex(void *unused)
{
	(void)unused;
	table_lock();
	atomic_store(&holder_step, 1);
	while (atomic_load(&holder_step) != 2)
		usleep(1000);
	table_unlock();
	return NULL;
}

static void a_claim_gives_up_on_a_mutex_that_stays_held(void **state)
{
	struct error_text error = {""};
	pthread_t holder;
	uint64_t start;

	(void)state;
	atomic_store(&holder_step, 0);
	assert_int_equal(pthread_create(&holder, NULL, hold_the_mutex, NULL), 0);
	while (atomic_load(&holder_step) != 1)
		usleep(1000);
	start = monotonic_nanoseconds();
	assert_int_equal(table_claim(&error), -EBUSY);
	assert_true(monotonic_nanoseconds() - start >= 200000000u);
	assert_non_null(strstr(error.text, "stopped"));
	atomic_store(&holder_step, 2);
	pthread_join(holder, NULL);
	assert_int_equal(table_claim(&error), 0);
	table_unclaim();
}

static void *lock_once(void *unused)
{
	(void)unused;
	table_lock();
	atomic_store(&holder_step, 1);
	table_unlock();
	return NULL;
}

static void a_claim_keeps_others_out_without_the_mutex(void **state)
{
	pthread_t other;

	(void)state;
	atomic_store(&holder_step, 0);
	assert_int_equal(table_claim(NULL), 0);
	assert_int_equal(pthread_create(&other, NULL, lock_once, NULL), 0);
	usleep(50000);
	assert_int_equal(atomic_load(&holder_step), 0);
	table_unclaim();
	pthread_join(other, NULL);
	assert_int_equal(atomic_load(&holder_step), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(handles_are_valid_while_their_memory_is, set_up),
		cmocka_unit_test_setup(mappings_are_found_by_any_address_in_them, set_up),
		cmocka_unit_test_setup(a_walk_visits_the_mappings_of_one_memory, set_up),
		cmocka_unit_test_setup(flights_are_seen_by_handle_and_by_range, set_up),
		cmocka_unit_test_setup(memory_is_unused_without_handle_mapping_and_flight, set_up),
		cmocka_unit_test_setup(plain_allocations_cover_their_reservation, set_up),
		cmocka_unit_test_setup(imported_memory_is_counted_once, set_up),
		cmocka_unit_test_setup(a_claim_gives_up_on_a_mutex_that_stays_held, set_up),
		cmocka_unit_test_setup(a_claim_keeps_others_out_without_the_mutex, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
