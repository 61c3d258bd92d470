/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_LOG_TO_CRIU_H
#define REKINDLE_PLUGIN_LOG_TO_CRIU_H

/* Sends log lines to CRIU's log; CRIU's own level decides what is kept. */
void criu_log_open(void);

#endif
