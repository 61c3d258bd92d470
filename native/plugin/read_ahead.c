/* SPDX-License-Identifier: MIT */
#include "plugin/read_ahead.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/manifest_file.h"
#include "support/error_text.h"
#include "support/log.h"

#define READ_BYTES (1u << 20)

static void read_file(int folder, const char *name, void *buffer)
{
	int file = open_regular(folder, name, NULL);

	if (file < 0)
		return;
	while (read(file, buffer, READ_BYTES) > 0)
		;
	close(file);
}

/* Runs in the new process. Its only descriptor is the folder. */
static void read_folder(int image_folder)
{
	void *buffer = malloc(READ_BYTES);
	struct dirent *entry;
	DIR *folder;

	if (dup2(image_folder, 0) < 0)
		_exit(1);
	syscall(SYS_close_range, 1u, ~0u, 0);
	folder = fdopendir(openat(0, ".", O_RDONLY | O_DIRECTORY));
	if (!folder || !buffer)
		_exit(1);
	while ((entry = readdir(folder)))
		if (!fnmatch("pages-*.img", entry->d_name, 0))
			read_file(0, entry->d_name, buffer);
	_exit(0);
}

void read_ahead_start(int image_folder)
{
	sigset_t child_signal, old_signals;
	pid_t child;

	sigemptyset(&child_signal);
	sigaddset(&child_signal, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_signal, &old_signals);
	child = fork();
	if (!child) {
		/* The second fork leaves it without a parent here, where a child that ends aborts the restore. */
		if (setsid() >= 0 && !fork())
			read_folder(image_folder);
		_exit(0);
	}
	if (child < 0)
		log_warning("cannot read the images ahead: fork: %s", errno_text(errno));
	else
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	sigprocmask(SIG_SETMASK, &old_signals, NULL);
}
