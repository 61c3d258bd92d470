/*
 * A process with memory of a known shape and known contents.
 *
 *   memload CASE MIB STATUS
 *
 * It detaches, fills its memory, writes its process id to STATUS.pid and
 * waits. On SIGUSR1 it compares every byte of it with what has to be there
 * and writes one line to STATUS: "ok" or what differs, the number of bytes
 * compared, and how many KiB of it are huge pages.
 *
 * CASE: anon, thp, sparse, scatter, many, tree, memfd, forked
 *
 *   memload touch MIB
 *
 * just uses that much memory for a moment. Virtual machines give memory that
 * is free back to their host, and the first one to touch it again pays.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#define NR_TREE 8
#define NR_FORKED 4
#define NR_MANY 100000UL
#define NR_SCATTER 200000UL

/* pieces of @len bytes, one every @step bytes */
static struct {
	uint64_t *mem;
	size_t len, step, nr;
} area;

static const char *status;
static pid_t children[NR_TREE];
static int nr_children;

static void die(const char *what)
{
	fprintf(stderr, "memload: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* No two words of one process are equal, no two processes have the same. */
static inline uint64_t word(uint64_t i, uint64_t seed)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ULL + seed;

	return x ^ (x >> 29);
}

static uint64_t seed;

/* Of a process that was forked: every so many pieces are its own, with this seed, the others are those of its parent */
#define OWN_PIECES 32
static uint64_t own_seed;

static uint64_t seed_of(size_t piece)
{
	return own_seed && piece % OWN_PIECES == 0 ? own_seed : seed;
}

static void fill(void)
{
	size_t p, i, words = area.len / 8;

	for (p = 0; p < area.nr; p++) {
		uint64_t *at = area.mem + p * (area.step / 8);

		if (own_seed && seed_of(p) != own_seed)
			continue;
		for (i = 0; i < words; i++)
			at[i] = word(p * words + i, seed_of(p));
	}
}

/* Returns the bytes that were compared, or 0 when one of them is wrong. */
static size_t verify(void)
{
	size_t p, i, words = area.len / 8;

	for (p = 0; p < area.nr; p++) {
		uint64_t *at = area.mem + p * (area.step / 8);

		for (i = 0; i < words; i++)
			if (at[i] != word(p * words + i, seed_of(p)))
				return 0;
	}
	return area.nr * area.len;
}

static long huge_kb(void)
{
	char line[256];
	long kb, sum = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "AnonHugePages: %ld", &kb) == 1 || sscanf(line, "ShmemPmdMapped: %ld", &kb) == 1)
			sum += kb;
	fclose(f);
	return sum;
}

