/* SPDX-License-Identifier: MIT */
#include "inspect/inspection_test_support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/inspection-test-XXXXXX";

static void a_plain_process_has_none(void **state)
{
	struct obstacle_maker maker = start(make_nothing);
	struct inspection inspection;
	struct error_text error;

	(void)state;
	assert_int_equal(inspection_run(&inspection, maker.pid, &strict, &error), 0);
	assert_int_equal(inspection.process_count, 1);
	assert_int_equal(inspection.processes[0].threads, 1);
	assert_int_equal(inspection.processes[0].parent, getpid());
	assert_int_equal(inspection.processes[0].presence, AGENT_ABSENT);
	assert_false(inspection.processes[0].has_cuda_library);
	assert_int_equal(inspection.obstacle_count, 0);
	inspection_free(&inspection);
	end(maker.pid);
	assert_int_equal(inspection_run(&inspection, maker.pid, &strict, &error), -ESRCH);
	inspection_free(&inspection);
}

static bool make_io_uring(void)
{
	struct io_uring_params parameters = {0};

	return syscall(SYS_io_uring_setup, 4, &parameters) >= 0;
}

static void io_uring_is_found(void **state)
{
	static const struct inspection_options unknown = {.known = false};
	struct obstacle_maker maker = start(make_io_uring);

	(void)state;
	MUST_BE_POSSIBLE(maker);
	assert_true(is_only(maker.pid, OBSTACLE_IO_URING, &strict));
	assert_true(is_only(maker.pid, OBSTACLE_IO_URING, &unknown));
	end(maker.pid);
}

static pid_t traced;

static bool make_tracer(void)
{
	return !ptrace(PTRACE_SEIZE, traced, 0, 0);
}

static void a_tracer_is_found(void **state)
{
	struct obstacle_maker victim = start(make_nothing), tracer;
	struct inspection inspection;
	struct error_text error;

	(void)state;
	traced = victim.pid;
	tracer = start(make_tracer);
	assert_true(tracer.possible);
	assert_true(is_only(victim.pid, OBSTACLE_TRACER, &strict));
	assert_int_equal(inspection_run(&inspection, victim.pid, &strict, &error), 0);
	assert_true(inspection_is_busy(&inspection));
	inspection_free(&inspection);
	end(tracer.pid);
	assert_false(is_only(victim.pid, OBSTACLE_TRACER, &strict));
	end(victim.pid);
}

#define GHOST_BYTES ((size_t)2 << 20)

static int make_deleted_file(void)
{
	static char contents[GHOST_BYTES] = {1};
	char path[64];
	int file;

	snprintf(path, sizeof(path), "%s/ghost", folder);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || write(file, contents, sizeof(contents)) != (ssize_t)sizeof(contents) || unlink(path))
		return -1;
	return file;
}

static bool make_open_ghost(void)
{
	return make_deleted_file() >= 0;
}

static bool make_mapped_ghost(void)
{
	int file = make_deleted_file();
	bool mapped = mmap(NULL, GHOST_BYTES, PROT_READ, MAP_SHARED, file, 0) != MAP_FAILED;

	close(file);
	return mapped;
}

static void a_big_deleted_file_is_found(void **state)
{
	static bool (*const makers[])(void) = {make_open_ghost, make_mapped_ghost};
	struct inspection_options options = strict;
	struct obstacle_maker maker;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		maker = start(makers[i]);
		assert_true(maker.possible);
		options.ghost_bytes = strict.ghost_bytes;
		assert_true(is_only(maker.pid, OBSTACLE_GHOST_FILE, &options));
		options.ghost_bytes = GHOST_BYTES + (1 << 20);
		assert_false(is_only(maker.pid, OBSTACLE_GHOST_FILE, &options));
		end(maker.pid);
	}
}

/* Memory without a file is no deleted file, however big. */
static bool make_memory(void)
{
	int memory = memfd_create("big", 0);

	return memory >= 0 && !ftruncate(memory, (off_t)GHOST_BYTES) && !posix_fallocate(memory, 0, GHOST_BYTES) &&
	       mmap(NULL, GHOST_BYTES, PROT_READ, MAP_SHARED, memory, 0) != MAP_FAILED &&
	       mmap(NULL, GHOST_BYTES, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) != MAP_FAILED;
}

