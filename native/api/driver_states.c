/* SPDX-License-Identifier: MIT */
#include "api/driver_states.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/criu/child_process.h"
#include "protocol/process_states.h"
#include "rekindle.h"
#include "settings/program_find.h"
#include "support/log.h"

#define LIMIT_MS 10000
#define OUTPUT_MAX (64u << 10)
#define NUMBER_MAX 12
#define CUDA_DRIVER "REKINDLE_CUDA_DRIVER="

static int state_of(int told, const struct inspected_process *process)
{
	switch (told) {
	case PROCESS_STATE_UNUSED:
		return process->has_device ? REKINDLE_CUDA_INHERITED : REKINDLE_CUDA_LOADED;
	case CU_PROCESS_STATE_RUNNING:
		return REKINDLE_CUDA_RUNNING;
	case CU_PROCESS_STATE_LOCKED:
		return REKINDLE_CUDA_LOCKED;
	case CU_PROCESS_STATE_CHECKPOINTED:
		return REKINDLE_CUDA_CHECKPOINTED;
	case CU_PROCESS_STATE_FAILED:
		return REKINDLE_CUDA_FAILED;
	default:
		return REKINDLE_CUDA_UNKNOWN;
	}
}

static void take_output(const struct inspection *inspection, const char *output, int *states)
{
	for (const char *line = output; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		int pid, told;

		if (sscanf(line, PROCESS_STATE_LINE, &pid, &told) != 2)
			continue;
		for (size_t i = 0; i < inspection->process_count; i++)
			if (inspection->processes[i].pid == pid)
				states[i] = state_of(told, &inspection->processes[i]);
	}
}

/* What is preloaded into this program is not meant for that one. */
static char **make_variables(const struct settings *settings)
{
	size_t count = 0, kept = 0;
	char **variables;

	while (environ && environ[count]) /* NULL after clearenv() */
		count++;
	variables = calloc(count + 2, sizeof(*variables));
	for (size_t i = 0; variables && i < count; i++)
		if (strncmp(environ[i], "LD_PRELOAD=", 11) && strncmp(environ[i], CUDA_DRIVER, strlen(CUDA_DRIVER)))
			variables[kept++] = environ[i];
	if (variables && settings->cuda_driver[0] &&
	    asprintf(&variables[kept], "%s%s", CUDA_DRIVER, settings->cuda_driver) < 0)
		variables[kept] = NULL;
	return variables;
}

static void free_variables(char **variables, const struct settings *settings)
{
	size_t last = 0;

	while (variables && variables[last])
		last++;
	if (last && settings->cuda_driver[0] && !strncmp(variables[last - 1], CUDA_DRIVER, strlen(CUDA_DRIVER)))
		free(variables[last - 1]);
	free(variables);
}

/* The output of the program; false where it could not be had. */
static bool run(const struct child_start *start, char *output, struct error_text *error)
{
	struct child_process child;
	int status = -1;

	if (child_start(&child, start, error))
		return false;
	if (child_wait(&child, LIMIT_MS) != 1) {
		fail(error, 0, "it did not end within %d s", LIMIT_MS / 1000);
		kill(child.pid, SIGKILL);
	}
	child_reap(&child, &status);
	child_output(&child, output, OUTPUT_MAX);
	child_free(&child);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		fail(error, 0, "%.400s", output);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

void driver_states_ask(const struct inspection *inspection, const struct settings *settings, int *states)
{
	char program[PATH_MAX], (*numbers)[NUMBER_MAX] = calloc(inspection->process_count, sizeof(*numbers));
	char **arguments = calloc(inspection->process_count + 3, sizeof(*arguments));
	char *output = calloc(1, OUTPUT_MAX), **variables = make_variables(settings);
	struct child_start start = {.program = program, .arguments = arguments, .variables = variables};
	struct error_text error = {"Out of memory"};
	size_t count = 0;

	for (size_t i = 0; i < inspection->process_count; i++) {
		states[i] = inspection->processes[i].has_cuda_library ? REKINDLE_CUDA_UNKNOWN : REKINDLE_CUDA_NONE;
		if (!numbers || !arguments || !inspection->processes[i].has_cuda_library)
			continue;
		snprintf(numbers[count], sizeof(*numbers), "%d", (int)inspection->processes[i].pid);
		arguments[2 + count] = numbers[count];
		count++;
	}
	if (count) {
		arguments[0] = program;
		arguments[1] = (char[]){"--states"};
		if (output && variables && !pool_program_find(settings, program, &error) && run(&start, output, &error))
			take_output(inspection, output, states);
		else
			log_warning("the CUDA of the processes is not known: %s", error.text);
	}
	free_variables(variables, settings);
	free(output);
	free(arguments);
	free(numbers);
}
