/* SPDX-License-Identifier: MIT */
/* The hooks of CRIU's plugins as steps, before and after each: CRIU finds the plugin by dlsym. Preloaded into criu only. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/criu_plugin_abi.h"
#include "tests/steps/step.h"

#define EXPORT __attribute__((visibility("default")))

extern int rekindle_test_step(const char *name);

static const struct criu_plugin_descriptor *real;

static int begin(int stage)
{
	int result;

	if (rekindle_test_step("hook INIT"))
		return -1;
	result = real->init(stage);
	return rekindle_test_step("after hook INIT") ? -1 : result;
}

static void end(int stage, int result)
{
	rekindle_test_step("hook EXIT");
	real->exit(stage, result);
	rekindle_test_step("after hook EXIT");
}

#define HOOK(function, hook)                                                  \
	static int function(int pid)                                          \
	{                                                                     \
		int result;                                                   \
                                                                              \
		if (rekindle_test_step("hook " #hook))                        \
			return -1;                                            \
		result = real->hooks[CRIU_HOOK_##hook](pid);                  \
		return rekindle_test_step("after hook " #hook) ? -1 : result; \
	}
HOOK(pause_devices, PAUSE_DEVICES)
HOOK(checkpoint_devices, CHECKPOINT_DEVICES)
HOOK(resume_devices_late, RESUME_DEVICES_LATE)

EXPORT void *dlsym(void *restrict handle, const char *restrict symbol)
{
	static void *(*look_up)(void *, const char *);
	static struct criu_plugin_descriptor ours;
	void *found;

	if (!look_up)
		look_up = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	if (!look_up)
		look_up = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
	if (!look_up)
		abort();
	found = look_up(handle, symbol);
	if (!found || strcmp(symbol, "CR_PLUGIN_DESC"))
		return found;
	real = found;
	ours = *real;
	ours.init = begin;
	ours.exit = end;
	if (ours.hooks[CRIU_HOOK_PAUSE_DEVICES])
		ours.hooks[CRIU_HOOK_PAUSE_DEVICES] = pause_devices;
	if (ours.hooks[CRIU_HOOK_CHECKPOINT_DEVICES])
		ours.hooks[CRIU_HOOK_CHECKPOINT_DEVICES] = checkpoint_devices;
	if (ours.hooks[CRIU_HOOK_RESUME_DEVICES_LATE])
		ours.hooks[CRIU_HOOK_RESUME_DEVICES_LATE] = resume_devices_late;
	return &ours;
}
