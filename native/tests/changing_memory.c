/* SPDX-License-Identifier: MIT */
/*
 * changing_memory FILE PIECES: a program that writes its device memory all the time, all of a piece or one word of it, and
 * frees pieces and allocates others. What each has to hold it remembers in host memory, and looks at the whole piece before
 * each change: so contents of another moment than the host's end it. How many changes there were stands in FILE.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/cuda_abi.h"

CUresult cuInit(unsigned int flags);
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes);
CUresult cuMemFree_v2(CUdeviceptr address);
CUresult cuMemsetD32_v2(CUdeviceptr address, unsigned int value, size_t count);
CUresult cuMemcpyDtoH_v2(void *host, CUdeviceptr address, size_t bytes);

#define PIECES_MAX 64
#define UNIT_BYTES ((size_t)2 << 20)
#define UNITS_MAX 3

/* Every word has the value, but one. */
struct piece {
	CUdeviceptr address;
	size_t words;
	uint32_t value, word_value;
	size_t word;
};

static struct piece pieces[PIECES_MAX];
static uint32_t contents[UNITS_MAX * UNIT_BYTES / sizeof(uint32_t)];

static void check(CUresult result, const char *call)
{
	if (result == CUDA_SUCCESS)
		return;
	fprintf(stderr, "%s: %d\n", call, result);
	_exit(3);
}

static void set_all(struct piece *piece, uint32_t value)
{
	piece->value = piece->word_value = value;
	check(cuMemsetD32_v2(piece->address, value, piece->words), "cuMemsetD32");
}

static void set_word(struct piece *piece, size_t word, uint32_t value)
{
	if (piece->word != word)
		check(cuMemsetD32_v2(piece->address + piece->word * sizeof(value), piece->value, 1), "cuMemsetD32");
	piece->word = word;
	piece->word_value = value;
	check(cuMemsetD32_v2(piece->address + word * sizeof(value), value, 1), "cuMemsetD32");
}

static void allocate(struct piece *piece, size_t units, uint32_t value)
{
	piece->words = units * UNIT_BYTES / sizeof(value);
	piece->word = 0;
	check(cuMemAlloc_v2(&piece->address, units * UNIT_BYTES), "cuMemAlloc");
	set_all(piece, value);
}

static void look_at(const struct piece *piece, uint64_t step)
{
	check(cuMemcpyDtoH_v2(contents, piece->address, piece->words * sizeof(*contents)), "cuMemcpyDtoH");
	for (size_t word = 0; word < piece->words; word++) {
		uint32_t expected = word == piece->word ? piece->word_value : piece->value;

		if (contents[word] == expected)
			continue;
		fprintf(stderr, "step %llu: word %zu of piece %zu is %u, and was %u when it was written\n",
			(unsigned long long)step, word, (size_t)(piece - pieces), contents[word], expected);
		_exit(4);
	}
}

int main(int count, char **arguments)
{
	size_t piece_count = count == 3 ? (size_t)atol(arguments[2]) : 0;
	_Atomic uint64_t *steps;
	CUcontext context;
	int file;

	if (piece_count == 0 || piece_count > PIECES_MAX)
		return 2;
	check(cuInit(0), "cuInit");
	check(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
	check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
	for (size_t index = 0; index < piece_count; index++)
		allocate(&pieces[index], 1 + index % UNITS_MAX, (uint32_t)index);
	file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || ftruncate(file, sizeof(*steps)))
		return 3;
	steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (steps == MAP_FAILED)
		return 3;
	close(file);
	for (uint64_t step = 1;; step++) {
		struct piece *piece = &pieces[(size_t)random() % piece_count];
		uint32_t value = (uint32_t)(step * 2654435761u);

		look_at(piece, step);
		if (step % 11 == 0) {
			check(cuMemFree_v2(piece->address), "cuMemFree");
			allocate(piece, 1 + (size_t)random() % UNITS_MAX, step % 2 ? value : 0);
		} else if (step % 4 == 0) {
			set_all(piece, step % 3 ? value : 0);
		} else {
			set_word(piece, (size_t)random() % piece->words, value);
		}
		++*steps;
	}
}
