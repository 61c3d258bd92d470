/* SPDX-License-Identifier: MIT */
/*
 * calls ROUNDS: what a system call costs in this process, in nanoseconds, the least of so many rounds. ./run starts it with
 * REKINDLE_AGENT_IO_URING=0 and without.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALLS 200000

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static double of_getppid(void)
{
	uint64_t start = now();

	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	return (double)(now() - start) / CALLS;
}

static double of_pipe(void)
{
	int ends[2];
	char byte = 0;
	uint64_t start;

	if (pipe(ends))
		exit(1);
	start = now();
	for (int i = 0; i < CALLS; i++)
		if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
			exit(1);
	start = now() - start;
	close(ends[0]);
	close(ends[1]);
	return (double)start / CALLS / 2;
}

int main(int count, char **arguments)
{
	int rounds = count > 1 ? atoi(arguments[1]) : 20;
	double call = 1e9, transfer = 1e9;

	for (int i = 0; i < rounds; i++) {
		double time = of_getppid();

		call = time < call ? time : call;
		time = of_pipe();
		transfer = time < transfer ? time : transfer;
	}
	printf("getppid %.1f  read or write of a byte %.1f\n", call, transfer);
	return 0;
}
