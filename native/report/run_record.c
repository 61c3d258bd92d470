/* SPDX-License-Identifier: MIT */
#include "report/run_record.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_PHASE(name, number, word) +1
static_assert(PHASES(COUNT_PHASE) <= RECORD_PHASES_MAX, "a process has room for one phase of each kind");

static struct phase_record *phase_of_kind(struct phase_record *from, struct phase_record *end, uint32_t kind)
{
	while (from < end && from->kind != kind)
		from++;
	return from < end ? from : NULL;
}

static void add_up(struct phase_record *phase, uint64_t duration, uint64_t bytes)
{
	phase->duration += duration;
	phase->bytes += bytes;
}

/* Makes one of two phases of one kind, of which there are some where every place is taken and a kind has none. */
static void make_room(struct process_record *process)
{
	struct phase_record *end = process->phases + process->phase_count, *phase = process->phases, *again;

	while (!(again = phase_of_kind(phase + 1, end, phase->kind)))
		phase++;
	add_up(phase, again->duration, again->bytes);
	memmove(again, again + 1, (size_t)(end - again - 1) * sizeof(*again));
	process->phase_count--;
}

void process_record_phase(struct process_record *process, enum phase kind, uint64_t start, uint64_t duration,
			  uint64_t bytes)
{
	struct phase_record *same;

	if (process->phase_count == RECORD_PHASES_MAX) {
		same = phase_of_kind(process->phases, process->phases + RECORD_PHASES_MAX, kind);
		if (same) {
			add_up(same, duration, bytes);
			return;
		}
		make_room(process);
	}
	process->phases[process->phase_count++] = (struct phase_record){kind, start, duration, bytes};
}

void process_record_drop(struct process_record *process, enum phase kind)
{
	uint32_t from, to = 0;

	for (from = 0; from < process->phase_count; from++)
		if (process->phases[from].kind != kind)
			process->phases[to++] = process->phases[from];
	process->phase_count = to;
}

const char *phase_word(uint32_t kind)
{
	static const char *const words[] = {
#define PHASE_WORD(name, number, word) [number] = word,
		PHASES(PHASE_WORD)};

	return kind < sizeof(words) / sizeof(words[0]) ? words[kind] : NULL;
}

void run_record_free(struct run_record *record)
{
	free(record->processes);
	record->processes = NULL;
	record->process_count = 0;
}