static void memory_is_no_deleted_file(void **state)
{
	struct obstacle_maker maker = start(make_memory);

	(void)state;
	assert_true(maker.possible);
	assert_false(is_only(maker.pid, OBSTACLE_GHOST_FILE, &strict));
	end(maker.pid);
}

static bool make_semaphore(void)
{
	char name[64];
	sem_t *semaphore;

	snprintf(name, sizeof(name), "/rekindle-inspection-%d", getppid());
	semaphore = sem_open(name, O_CREAT, 0600, 1);
	return semaphore != SEM_FAILED;
}

static void a_named_semaphore_is_found(void **state)
{
	struct obstacle_maker maker = start(make_semaphore);
	struct inspection_options options = strict;
	char name[64];

	(void)state;
	MUST_BE_POSSIBLE(maker);
	assert_true(is_only(maker.pid, OBSTACLE_LINKED_FILE, &options));
	options.links = true;
	assert_false(is_only(maker.pid, OBSTACLE_LINKED_FILE, &options));
	end(maker.pid);
	snprintf(name, sizeof(name), "/rekindle-inspection-%d", getpid());
	sem_unlink(name);
}

static bool make_connection(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);

	return !bind(listener, (struct sockaddr *)&address, length) && !listen(listener, 1) &&
	       !getsockname(listener, (struct sockaddr *)&address, &length) &&
	       !connect(client, (struct sockaddr *)&address, length) && accept(listener, NULL, NULL) >= 0;
}

static bool make_listener(void)
{
	return !listen(socket(AF_INET, SOCK_STREAM, 0), 1) && socket(AF_INET6, SOCK_DGRAM, 0) >= 0;
}

static void a_connection_is_found(void **state)
{
	struct obstacle_maker maker = start(make_listener);
	struct inspection_options options = strict;

	(void)state;
	MUST_BE_POSSIBLE(maker);
	assert_false(is_only(maker.pid, OBSTACLE_CONNECTION, &options));
	end(maker.pid);
	maker = start(make_connection);
	MUST_BE_POSSIBLE(maker);
	assert_true(is_only(maker.pid, OBSTACLE_CONNECTION, &options));
	options.connections = true;
	assert_false(is_only(maker.pid, OBSTACLE_CONNECTION, &options));
	end(maker.pid);
}

/* A file of a mount that only another namespace sees. */
static bool make_foreign_file(void)
{
	int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), file;

	if (own < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", folder, "tmpfs", 0, NULL) || chdir(folder))
		return false;
	file = open("file", O_RDWR | O_CREAT, 0600);
	return file >= 0 && !setns(own, CLONE_NEWNS) && !close(own);
}

static void a_file_of_another_mount_namespace_is_found(void **state)
{
	struct obstacle_maker maker = start(make_foreign_file);
	struct inspection_options options = strict;

	(void)state;
	MUST_BE_POSSIBLE(maker);
	assert_true(is_only(maker.pid, OBSTACLE_OTHER_MOUNTS, &options));
	options.external_files = true;
	assert_false(is_only(maker.pid, OBSTACLE_OTHER_MOUNTS, &options));
	end(maker.pid);
}

/* What it has open is of mounts that its own list does not show; CRIU reads another. And a log is no device. */
static bool make_another_root(void)
{
	char log[64];

	snprintf(log, sizeof(log), "%s/nvidia_train.log", folder);
	return open(log, O_RDWR | O_CREAT, 0600) >= 0 && !unlink(log) && open("/etc/passwd", O_RDONLY) >= 0 &&
	       !chroot(folder);
}

static void what_a_changed_root_hides_is_no_obstacle(void **state)
{
	struct obstacle_maker maker = start(make_another_root);
	struct inspection inspection;
	struct error_text error;

	(void)state;
	MUST_BE_POSSIBLE(maker);
	assert_int_equal(inspection_run(&inspection, maker.pid, &strict, &error), 0);
	if (inspection.obstacle_count)
		fail_msg("%s", inspection.obstacles[0].what);
	assert_false(inspection.processes[0].has_device);
	inspection_free(&inspection);
	end(maker.pid);
}

