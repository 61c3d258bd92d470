/* SPDX-License-Identifier: MIT */
#include "agent/control/published_page.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/agent_settings.h"
#include "agent/base/fork_handler.h"
#include "agent/base/io_uring_filter.h"
#include "agent/interpose/real_driver.h"
#include "agent/memory/allocation_table.h"
#include "agent/memory/kept_descriptors.h"
#include "protocol/agent_protocol.h"

static _Atomic(struct agent_page *) published;

/* Not mapped in a child. */
static void forget(void)
{
	atomic_store(&published, NULL);
}

static struct agent_page *map_page(size_t bytes)
{
	int descriptor = memfd_create(AGENT_PAGE_NAME, MFD_CLOEXEC), code = 0;
	struct agent_page *page = MAP_FAILED;

	if (descriptor < 0)
		return NULL;
	if (!ftruncate(descriptor, (off_t)bytes))
		page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	code = errno;
	close(descriptor);
	errno = code;
	return page == MAP_FAILED ? NULL : page;
}

static void fill(struct agent_page *page)
{
	const char *passed_over = real_driver_passes_over();

	page->protocol_version = AGENT_PROTOCOL_VERSION;
	page->state = AGENT_STATE_MAPPED;
	page->process_id = getpid();
	page->filters = io_uring_filter_is_own();
	page->foreign_address = (uintptr_t)&table.foreign_count;
	page->kept_address = (uintptr_t)kept_table();
	page->waiting = 1;
	if (passed_over)
		snprintf(page->passed_over, sizeof(page->passed_over), "%s", passed_over);
}

/* Several threads may make one at once; the first is kept, and only that one is ever taken for the agent's. */
struct agent_page *published_page(void)
{
	struct agent_page *page = atomic_load(&published), *other = NULL;
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);

	if (page)
		return page;
	page = map_page(bytes);
	if (!page)
		return NULL;
	/* A child must not be taken for this process. */
	madvise(page, bytes, MADV_DONTFORK);
	fork_handler_add(FORK_PAGE, forget);
	fill(page);
	if (!atomic_compare_exchange_strong(&published, &other, page)) {
		munmap(page, bytes);
		return other;
	}
	page->magic = AGENT_PAGE_MAGIC;
	if (page->passed_over[0])
		agent_complain(AGENT_PASSES_OVER, page->passed_over);
	return page;
}

void published_page_need_agent(void)
{
	struct agent_page *page = published_page();

	if (page)
		page->needs_agent = 1;
}
