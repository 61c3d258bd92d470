/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "process/failed_restore.h"
#include "process/process_status.h"
#include "process/thread_control.h"
#include "support/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define FILTERED 3 /* has a seccomp filter, which forbids getppid() */
#define SECOND UINT64_C(1000000000)

/* What the child counts, so that the test sees which of its threads run. */
struct shared {
	_Atomic(pid_t) ids[THREADS];
	_Atomic unsigned long steps[THREADS];
	_Atomic unsigned long refused; /* calls, by the filter */
	_Atomic int signals;
};

static struct shared *shared;
static pid_t child;

static void count_signal(int number)
{
	(void)number;
	atomic_fetch_add(&shared->signals, 1);
}

static void *count(void *argument)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
	size_t index = (size_t)argument;
	const struct timespec pause = {.tv_nsec = 1000};

	if (index == FILTERED &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)))
		abort();
	atomic_store(&shared->ids[index], gettid());
	for (;;) {
		if (syscall(SYS_getppid) < 0)
			atomic_fetch_add(&shared->refused, 1);
		atomic_fetch_add(&shared->steps[index], 1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static _Noreturn void run_child(void)
{
	struct sigaction action = {.sa_handler = count_signal};
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &action, NULL);
	for (size_t index = 1; index < THREADS; index++)
		pthread_create(&thread, NULL, count, (void *)index);
	count((void *)0);
	abort();
}

static bool reaches(_Atomic unsigned long *steps, unsigned long target)
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;

	while (atomic_load(steps) < target) {
		if (monotonic_nanoseconds() > deadline)
			return false;
		usleep(200);
	}
	return true;
}

/* A child with some threads, each of them seized and stopped as CRIU does it. */
static int start_child(void **state)
{
	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -1;
	child = fork();
	if (!child)
		run_child();
	for (size_t index = 0; index < THREADS; index++) {
		int status;

		if (!reaches(&shared->steps[index], 1))
			return -1;
		if (ptrace(PTRACE_SEIZE, shared->ids[index], NULL, PTRACE_O_TRACESYSGOOD) ||
		    ptrace(PTRACE_INTERRUPT, shared->ids[index], NULL, NULL) ||
		    waitpid(shared->ids[index], &status, __WALL) != shared->ids[index])
			return -1;
	}
	return 0;
}

static int end_child(void **state)
{
	(void)state;
	failed_restore_kill(child);
	waitpid(child, NULL, __WALL);
	munmap(shared, sizeof(*shared));
	return 0;
}

static void lets_only_the_asked_thread_run_and_stops_it(void **state)
{
	struct released_thread thread;
	struct thread_status status;
	struct error_text error;
	unsigned long before[THREADS];

	(void)state;
	for (size_t index = 0; index < THREADS; index++)
		before[index] = shared->steps[index];
	assert_int_equal(thread_release(&thread, child, shared->ids[1], &error), 0);
	assert_true(thread.running);
	assert_true(reaches(&shared->steps[1], before[1] + 50));
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	assert_int_equal(shared->steps[0], before[0]);
	assert_int_equal(shared->steps[2], before[2]);
	assert_int_equal(thread_status_read(child, shared->ids[1], &status), 0);
	assert_int_equal(status.state, 't');
	/* And once more: the thread is as good as before. */
	assert_int_equal(thread_release(&thread, child, shared->ids[1], &error), 0);
	assert_true(reaches(&shared->steps[1], before[1] + 100));
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
}

static void keeps_signals_away_and_loses_none(void **state)
{
	struct released_thread thread;
	struct error_text error;
	uint64_t before, after;
	unsigned long steps;

	(void)state;
	assert_int_equal(ptrace(PTRACE_GETSIGMASK, shared->ids[1], (void *)sizeof(before), &before), 0);
	assert_int_equal(tgkill(child, shared->ids[1], SIGUSR1), 0);
	assert_int_equal(thread_release(&thread, child, shared->ids[1], &error), 0);
	steps = shared->steps[1];
	assert_true(reaches(&shared->steps[1], steps + 50));
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	assert_int_equal(shared->signals, 0);
	assert_int_equal(ptrace(PTRACE_GETSIGMASK, shared->ids[1], (void *)sizeof(after), &after), 0);
	assert_int_equal(before, after);
	/* Let go for good, it gets the signal that waited. */
	assert_int_equal(ptrace(PTRACE_DETACH, shared->ids[1], NULL, NULL), 0);
	steps = shared->steps[1];
	assert_true(reaches(&shared->steps[1], steps + 50));
	assert_int_equal(shared->signals, 1);
}

/* Watches the thread until it has made so many steps more. */
static bool goes_on(struct released_thread *thread, unsigned long steps)
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;
	unsigned long target = shared->steps[1] + steps;

	while (shared->steps[1] < target) {
		if (monotonic_nanoseconds() > deadline)
			return false;
		thread_watch(thread);
		usleep(200);
	}
	return true;
}

static void goes_on_whatever_stops_it(void **state)
{
	const int stopping[] = {SIGCONT, SIGSTOP, SIGCONT};
	struct released_thread thread;
	struct thread_status status;
	struct error_text error;

	(void)state;
	for (size_t index = 0; index < sizeof(stopping) / sizeof(stopping[0]); index++) {
		assert_int_equal(thread_release(&thread, child, shared->ids[1], &error), 0);
		assert_true(goes_on(&thread, 20));
		assert_int_equal(kill(child, stopping[index]), 0);
		assert_true(goes_on(&thread, 50));
		/* Once more, and stopped before anybody has watched. */
		assert_int_equal(kill(child, SIGCONT), 0);
		usleep(20000);
		assert_int_equal(thread_stop(&thread, 10000, &error), 0);
		assert_int_equal(thread_status_read(child, shared->ids[1], &status), 0);
		assert_int_equal(status.state, 't');
		assert_int_equal(thread.sigstop, stopping[index] == SIGSTOP);
		/* Nothing is left over that would stop it the next time. */
		assert_int_equal(thread_release(&thread, child, shared->ids[1], &error), 0);
		assert_true(reaches(&shared->steps[1], shared->steps[1] + 50));
		assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	}
}

