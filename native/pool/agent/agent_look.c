/* SPDX-License-Identifier: MIT */
#include "pool/agent/agent_look.h"

#include <errno.h>
#include <stddef.h>
#include <sys/uio.h>

int agent_look(struct agent *agent, const struct target *target, struct error_text *error)
{
	struct process_maps maps;
	int result = process_maps_read(target->pid, &maps, error);

	if (result)
		return result;
	agent_open(agent, target->pid, &maps);
	return agent_must_be_known(agent, target->pid, error);
}

bool agent_has_memory_out_of_place(const struct target *target)
{
	struct agent agent;
	bool out;
	int result;

	if (target_has_ended(target))
		return false;
	result = agent_look(&agent, target, NULL);
	if (result)
		return result != -ESRCH;
	out = agent.has_page && (agent.page.out_of_place || agent.page.state != AGENT_STATE_MAPPED);
	agent_close(&agent);
	return out;
}

bool agent_is_needed(const struct target *target)
{
	struct agent agent;
	bool needed;

	if (agent_look(&agent, target, NULL))
		return true;
	needed = agent.has_page && agent.page.needs_agent;
	agent_close(&agent);
	return needed;
}

bool agent_withdraw(const struct target *target)
{
	uint32_t withdrawn = 1;
	struct iovec here = {.iov_base = &withdrawn, .iov_len = sizeof(withdrawn)}, there = here;
	struct agent agent;
	bool told;

	if (target_has_ended(target))
		return true;
	if (agent_look(&agent, target, NULL))
		return false;
	there.iov_base = (void *)(uintptr_t)(agent.page_address + offsetof(struct agent_page, withdrawn));
	told = !agent.has_page ||
	       process_vm_writev(target->pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(withdrawn) ||
	       target_has_ended(target);
	agent_close(&agent);
	return told;
}

int agent_ask_again(const struct agent_client *client, const struct target *target, struct error_text *error)
{
	struct agent agent;
	bool withdrawn;

	if (agent_look(&agent, target, NULL))
		return 0;
	withdrawn = agent.has_page && agent.page.withdrawn;
	agent_close(&agent);
	return withdrawn ? agent_map_all(client, NULL, 0, error) : 0;
}
