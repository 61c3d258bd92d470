/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "protocol/message_socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/clock.h"

static int ends[2];

static int open_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static int close_pair(void **state)
{
	(void)state;
	for (int index = 0; index < 2; index++)
		if (ends[index] >= 0)
			close(ends[index]);
	return 0;
}

static int open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void carries_bytes(void **state)
{
	char received[64];

	(void)state;
	assert_int_equal(message_send(ends[0], "first", 6, NULL, 0), 0);
	assert_int_equal(message_send(ends[0], "second", 7, NULL, 0), 0);
	assert_int_equal(message_receive(ends[1], received, sizeof(received), NULL, NULL, -1), 6);
	assert_string_equal(received, "first");
	assert_int_equal(message_receive(ends[1], received, sizeof(received), NULL, NULL, 1000), 7);
	assert_string_equal(received, "second");
}

static void carries_descriptors_in_order(void **state)
{
	int sent[MESSAGE_DESCRIPTORS_MAX];
	int received[MESSAGE_DESCRIPTORS_MAX];
	size_t count = MESSAGE_DESCRIPTORS_MAX;
	char byte;

	(void)state;
	for (size_t index = 0; index < MESSAGE_DESCRIPTORS_MAX; index++) {
		sent[index] = memfd_create("message", MFD_CLOEXEC);
		assert_true(sent[index] >= 0);
		assert_int_equal(ftruncate(sent[index], (off_t)index + 1), 0);
	}
	assert_int_equal(message_send(ends[0], "x", 1, sent, MESSAGE_DESCRIPTORS_MAX), 0);
	assert_int_equal(message_receive(ends[1], &byte, 1, received, &count, 1000), 1);
	assert_int_equal(count, MESSAGE_DESCRIPTORS_MAX);
	for (size_t index = 0; index < count; index++) {
		struct stat file;

		assert_int_equal(fstat(received[index], &file), 0);
		assert_int_equal(file.st_size, index + 1);
		assert_int_equal(fcntl(received[index], F_GETFD), FD_CLOEXEC);
		close(received[index]);
		close(sent[index]);
	}
}

static void refuses_too_many_descriptors(void **state)
{
	int sent[MESSAGE_DESCRIPTORS_MAX + 1] = {0};

	(void)state;
	assert_int_equal(message_send(ends[0], "x", 1, sent, MESSAGE_DESCRIPTORS_MAX + 1), -E2BIG);
}

static void closes_descriptors_without_room(void **state)
{
	int sent[3] = {0, 0, 0};
	int received[1];
	size_t count = 1;
	char byte;
	int before;

	(void)state;
	assert_int_equal(message_send(ends[0], "x", 1, sent, 3), 0);
	before = open_descriptors();
	assert_int_equal(message_receive(ends[1], &byte, 1, received, &count, 1000), 1);
	assert_int_equal(count, 1);
	assert_int_equal(open_descriptors(), before + 1);
	close(received[0]);
	assert_int_equal(message_send(ends[0], "x", 1, sent, 3), 0);
	assert_int_equal(message_receive(ends[1], &byte, 1, NULL, NULL, 1000), 1);
	assert_int_equal(open_descriptors(), before);
}

