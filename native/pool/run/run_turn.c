/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <time.h>

#include "pool/run/pool_run.h"

/* How often a wait looks whether anybody still wants it. */
#define LOOK_AROUND_MS 20

/* With the mutex. */
static void wait_for_turn(struct run *run)
{
	while (run->working && run->working >= run->pool->settings.side_by_side)
		pthread_cond_wait(&run->changed, &run->mutex);
	run->working++;
}

void run_take_turn(struct run *run)
{
	pthread_mutex_lock(&run->mutex);
	wait_for_turn(run);
	pthread_mutex_unlock(&run->mutex);
}

void run_leave_turn(struct run *run)
{
	pthread_mutex_lock(&run->mutex);
	run->working--;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->mutex);
}

/* Does nobody export any more? With the mutex. */
static bool all_have_exported(const struct run *run)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->work && !run->processes[i]->has_exported)
			return false;
	return !run->saves_wait;
}

/* Until something has changed, or for a moment. Is the run unwanted by then? With the mutex. */
static bool wait_a_moment(struct run *run)
{
	struct timespec until;
	bool unwanted;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_AROUND_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&run->changed, &run->mutex, &until);
	pthread_mutex_unlock(&run->mutex);
	unwanted = run_is_unwanted(run);
	pthread_mutex_lock(&run->mutex);
	return unwanted;
}

/* Until sharing_known, or nobody wants it any more. With the mutex. */
static void wait_for_exports(struct run *run)
{
	bool unwanted = false;

	while (!run->sharing_known && !unwanted) {
		if (all_have_exported(run)) {
			run->sharing_result = run_sharing_match(run, &run->sharing_error);
			run->sharing_known = true;
			pthread_cond_broadcast(&run->changed);
			return;
		}
		unwanted = wait_a_moment(run);
	}
}

/* With the mutex. */
static bool any_lacks_image(const struct run *run)
{
	size_t i;

	for (i = 0; i < run->process_count; i++)
		if (run->processes[i]->work && run->processes[i]->lacks_image)
			return true;
	return false;
}

int run_meet(struct run *run, struct run_process *process, bool shares, struct error_text *error)
{
	int result = 0;

	pthread_mutex_lock(&run->mutex);
	process->shares = process->lacks_image = shares;
	process->has_exported = true;
	pthread_cond_broadcast(&run->changed);
	if (shares) {
		/* Those for which it waits may wait for a turn. */
		run->working--;
		wait_for_exports(run);
		if (!run->sharing_known)
			result = fail(error, -ECANCELED, "The dump was cancelled");
		else if (run->sharing_result)
			result = fail(error, run->sharing_result, "%s", run->sharing_error.text);
		process->shares = false;
		wait_for_turn(run);
	}
	pthread_mutex_unlock(&run->mutex);
	return result;
}

int run_meet_again(struct run *run, struct run_process *process, struct error_text *error)
{
	bool unwanted = false;

	pthread_mutex_lock(&run->mutex);
	if (process->lacks_image) {
		process->lacks_image = false;
		run->working--;
		pthread_cond_broadcast(&run->changed);
		while (!unwanted && any_lacks_image(run))
			unwanted = wait_a_moment(run);
		wait_for_turn(run);
	}
	pthread_mutex_unlock(&run->mutex);
	return unwanted ? fail(error, -ECANCELED, "The dump was cancelled") : 0;
}
