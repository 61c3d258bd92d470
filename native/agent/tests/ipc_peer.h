/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_AGENT_TESTS_IPC_PEER_H
#define REKINDLE_AGENT_TESTS_IPC_PEER_H

#include "agent/tests/driver.h"
#include "support/error_text.h"

/* Another process, which does with CUDA what it is told. */

enum order { ALLOCATE, FREE, SHARE, OPEN, CLOSE, WRITE, READ, RANGE, ATTRIBUTE, EXPORT, FORK, SECOND_CONTEXT, END };

struct message {
	enum order order;
	int result;
	CUdeviceptr address;
	size_t bytes;
	unsigned int value;
	CUipcMemHandle handle;
	char sentence[ERROR_TEXT_MAX];
};

struct process {
	pid_t id;
	int socket;
};

/* Forked while this process has no CUDA, each for one of the tests. */
#define PROCESSES 3
extern struct process processes[PROCESSES];

/* Starts them, then CUDA in this process; and ends them. Set-up and tear-down of a test. */
int ipc_peers_start(void **state);
int ipc_peers_end(void **state);

void send_order(const struct process *process, struct message *message, enum order order);
/* What became of the order; message has the rest. */
int receive_result(const struct process *process, struct message *message);
int tell(const struct process *process, struct message *message, enum order order);
void end_process(struct process *process);

/* Of this process's own. */
unsigned char read_byte(CUdeviceptr address);
/* Memory with its handle in message. */
CUdeviceptr make_shared(size_t bytes, struct message *message);

#endif
