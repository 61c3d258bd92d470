/* SPDX-License-Identifier: MIT */
#include "api/process_ids.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/call/report.h"
#include "api/criu/orphans.h"
#include "process/process_tree.h"
#include "support/clock.h"
#include "support/error_text.h"

/*
 * A killed process with much memory takes a while to end, and its parent a moment to notice. Nobody works for the run
 * meanwhile, and after it the sentence says to try again: so it is none of the operator's limits.
 */
#define PATIENCE_MS 2000

static bool is_taken(pid_t id)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", id);
	return !access(path, F_OK);
}

/* Waits as long as whoever has the id is ending, or cannot be looked at. */
static bool becomes_free(pid_t id, uint64_t deadline)
{
	struct process_facts facts;

	while (is_taken(id)) {
		if (monotonic_nanoseconds() > deadline || (!process_facts_read(id, &facts) && !facts.ending))
			return false;
		orphans_reap();
		usleep(1000);
	}
	return true;
}

static void describe_zombie(pid_t id, const struct process_facts *zombie, char *sentence, size_t size)
{
	struct process_facts parent;

	if (zombie->parent == getpid())
		snprintf(sentence, size,
			 "process %d (%s), a zombie: it has ended, and this program, its parent, has not waited for it",
			 id, zombie->name);
	else if (process_facts_read(zombie->parent, &parent))
		snprintf(sentence, size,
			 "process %d (%s), a zombie: it has ended, and its parent has not waited for it", id,
			 zombie->name);
	else
		snprintf(sentence, size,
			 "process %d (%s), a zombie: it has ended, and its parent, process %d (%s), has not waited for "
			 "it",
			 id, zombie->name, zombie->parent, parent.name);
}

/* An id stays taken as long as somebody is in the process group or session that bears it. */
static bool find_member(pid_t id, struct process_facts *member)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while (processes && !found && (entry = readdir(processes)))
		found = atoi(entry->d_name) > 0 && !process_facts_read(atoi(entry->d_name), member) &&
			(member->group == id || member->session == id);
	if (processes)
		closedir(processes);
	return found;
}

int process_id_holder(pid_t id, char *sentence, size_t size)
{
	struct process_facts facts, process;
	int result = process_facts_read(id, &facts);

	sentence[0] = '\0';
	if (result) {
		if (result != -ESRCH)
			snprintf(sentence, size, "somebody who cannot be looked at (%s): try it again without that",
				 errno_text(-result));
		else if (find_member(id, &facts))
			snprintf(sentence, size,
				 "process %d (%s), whose process group or session bears that number: end it first",
				 facts.process, facts.name);
		return REKINDLE_ERROR_PID_IN_USE;
	}
	if (facts.is_thread && !process_facts_read(facts.process, &process))
		snprintf(sentence, size, "a thread of process %d (%s): end that first", facts.process, process.name);
	else if (facts.state == 'Z' || facts.state == 'X')
		describe_zombie(id, &facts, sentence, size);
	else if (!strcmp(facts.name, "criu")) {
		snprintf(sentence, size,
			 "process %d, a criu at work: another restore or dump is under way, wait until it has ended",
			 id);
		return REKINDLE_ERROR_BUSY;
	} else
		snprintf(sentence, size, "process %d (%s), which runs: end it first", id, facts.name);
	return REKINDLE_ERROR_PID_IN_USE;
}

int process_ids_check(const struct criu_checkpoint *checkpoint, const char *directory, struct rekindle_error *error)
{
	uint64_t deadline = monotonic_nanoseconds() + PATIENCE_MS * 1000000ull;
	char holder[256];
	size_t i;
	int code;

	orphans_reap();
	for (i = 0; checkpoint->shares_pid_namespace && i < checkpoint->id_count; i++) {
		if (becomes_free(checkpoint->ids[i], deadline))
			continue;
		code = process_id_holder(checkpoint->ids[i], holder, sizeof(holder));
		return report(error, code, REKINDLE_PHASE_NONE,
			      "The checkpoint in %.160s needs the process id %d, which is in use by %s.", directory,
			      checkpoint->ids[i], holder[0] ? holder : "a process that has just ended: try it again");
	}
	return REKINDLE_OK;
}
