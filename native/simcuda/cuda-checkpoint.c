/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/cuda_driver.h"

/*
 * Stands in for NVIDIA's cuda-checkpoint where CRIU's own CUDA plugin runs on the simulated driver: the same options,
 * outputs and exit statuses, as far as the plugin uses them.
 */

static const char usage[] = "SIMULATED GPU: cuda-checkpoint for the simulated CUDA driver\n"
			    "  --pid PID --get-state              prints running, locked, checkpointed or failed\n"
			    "  --pid PID --get-restore-tid        prints the id of the restore thread\n"
			    "  --pid PID --action ACTION [--timeout MS]   lock, checkpoint, restore or unlock\n"
			    "  --pid PID --toggle                 running to checkpointed, or back\n"
			    "  --help, -h                         this text\n"
			    "REKINDLE_CUDA_DRIVER names the driver library.\n";

static const char *const state_names[] = {"running", "locked", "checkpointed", "failed"};

static CUresult act(const struct cuda_driver *driver, int pid, const char *action, unsigned int timeout)
{
	CUcheckpointLockArgs lock = {.timeoutMs = timeout};

	if (!strcmp(action, "lock"))
		return driver->cuCheckpointProcessLock(pid, &lock);
	if (!strcmp(action, "checkpoint"))
		return driver->cuCheckpointProcessCheckpoint(pid, NULL);
	if (!strcmp(action, "restore"))
		return driver->cuCheckpointProcessRestore(pid, NULL);
	if (!strcmp(action, "unlock"))
		return driver->cuCheckpointProcessUnlock(pid, NULL);
	return CUDA_ERROR_INVALID_VALUE;
}

static CUresult act_twice(const struct cuda_driver *driver, int pid, const char *first, const char *second)
{
	CUresult result = act(driver, pid, first, 0);

	return result == CUDA_SUCCESS ? act(driver, pid, second, 0) : result;
}

static CUresult toggle(const struct cuda_driver *driver, int pid)
{
	CUprocessState state;
	CUresult result = driver->cuCheckpointProcessGetState(pid, &state);

	if (result != CUDA_SUCCESS)
		return result;
	return state == CU_PROCESS_STATE_CHECKPOINTED ? act_twice(driver, pid, "restore", "unlock")
						      : act_twice(driver, pid, "lock", "checkpoint");
}

static const struct option long_options[] = {
	{"pid", required_argument, NULL, 'p'},
	{"action", required_argument, NULL, 'a'},
	{"timeout", required_argument, NULL, 't'},
	{"get-state", no_argument, NULL, 's'},
	{"get-restore-tid", no_argument, NULL, 'r'},
	{"toggle", no_argument, NULL, 'g'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

int main(int argument_count, char **arguments)
{
	const char *library = getenv("REKINDLE_CUDA_DRIVER"), *action = NULL;
	struct cuda_driver driver;
	struct error_text error;
	CUprocessState state = CU_PROCESS_STATE_RUNNING;
	unsigned int timeout = 0;
	int option, query = 0, pid = 0, thread = 0;
	CUresult result;

	while ((option = getopt_long(argument_count, arguments, "hp:", long_options, NULL)) != -1) {
		switch (option) {
		case 'p':
			pid = atoi(optarg);
			break;
		case 'a':
			action = optarg;
			query = 'a';
			break;
		case 't':
			timeout = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 's':
		case 'r':
		case 'g':
			query = option;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 1;
		}
	}
	if (!pid || !query) {
		fputs(usage, stderr);
		return 1;
	}
	if (cuda_driver_open(&driver, library, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (query == 's')
		result = driver.cuCheckpointProcessGetState(pid, &state);
	else if (query == 'r')
		result = driver.cuCheckpointProcessGetRestoreThreadId(pid, &thread);
	else if (query == 'g')
		result = toggle(&driver, pid);
	else
		result = act(&driver, pid, action, timeout);
	if (result != CUDA_SUCCESS) {
		fprintf(stderr, "Could not %s process %d: %s (SIMULATED GPU)\n", action ? action : "query", pid,
			cuda_result_name(&driver, result));
		return 1;
	}
	if (query == 's')
		puts(state_names[state]);
	else if (query == 'r')
		printf("%d\n", thread);
	return 0;
}
