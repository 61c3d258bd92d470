/* SPDX-License-Identifier: MIT */
#include "store/parallel.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define THREADS_MAX 64u

struct job {
	size_t count;
	const atomic_bool *cancel;
	parallel_work work;
	void *context;
	atomic_size_t next;
	atomic_bool stop;
	pthread_mutex_t lock; /* what follows */
	int result;
	struct error_text error;
};

static void job_fail(struct job *job, int code, const struct error_text *error)
{
	pthread_mutex_lock(&job->lock);
	if (job->result == 0) {
		job->result = code;
		job->error = *error;
	}
	atomic_store(&job->stop, true);
	pthread_mutex_unlock(&job->lock);
}

static void *job_main(void *argument)
{
	struct job *job = argument;
	void *buffer = malloc(PARALLEL_BUFFER_BYTES);
	struct error_text error = {""};
	int result = buffer ? 0 : fail(&error, -ENOMEM, "Out of memory");
	size_t index;

	while (result == 0 && !atomic_load(&job->stop)) {
		index = atomic_fetch_add(&job->next, 1);
		if (index >= job->count)
			break;
		if (job->cancel && atomic_load(job->cancel))
			result = fail(&error, -ECANCELED, "The verification was cancelled");
		else
			result = job->work(job->context, index, buffer, &error);
	}
	if (result)
		job_fail(job, result, &error);
	free(buffer);
	return NULL;
}

int parallel_for(size_t count, unsigned int threads, const atomic_bool *cancel, parallel_work work, void *context,
		 struct error_text *error)
{
	struct job job = {
		.count = count, .cancel = cancel, .work = work, .context = context, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t started[THREADS_MAX];
	unsigned int running = 0, i;

	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	while (running + 1 < threads && running + 1 < count &&
	       pthread_create(&started[running], NULL, job_main, &job) == 0)
		running++;
	job_main(&job);
	for (i = 0; i < running; i++)
		pthread_join(started[i], NULL);
	if (job.result && error)
		*error = job.error;
	return job.result;
}
