/* SPDX-License-Identifier: MIT */
#include "api/run_test_support.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/test_images.h"

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

void touch(const char *path)
{
	int file = open(path, O_CREAT | O_WRONLY, 0600);

	assert_true(file >= 0);
	close(file);
}

int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[128];

	assert_non_null(f);
	strcpy(f->root, "/tmp/rekindle-run-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	snprintf(f->plugin, sizeof(f->plugin), "%s/plugin", f->root);
	snprintf(f->images, sizeof(f->images), "%s/images", f->root);
	snprintf(f->work, sizeof(f->work), "%s/work", f->root);
	snprintf(f->arguments, sizeof(f->arguments), "%s/arguments", f->root);
	assert_int_equal(mkdir(f->plugin, 0700), 0);
	snprintf(path, sizeof(path), "%s/cuda_plugin.so", f->plugin);
	touch(path);
	setenv("REKINDLE_TEST_ARGUMENTS", f->arguments, 1);
	setenv("REKINDLE_TEST_CRIU", "ok", 1);
	setenv("REKINDLE_TEST_CRIU_VERSION", "4.2.1", 1);
	setenv("REKINDLE_TEST_PROGRESS", FAKE_PROGRESS, 1);
	unsetenv("REKINDLE_TEST_CRIU_PATCHED");
	f->target = fork();
	if (!f->target) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A lock of whoever started this would be one that the process holds. */
		close_range(3, ~0u, 0);
		setsid();
		for (;;)
			pause();
	}
	/* A dump refuses what leads no session. */
	while (f->target > 0 && getsid(f->target) != f->target)
		usleep(100);
	rekindle_environment_defaults(&f->environment);
	f->environment.criu = FAKE_CRIU;
	f->environment.plugin_directory = f->plugin;
	f->dump.structure_size = sizeof(f->dump);
	f->dump.pid = f->target;
	f->dump.directory = f->images;
	f->dump.work_directory = f->work;
	f->restore.structure_size = sizeof(f->restore);
	f->restore.directory = f->images;
	f->restore.work_directory = f->work;
	*state = f;
	return 0;
}

int tear_down(void **state)
{
	struct fixture *f = *state;

	kill(f->target, SIGKILL);
	waitpid(f->target, NULL, 0);
	nftw(f->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

int dump(struct fixture *f, const char *behaviour)
{
	setenv("REKINDLE_TEST_CRIU", behaviour, 1);
	return rekindle_checkpoint(&f->environment, &f->dump, NULL, NULL, 0, &f->error);
}

int restore(struct fixture *f, const char *behaviour, int32_t *pid)
{
	test_images_write(f->images, 1234);
	setenv("REKINDLE_TEST_CRIU", behaviour, 1);
	return rekindle_restore(&f->environment, &f->restore, pid, NULL, NULL, 0, &f->error);
}

const char *text_of(const char *path)
{
	static char text[65536];
	int file = open(path, O_RDONLY);
	ssize_t got = file < 0 ? 0 : read(file, text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = '\0';
	if (file >= 0)
		close(file);
	return text;
}

bool passed(struct fixture *f, const char *arguments)
{
	return strstr(text_of(f->arguments), arguments);
}

bool needs_root(void)
{
	if (geteuid() == 0)
		return false;
	fprintf(stderr, "this test needs root, as checkpoint and restore do\n");
	return true;
}
