/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/inspection_internal.h"
#include "support/plain_text.h"

int inspection_add(struct inspection *inspection, enum obstacle_kind kind, pid_t pid, const char *remedy,
		   const char *what, ...)
{
	struct obstacle obstacle = {.kind = kind, .pid = pid};
	struct obstacle *grown;
	va_list arguments;

	va_start(arguments, what);
	vsnprintf(obstacle.what, sizeof(obstacle.what), what, arguments);
	va_end(arguments);
	plain_text(obstacle.what, sizeof(obstacle.what));
	snprintf(obstacle.remedy, sizeof(obstacle.remedy), "%s", remedy);
	/* Of the same thing, open twice or mapped in pieces, once is enough. */
	for (size_t i = 0; i < inspection->obstacle_count; i++)
		if (inspection->obstacles[i].pid == pid && !strcmp(inspection->obstacles[i].what, obstacle.what))
			return 0;
	grown = realloc(inspection->obstacles, (inspection->obstacle_count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	inspection->obstacles = grown;
	grown[inspection->obstacle_count++] = obstacle;
	return 0;
}

int add_io_uring(const struct look *look)
{
	return inspection_add(
		look->inspection, OBSTACLE_IO_URING, look->process->pid,
		"start it with REKINDLE_AGENT_IO_URING=0 and the agent preloaded, or turn io_uring off in "
		"the program (USE_LIBUV=0, UV_USE_IO_URING=0)",
		"process %d (%s) has an io_uring, which CRIU cannot dump", (int)look->process->pid,
		look->process->name);
}

bool inspection_is_busy(const struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->obstacle_count; i++)
		if (inspection->obstacles[i].kind != OBSTACLE_TRACER)
			return false;
	return inspection->obstacle_count > 0;
}

void inspection_describe(const struct inspection *inspection, struct error_text *text)
{
	size_t used = 0, shown;

	text->text[0] = '\0';
	for (shown = 0; shown < inspection->obstacle_count; shown++) {
		const struct obstacle *obstacle = &inspection->obstacles[shown];
		size_t left = sizeof(text->text) - used;
		/* Room for how many are left out. */
		int length = snprintf(text->text + used, left, "%s%s: %s", shown ? "; " : "", obstacle->what,
				      obstacle->remedy);

		if (length < 0 || (size_t)length + 24 > left)
			break;
		used += (size_t)length;
	}
	if (shown < inspection->obstacle_count && shown)
		snprintf(text->text + used, sizeof(text->text) - used, "; and %zu more",
			 inspection->obstacle_count - shown);
}
