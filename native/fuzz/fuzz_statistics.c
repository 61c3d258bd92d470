/* SPDX-License-Identifier: MIT */
/* What a run leaves in its work folder, behind a byte that says which file: the pool's statistics, or one of CRIU's. */
#include <unistd.h>

#include "api/criu/criu_images.h"
#include "api/statistics.h"
#include "fuzz/fuzz_input.h"
#include "report/run_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {RUN_RECORD_FILE, "stats-dump", "inventory.img", "pstree.img", "core-1.img"};
	static const size_t name_count = sizeof(names) / sizeof(names[0]);
	struct rekindle_process_statistics processes[3];
	struct fuzz_input input = {data, size};
	struct criu_checkpoint checkpoint;
	struct run_report report;
	struct error_text error;
	size_t bytes;
	uint8_t which;

	fuzz_folder();
	while (input.size) {
		which = fuzz_byte(&input);
		bytes = fuzz_byte(&input) * 256u;
		bytes += fuzz_byte(&input);
		if (bytes > input.size)
			bytes = input.size;
		fuzz_write(names[which % name_count], input.data, bytes);
		input.data += bytes;
		input.size -= bytes;
	}
	statistics_collect(fuzz_folder_path(), REKINDLE_RUN_CHECKPOINT, &report, processes, 3, &error);
	if (criu_checkpoint_read(fuzz_folder_path(), &checkpoint, &error) == 0)
		criu_checkpoint_free(&checkpoint);
	for (which = 0; which < name_count; which++)
		unlinkat(fuzz_folder(), names[which], 0);
	return 0;
}
