/* SPDX-License-Identifier: MIT */
/* Before cmocka.h, whose macro fail() would take the name of our function. */
#include "process/agent_page.h"
#include "process/process_maps.h"
#include "process/process_status.h"
#include "protocol/socket_mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct process_maps maps_of(const char *line)
{
	struct process_maps maps = {0};

	process_maps_take_line(&maps, line);
	return maps;
}

static void recognizes_the_driver_library(void **state)
{
	(void)state;
	assert_true(maps_of("7f10-7f20 r-xp 00001000 fe:00 1234    /usr/lib/x86_64-linux-gnu/libcuda.so.580.159\n")
			    .has_cuda_library);
	assert_true(maps_of("7f10-7f20 r--p 00000000 00:00 0 /a b/libcuda.so.1 (deleted)\n").has_cuda_library);
	assert_false(maps_of("7f10-7f20 r-xp 00000000 fe:00 1 /usr/lib/libcudart.so.12\n").has_cuda_library);
	assert_false(maps_of("7f10-7f20 r-xp 00000000 fe:00 1 /opt/libcuda.so/other\n").has_cuda_library);
	assert_false(maps_of("7f10-7f20 rw-p 00000000 00:00 0 \n").has_cuda_library);
	assert_false(maps_of("7f10-7f20 rw-p 00000000 00:00 0          [heap]\n").has_cuda_library);
}

static void recognizes_the_agent_page(void **state)
{
	struct process_maps maps;

	(void)state;
	maps = maps_of("7f1234567000-7f1234568000 rw-s 00000000 00:01 99   /memfd:rekindle-agent (deleted)\n");
	assert_int_equal(maps.agent_page_count, 1);
	assert_int_equal(maps.agent_pages[0], 0x7f1234567000);
	assert_int_equal(
		maps_of("7f10-7f20 rw-s 00000000 00:01 99 /memfd:rekindle-agent-x (deleted)\n").agent_page_count, 0);
	assert_int_equal(maps_of("7f10-7f20 rw-s 00000000 00:01 99 /tmp/rekindle-agent\n").agent_page_count, 0);
	/* A file of that name where others than the kernel serve files. */
	assert_int_equal(maps_of("7f10-7f20 rw-s 00000000 fe:33 99 /memfd:rekindle-agent (deleted)\n").agent_page_count,
			 0);
}

static void a_process_that_is_gone_is_no_process_without_cuda(void **state)
{
	struct process_maps maps;
	struct error_text error;
	pid_t child = fork();

	(void)state;
	if (!child)
		_exit(0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(process_maps_read(child, &maps, &error), -ESRCH);
}

/* What an agent does: a page in a memfd and a thread, here the only one, behind a socket. */
struct fake_agent {
	int sockets[2];
	struct agent_page *page;
};

static void publish(struct fake_agent *fake)
{
	int memory = memfd_create(AGENT_PAGE_NAME, MFD_CLOEXEC);

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fake->sockets), 0);
	assert_int_equal(socket_mark(fake->sockets[0], SOCKET_MARK_AGENT), 0);
	assert_int_equal(socket_mark(fake->sockets[1], SOCKET_MARK_OUTSIDE), 0);
	assert_int_equal(ftruncate(memory, sizeof(struct agent_page)), 0);
	fake->page = mmap(NULL, sizeof(struct agent_page), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	assert_ptr_not_equal(fake->page, MAP_FAILED);
	close(memory);
	*fake->page = (struct agent_page){
		.magic = AGENT_PAGE_MAGIC,
		.protocol_version = AGENT_PROTOCOL_VERSION,
		.state = AGENT_STATE_MAPPED,
		.agent_descriptor = fake->sockets[0],
		.control_descriptor = fake->sockets[1],
	};
}

static void unpublish(struct fake_agent *fake)
{
	munmap(fake->page, sizeof(struct agent_page));
	close(fake->sockets[0]);
	close(fake->sockets[1]);
}

static void open_agent(struct agent *agent, pid_t pid)
{
	struct process_maps maps;
	struct error_text error;

	assert_int_equal(process_maps_read(pid, &maps, &error), 0);
	agent_open(agent, pid, &maps);
}