static void leaves_a_thread_alone_that_it_does_not_trace(void **state)
{
	struct released_thread thread;
	struct error_text error;
	unsigned long steps;

	(void)state;
	assert_int_equal(ptrace(PTRACE_DETACH, shared->ids[2], NULL, NULL), 0);
	assert_int_equal(thread_release(&thread, child, shared->ids[2], &error), 0);
	assert_false(thread.running);
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	steps = shared->steps[2];
	assert_true(reaches(&shared->steps[2], steps + 50));
}

static bool is_in_state(pid_t tid, char state)
{
	uint64_t deadline = monotonic_nanoseconds() + 20 * SECOND;
	struct thread_status status;

	while (!thread_status_read(child, tid, &status) && status.state != state) {
		if (monotonic_nanoseconds() > deadline)
			return false;
		usleep(200);
	}
	return status.state == state;
}

/* Runs, and is refused nothing. */
static bool is_refused_nothing(void)
{
	unsigned long refused;

	/* What was refused before may be counted only now. */
	if (!reaches(&shared->steps[FILTERED], shared->steps[FILTERED] + 2))
		return false;
	refused = shared->refused;
	return reaches(&shared->steps[FILTERED], shared->steps[FILTERED] + 50) && shared->refused == refused;
}

/* As CRIU has it, whose own code runs in the thread before and after. */
static void a_filter_stays_suspended(void **state)
{
	struct released_thread thread;
	pid_t filtered = shared->ids[FILTERED];
	struct error_text error;
	int status;

	(void)state;
	if (ptrace(PTRACE_SETOPTIONS, filtered, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP)))
		skip(); /* needs root */
	assert_int_equal(thread_release(&thread, child, filtered, &error), 0);
	assert_true(is_refused_nothing());
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	assert_int_equal(ptrace(PTRACE_CONT, filtered, NULL, NULL), 0);
	assert_true(is_refused_nothing());
	assert_int_equal(ptrace(PTRACE_INTERRUPT, filtered, NULL, NULL), 0);
	assert_int_equal(waitpid(filtered, &status, __WALL), filtered);
	/* Let go for good, it has its filter again. */
	assert_int_equal(ptrace(PTRACE_DETACH, filtered, NULL, NULL), 0);
	assert_true(reaches(&shared->refused, shared->refused + 1));
}

/* Somebody stops the process meanwhile: it stops when its filter is back. */
static void a_stop_is_kept_from_a_thread_without_its_filter(void **state)
{
	struct released_thread thread;
	struct thread_status status;
	pid_t filtered = shared->ids[FILTERED];

	(void)state;
	for (size_t index = 0; index < THREADS; index++)
		assert_int_equal(ptrace(PTRACE_DETACH, shared->ids[index], NULL, NULL), 0);
	thread_unfilter(&thread, child, filtered);
	assert_true(thread.running);
	assert_int_equal(tgkill(child, filtered, SIGSTOP), 0);
	while (!thread.sigstop)
		thread_watch(&thread);
	assert_true(reaches(&shared->steps[0], shared->steps[0] + 50));
	thread_filter_again(&thread, 10000);
	for (size_t index = 0; index < THREADS; index++)
		assert_true(is_in_state(shared->ids[index], 'T'));
	assert_int_equal(thread_status_read(child, filtered, &status), 0);
	assert_int_equal(status.tracer, 0);
	/* One alone, and none that comes later. */
	assert_int_equal(kill(child, SIGCONT), 0);
	for (size_t index = 0; index < THREADS; index++)
		assert_true(reaches(&shared->steps[index], shared->steps[index] + 50));
}

static void says_when_the_thread_is_gone(void **state)
{
	struct released_thread thread;
	struct error_text error;

	(void)state;
	assert_int_equal(thread_release(&thread, child, 0x3fffffff, &error), -ESRCH);
	assert_int_equal(thread_stop(&thread, 10000, &error), 0);
	assert_int_equal(thread_release(&thread, child, shared->ids[1], &error), 0);
	kill(child, SIGKILL);
	assert_true(thread_stop(&thread, 10000, &error) < 0);
}

static void kills_a_traced_process_for_good(void **state)
{
	siginfo_t info = {0};

	(void)state;
	failed_restore_kill(child);
	/* Dead, and still there as a zombie for whoever waits for it. */
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT | __WALL), 0);
	assert_int_equal(info.si_pid, child);
	assert_int_equal(info.si_status, SIGKILL);
	assert_true(ptrace(PTRACE_DETACH, child, NULL, NULL) < 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start_child, end_child)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lets_only_the_asked_thread_run_and_stops_it),
		TEST(keeps_signals_away_and_loses_none),
		TEST(goes_on_whatever_stops_it),
		TEST(leaves_a_thread_alone_that_it_does_not_trace),
		TEST(a_filter_stays_suspended),
		TEST(a_stop_is_kept_from_a_thread_without_its_filter),
		TEST(says_when_the_thread_is_gone),
		TEST(kills_a_traced_process_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
