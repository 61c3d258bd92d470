/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "inspect/inspection_internal.h"

/* A process of the same namespace as one before it adds nothing that is not there; that is cheaper than to ask which. */
int mount_set_add(struct mount_set *mounts, pid_t pid)
{
	char path[64], *line = NULL;
	size_t capacity = 0;
	FILE *file;
	int code = 0;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (!code && getline(&line, &capacity, file) >= 0) {
		int *grown = realloc(mounts->ids, (mounts->count + 1) * sizeof(*grown));

		if (!grown) {
			code = -ENOMEM;
			break;
		}
		mounts->ids = grown;
		grown[mounts->count++] = atoi(line);
	}
	free(line);
	fclose(file);
	return code;
}

static int compare(const void *left, const void *right)
{
	int a = *(const int *)left, b = *(const int *)right;

	return (a > b) - (a < b);
}

void mount_set_sort(struct mount_set *mounts)
{
	if (mounts->count)
		qsort(mounts->ids, mounts->count, sizeof(*mounts->ids), compare);
}

bool mount_set_has(const struct mount_set *mounts, int id)
{
	/* Where none can be read nothing is known. */
	return !mounts->count || bsearch(&id, mounts->ids, mounts->count, sizeof(id), compare);
}

void mount_set_free(struct mount_set *mounts)
{
	free(mounts->ids);
}
