/* SPDX-License-Identifier: MIT */
#include "agent/fork_handler.h"

#include <pthread.h>

#include "agent/allocation_table.h"
#include "agent/control_thread.h"
#include "agent/real_driver.h"
#include "agent/sharing_thread.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The child starts as a fresh program does: it may use CUDA itself where the parent has not initialised it. */
static void reset_child(void)
{
	control_thread_after_fork();
	sharing_thread_after_fork();
	table_after_fork();
	real_driver_after_fork();
}

static void register_handler(void)
{
	pthread_atfork(NULL, NULL, reset_child);
}

void fork_handler_register(void)
{
	pthread_once(&once, register_handler);
}
