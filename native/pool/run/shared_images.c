/* SPDX-License-Identifier: MIT */
#include "pool/run/shared_images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/agent/agent_look.h"
#include "process/process_tree.h"

/* An image of the folder. */
struct candidate {
	struct gpu_image_name name;
	struct gpu_image *image; /* NULL: it cannot be read */
	bool belongs;
};

static bool is_id(const uint8_t a[16], const uint8_t b[16])
{
	return !memcmp(a, b, 16);
}

static bool imports_from(const struct gpu_image *image, const uint8_t owner[16])
{
	uint32_t i;

	for (i = 0; i < image->import_count; i++)
		if (is_id(image->imports[i].image_id, owner))
			return true;
	return false;
}

/* Has one memory of the other, or have both that of a third one? */
static bool share(const struct gpu_image *a, const struct gpu_image *b)
{
	uint32_t i;

	if (imports_from(a, b->id) || imports_from(b, a->id))
		return true;
	for (i = 0; i < a->import_count; i++)
		if (imports_from(b, a->imports[i].image_id))
			return true;
	return false;
}

/* Whose it is: an image without imports does not say so, but those that import from it do. */
static struct gpu_image_holder holder_of(const struct candidate *candidates, size_t count,
					 const struct gpu_image *image)
{
	uint32_t import;
	size_t i;

	if (image->holder.pid)
		return image->holder;
	for (i = 0; i < count; i++)
		for (import = 0; candidates[i].belongs && import < candidates[i].image->import_count; import++)
			if (is_id(candidates[i].image->imports[import].image_id, image->id))
				return candidates[i].image->imports[import].owner;
	return (struct gpu_image_holder){.pid = 0};
}

static bool is_needed(const struct gpu_image_holder *holder, const uint8_t id[16])
{
	struct target target = {.pidfd = -1, .pid = holder->pid, .named = holder->pid};
	struct process_facts facts;
	struct agent agent;
	bool needed;
	int result;

	if (!holder->pid)
		return true;
	result = process_facts_read(holder->pid, &facts);
	if (result == -ESRCH || (result == 0 && (facts.start_time != holder->start_time || facts.ending)))
		return false;
	result = result ? result : agent_look(&agent, &target, NULL);
	if (result)
		return result != -ESRCH;
	/* A program that it has become since has no page of that. */
	needed = agent.has_page && (agent.page.state == AGENT_STATE_MAPPED ? agent.page.out_of_place != 0
									   : is_id(agent.page.image_id, id));
	agent_close(&agent);
	return needed;
}

/* From the first one on, which is known to belong. */
static void find_all(struct candidate *candidates, size_t count)
{
	bool more = true;
	size_t a, b;

	while (more) {
		more = false;
		for (a = 0; a < count; a++)
			for (b = 0; candidates[a].belongs && b < count; b++)
				if (!candidates[b].belongs && candidates[b].image &&
				    share(candidates[a].image, candidates[b].image))
					more = candidates[b].belongs = true;
	}
}

static void note_all(const struct candidate *candidates, size_t count, struct shared_images *images)
{
	struct gpu_image_holder holder;
	size_t i;

	for (i = 0; i < count; i++) {
		if (!candidates[i].belongs)
			continue;
		holder = holder_of(candidates, count, candidates[i].image);
		if (images->count == 0)
			images->holder = holder;
		images->names[images->count++] = candidates[i].name;
		images->needed |= is_needed(&holder, candidates[i].image->id);
	}
	images->needed &= images->count > 1;
}

static void put_first(struct candidate *candidates, size_t count, const uint8_t id[16])
{
	struct candidate first;
	size_t i;

	for (i = 0; i < count; i++) {
		if (!candidates[i].name.has_id || !is_id(candidates[i].name.id, id))
			continue;
		first = candidates[i];
		candidates[i] = candidates[0];
		candidates[0] = first;
		candidates[0].belongs = candidates[0].image != NULL;
	}
}

int shared_images_find(int folder, const uint8_t id[16], struct shared_images *images, struct error_text *error)
{
	struct gpu_image_name *names = NULL;
	struct candidate *candidates;
	size_t count = 0, i;
	int result;

	*images = (struct shared_images){.count = 0};
	result = gpu_image_list(folder, &names, &count, error);
	if (result)
		return result;
	candidates = calloc(count + 1, sizeof(*candidates));
	images->names = calloc(count + 1, sizeof(*images->names));
	if (!candidates || !images->names)
		result = fail(error, -ENOMEM, "Out of memory");
	for (i = 0; i < count && result == 0; i++) {
		candidates[i].name = names[i];
		if (names[i].has_id && gpu_image_read(folder, &names[i], &candidates[i].image, NULL))
			candidates[i].image = NULL;
	}
	if (result == 0) {
		put_first(candidates, count, id);
		find_all(candidates, count);
		note_all(candidates, count, images);
	}
	for (i = 0; candidates && i < count; i++)
		gpu_image_free(candidates[i].image);
	free(candidates);
	free(names);
	if (result)
		shared_images_free(images);
	return result;
}

bool shared_images_have(const struct shared_images *images, const uint8_t id[16])
{
	size_t i;

	for (i = 0; i < images->count; i++)
		if (is_id(images->names[i].id, id))
			return true;
	return false;
}

void shared_images_free(struct shared_images *images)
{
	free(images->names);
	*images = (struct shared_images){.count = 0};
}
