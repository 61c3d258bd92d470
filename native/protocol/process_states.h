/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PROTOCOL_PROCESS_STATES_H
#define REKINDLE_PROTOCOL_PROCESS_STATES_H

#include "driver/cuda_abi.h"

/* What "rekindled --states PID..." prints for each process: its number, and one of CUprocessState or of these two. */
#define PROCESS_STATE_LINE "process %d state %d"
#define PROCESS_STATE_UNUSED (-1)  /* the process does not use CUDA */
#define PROCESS_STATE_UNKNOWN (-2) /* a thread of the process would have to tell, and cannot, or must not, run */

#endif
