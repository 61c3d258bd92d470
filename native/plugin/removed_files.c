/* SPDX-License-Identifier: MIT */
#include "plugin/removed_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is smaller takes less than a thread does. */
#define LARGE_BYTES (16 << 20)
/* Of a GPU image there are 16 for each dump, and CRIU's pages. */
#define FILES_MAX 256

/*
 * Each frees another file at the same time. As many as there are files, mostly: when CRIU exits, what no thread has begun with
 * is freed by the last one alone.
 */
#define THREADS_MAX 32

struct removed_files {
	size_t count;
	int files[FILES_MAX];
	/* Of the threads that close them: */
	atomic_size_t next;  /* the file that nobody has taken yet */
	atomic_size_t users; /* who is still at work; the last one frees all of it */
};

/* Not to be read: the file is only to stay. -1: it is small, or none. */
static int hold(int folder, const char *name)
{
	struct stat status;
	int file;

	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode) ||
	    status.st_size < LARGE_BYTES)
		return -1;
	file = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return file;
}

struct removed_files *removed_files_hold(int folder, const char *name)
{
	struct removed_files *files = calloc(1, sizeof(*files));
	int inner = files ? openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	DIR *list = inner < 0 ? NULL : fdopendir(inner);
	struct dirent *entry;

	if (inner >= 0 && !list)
		close(inner);
	while (list && files->count < FILES_MAX && (entry = readdir(list))) {
		int file = hold(dirfd(list), entry->d_name);

		if (file >= 0)
			files->files[files->count++] = file;
	}
	if (list)
		closedir(list);
	if (files && files->count)
		return files;
	free(files);
	return NULL;
}

static void *close_all(void *argument)
{
	struct removed_files *files = argument;
	size_t at;

	while ((at = atomic_fetch_add(&files->next, 1)) < files->count)
		close(files->files[at]);
	if (atomic_fetch_sub(&files->users, 1) == 1)
		free(files);
	return NULL;
}

void removed_files_let_go(struct removed_files *files)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;
	size_t wanted, started = 0;

	if (!files)
		return;
	wanted = files->count < THREADS_MAX ? files->count : THREADS_MAX;
	/* And of this function, which closes them where no thread can be made. */
	atomic_store(&files->users, wanted + 1);
	/* CRIU's signals are its own. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	while (started < wanted && !pthread_create(&thread, &attributes, close_all, files))
		started++;
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	atomic_fetch_sub(&files->users, wanted - started);
	if (!started)
		close_all(files);
	else if (atomic_fetch_sub(&files->users, 1) == 1)
		free(files);
}
