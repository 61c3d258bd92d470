/*
 * Ways to get the memory of a stopped process into a file, by number of threads.
 *
 *   dumpways MIB FILE RUNS THREADS...
 *
 * One line for each way and number of threads:
 *
 *   way=NAME threads=N seconds=S low=S high=S gib_per_second=G
 *
 * seconds is the median of RUNS runs, all ways one after the other in each of them; FILE is made anew each time, its
 * contents are compared after the last one. What is written is in the page cache then, as after CRIU's dump.
 *
 *   splice      vmsplice() in the process, splice() to the file: CRIU's way, with N pipes. Here both ends work at the
 *               same time, CRIU fills a pipe and then empties it.
 *   readv       process_vm_readv() to a buffer, pwrite()
 *   mapped      process_vm_readv() into the mapped file: one copy, no lock of the file, faults instead
 *   *-files     the same into a file for each thread: how much of it is the file's lock
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1UL << 20)
#define MAX_THREADS 64
#define MAX_RUNS 99

enum way { SPLICE, READV, MAPPED, SPLICE_FILES, READV_FILES, NR_WAYS };
static const char *const names[NR_WAYS] = {"splice", "readv", "mapped", "splice-files", "readv-files"};

static size_t size;
static uint64_t *memory; /* at the same place in the process that is dumped */
static const char *file;
static pid_t child;

static void die(const char *what)
{
	fprintf(stderr, "dumpways: %s: %s\n", what, strerror(errno));
	if (child > 0)
		kill(child, SIGKILL);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each thread of @nr takes the chunks from its start to its end. */
struct part {
	enum way way;
	size_t start, end;
	int fd, pipe[2];
	off_t base; /* of the file */
	char *map;
	pthread_t thread;
};

static void cut(struct part *parts, int nr)
{
	size_t chunks = size / CHUNK;

	for (int i = 0; i < nr; i++) {
		parts[i].start = chunks * (size_t)i / (size_t)nr * CHUNK;
		parts[i].end = chunks * ((size_t)i + 1) / (size_t)nr * CHUNK;
	}
}

static void *give(void *arg)
{
	struct part *part = arg;

	for (size_t at = part->start; at < part->end;) {
		struct iovec iov = {(char *)memory + at, part->end - at};
		ssize_t done = vmsplice(part->pipe[1], &iov, 1, 0);

		if (done <= 0)
			_exit(1);
		at += (size_t)done;
	}
	return NULL;
}

static void take_spliced(struct part *part)
{
	for (size_t at = part->start; at < part->end;) {
		loff_t to = (loff_t)at - part->base;
		ssize_t done = splice(part->pipe[0], NULL, part->fd, &to, part->end - at, SPLICE_F_MOVE);

		if (done <= 0)
			die("splice");
		at += (size_t)done;
	}
}

static void read_memory(size_t at, void *to)
{
	struct iovec local = {to, CHUNK}, remote = {(char *)memory + at, CHUNK};

	if (process_vm_readv(child, &local, 1, &remote, 1, 0) != (ssize_t)CHUNK)
		die("process_vm_readv");
}

static void *take(void *arg)
{
	struct part *part = arg;
	char *buffer;

	if (part->way == SPLICE || part->way == SPLICE_FILES) {
		take_spliced(part);
		return NULL;
	}
	buffer = part->map ? NULL : aligned_alloc(CHUNK, CHUNK);
	for (size_t at = part->start; at < part->end; at += CHUNK) {
		read_memory(at, part->map ? part->map + at : buffer);
		if (!part->map && pwrite(part->fd, buffer, CHUNK, (off_t)at - part->base) != (ssize_t)CHUNK)
			die("pwrite");
	}
	free(buffer);
	return NULL;
}

static int make_file(int number)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), number ? "%s.%d" : "%s", file, number);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	return fd;
}

/* The process that is dumped. For splice() it is asked to give its pages, by as many threads as there are pipes. */
static void be_dumped(struct part *parts, int nr)
{
	for (int i = 0; i < nr; i++)
		if (pthread_create(&parts[i].thread, NULL, give, &parts[i]))
			_exit(1);
	for (int i = 0; i < nr; i++)
		pthread_join(parts[i].thread, NULL);
}

/* Commands of the process that is dumped go over these: the number of pipes, which it has since before its fork. */
static int commands[2], all_pipes[MAX_THREADS][2];

