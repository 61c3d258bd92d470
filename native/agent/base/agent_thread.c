/* SPDX-License-Identifier: MIT */
#include "agent/base/agent_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#define THREAD_STACK_BYTES ((size_t)1 << 20)

int agent_thread_create(void *(*run)(void *), void *argument, const char *name)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int result;

	sigfillset(&all);
	result = pthread_attr_init(&attributes);
	if (result)
		return -result;
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!result)
		pthread_setname_np(thread, name);
	return -result;
}