static void *map(size_t len, int flags, int fd)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void make_memory(const char *name, size_t size)
{
	size_t i;

	area.len = area.step = PAGE;
	area.nr = size / PAGE;

	if (!strcmp(name, "thp")) {
		/* aligned, so that all of it can be huge */
		uintptr_t p = (uintptr_t)map(size + (2UL << 20), MAP_PRIVATE | MAP_ANONYMOUS, -1);

		area.mem = (void *)((p + (2UL << 20) - 1) & ~((2UL << 20) - 1));
		if (madvise(area.mem, size, MADV_HUGEPAGE))
			die("madvise");
	} else if (!strcmp(name, "sparse")) {
		/* a page of each huge page, small ones, and then the advice */
		uintptr_t p = (uintptr_t)map(size + (2UL << 20), MAP_PRIVATE | MAP_ANONYMOUS, -1);

		area.step = 2UL << 20;
		area.nr = size / area.step;
		area.mem = (void *)((p + area.step - 1) & ~(area.step - 1));
		if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
			die("prctl");
		fill();
		if (prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0))
			die("prctl");
		if (madvise(area.mem, size, MADV_HUGEPAGE))
			die("madvise");
		return;
	} else if (!strcmp(name, "scatter")) {
		area.nr = NR_SCATTER;
		area.step = 2 * PAGE;
		area.mem = map(area.nr * area.step, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	} else if (!strcmp(name, "many")) {
		area.nr = NR_MANY;
		area.step = 2 * PAGE;
		area.mem = map(area.nr * area.step, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		/* every other page another protection: two mappings a piece */
		for (i = 0; i < area.nr / 2; i++)
			if (mprotect((char *)area.mem + 2 * i * area.step + PAGE, area.step, PROT_NONE) ||
			    mprotect((char *)area.mem + (2 * i + 1) * area.step, PAGE, PROT_READ | PROT_WRITE))
				die("mprotect, vm.max_map_count too low?");
	} else if (!strcmp(name, "memfd")) {
		int fd = memfd_create("memload", 0);

		if (fd < 0 || ftruncate(fd, size))
			die("memfd");
		area.mem = map(size, MAP_SHARED, fd);
	} else if (!strcmp(name, "anon") || !strcmp(name, "tree") || !strcmp(name, "forked")) {
		area.mem = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	} else {
		fprintf(stderr, "memload: unknown case %s\n", name);
		exit(1);
	}
	fill();
}

/* Half the range behind the last process id */
static pid_t next_pid(void)
{
	int max = 32768;
	FILE *f = fopen("/proc/sys/kernel/pid_max", "r");

	if (f) {
		if (fscanf(f, "%d", &max) != 1)
			max = 32768;
		fclose(f);
	}
	return 1000 + (getpid() + max / 2) % (max - 2000);
}

/*
 * A fork whose process id is far from those that are given out next: it has
 * to be free again when the process is restored.
 */
static pid_t fork_aside(void)
{
	static pid_t last;
	struct clone_args args;
	pid_t pid;
	int i;

	if (!last)
		last = next_pid();
	for (i = 0; i < 1000; i++) {
		last--;
		memset(&args, 0, sizeof(args));
		args.exit_signal = SIGCHLD;
		args.set_tid = (uintptr_t)&last;
		args.set_tid_size = 1;
		pid = syscall(SYS_clone3, &args, sizeof(args));
		if (pid >= 0)
			return pid;
		if (errno != EEXIST)
			break;
	}
	return fork();
}

static void report(const char *path, const char *text)
{
	char tmp[4096];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	f = fopen(tmp, "w");
	if (!f || fputs(text, f) < 0 || fclose(f) || rename(tmp, path))
		_exit(3);
}

int main(int argc, char **argv)
{
	char path[4096], text[256];
	sigset_t set;
	size_t size, total;
	long huge;
	int i, sig, nr_wanted;

	if (argc == 3 && !strcmp(argv[1], "touch")) {
		char *p;

		size = strtoul(argv[2], NULL, 10) << 20;
		p = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		madvise(p, size, MADV_HUGEPAGE);
		for (total = 0; total < size; total += PAGE)
			p[total] = 1;
		return 0;
	}
	if (argc != 4) {
		fprintf(stderr, "usage: memload CASE MIB STATUS\n");
		return 2;
	}
	size = strtoul(argv[2], NULL, 10) << 20;
	status = argv[3];

	if (fork_aside())
		return 0;
	setsid();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);

	nr_wanted = !strcmp(argv[1], "tree") ? NR_TREE : !strcmp(argv[1], "forked") ? NR_FORKED : 0;
	if (nr_wanted) {
		/*
		 * The children have the memory, the parent asks them. Those of
		 * "forked" have inherited it and written to some of it, as
		 * workers of Python's have.
		 */
		if (!strcmp(argv[1], "forked"))
			make_memory(argv[1], size / NR_FORKED);
		for (i = 0; i < nr_wanted; i++) {
			pid_t pid = fork_aside();

			if (pid < 0)
				die("fork");
			if (!pid) {
				if (!strcmp(argv[1], "forked")) {
					own_seed = i + 1;
					fill();
				} else {
					seed = i + 1;
					make_memory(argv[1], size / NR_TREE);
				}
				kill(getppid(), SIGUSR2);
				snprintf(path, sizeof(path), "%s.%d", status, i);
				nr_children = 0;
				goto wait;
			}
			children[nr_children++] = pid;
			sigwait(&set, &sig);
		}
	} else {
		make_memory(argv[1], size);
	}
	snprintf(path, sizeof(path), "%s", status);
	snprintf(text, sizeof(text), "%d\n", getpid());
	{
		char pidpath[4200];
		int fd;

		snprintf(pidpath, sizeof(pidpath), "%s.pid", status);
		report(pidpath, text);
		fd = open("/dev/null", O_RDWR);
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (fd > 2)
			close(fd);
	}
wait:
	if (nr_children == 0 && strcmp(path, status)) {
		int fd = open("/dev/null", O_RDWR);

		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (fd > 2)
			close(fd);
	}
	for (;;) {
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigwait(&set, &sig);

		huge = huge_kb(); /* before anything is touched */
		total = 0;
		if (nr_children) {
			huge = 0;
			for (i = 0; i < nr_children; i++) {
				char child[4200];
				size_t bytes = 0;
				long kb = 0;
				FILE *f = NULL;

				snprintf(child, sizeof(child), "%s.%d", status, i);
				unlink(child);
				kill(children[i], SIGUSR1);
				while (!(f = fopen(child, "r")))
					usleep(1000);
				if (fscanf(f, "ok %zu %ld", &bytes, &kb) != 2)
					bytes = 0;
				fclose(f);
				unlink(child);
				if (!bytes) {
					total = 0;
					break;
				}
				total += bytes;
				huge += kb;
			}
			if (area.mem) {
				size_t bytes = verify();

				total = total && bytes ? total + bytes : 0;
			}
		} else {
			total = verify();
		}
		snprintf(text, sizeof(text), "%s %zu %ld\n", total ? "ok" : "differs", total, huge);
		report(path, text);
	}
}