static void finds_the_agent_of_a_process_in_another_pid_namespace(void **state)
{
	struct fake_agent fake;
	struct agent agent;
	int here[2], own[2];
	pid_t child;
	char byte;

	(void)state;
	if (geteuid())
		skip();
	publish(&fake);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, here), 0);
	/* The child is process 1 in its own eyes. */
	child = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	assert_true(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fake.page->process_id = getpid();
		fake.page->thread_id = gettid();
		/* Of its own, where the page says that they are. */
		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, own) || socket_mark(own[0], SOCKET_MARK_AGENT) ||
		    socket_mark(own[1], SOCKET_MARK_OUTSIDE) || dup2(own[0], fake.sockets[0]) < 0 ||
		    dup2(own[1], fake.sockets[1]) < 0)
			_exit(1);
		(void)!send(here[0], "r", 1, 0);
		if (recv(own[0], &byte, 1, 0) == 1)
			(void)!send(here[0], &byte, 1, 0);
		pause();
		_exit(0);
	}
	assert_int_equal(recv(here[1], &byte, 1, 0), 1);
	assert_int_equal(fake.page->process_id, 1);
	assert_int_equal(fake.page->thread_id, 1);

	open_agent(&agent, child);
	assert_string_equal(agent.note, "");
	assert_true(agent.usable);
	assert_int_equal(agent.thread, child);
	/* Our duplicate is the child's own socket: what goes in here comes out at its other end. */
	assert_int_equal(send(agent.control, "x", 1, 0), 1);
	assert_int_equal(recv(here[1], &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	agent_close(&agent);

	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(here[0]);
	close(here[1]);
	unpublish(&fake);
}

static void says_why_an_agent_is_not_usable(void **state)
{
	struct fake_agent fake;
	struct agent agent;
	struct process_maps none = {0};

	(void)state;
	agent_open(&agent, getpid(), &none);
	assert_false(agent.usable);
	assert_non_null(strstr(agent.note, "librekindle-preload.so"));

	publish(&fake);
	fake.page->process_id = getpid() + 1; /* a parent's page */
	fake.page->thread_id = gettid();
	open_agent(&agent, getpid());
	assert_false(agent.usable);
	assert_false(agent.has_page);

	fake.page->process_id = getpid();
	fake.page->protocol_version = AGENT_PROTOCOL_VERSION + 1;
	open_agent(&agent, getpid());
	assert_false(agent.usable);
	assert_non_null(strstr(agent.note, "version"));

	fake.page->protocol_version = AGENT_PROTOCOL_VERSION;
	fake.page->thread_id = 0x3fffffff;
	open_agent(&agent, getpid());
	assert_false(agent.usable);
	assert_non_null(strstr(agent.note, "thread"));

	fake.page->thread_id = 0; /* it has ended */
	open_agent(&agent, getpid());
	assert_false(agent.usable);
	assert_non_null(strstr(agent.note, "closed the agent's sockets"));

	fake.page->thread_id = gettid();
	open_agent(&agent, getpid());
	assert_true(agent.usable);
	agent_close(&agent);
	unpublish(&fake);
}

/* Nobody may conclude from that that there is none: what has been restored would be saved by the driver, and lost. */
static void a_page_that_cannot_be_read_is_no_missing_page(void **state)
{
	struct fake_agent fake, other;
	struct error_text error;
	struct agent agent;

	(void)state;
	publish(&fake);
	fake.page->process_id = getpid();
	fake.page->thread_id = gettid();
	assert_int_equal(mprotect(fake.page, sizeof(*fake.page), PROT_NONE), 0);
	open_agent(&agent, getpid());
	assert_false(agent.usable);
	assert_false(agent.has_page);
	assert_int_equal(agent.unknown, EFAULT);
	assert_int_equal(agent_must_be_known(&agent, getpid(), &error), -EIO);
	assert_non_null(strstr(error.text, "its device memory cannot be seen (the agent's page"));

	/* Nor is a parent's, which can be read, all that there is. */
	publish(&other);
	other.page->process_id = getpid() + 1;
	open_agent(&agent, getpid());
	assert_false(agent.has_page);
	assert_int_equal(agent.unknown, EFAULT);
	other.page->process_id = getpid();
	open_agent(&agent, getpid());
	assert_true(agent.has_page);
	assert_int_equal(agent_must_be_known(&agent, getpid(), &error), 0);
	agent_close(&agent);
	unpublish(&other);

	assert_int_equal(mprotect(fake.page, sizeof(*fake.page), PROT_READ | PROT_WRITE), 0);
	open_agent(&agent, getpid());
	assert_true(agent.usable);
	assert_int_equal(agent_must_be_known(&agent, getpid(), &error), 0);
	agent_close(&agent);
	unpublish(&fake);
}

/* What stands at the number of a socket that the program has closed is not taken for it. */
static void an_agent_without_its_sockets_is_not_usable(void **state)
{
	struct fake_agent fake;
	struct agent agent;
	int others[3], kept, end;

	(void)state;
	publish(&fake);
	fake.page->process_id = getpid();
	fake.page->thread_id = gettid();
	others[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(others[0] >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, &others[1]), 0);
	for (end = 0; end < 2; end++) {
		kept = dup(fake.sockets[end]);
		close(fake.sockets[end]);
		open_agent(&agent, getpid());
		assert_false(agent.usable);
		assert_non_null(strstr(agent.note, "closed the agent's sockets"));
		for (int other = 0; other < 3; other++) {
			assert_int_equal(dup2(others[other], fake.sockets[end]), fake.sockets[end]);
			open_agent(&agent, getpid());
			assert_false(agent.usable);
			assert_int_equal(agent.control, -1);
			assert_non_null(strstr(agent.note, "closed the agent's sockets"));
		}
		/* Nor is the one end for the other. */
		assert_int_equal(dup2(fake.sockets[!end], fake.sockets[end]), fake.sockets[end]);
		open_agent(&agent, getpid());
		assert_false(agent.usable);
		assert_int_equal(dup2(kept, fake.sockets[end]), fake.sockets[end]);
		close(kept);
		open_agent(&agent, getpid());
		assert_true(agent.usable);
		agent_close(&agent);
	}
	for (int other = 0; other < 3; other++)
		close(others[other]);
	unpublish(&fake);
}

/* A program can put the mark on any socket. */
static void assert_not_taken(struct fake_agent *fake, int descriptor)
{
	struct agent agent;

	socket_mark(descriptor, SOCKET_MARK_OUTSIDE);
	fake->page->process_id = getpid();
	fake->page->thread_id = gettid();
	fake->page->control_descriptor = descriptor;
	open_agent(&agent, getpid());
	assert_true(agent.has_page);
	assert_false(agent.usable);
	assert_int_equal(agent.control, -1);
}

/* Over any of these root would speak for a program that cannot do so itself. */
static void takes_no_socket_but_the_agents_own_pair(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), connected, accepted, pair[2], memory;
	socklen_t length = sizeof(address);
	struct fake_agent fake;
	struct agent agent;
	int status;
	pid_t child;

	(void)state;
	publish(&fake);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address.sun_family)), 0); /* any name */
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(listen(listener, 1), 0);
	connected = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(connected, (struct sockaddr *)&address, length), 0);
	accepted = accept(listener, NULL, NULL);
	assert_not_taken(&fake, connected);
	assert_not_taken(&fake, accepted);
	assert_not_taken(&fake, listener);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_not_taken(&fake, pair[0]);
	close(pair[0]);
	close(pair[1]);
	memory = memfd_create("no socket", MFD_CLOEXEC);
	assert_not_taken(&fake, memory);
	assert_not_taken(&fake, -1);

	/* A pair that another process has made, and handed down. */
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		fake.page->process_id = getpid();
		fake.page->thread_id = gettid();
		fake.page->control_descriptor = fake.sockets[1];
		open_agent(&agent, getpid());
		_exit(agent.has_page && !agent.usable ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(memory);
	close(listener);
	close(connected);
	close(accepted);
	unpublish(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recognizes_the_driver_library),
		cmocka_unit_test(recognizes_the_agent_page),
		cmocka_unit_test(a_process_that_is_gone_is_no_process_without_cuda),
		cmocka_unit_test(finds_the_agent_of_a_process_in_another_pid_namespace),
		cmocka_unit_test(says_why_an_agent_is_not_usable),
		cmocka_unit_test(a_page_that_cannot_be_read_is_no_missing_page),
		cmocka_unit_test(an_agent_without_its_sockets_is_not_usable),
		cmocka_unit_test(takes_no_socket_but_the_agents_own_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
