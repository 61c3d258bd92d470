/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/checkpoint_folder.h"
#include "store/folder_lock.h"
#include "store/folder_test_steps.h"
#include "store/folder_test_support.h"

/*
 * Whatever step a dump over an older checkpoint is ended or fails at, the older checkpoint is whole afterwards, or from
 * one certain step on the new one.
 */

static void published_over(const struct folder_fixture *fixture, bool with_manifest)
{
	struct error_text error;
	int images = begin_over(fixture, with_manifest);

	write_new(images);
	close(images);
	assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
}

static void a_new_checkpoint_takes_the_place_of_the_older(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images, variant;

	for (variant = 0; variant < 4; variant++) {
		step.without_links = variant & 2;
		images = begin_over(fixture, variant & 1);
		write_new(images);
		assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
		/* Scripts of the user's look where CRIU's descriptor leads. */
		if (!step.without_links)
			assert_true(says(images, "inventory.img", "new"));
		assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
		close(images);
		assert_new(fixture);
		unlinkat(fixture->folder, "core-2.img", 0);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
	step.without_links = false;
}

static void an_abandoned_dump_leaves_the_older_checkpoint(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images, variant;

	for (variant = 0; variant < 8; variant++) {
		step.without_links = variant & 4;
		images = begin_over(fixture, variant & 1);
		if (variant & 2) {
			write_new(images);
			assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
		} else {
			put(images, "core-1.img", "half");
		}
		close(images);
		assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
		assert_older(fixture, variant & 1);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
	step.without_links = false;
}

/* Runs begin to keep in a process that ends at step `number`. Returns whether it came to its end. */
static bool run_until(const struct folder_fixture *fixture, int number)
{
	struct error_text error;
	pid_t child = fork();
	int images, status, left;

	if (child == 0) {
		step.countdown = number;
		if (checkpoint_folder_begin(fixture->folder, &images, &error))
			_exit(1);
		left = step.countdown;
		step.countdown = 0; /* CRIU's own files are none of the steps */
		write_new(images);
		step.countdown = left;
		_exit(checkpoint_folder_publish(fixture->folder, &error) ||
		      checkpoint_folder_keep(fixture->folder, &error));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
	return WEXITSTATUS(status) == 0;
}

/* After what ended, a restore finds one of the two, whole; CRIU can read what is in place at each moment. */
static bool check_after_end(const struct folder_fixture *fixture, bool with_manifest, bool links)
{
	struct error_text error;
	bool changed, is_new;
	int lock, images;

	if (links) {
		assert_int_equal(faccessat(fixture->folder, "inventory.img", F_OK, 0), 0);
		assert_int_equal(faccessat(fixture->folder, "pstree.img", F_OK, 0), 0);
		assert_int_equal(faccessat(fixture->folder, "core-1.img", F_OK, 0), 0);
		if (says(fixture->folder, "pstree.img", "new"))
			assert_true(says(fixture->folder, "core-2.img", "new"));
	}
	lock = checkpoint_folder_share(fixture->folder, &changed, &error);
	assert_true(lock >= 0);
	folder_unlock(lock);
	is_new = says(fixture->folder, "inventory.img", "new");
	/* A dump may begin again, and then what was left is gone. */
	assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
	close(images);
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
	if (is_new)
		assert_new(fixture);
	else
		assert_older(fixture, with_manifest);
	return is_new;
}

static void whatever_step_it_ends_at_one_of_the_two_is_whole(void **state)
{
	struct folder_fixture *fixture = *state;
	int variant, number, steps = 0;
	bool ended, is_new, was_new;

	for (variant = 0; variant < 4; variant++) {
		was_new = false;
		step.without_links = variant & 2;
		for (number = 1, ended = false; !ended; number++) {
			write_older(fixture->folder, variant & 1);
			ended = run_until(fixture, number);
			is_new = check_after_end(fixture, variant & 1, !step.without_links);
			assert_true(is_new || !was_new); /* one step makes the difference */
			assert_true(is_new || !ended);
			was_new = is_new;
			unlinkat(fixture->folder, "core-2.img", 0);
			unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
			steps++;
		}
		assert_true(number > 15);
	}
	step.without_links = false;
	print_message("%d ends\n", steps);
}

static void whatever_step_of_publishing_fails_the_older_is_whole(void **state)
{
	static const int codes[] = {ENOSPC, EIO};
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int number, code, images, result;

	for (code = 0; code < 2; code++) {
		for (number = 1;; number++) {
			images = begin_over(fixture, true);
			write_new(images);
			close(images);
			step.code = codes[code];
			step.countdown = number;
			result = checkpoint_folder_publish(fixture->folder, &error);
			if (step.countdown) { /* it needs fewer steps */
				step.countdown = 0;
				assert_int_equal(result, 0);
				break;
			}
			if (result) {
				assert_int_equal(result, -codes[code]);
				assert_non_null(strstr(error.text, code == 0 ? "disk is full" : "Input/output error"));
				assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
				assert_older(fixture, true);
			} else { /* what fails has a way around it */
				assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
				assert_new(fixture);
			}
			unlinkat(fixture->folder, "core-2.img", 0);
			unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
		}
		assert_true(number > 10);
		assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
		assert_older(fixture, true);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
	step.code = 0;
}

/* Where the disk stays full, what fills it goes, and the older checkpoint is in its place at once; else with the next run. */
static void a_dump_is_undone_on_a_full_disk(void **state)
{
	static const int codes[] = {ENOSPC, EDQUOT, EIO};
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int variant, result, lock;
	bool changed, left;

	for (variant = 0; variant < 6; variant++) {
		published_over(fixture, variant & 1);
		calls.length = 0;
		step.flush_code = codes[variant / 2];
		result = checkpoint_folder_abandon(fixture->folder, false, &error);
		left = step.flush_code == EIO;
		assert_int_equal(result, left ? -EIO : 0);
		/* There may be room for it when that has gone. */
		if (!left)
			next_call(last_call("unlink", CHECKPOINT_NEW_FOLDER), "flush", fixture->path);
		assert_int_equal(faccessat(fixture->folder, CHECKPOINT_NEW_FOLDER, F_OK, 0), left ? 0 : -1);
		step.flush_code = 0;
		lock = checkpoint_folder_share(fixture->folder, &changed, &error);
		assert_true(lock >= 0);
		folder_unlock(lock);
		assert_int_equal(changed, left);
		assert_older(fixture, variant & 1);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
}

/* From the commit on it is the new one, whatever else happens. */
static void what_is_settled_is_not_undone(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images = begin_over(fixture, true);
	bool changed;

	assert_false(checkpoint_folder_is_settled(fixture->folder, new_id));
	write_new(images);
	close(images);
	assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
	assert_true(checkpoint_folder_holds(fixture->folder, new_id));
	assert_false(checkpoint_folder_is_settled(fixture->folder, new_id));
	assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
	assert_true(checkpoint_folder_is_settled(fixture->folder, new_id));
	assert_false(checkpoint_folder_is_settled(fixture->folder, older_id));
	assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
	folder_unlock(checkpoint_folder_share(fixture->folder, &changed, &error));
	assert_false(changed);
	assert_new(fixture);
	assert_true(checkpoint_folder_is_settled(fixture->folder, new_id));
}

/* Nobody hears any more that a step of the commit has failed, so one alone must not fail it; likewise where it ends. */
static void a_commit_has_a_second_way(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images, number, status;
	bool changed;
	pid_t child;

	for (number = 1, status = 0; !WIFEXITED(status) || WEXITSTATUS(status) != 0 || number == 1; number++) {
		published_over(fixture, number & 1);
		step.code = EIO;
		step.countdown = 1;
		assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
		step.code = 0;
		assert_int_equal(step.countdown, 0);
		assert_true(checkpoint_folder_is_settled(fixture->folder, new_id));
		child = fork();
		if (child == 0) {
			step.countdown = number;
			_exit(checkpoint_folder_keep(fixture->folder, &error) ? 1 : 0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		folder_unlock(checkpoint_folder_share(fixture->folder, &changed, &error));
		assert_false(changed);
		assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
		close(images);
		assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
		assert_new(fixture);
		unlinkat(fixture->folder, "core-2.img", 0);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
	assert_true(number > 5);
}

static void whatever_step_of_undoing_fails_the_next_run_undoes(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int images, number, left;
	bool changed;

	for (number = 1, left = 0; left == 0; number++) {
		published_over(fixture, number & 1);
		step.code = EIO;
		step.countdown = number;
		checkpoint_folder_abandon(fixture->folder, false, &error);
		left = step.countdown;
		step.countdown = step.code = 0;
		folder_unlock(checkpoint_folder_share(fixture->folder, &changed, &error));
		assert_int_equal(checkpoint_folder_begin(fixture->folder, &images, &error), 0);
		close(images);
		assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
		assert_older(fixture, number & 1);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
	assert_true(number > 10);
}

/* A step that fails once is made again; what cannot be removed at all keeps nothing else. */
static void what_was_replaced_goes_although_a_step_fails(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	int number, left = 0;

	for (number = 1; left == 0; number++) {
		published_over(fixture, number & 1);
		assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
		step.code = EIO;
		step.countdown = number;
		assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
		left = step.countdown;
		step.countdown = step.code = 0;
		assert_int_equal(faccessat(fixture->folder, CHECKPOINT_REPLACED_FOLDER, F_OK, 0), -1);
		assert_int_equal(faccessat(fixture->folder, CHECKPOINT_NEW_FOLDER, F_OK, 0), -1);
		assert_new(fixture);
		unlinkat(fixture->folder, "core-2.img", 0);
		unlinkat(fixture->folder, CHECKPOINT_MANIFEST_NAME, 0);
	}
	assert_true(number > 5);

	published_over(fixture, true);
	assert_int_equal(checkpoint_folder_commit(fixture->folder, &error), 0);
	step.lasting = "pages-7.img";
	step.code = EIO;
	assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), -EIO);
	step.lasting = NULL;
	step.code = 0;
	assert_non_null(strstr(error.text, "pages-7.img"));
	assert_int_equal(faccessat(fixture->folder, CHECKPOINT_NEW_FOLDER, F_OK, 0), -1);
	assert_int_equal(faccessat(fixture->folder, "seccomp.img", F_OK, 0), -1);
	assert_int_equal(faccessat(fixture->folder, CHECKPOINT_REPLACED_FOLDER "/pages-7.img", F_OK, 0), 0);
	assert_true(checkpoint_folder_is_settled(fixture->folder, new_id));
	assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
	assert_new(fixture);
}

/* What a loss of power finds on the disk is one of the two, and what says which. */
static void each_step_is_on_the_disk_before_the_next(void **state)
{
	struct folder_fixture *fixture = *state;
	struct error_text error;
	const char *at;
	int images = begin_over(fixture, true);

	write_new(images);
	close(images);
	calls.length = 0;
	assert_int_equal(checkpoint_folder_publish(fixture->folder, &error), 0);
	assert_int_equal(checkpoint_folder_keep(fixture->folder, &error), 0);
	at = next_call(calls.text, "flush", CHECKPOINT_OLDER_FOLDER);
	at = next_call(at, "flush", fixture->path);
	assert_true(at < next_call(calls.text, "rename", "core-1.img"));
	at = next_call(last_call("rename", "inventory.img"), "flush", fixture->path);
	assert_true(at < next_call(calls.text, "rename", CHECKPOINT_REPLACED_FOLDER));
	at = next_call(next_call(at, "rename", CHECKPOINT_REPLACED_FOLDER), "flush", fixture->path);
	assert_true(at < next_call(calls.text, "unlink", "pages-7.img"));

	published_over(fixture, true);
	calls.length = 0;
	assert_int_equal(checkpoint_folder_abandon(fixture->folder, false, &error), 0);
	at = next_call(last_call("rename", "inventory.img"), "flush", fixture->path);
	assert_true(at < next_call(calls.text, "unlink", CHECKPOINT_OLDER_FOLDER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(a_new_checkpoint_takes_the_place_of_the_older),
		FOLDER_TEST(an_abandoned_dump_leaves_the_older_checkpoint),
		FOLDER_TEST(whatever_step_it_ends_at_one_of_the_two_is_whole),
		FOLDER_TEST(whatever_step_of_publishing_fails_the_older_is_whole),
		FOLDER_TEST(a_dump_is_undone_on_a_full_disk),
		FOLDER_TEST(what_is_settled_is_not_undone),
		FOLDER_TEST(a_commit_has_a_second_way),
		FOLDER_TEST(whatever_step_of_undoing_fails_the_next_run_undoes),
		FOLDER_TEST(what_was_replaced_goes_although_a_step_fails),
		FOLDER_TEST(each_step_is_on_the_disk_before_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
