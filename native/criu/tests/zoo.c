/*
 * A process with one of every kind of memory. It is looked at from outside
 * (smaps, thread ids) and looks at its contents itself.
 *
 *   zoo MODE DIR
 *
 * MODE: mappings, cow, threads, shm, tids, huge, nothp, many. Detaches, writes DIR/pid when all is set
 * up. On SIGUSR1 it checks every byte and writes DIR/status: "ok", or what
 * differs; a new SIGUSR1 checks again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "zoo_areas.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define NR_THREADS 500

static const char *dir;

static void advise(const char *name, int advice)
{
	void *p = lone(MB, 0);

	/* A kernel may lack one of them, like MADV_MERGEABLE */
	if (p != MAP_FAILED && madvise(p, MB, advice) && errno != EINVAL)
		die(name);
	add(name, p, MB, 1, 1);
}

static int file(const char *name, size_t len)
{
	char path[4096], page[PAGE];
	size_t off;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		die(path);
	for (off = 0; off < len; off += PAGE) {
		memset(page, (int)('a' + off / PAGE % 26), PAGE);
		if (write(fd, page, PAGE) != (ssize_t)PAGE)
			die(path);
	}
	return fd;
}

static void make_mappings(void)
{
	unsigned char *p;
	struct area *a;
	size_t off;
	int fd;

	add("anon", lone(24 * MB, 0), 24 * MB, 1, 1);
	add("scattered", lone(40 * MB, 0), 40 * MB, 5, 1);
	add("tiny", lone(8 * KB, 0), 8 * KB, 1, 1);

	/* the head and the tail of it are parts of huge pages */
	p = anon(24 * MB, PROT_NONE, 0);
	if (p == MAP_FAILED)
		die("thp");
	p = (unsigned char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1)) + 64 * KB;
	if (mprotect(p, 16 * MB, PROT_READ | PROT_WRITE))
		die("mprotect");
	madvise(p, 16 * MB, MADV_HUGEPAGE);
	add("MADV_HUGEPAGE", p, 16 * MB, 1, 1);
	advise("MADV_NOHUGEPAGE", MADV_NOHUGEPAGE);
	advise("MADV_DONTFORK", MADV_DONTFORK);
	advise("MADV_DONTDUMP", MADV_DONTDUMP);
	advise("MADV_SEQUENTIAL", MADV_SEQUENTIAL);
	advise("MADV_RANDOM", MADV_RANDOM);
	advise("MADV_MERGEABLE", MADV_MERGEABLE);
	advise("MADV_WIPEONFORK", MADV_WIPEONFORK);

	/* holes of every protection in one mapping */
	a = add("mprotect", lone(4 * MB, 0), 4 * MB, 1, 1);
	for (off = 64 * KB; off < 2 * MB; off += 256 * KB)
		if (mprotect(a->mem + off, 96 * KB, PROT_READ))
			die("mprotect");
	a = add("mprotect exec", lone(512 * KB, 0), 512 * KB, 1, 1);
	if (mprotect(a->mem, 256 * KB, PROT_READ | PROT_EXEC))
		die("mprotect");
	/* unreadable with contents: checked when it is made readable again */
	a = add("PROT_NONE", lone(256 * KB, 0), 256 * KB, 1, 1);
	if (mprotect(a->mem, a->len, PROT_NONE))
		die("mprotect");

	p = lone(2 * MB, 0);
	add("guarded", p, MB, 1, 1);
	/* older kernels don't have it */
	madvise(p + MB, 16 * PAGE, MADV_GUARD_INSTALL);
	madvise(p + MB + 32 * PAGE, PAGE, MADV_GUARD_INSTALL);
	add("behind guard", p + MB + 64 * PAGE, MB - 64 * PAGE, 1, 1);

	/* grow-down, with room below */
	p = anon(4 * MB, PROT_NONE, 0);
	if (p == MAP_FAILED || munmap(p, 4 * MB))
		die("growsdown");
	add("MAP_GROWSDOWN",
	    mmap(p + 3 * MB, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1,
		 0),
	    MB, 1, 1);

	/* this one is known to be restored whole or not at all */
	p = lone(256 * KB, 0);
	if (p != MAP_FAILED && mlock(p, 256 * KB))
		fprintf(stderr, "zoo: no mlock: %s\n", strerror(errno));
	add("mlock", p, 256 * KB, 1, 1);

	fd = file("private", 4 * MB);
	add("file private", mmap(NULL, 4 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), 4 * MB, 3, 0);
	add("file private offset", mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, MB + PAGE), MB, 1, 0);
	a = add("file private read-only", mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 2 * MB), MB, 2, 0);
	if (mprotect(a->mem, a->len, PROT_READ))
		die("mprotect");
	close(fd);
	fd = file("shared", 4 * MB);
	add("file shared", mmap(NULL, 4 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 4 * MB, 3, 0);
	close(fd);

	/*
	 * Two megabytes a piece; no page of these where there are none. Only for the test that sets them aside: CRIU needs
	 * one more for itself.
	 */
	p = MAP_FAILED;
	if (getenv("ZOO_HUGETLB"))
		p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p != MAP_FAILED)
		add("hugetlb", p, 2 * HUGE, 1, 1);
}

