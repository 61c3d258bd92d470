/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_CRIU_PLUGIN_ABI_H
#define REKINDLE_PLUGIN_CRIU_PLUGIN_ABI_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The part of CRIU's plugin ABI that this plugin uses, declared here so that one build serves CRIU 4.1 to 4.3. CRIU
 * refuses a plugin with a newer version or more hooks than it knows itself, so both are those of the oldest.
 */

enum criu_stage { CRIU_STAGE_DUMP = 0, CRIU_STAGE_PRE_DUMP = 1, CRIU_STAGE_RESTORE = 2 };

enum criu_hook {
	CRIU_HOOK_DUMP_EXT_FILE = 2,
	CRIU_HOOK_RESTORE_EXT_FILE = 3,
	CRIU_HOOK_HANDLE_DEVICE_VMA = 7,
	CRIU_HOOK_UPDATE_VMA_MAP = 8,
	CRIU_HOOK_RESUME_DEVICES_LATE = 9,
	CRIU_HOOK_PAUSE_DEVICES = 10,
	CRIU_HOOK_CHECKPOINT_DEVICES = 11,
	CRIU_HOOK_COUNT = 12,
};

#define CRIU_PLUGIN_VERSION_0_2_0 ((0u << 16) + (2u << 8) + 0u)

typedef int (*criu_process_hook)(int pid);
#define CRIU_OTHER_HOOK(function) ((criu_process_hook)(void *)(function))

struct criu_plugin_descriptor {
	const char *name;
	int (*init)(int stage);
	void (*exit)(int stage, int result);
	unsigned int version;
	unsigned int max_hooks;
	criu_process_hook hooks[CRIU_HOOK_COUNT]; /* void * in CRIU; some have other parameters, see CRIU_OTHER_HOOK */
};

static_assert(offsetof(struct criu_plugin_descriptor, name) == 0, "name is first");
static_assert(offsetof(struct criu_plugin_descriptor, init) == 8, "init is at 8");
static_assert(offsetof(struct criu_plugin_descriptor, exit) == 16, "exit is at 16");
static_assert(offsetof(struct criu_plugin_descriptor, version) == 24, "version is at 24");
static_assert(offsetof(struct criu_plugin_descriptor, max_hooks) == 28, "max_hooks is at 28");
static_assert(offsetof(struct criu_plugin_descriptor, hooks) == 32, "hooks are at 32");
static_assert(sizeof(struct criu_plugin_descriptor) == 32 + CRIU_HOOK_COUNT * sizeof(void *), "12 hooks");
static_assert(sizeof(criu_process_hook) == sizeof(void *), "a hook is a pointer");

/* What CRIU offers its plugins; weak, because the plugin must load (to say what is wrong) where one is missing. */
extern int criu_get_image_dir(void) __attribute__((weak));
extern int add_inventory_plugin(const char *name) __attribute__((weak));
/* 4.3 dropped the length; passing it does no harm there. */
extern bool check_and_remove_inventory_plugin(const char *name, size_t length) __attribute__((weak));
/* From 4.3 on: the options of all plugins, as "--PLUGIN.NAME=VALUE" from the second entry on. They are CRIU's. */
extern int criu_plugin_get_options(int *count, char ***options) __attribute__((weak));
extern int add_script(char *path) __attribute__((weak));
/* Patch 22 of ours: at the end of a dump, whether CRIU is about to end the tasks. */
extern bool criu_tasks_will_end(void) __attribute__((weak));
/*
 * CRIU's options are no ABI, but for the first of them, which is what becomes of the tasks of a dump, in the build that has patch
 * 22: it is looked at in no other.
 */
extern int opts __attribute__((weak));
#define CRIU_TASK_DEAD 2
extern void set_compel_interrupt_only_mode(void) __attribute__((weak));
extern void print_on_level(unsigned int level, const char *format, ...) __attribute__((weak, format(printf, 2, 3)));

#endif
