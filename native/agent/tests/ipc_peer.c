/* SPDX-License-Identifier: MIT */
#include "agent/tests/ipc_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/tests/stand_in_pool.h"
#include "protocol/message_socket.h"

#include <cmocka.h>

static struct saved_memory saved;
static struct agent_message reply;

struct process processes[PROCESSES];

static CUresult carry_out(struct message *message)
{
	unsigned char byte = (unsigned char)message->value;
	CUcontext context;
	CUresult result;
	pid_t child;

	switch (message->order) {
	case ALLOCATE:
		return cuMemAlloc_v2(&message->address, message->bytes);
	case FREE:
		return cuMemFree_v2(message->address);
	case SHARE:
		return cuIpcGetMemHandle(&message->handle, message->address);
	case OPEN:
		return cuIpcOpenMemHandle_v2(&message->address, message->handle, 1);
	case CLOSE:
		return cuIpcCloseMemHandle(message->address);
	case WRITE:
		return cuMemcpyHtoD_v2(message->address, &byte, 1);
	case READ:
		result = cuMemcpyDtoH_v2(&byte, message->address, 1);
		message->value = byte;
		return result;
	case RANGE:
		return cuMemGetAddressRange_v2(&message->address, &message->bytes, message->address);
	case ATTRIBUTE:
		return cuPointerGetAttribute(&message->value, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
					     message->address);
	case EXPORT:
		message->result = agent_export(&saved, &reply);
		memcpy(message->sentence, reply.error.text, sizeof(message->sentence));
		message->bytes = saved.count;
		agent_forget(&saved);
		return (CUresult)message->result;
	case FORK:
		child = fork();
		if (!child) {
			pause();
			_exit(0);
		}
		message->value = (unsigned int)child;
		return CUDA_SUCCESS;
	case SECOND_CONTEXT:
		return cuCtxCreate_v2(&context, 0, 0);
	default:
		return CUDA_ERROR_UNKNOWN;
	}
}

static void serve(int socket)
{
	static struct message message;

	driver_start();
	while (message_receive(socket, &message, sizeof(message), NULL, NULL, -1) == sizeof(message)) {
		if (message.order == END)
			break;
		message.result = (int)carry_out(&message);
		if (message_send(socket, &message, sizeof(message), NULL, 0))
			break;
	}
	_exit(0);
}

static void start_process(struct process *process)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		abort();
	process->id = fork();
	if (process->id < 0)
		abort();
	if (!process->id) {
		close(sockets[0]);
		serve(sockets[1]);
	}
	close(sockets[1]);
	process->socket = sockets[0];
}

void send_order(const struct process *process, struct message *message, enum order order)
{
	message->order = order;
	assert_int_equal(message_send(process->socket, message, sizeof(*message), NULL, 0), 0);
}

int receive_result(const struct process *process, struct message *message)
{
	assert_int_equal(message_receive(process->socket, message, sizeof(*message), NULL, NULL, 30000),
			 (int)sizeof(*message));
	return message->result;
}

int tell(const struct process *process, struct message *message, enum order order)
{
	send_order(process, message, order);
	return receive_result(process, message);
}

void end_process(struct process *process)
{
	struct message message = {.order = END};

	if (!process->id)
		return;
	/* It may have ended already. */
	message_send(process->socket, &message, sizeof(message), NULL, 0);
	close(process->socket);
	waitpid(process->id, NULL, 0);
	process->id = 0;
}

unsigned char read_byte(CUdeviceptr address)
{
	unsigned char byte = 0;

	assert_success(cuMemcpyDtoH_v2(&byte, address, 1));
	return byte;
}

CUdeviceptr make_shared(size_t bytes, struct message *message)
{
	CUdeviceptr address;

	assert_success(cuMemAlloc_v2(&address, bytes));
	assert_success(cuIpcGetMemHandle(&message->handle, address));
	return address;
}

int ipc_peers_start(void **state)
{
	int index;

	(void)state;
	if (injection_start())
		return -1;
	for (index = 0; index < PROCESSES; index++)
		start_process(&processes[index]);
	driver_start();
	return 0;
}

int ipc_peers_end(void **state)
{
	int index;

	(void)state;
	for (index = 0; index < PROCESSES; index++)
		end_process(&processes[index]);
	return injection_end();
}
