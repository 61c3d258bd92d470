/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_FUZZ_FUZZ_INPUT_H
#define REKINDLE_FUZZ_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* What libFuzzer calls, again and again. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that are taken from the front; zeros once there are none left. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

uint8_t fuzz_byte(struct fuzz_input *input);
void fuzz_bytes(struct fuzz_input *input, void *to, size_t count);

/* An empty folder of this process, removed when it ends; the descriptor of it, and its path. */
int fuzz_folder(void);
const char *fuzz_folder_path(void);
/* Puts a file with that content there. */
void fuzz_write(const char *name, const void *data, size_t size);

/* Sentences are of no interest here. Called by the others. */
void fuzz_be_silent(void);

#endif
