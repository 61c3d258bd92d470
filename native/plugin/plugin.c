/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "plugin/criu_plugin_abi.h"
#include "plugin/dump.h"
#include "plugin/inherited_devices.h"
#include "plugin/log_to_criu.h"
#include "plugin/restore.h"
#include "plugin/restore_folder.h"
#include "plugin/run.h"
#include "support/log.h"

static bool enabled;
static int restore_lock = -1;

static int plugin_init(int stage)
{
	int code = 0;

	criu_log_open();
	/* `rekindle doctor` looks for it: CRIU's own plugin has the same name. */
	log_debug("this is Rekindle's plugin, version " REKINDLE_VERSION);
	enabled = false;
	if (!criu_get_image_dir || !add_inventory_plugin || !check_and_remove_inventory_plugin) {
		log_error("this CRIU is too old: version 4.1 or newer is needed");
		return -1;
	}
	if (stage == CRIU_STAGE_DUMP) {
		code = dump_begin();
		enabled = !code;
	} else if (stage == CRIU_STAGE_RESTORE && restore_folder_begin(&restore_lock)) {
		code = -1;
	} else if (stage == CRIU_STAGE_RESTORE && check_and_remove_inventory_plugin(PLUGIN_NAME, strlen(PLUGIN_NAME))) {
		/* It is taken off the list once; an image without a list, from before CRIU 4.1, says yes to every
		 * plugin. */
		code = restore_begin(!check_and_remove_inventory_plugin(PLUGIN_NAME, strlen(PLUGIN_NAME)));
		enabled = !code;
	}
	/* Else: a pre-dump, which leaves devices alone, or an image without CUDA. */
	if (code)
		restore_folder_end(&restore_lock);
	return code;
}

static void plugin_exit(int stage, int result)
{
	restore_folder_end(&restore_lock);
	if (!enabled)
		return;
	enabled = false;
	if (stage == CRIU_STAGE_DUMP)
		dump_end(result);
	else
		restore_end(result);
}

static int pause_devices(int pid)
{
	return enabled ? dump_pause_devices(pid) : -ENOTSUP;
}

static int checkpoint_devices(int pid)
{
	return enabled ? dump_checkpoint_devices(pid) : -ENOTSUP;
}

static int resume_devices_late(int pid)
{
	/* Every task is there, and the pool has its files open. Without --restore-detached CRIU goes on for long. */
	restore_folder_end(&restore_lock);
	return enabled ? restore_resume_devices_late(pid) : -ENOTSUP;
}

static int dump_ext_file(int descriptor, int id)
{
	return enabled ? inherited_devices_dump_file(descriptor, id) : -ENOTSUP;
}

static int restore_ext_file(int id)
{
	return enabled ? inherited_devices_restore_file(id) : -ENOTSUP;
}

static int handle_device_vma(int descriptor, const struct stat *file)
{
	return enabled ? inherited_devices_handle_mapping(descriptor, file) : -ENOTSUP;
}

static int update_vma_map(const char *path, uint64_t address, uint64_t old_offset, uint64_t *new_offset,
			  int *descriptor)
{
	return enabled ? inherited_devices_restore_mapping(path, address, old_offset, new_offset, descriptor)
		       : -ENOTSUP;
}

extern __attribute__((visibility("default"))) struct criu_plugin_descriptor CR_PLUGIN_DESC;

struct criu_plugin_descriptor CR_PLUGIN_DESC = {
	.name = PLUGIN_NAME,
	.init = plugin_init,
	.exit = plugin_exit,
	.version = CRIU_PLUGIN_VERSION_0_2_0,
	.max_hooks = CRIU_HOOK_COUNT,
	.hooks =
		{
			[CRIU_HOOK_DUMP_EXT_FILE] = CRIU_OTHER_HOOK(dump_ext_file),
			[CRIU_HOOK_RESTORE_EXT_FILE] = restore_ext_file,
			[CRIU_HOOK_HANDLE_DEVICE_VMA] = CRIU_OTHER_HOOK(handle_device_vma),
			[CRIU_HOOK_UPDATE_VMA_MAP] = CRIU_OTHER_HOOK(update_vma_map),
			[CRIU_HOOK_RESUME_DEVICES_LATE] = resume_devices_late,
			[CRIU_HOOK_PAUSE_DEVICES] = pause_devices,
			[CRIU_HOOK_CHECKPOINT_DEVICES] = checkpoint_devices,
		},
};
