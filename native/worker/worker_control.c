/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/worker_client.h"

static const char usage[] =
	"usage: rekindle-worker-control --state FILE [--timeout SECONDS] COMMAND\n"
	"  wait-ready          until the contents are in place\n"
	"  checksum            prints the checksum over all contents, 16 hexadecimal digits\n"
	"  change              new contents in a part of every allocation\n"
	"  allocate MIB        more memory\n"
	"  free COUNT          frees so many allocations\n"
	"  fork N              forks a child that inherits CUDA and holds host memory, with FILE.N\n"
	"  steps               prints the steps made so far\n"
	"  advance [COUNT]     until COUNT (10) more steps are made; prints the steps made so far\n"
	"  pid                 prints the process id that the worker sees\n"
	"  device              prints the name of the device\n"
	"  gpus                prints the UUIDs of the GPUs that it uses\n"
	"  exit                ends the worker\n"
	"Exit status: 0, 1 on a failure, 2 on wrong usage, 3 when the worker did not answer in time (default 30 s).\n";

static int request(struct worker_client *client, enum worker_request kind, uint64_t argument, struct error_text *error)
{
	uint64_t checksum;
	int result = worker_client_request(client, kind, argument, &checksum, error);

	if (!result && kind == WORKER_REQUEST_CHECKSUM)
		printf("%016llx\n", (unsigned long long)checksum);
	return result;
}

static int run(struct worker_client *client, const char *command, const char *argument, struct error_text *error)
{
	uint64_t number = argument ? strtoull(argument, NULL, 10) : 0;
	int result = 0;

	if (!strcmp(command, "wait-ready"))
		return 0;
	if (!strcmp(command, "checksum"))
		return request(client, WORKER_REQUEST_CHECKSUM, 0, error);
	if (!strcmp(command, "change"))
		return request(client, WORKER_REQUEST_CHANGE, 0, error);
	if (!strcmp(command, "allocate"))
		return request(client, WORKER_REQUEST_ALLOCATE, number, error);
	if (!strcmp(command, "free"))
		return request(client, WORKER_REQUEST_FREE, number, error);
	if (!strcmp(command, "fork"))
		return request(client, WORKER_REQUEST_FORK, number, error);
	if (!strcmp(command, "exit"))
		return request(client, WORKER_REQUEST_EXIT, 0, error);
	if (!strcmp(command, "gpus")) {
		result = request(client, WORKER_REQUEST_GPUS, 0, error);
		if (!result)
			printf("%.*s\n", (int)sizeof(client->state->gpus), client->state->gpus);
		return result;
	}
	if (!strcmp(command, "advance"))
		result = worker_client_wait_steps(client, argument ? number : 10, error);
	if (!strcmp(command, "pid"))
		printf("%d\n", client->state->process_id);
	else if (!strcmp(command, "device"))
		printf("%.63s\n", client->state->device_name);
	else if (!result && (!strcmp(command, "advance") || !strcmp(command, "steps")))
		printf("%llu\n", (unsigned long long)client->state->steps);
	else if (!result)
		return fail(error, -ENOSYS, "There is no command %s", command);
	return result;
}

int main(int argument_count, char **arguments)
{
	static const struct option long_options[] = {
		{"state", required_argument, NULL, 's'},
		{"timeout", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0},
	};
	struct worker_client client = {0};
	struct error_text error = {""};
	const char *path = NULL;
	double timeout = 30;
	int option, result;

	while ((option = getopt_long(argument_count, arguments, "", long_options, NULL)) != -1) {
		if (option == 's') {
			path = optarg;
		} else if (option == 't') {
			timeout = strtod(optarg, NULL);
		} else {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!path || timeout <= 0 || optind == argument_count || argument_count > optind + 2) {
		fputs(usage, stderr);
		return 2;
	}
	result = worker_client_open(&client, path, timeout, &error);
	if (!result)
		result = run(&client, arguments[optind], arguments[optind + 1], &error);
	worker_client_close(&client);
	if (!result)
		return 0;
	fprintf(stderr, "rekindle-worker-control: %s\n", error.text);
	return result == -ETIMEDOUT ? 3 : result == -ENOSYS ? 2 : 1;
}
