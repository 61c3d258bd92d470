/* SPDX-License-Identifier: MIT */
/* The manifest of a checkpoint, as fuzz_gpu_manifest.c takes that of an image, in a folder with none of its files. */
#include "fuzz/fuzz_input.h"
#include "fuzz/fuzz_manifest.h"
#include "store/checkpoint_manifest.h"

/* As checkpoint_manifest.c has it. */
static const struct manifest_kind kind = {.magic = 0x544b504b43524b00ull, .format_version = 1, .what = "manifest"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct checkpoint_reading reading = {.threads = 1};
	struct checkpoint_manifest *manifest = NULL;
	struct error_text error;

	fuzz_manifest(&input, CHECKPOINT_MANIFEST_NAME, &kind);
	if (checkpoint_manifest_read(fuzz_folder(), &manifest, &error))
		return 0;
	checkpoint_manifest_bytes(manifest, true);
	checkpoint_manifest_lists(manifest, "pages-1.img");
	if (checkpoint_check_files(fuzz_folder(), manifest, &error) == 0)
		checkpoint_verify_files(fuzz_folder(), manifest, &reading, &error);
	checkpoint_manifest_free(manifest);
	return 0;
}
