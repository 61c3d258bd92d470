/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_API_DRIVER_STATES_H
#define REKINDLE_API_DRIVER_STATES_H

#include "inspect/inspection.h"
#include "settings/settings.h"

/*
 * enum rekindle_cuda_state of each process of the inspection, which states has room for. The driver is asked by a program
 * of its own (rekindled --states), so that nothing of it stays in this process; only where a process has it loaded.
 */
void driver_states_ask(const struct inspection *inspection, const struct settings *settings, int *states);

#endif