static void says_when_descriptors_cannot_be_opened(void **state)
{
	int sent[4] = {0, 0, 0, 0}, received[4];
	struct rlimit before, few;
	size_t count = 4;
	char byte = 0;
	int next;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(message_send(ends[0], "x", 1, sent, 4), 0);
	next = dup(0);
	close(next);
	few = before;
	few.rlim_cur = (rlim_t)next + 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(message_receive(ends[1], &byte, 1, received, &count, 1000), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(count, 0);
	assert_int_equal(byte, 'x');
	assert_int_equal(dup(0), next);
	close(next);
}

static void says_when_a_message_was_cut(void **state)
{
	int sent = 0;
	int received[1];
	size_t count = 1;
	char byte;
	int before;

	(void)state;
	assert_int_equal(message_send(ends[0], "longer", 6, &sent, 1), 0);
	before = open_descriptors();
	assert_int_equal(message_receive(ends[1], &byte, 1, received, &count, 1000), -EMSGSIZE);
	assert_int_equal(count, 0);
	assert_int_equal(open_descriptors(), before);
}

static void says_when_the_other_side_is_gone(void **state)
{
	char byte;

	(void)state;
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(message_receive(ends[1], &byte, 1, NULL, NULL, 1000), -ECONNRESET);
	/* A SIGPIPE would end the test. */
	assert_int_equal(message_send(ends[1], "x", 1, NULL, 0), -EPIPE);
}

static void ignore_alarm(int signal_number)
{
	(void)signal_number;
}

static void times_out_in_spite_of_signals(void **state)
{
	struct sigaction action = {.sa_handler = ignore_alarm}; /* no SA_RESTART: poll is interrupted */
	struct itimerval often = {.it_interval.tv_usec = 5000, .it_value.tv_usec = 5000};
	struct itimerval never = {0};
	uint64_t began, took;
	char byte;

	(void)state;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	began = monotonic_nanoseconds();
	assert_int_equal(message_receive(ends[1], &byte, 1, NULL, NULL, 100), -ETIMEDOUT);
	took = monotonic_nanoseconds() - began;
	setitimer(ITIMER_REAL, &never, NULL);
	assert_true(took >= 100000000u);
	assert_int_equal(message_receive(ends[1], &byte, 1, NULL, NULL, 0), -ETIMEDOUT);
}

/* A fork, as it is another process that reads beside us. */
static void a_faster_reader_does_not_keep_us_waiting(void **state)
{
	enum { ROUNDS = 2000 };
	_Atomic unsigned int *theirs =
		mmap(NULL, sizeof(*theirs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t give_up = monotonic_nanoseconds() + 30000000000u;
	unsigned int round, mine = 0;
	pid_t child;
	int status;
	char byte;

	(void)state;
	assert_true(theirs != MAP_FAILED);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(ends[0]);
		while (message_receive(ends[1], &byte, 1, NULL, NULL, 30000) == 1)
			(*theirs)++;
		_exit(0);
	}
	/* On busy cores the other one needs a while before it is faster even once. */
	for (round = 0; round < ROUNDS || (!*theirs && monotonic_nanoseconds() < give_up); round++) {
		assert_int_equal(message_send(ends[0], "x", 1, NULL, 0), 0);
		if (round >= ROUNDS)
			sched_yield();
		/* With a limit, even of none, it must return whoever gets the message. */
		if (message_receive(ends[1], &byte, 1, NULL, NULL, 0) == 1)
			mine++;
	}
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(*theirs > 0);
	assert_int_equal(mine + *theirs, round);
	munmap(theirs, sizeof(*theirs));
}

static void somebody_who_never_reads_is_not_waited_for(void **state)
{
	char bytes[4096] = {0};

	(void)state;
	while (send(ends[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(message_send_until(ends[0], bytes, sizeof(bytes), NULL, 0, monotonic_nanoseconds() + 20000000),
			 -ETIMEDOUT);
	assert_int_equal(recv(ends[1], bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(recv(ends[1], bytes, sizeof(bytes), 0), sizeof(bytes));
	while (recv(ends[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(message_send_until(ends[0], bytes, sizeof(bytes), NULL, 0, 0), 0);
}

static void keeps_the_descriptors_of_a_message_that_was_cut(void **state)
{
	int sent[2] = {0, 0}, received[4], before;
	size_t count = 4;
	char byte;

	(void)state;
	before = open_descriptors();
	assert_int_equal(message_send(ends[0], "long", 4, sent, 2), 0);
	assert_int_equal(message_receive_keeping(ends[1], &byte, 1, received, &count, 1000), -EMSGSIZE);
	assert_int_equal(count, 2);
	assert_int_equal(open_descriptors(), before + 2);
	close(received[0]);
	close(received[1]);
}

/* Whoever shares the socket can have the kernel add one to every message. */
static void closes_process_descriptors_that_nobody_sent(void **state)
{
	int on = 1, received[2], before;
	size_t count = 2;
	char byte;

	(void)state;
	if (setsockopt(ends[1], SOL_SOCKET, 76 /* SO_PASSPIDFD, Linux 6.5 */, &on, sizeof(on)))
		skip();
	before = open_descriptors();
	assert_int_equal(message_send(ends[0], "x", 1, NULL, 0), 0);
	assert_int_equal(message_receive(ends[1], &byte, 1, received, &count, 1000), 1);
	assert_int_equal(count, 0);
	assert_int_equal(open_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(carries_bytes, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(carries_descriptors_in_order, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(refuses_too_many_descriptors, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(closes_descriptors_without_room, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(says_when_descriptors_cannot_be_opened, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(says_when_a_message_was_cut, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(says_when_the_other_side_is_gone, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(times_out_in_spite_of_signals, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(a_faster_reader_does_not_keep_us_waiting, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(somebody_who_never_reads_is_not_waited_for, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(keeps_the_descriptors_of_a_message_that_was_cut, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(closes_process_descriptors_that_nobody_sent, open_pair, close_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
