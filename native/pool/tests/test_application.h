/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_TESTS_TEST_APPLICATION_H
#define REKINDLE_POOL_TESTS_TEST_APPLICATION_H

#include "driver/cuda_abi.h"

/* What the hostile one has to work with: its sockets, the question, and a piece of real device memory. */
struct hostile_agent {
	int socket, outside; /* the agent's end of the control socket, and the one that the pool has as well */
	uint64_t request_id;
	CUuuid device;
	CUdeviceptr address;
	uint64_t bytes;
	int (*export)(void); /* a fresh descriptor of it */
};

/* Answers EXPORT as no agent should: attack is one of those that hostile_agent_test.c names. */
void hostile_export(const char *attack, const struct hostile_agent *agent);

#endif
