/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "rekindle.h"

/* Dumps the process PID into FOLDER and restores it: example PID FOLDER */
int main(int argc, char **argv)
{
	struct rekindle_checkpoint_request dump = {.structure_size = sizeof(dump)};
	struct rekindle_restore_request restore = {.structure_size = sizeof(restore)};
	struct rekindle_statistics statistics;
	struct rekindle_error error;
	int32_t pid;

	if (argc != 3)
		return 2;
	dump.pid = atoi(argv[1]);
	dump.directory = restore.directory = argv[2];
	if (rekindle_checkpoint(NULL, &dump, &statistics, NULL, 0, &error))
		goto failed;
	printf("dumped %llu bytes of device memory\n", (unsigned long long)statistics.device_bytes);
	if (rekindle_restore(NULL, &restore, &pid, &statistics, NULL, 0, &error))
		goto failed;
	printf("process %d restored in %.3f s\n", pid, (double)statistics.duration / 1e9);
	return 0;
failed:
	fprintf(stderr, "%s\n%s\n", error.message, error.criu_log);
	return 1;
}
