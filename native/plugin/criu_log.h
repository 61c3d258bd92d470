/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_PLUGIN_CRIU_LOG_H
#define REKINDLE_PLUGIN_CRIU_LOG_H

/* Sends log lines to CRIU's log; CRIU's own level decides what is kept. */
void criu_log_open(void);

#endif
