/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_CRIU_ALARM_H
#define REKINDLE_PLUGIN_CRIU_ALARM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * CRIU guards the freezing of a tree with an alarm (--timeout, 10 seconds unless told otherwise), whose handler
 * interrupts whatever runs. A hook sets it aside, keeps the limit itself and gives it back.
 */
struct criu_alarm {
	bool armed;
	uint64_t deadline; /* CLOCK_MONOTONIC */
};

void criu_alarm_suspend(struct criu_alarm *alarm);
/* Arms the alarm again with the time that is left; where none is left it fires at once, as CRIU expects it. */
void criu_alarm_resume(const struct criu_alarm *alarm);
/* While it is suspended: so long a time does not count. */
void criu_alarm_put_off(struct criu_alarm *alarm, uint64_t nanoseconds);
/* Milliseconds until margin_ms before the alarm, at least 1; otherwise_ms where no alarm was armed. */
unsigned int criu_alarm_left_ms(const struct criu_alarm *alarm, unsigned int margin_ms, unsigned int otherwise_ms);

#endif
