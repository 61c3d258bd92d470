/* SPDX-License-Identifier: MIT */
#include "simcuda/simcuda.h"

#define CURRENT_MAX 16

/* The stack of current contexts of a thread. */
static __thread CUcontext current[CURRENT_MAX];
static __thread unsigned int depth;

CUcontext current_context(void)
{
	CUcontext context = depth ? current[depth - 1] : NULL;

	return context && context->used ? context : NULL;
}

bool current_has_room(void)
{
	return depth < CURRENT_MAX;
}

void current_push(CUcontext context)
{
	current[depth++] = context;
}

bool current_pop(CUcontext *context)
{
	if (!depth)
		return false;
	*context = current[--depth];
	return true;
}

void current_forget(void)
{
	depth = 0;
}
