/* SPDX-License-Identifier: MIT */
/*
 * Stands in for the pool where fake-criu.sh needs one: what it writes into the progress file of a run, and what it reads
 * there. fake-progress FILE COMMAND
 *   begin PHASE DONE TOTAL   the pool is in that phase, with so many bytes done
 *   await-cancel             waits until the run is to be given up
 *   end                      the pool has nothing more to do for the run
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "protocol/pool_protocol.h"

int main(int argc, char **argv)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	int file = argc > 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
	volatile struct pool_progress *progress;

	if (file < 0)
		return 1;
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (progress == MAP_FAILED)
		return 1;
	if (!strcmp(argv[2], "begin") && argc == 6) {
		progress->bytes_done = strtoull(argv[4], NULL, 10);
		progress->bytes_total = strtoull(argv[5], NULL, 10);
		progress->phase = (uint32_t)strtoul(argv[3], NULL, 10);
	} else if (!strcmp(argv[2], "await-cancel")) {
		while (!progress->cancel)
			nanosleep(&pause, NULL);
	} else if (!strcmp(argv[2], "end")) {
		progress->ended = 1;
	} else {
		return 2;
	}
	return 0;
}
