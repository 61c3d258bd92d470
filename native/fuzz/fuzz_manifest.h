/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_FUZZ_FUZZ_MANIFEST_H
#define REKINDLE_FUZZ_FUZZ_MANIFEST_H

#include "fuzz/fuzz_input.h"
#include "store/manifest_file.h"

/* Writes a manifest: the rest of the input, behind a header that fits it where the first byte is odd. */
void fuzz_manifest(struct fuzz_input *input, const char *name, const struct manifest_kind *kind);

#endif
