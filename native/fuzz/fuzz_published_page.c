/* SPDX-License-Identifier: MIT */
/* The page that an agent publishes, behind it a line of /proc/PID/maps: both are what the application makes of them. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz_input.h"
#include "process/agent_page.h"
#include "process/process_maps.h"

static struct agent_page page;

/* Root must have a duplicate of nothing but the end of a pair that this process has made. */
static void check_control(const struct agent *agent, const int *pair)
{
	struct stat taken, ends[2];

	if (!agent->usable)
		return;
	if (fstat(agent->control, &taken) || fstat(pair[0], &ends[0]) || fstat(pair[1], &ends[1]) ||
	    (taken.st_ino != ends[0].st_ino && taken.st_ino != ends[1].st_ino))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = {-1, -1};
	struct fuzz_input input = {data, size};
	struct process_maps maps = {0};
	struct agent agent;
	uint8_t true_fields;
	char line[512];

	if (pair[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	true_fields = fuzz_byte(&input);
	fuzz_bytes(&input, &page, sizeof(page));
	if (true_fields & 1)
		page.magic = AGENT_PAGE_MAGIC;
	if (true_fields & 2)
		page.protocol_version = AGENT_PROTOCOL_VERSION;
	if (true_fields & 4)
		page.process_id = getpid();
	if (true_fields & 8)
		page.thread_id = gettid();
	if (true_fields & 16)
		page.control_descriptor = pair[true_fields >> 5 & 1];
	fuzz_bytes(&input, line, sizeof(line));
	line[sizeof(line) - 1] = '\0';
	process_maps_take_line(&maps, line);
	if (maps.agent_page_count == PROCESS_MAPS_AGENT_PAGES_MAX)
		abort();
	maps.agent_pages[maps.agent_page_count++] = (uint64_t)(uintptr_t)&page;
	agent_open(&agent, getpid(), &maps);
	check_control(&agent, pair);
	if (!agent.usable && (agent.control >= 0 || !agent.note[0]))
		abort();
	agent_close(&agent);
	return 0;
}