static bool make_a_criu_that_traces(void)
{
	return !prctl(PR_SET_NAME, "criu") && make_tracer();
}

static void a_dump_under_way_is_said(void **state)
{
	struct obstacle_maker victim = start(make_nothing), criu;
	struct inspection inspection;
	struct error_text error;

	(void)state;
	traced = victim.pid;
	criu = start(make_a_criu_that_traces);
	assert_true(criu.possible);
	assert_int_equal(inspection_run(&inspection, victim.pid, &strict, &error), 0);
	assert_true(inspection_is_busy(&inspection));
	inspection_describe(&inspection, &error);
	assert_non_null(strstr(error.text, "another dump or restore is under way: wait"));
	inspection_free(&inspection);
	end(criu.pid);
	end(victim.pid);
}

static struct sockaddr_un service_address(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", folder);
	return address;
}

static bool make_service(void)
{
	struct sockaddr_un address = service_address();
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	return !prctl(PR_SET_NAME, "nvidia-cuda-mps-control") &&
	       !bind(listener, (struct sockaddr *)&address, sizeof(address)) && !listen(listener, 1);
}

static bool make_client(void)
{
	struct sockaddr_un address = service_address();

	return !connect(socket(AF_UNIX, SOCK_SEQPACKET, 0), (struct sockaddr *)&address, sizeof(address));
}

static void a_client_of_the_multi_process_service_is_found(void **state)
{
	struct obstacle_maker service = start(make_service), client = start(make_client);

	(void)state;
	assert_true(service.possible && client.possible);
	assert_false(is_only(service.pid, OBSTACLE_MPS, &strict));
	assert_true(is_only(client.pid, OBSTACLE_MPS, &strict));
	end(client.pid);
	end(service.pid);
}

static bool make_tree(void)
{
	for (int i = 0; i < 2; i++) {
		pid_t child = fork();

		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			make_connection();
			make_open_ghost();
			kill(getppid(), SIGUSR1);
			for (;;)
				pause();
		}
	}
	return true;
}

/* All of them at once, each process by its number, and no more than fits into one sentence. */
static void all_are_said_at_once(void **state)
{
	struct obstacle_maker maker;
	struct inspection inspection;
	struct error_text error;
	sigset_t usual;
	int tries;

	(void)state;
	sigemptyset(&usual);
	sigaddset(&usual, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usual, NULL);
	maker = start(make_tree);
	for (tries = 0; tries < 1000; tries++) {
		assert_int_equal(inspection_run(&inspection, maker.pid, &strict, &error), 0);
		if (inspection.obstacle_count == 4)
			break;
		inspection_free(&inspection);
		usleep(10000);
	}
	assert_int_equal(inspection.process_count, 3);
	assert_int_equal(inspection.obstacle_count, 4);
	assert_int_equal(inspection.processes[1].parent, maker.pid);
	inspection_describe(&inspection, &error);
	assert_non_null(strstr(error.text, "TCP connections"));
	assert_non_null(strstr(error.text, "deleted file"));
	assert_non_null(strstr(error.text, " more"));
	for (size_t i = 1; i < 3; i++)
		kill(inspection.processes[i].pid, SIGKILL);
	inspection_free(&inspection);
	end(maker.pid);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	struct sockaddr_un address = service_address();

	(void)state;
	unlink(address.sun_path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_process_has_none),
		cmocka_unit_test(io_uring_is_found),
		cmocka_unit_test(a_tracer_is_found),
		cmocka_unit_test(a_big_deleted_file_is_found),
		cmocka_unit_test(memory_is_no_deleted_file),
		cmocka_unit_test(a_named_semaphore_is_found),
		cmocka_unit_test(a_connection_is_found),
		cmocka_unit_test(a_file_of_another_mount_namespace_is_found),
		cmocka_unit_test(what_a_changed_root_hides_is_no_obstacle),
		cmocka_unit_test(a_client_of_the_multi_process_service_is_found),
		cmocka_unit_test(a_dump_under_way_is_said),
		cmocka_unit_test(all_are_said_at_once),
	};

	close_what_is_inherited();
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