static void make_shm(void)
{
	unsigned char *p;
	int fd;

	add("shared anon", mmap(NULL, 24 * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 24 * MB, 1,
	    1);
	add("shared sparse", mmap(NULL, 24 * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 24 * MB, 7,
	    1);
	fd = memfd_create("zoo", 0);
	if (fd < 0 || ftruncate(fd, 16 * MB))
		die("memfd");
	p = mmap(NULL, 16 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	add("memfd", p, 16 * MB, 1, 1);
	/* a second time, and a private one of it */
	if (mmap(NULL, 16 * MB, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		die("memfd");
	add("memfd private", mmap(NULL, 16 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), 16 * MB, 2, 0);
	close(fd);

	/* Two megabytes a piece; no page of these where there are none. Only for the test that sets them aside. */
	fd = getenv("ZOO_HUGETLB") ? memfd_create("zoo-huge", MFD_HUGETLB) : -1;
	if (fd >= 0 && !ftruncate(fd, 3 * HUGE)) {
		p = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED)
			add("memfd of huge pages", p, 3 * HUGE, 1, 1);
	}
	if (fd >= 0)
		close(fd);
}

static void to_null(void)
{
	int fd = open("/dev/null", O_RDWR);

	dup2(fd, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	if (fd > 2)
		close(fd);
}

static void *park(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void make_threads(void)
{
	/* everything is allowed, but there is a filter for each thread to restore */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_reboot, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(code) / sizeof(code[0]), code};
	pthread_attr_t attr;
	pthread_t thread;
	int i;

	add("anon", lone(64 * MB, 0), 64 * MB, 1, 1);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		die("seccomp");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * KB);
	for (i = 0; i < NR_THREADS; i++)
		if (pthread_create(&thread, &attr, park, NULL))
			die("pthread_create");
}

/* So large that the place where it is premapped overlaps with it when addresses are not random */
static void make_huge(void)
{
	unsigned char *p = anon(258 * MB, PROT_READ | PROT_WRITE, 0);

	if (p == MAP_FAILED)
		die("huge");
	/* whole huge pages, with a part of one at the beginning, so that no border of the mapping is one of a huge page */
	if (madvise(p, 258 * MB, MADV_HUGEPAGE))
		fprintf(stderr, "zoo: no huge pages: %s\n", strerror(errno));
	if (munmap(p, 64 * KB))
		die("munmap");
	add("huge", p + 64 * KB, 258 * MB - 64 * KB, 1, 1);
}

/* A process that wants no huge pages, but has memory that would be good for them */
static void make_nothp(void)
{
	unsigned char *p;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		die("PR_SET_THP_DISABLE");
	add("anon", lone(32 * MB, 0), 32 * MB, 1, 1);
	p = lone(16 * MB, 0);
	if (p != MAP_FAILED)
		madvise(p, 16 * MB, MADV_HUGEPAGE);
	add("MADV_HUGEPAGE", p, 16 * MB, 1, 1);
}

/* Mappings with nothing between them, which count half of what they do when there is something */
static void make_many(void)
{
	unsigned char *p = anon(NR_MANY * 68 * KB, PROT_READ | PROT_WRITE, 0);
	size_t i;

	for (i = 0; p != MAP_FAILED && i < NR_MANY; i++)
		if (munmap(p + i * 68 * KB + 64 * KB, 4 * KB))
			die("munmap");
	for (i = 0; p != MAP_FAILED && i < NR_MANY; i++)
		memset(p + i * 68 * KB, (int)i | 1, 64 * KB);
	many = p;
}

/*
 * For a pid namespace of its own: one process with much to read, one with
 * many threads, some more. All the ids from 1 on are taken without a gap, so
 * a thread that is given just any id has one of them.
 */
static void make_tids(void)
{
	sigset_t set;
	int i, sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	for (i = 0; i < 20; i++) {
		pid_t pid = fork();
		pthread_t thread;
		int n;

		if (pid < 0)
			die("fork");
		if (pid) {
			sigwait(&set, &sig);
			continue;
		}
		to_null();
		if (i == 0)
			add("large", lone(256 * MB, 0), 256 * MB, 1, 1);
		else if (i == 1)
			for (n = 0; n < 100; n++)
				if (pthread_create(&thread, NULL, park, NULL))
					die("pthread_create");
		kill(getppid(), SIGUSR2);
		for (;;)
			pause();
	}
}

/* Page frame of @addr in process @pid */
static uint64_t frame(pid_t pid, const void *addr)
{
	char path[64];
	uint64_t e = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, &e, 8, (off_t)((uintptr_t)addr / PAGE * 8)) != 8)
		e = 0;
	if (fd >= 0)
		close(fd);
	return e & (1ULL << 63) ? e & ((1ULL << 55) - 1) : 0;
}

/* Written by the child: every fourth page of it is its own */
#define COW_LEN (16 * MB)

static int child_page(size_t off)
{
	return off / PAGE % 4 == 1;
}

static const char *check_cow(pid_t child)
{
	static char text[128];
	const unsigned char *mem = areas[0].mem;
	size_t off;

	for (off = 0; off < COW_LEN; off += PAGE) {
		uint64_t mine = frame(getpid(), mem + off), its = frame(child, mem + off);

		if (!mine || !its)
			snprintf(text, sizeof(text), "no page frame at %#zx", off);
		else if (child_page(off) && mine == its)
			snprintf(text, sizeof(text), "the child's page at %#zx is the parent's", off);
		else if (!child_page(off) && mine != its)
			snprintf(text, sizeof(text), "the page at %#zx is not shared any more", off);
		else
			continue;
		return text;
	}
	return NULL;
}

static void report(const char *name, const char *text)
{
	char path[4096], tmp[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(tmp, sizeof(tmp), "%s/%s.tmp", dir, name);
	f = fopen(tmp, "w");
	if (!f || fprintf(f, "%s\n", text) < 0 || fclose(f) || rename(tmp, path))
		_exit(3);
}

/* A process id that nobody will be given soon, as it has to be free later */
static pid_t fork_aside(void)
{
	int max = 32768, i;
	FILE *f = fopen("/proc/sys/kernel/pid_max", "r");
	pid_t tid, pid;

	if (f) {
		if (fscanf(f, "%d", &max) != 1)
			max = 32768;
		fclose(f);
	}
	tid = 2000 + (getpid() + max / 2) % (max - 4000);
	for (i = 0; i < 100; i++, tid++) {
		struct clone_args args = {
			.exit_signal = SIGCHLD,
			.set_tid = (uintptr_t)&tid,
			.set_tid_size = 1,
		};

		pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
		if (pid >= 0)
			return pid;
	}
	return fork();
}

int main(int argc, char **argv)
{
	int sig, i, cow, is_child = 0;
	const char *text;
	char pid_text[32];
	sigset_t set;
	pid_t child = 0;

	if (argc != 3)
		return 2;
	dir = argv[2];
	cow = !strcmp(argv[1], "cow");

	if (getpid() != 1 && fork_aside())
		return 0;
	setsid();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);

	if (!strcmp(argv[1], "mappings"))
		make_mappings();
	else if (!strcmp(argv[1], "shm"))
		make_shm();
	else if (!strcmp(argv[1], "threads"))
		make_threads();
	else if (!strcmp(argv[1], "tids"))
		make_tids();
	else if (!strcmp(argv[1], "huge"))
		make_huge();
	else if (!strcmp(argv[1], "nothp"))
		make_nothp();
	else if (!strcmp(argv[1], "many"))
		make_many();
	else if (cow)
		add("cow", lone(COW_LEN, 0), COW_LEN, 1, 1);
	else
		return 2;

	if (cow) {
		child = fork_aside();
		if (child < 0)
			die("fork");
		if (!child) {
			size_t off;

			is_child = 1;
			for (off = 0; off < COW_LEN; off += PAGE)
				if (child_page(off))
					areas[0].mem[off] ^= 0x55;
			/* this one is nobody else's, and large */
			add("child's own", lone(32 * MB, 0), 32 * MB, 1, 1);
			kill(getppid(), SIGUSR2);
		} else {
			add("parent's own", lone(8 * MB, 0), 8 * MB, 1, 1);
			sigwait(&set, &sig);
		}
	}

	to_null();
	if (!is_child) {
		snprintf(pid_text, sizeof(pid_text), "%d", getpid());
		report("pid", pid_text);
	}

	for (;;) {
		sigwait(&set, &sig);
		/* look at the frames before anything is touched */
		text = child ? check_cow(child) : NULL;

		for (i = 0; i < nr_areas; i++)
			if (!strcmp(areas[i].name, "PROT_NONE"))
				mprotect(areas[i].mem, areas[i].len, PROT_READ);
		if (is_child) {
			size_t off;

			for (off = 0; off < COW_LEN; off += PAGE)
				if (child_page(off))
					areas[0].mem[off] ^= 0x55;
		}
		if (!text)
			text = check();
		if (is_child) {
			report("status.child", text ? text : "ok");
			continue;
		}
		if (child) {
			char path[4096], line[256] = "";
			FILE *f = NULL;

			snprintf(path, sizeof(path), "%s/status.child", dir);
			unlink(path);
			kill(child, SIGUSR1);
			for (i = 0; i < 5000 && !(f = fopen(path, "r")); i++)
				usleep(1000);
			if (f) {
				if (!fgets(line, sizeof(line), f))
					line[0] = 0;
				fclose(f);
			}
			if (!text && strcmp(line, "ok\n"))
				text = "the child's memory differs";
		}
		report("status", text ? text : "ok");
	}
}
