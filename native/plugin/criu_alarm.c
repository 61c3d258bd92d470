/* SPDX-License-Identifier: MIT */
#include "plugin/criu_alarm.h"

#include <sys/time.h>

#include "support/clock.h"

void criu_alarm_suspend(struct criu_alarm *alarm)
{
	struct itimerval none = {0};
	struct itimerval old = {0};

	setitimer(ITIMER_REAL, &none, &old);
	alarm->armed = old.it_value.tv_sec || old.it_value.tv_usec;
	alarm->deadline = monotonic_nanoseconds() + (uint64_t)old.it_value.tv_sec * 1000000000u +
			  (uint64_t)old.it_value.tv_usec * 1000u;
}

void criu_alarm_resume(const struct criu_alarm *alarm)
{
	uint64_t now = monotonic_nanoseconds();
	uint64_t left = alarm->deadline > now + 1000u ? alarm->deadline - now : 1000u;
	struct itimerval timer = {
		.it_value = {.tv_sec = (time_t)(left / 1000000000u),
			     .tv_usec = (suseconds_t)(left % 1000000000u / 1000u)},
	};

	if (alarm->armed)
		setitimer(ITIMER_REAL, &timer, NULL);
}

void criu_alarm_put_off(struct criu_alarm *alarm, uint64_t nanoseconds)
{
	alarm->deadline += nanoseconds;
}

unsigned int criu_alarm_left_ms(const struct criu_alarm *alarm, unsigned int margin_ms, unsigned int otherwise_ms)
{
	uint64_t now = monotonic_nanoseconds();
	uint64_t left_ms = alarm->deadline > now ? (alarm->deadline - now) / 1000000u : 0;

	if (!alarm->armed)
		return otherwise_ms;
	return left_ms > margin_ms ? (unsigned int)(left_ms - margin_ms) : 1;
}