static void serve(void)
{
	struct part parts[MAX_THREADS] = {0};
	int nr;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(commands[0], &nr, sizeof(nr)) == sizeof(nr)) {
		cut(parts, nr);
		for (int i = 0; i < nr; i++)
			memcpy(parts[i].pipe, all_pipes[i], sizeof(parts[i].pipe));
		be_dumped(parts, nr);
	}
	_exit(0);
}

static double measure(enum way way, int nr, int compare)
{
	int several = way == SPLICE_FILES || way == READV_FILES;
	struct part parts[MAX_THREADS] = {0};
	double start, seconds;
	char *map = NULL;

	for (int i = 0; i < nr; i++)
		parts[i].fd = several || i == 0 ? make_file(i) : parts[0].fd;
	cut(parts, nr);
	start = now();
	if (way == MAPPED) {
		if (ftruncate(parts[0].fd, (off_t)size))
			die("ftruncate");
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, parts[0].fd, 0);
		if (map == MAP_FAILED)
			die("mmap");
	}
	if ((way == SPLICE || way == SPLICE_FILES) && write(commands[1], &nr, sizeof(nr)) != sizeof(nr))
		die("write");
	for (int i = 0; i < nr; i++) {
		parts[i].way = way;
		parts[i].map = map;
		parts[i].base = several ? (off_t)parts[i].start : 0;
		memcpy(parts[i].pipe, all_pipes[i], sizeof(parts[i].pipe));
		if (pthread_create(&parts[i].thread, NULL, take, &parts[i]))
			die("pthread_create");
	}
	for (int i = 0; i < nr; i++)
		pthread_join(parts[i].thread, NULL);
	if (map)
		munmap(map, size);
	seconds = now() - start;
	for (int i = 0; i < nr && compare; i++) {
		size_t length = parts[i].end - parts[i].start;
		char *have =
			mmap(NULL, length, PROT_READ, MAP_SHARED, parts[i].fd, (off_t)parts[i].start - parts[i].base);

		if (have == MAP_FAILED || memcmp(have, (char *)memory + parts[i].start, length)) {
			fprintf(stderr, "dumpways: %s with %d threads wrote something else\n", names[way], nr);
			kill(child, SIGKILL);
			exit(1);
		}
		munmap(have, length);
	}
	for (int i = 0; i < nr; i++) {
		char path[4096];

		if (i && !several)
			break;
		close(parts[i].fd);
		snprintf(path, sizeof(path), i ? "%s.%d" : "%s", file, i);
		unlink(path);
	}
	return seconds;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double seconds[NR_WAYS][MAX_THREADS][MAX_RUNS];
	int runs, nr_threads = argc - 4;

	if (argc < 5 || nr_threads > MAX_THREADS) {
		fprintf(stderr, "usage: dumpways MIB FILE RUNS THREADS...\n");
		return 2;
	}
	size = strtoul(argv[1], NULL, 10) << 20;
	file = argv[2];
	runs = atoi(argv[3]);
	if (!size || runs < 1 || runs > MAX_RUNS)
		return 2;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || pipe2(commands, O_CLOEXEC))
		die("mmap");
	madvise(memory, size, MADV_NOHUGEPAGE); /* the pages that most programs have */
	for (size_t i = 0; i < size / 8; i++)
		memory[i] = (i + 1) * 0x9e3779b97f4a7c15ULL;
	for (int i = 0; i < MAX_THREADS; i++) {
		if (pipe2(all_pipes[i], O_CLOEXEC))
			die("pipe");
		fcntl(all_pipes[i][1], F_SETPIPE_SZ, 1 << 20); /* as much as it gets */
	}
	/* We keep the pages too, to compare with: nobody writes to them any more. */
	child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		serve();
	for (int run = 0; run < runs; run++)
		for (int t = 0; t < nr_threads; t++)
			for (int w = 0; w < NR_WAYS; w++) {
				int way = run % 2 ? NR_WAYS - 1 - w : w, nr = atoi(argv[4 + t]);

				if (nr < 1 || nr > MAX_THREADS)
					return 2;
				seconds[way][t][run] = measure((enum way)way, nr, run == runs - 1);
			}
	for (int way = 0; way < NR_WAYS; way++)
		for (int t = 0; t < nr_threads; t++) {
			double *s = seconds[way][t], median;

			qsort(s, (size_t)runs, sizeof(*s), by_size);
			median = runs % 2 ? s[runs / 2] : (s[runs / 2 - 1] + s[runs / 2]) / 2;
			printf("way=%s threads=%s seconds=%.3f low=%.3f high=%.3f gib_per_second=%.2f\n", names[way],
			       argv[4 + t], median, s[0], s[runs - 1], (double)size / (1UL << 30) / median);
		}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
