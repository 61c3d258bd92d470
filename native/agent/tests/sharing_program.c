/* SPDX-License-Identifier: MIT */
/*
 * A program for the integration tests: sharing-program FOLDER. It holds device memory and does what the file FOLDER/go
 * says, with an answer in FOLDER/answer: "check" its contents, "share" gives a handle, "open HANDLE" reads another
 * process's memory, "close" and "replace" take the agent's sockets, "queued" looks after what "replace" has put there,
 * "allocate" takes more memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/tests/stand_in_pool.h"
#include "agent/tests/driver.h"

#define OWN_BYTES (8 * MIB)
#define SHARED_BYTES (4 * MIB)
#define OWN_VALUE 0x31
#define SHARED_VALUE 0x42

static CUdeviceptr own, shared;
static int other_end = -1, own_number = -1;

static CUdeviceptr allocate(size_t bytes, unsigned char value)
{
	CUdeviceptr address;

	if (cuMemAlloc_v2(&address, bytes) != CUDA_SUCCESS || cuMemsetD8_v2(address, value, bytes) != CUDA_SUCCESS)
		abort();
	return address;
}

static bool is_filled(CUdeviceptr address, size_t bytes, unsigned char value)
{
	unsigned char *contents = malloc(bytes);
	size_t index = 0;

	if (!contents || cuMemcpyDtoH_v2(contents, address, bytes) != CUDA_SUCCESS)
		return false;
	while (index < bytes && contents[index] == value)
		index++;
	free(contents);
	return index == bytes;
}

static const char *check(void)
{
	return is_filled(own, OWN_BYTES, OWN_VALUE) && is_filled(shared, SHARED_BYTES, SHARED_VALUE) ? "good" : "bad";
}

static void share(char *answer)
{
	CUipcMemHandle handle;
	CUresult result = cuIpcGetMemHandle(&handle, shared);
	size_t index;

	if (result != CUDA_SUCCESS) {
		sprintf(answer, "error %d", result);
		return;
	}
	for (index = 0; index < sizeof(handle); index++)
		sprintf(answer + 2 * index, "%02x", (unsigned char)handle.reserved[index]);
}

static void open_shared(const char *text, char *answer)
{
	CUipcMemHandle handle;
	CUdeviceptr address;
	CUresult result;
	unsigned int byte;
	size_t index;

	for (index = 0; index < sizeof(handle) && sscanf(text + 2 * index, "%2x", &byte) == 1; index++)
		handle.reserved[index] = (char)byte;
	result = cuIpcOpenMemHandle_v2(&address, handle, 1);
	if (result != CUDA_SUCCESS) {
		sprintf(answer, "error %d", result);
		return;
	}
	strcpy(answer, is_filled(address, SHARED_BYTES, SHARED_VALUE) ? "good" : "bad");
	cuIpcCloseMemHandle(address);
}

static const char *close_sockets(void)
{
	const struct agent_page *page = agent_wait_for_page();

	return close(page->agent_descriptor) || close(page->control_descriptor) ? "bad" : "good";
}

static const char *replace_sockets(void)
{
	const struct agent_page *page = agent_wait_for_page();
	int numbers[] = {page->agent_descriptor, page->control_descriptor}, ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return "bad";
	if (dup2(ends[0], numbers[0]) < 0 || dup2(ends[0], numbers[1]) < 0 || send(ends[1], "own", 4, 0) != 4)
		return "bad";
	other_end = ends[1];
	close(ends[0]);
	/* The page no longer tells the numbers when another thread of the agent is started. */
	own_number = numbers[1];
	return "good";
}

static const char *look_at_queue(void)
{
	char text[16] = "";

	return recv(own_number, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK) == 4 && !strcmp(text, "own") &&
			       recv(other_end, text, sizeof(text), MSG_DONTWAIT) < 0
		       ? "good"
		       : "bad";
}

static void obey(const char *command, char *answer)
{
	if (!strcmp(command, "check"))
		strcpy(answer, check());
	else if (!strcmp(command, "share"))
		share(answer);
	else if (!strncmp(command, "open ", 5))
		open_shared(command + 5, answer);
	else if (!strcmp(command, "close"))
		strcpy(answer, close_sockets());
	else if (!strcmp(command, "replace"))
		strcpy(answer, replace_sockets());
	else if (!strcmp(command, "queued"))
		strcpy(answer, look_at_queue());
	else if (!strcmp(command, "allocate"))
		strcpy(answer, allocate(4 * MIB, 1) ? "good" : "bad");
	else
		strcpy(answer, "unknown");
}

static void put(const char *name, const char *text)
{
	FILE *file = fopen("new", "w");

	if (!file)
		abort();
	fputs(text, file);
	fclose(file);
	rename("new", name);
}

int main(int count, char **arguments)
{
	if (count != 2 || chdir(arguments[1]))
		return 2;
	driver_start();
	own = allocate(OWN_BYTES, OWN_VALUE);
	shared = allocate(SHARED_BYTES, SHARED_VALUE);
	put("ready", "");
	for (;;) {
		char command[256] = "", answer[256] = "";
		FILE *file = fopen("go", "r");

		if (!file) {
			nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
			continue;
		}
		if (!fgets(command, sizeof(command), file))
			command[0] = '\0';
		fclose(file);
		unlink("go");
		command[strcspn(command, "\n")] = '\0';
		obey(command, answer);
		put("answer", answer);
	}
}
