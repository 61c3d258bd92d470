/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inspect/inspection_internal.h"

/* A program that asks a service of the machine something is connected for a moment only. */
#define MOMENT_US 2000

int ends_add(struct ends *ends, const struct inspected_process *process, enum end_kind kind, uint64_t id)
{
	struct end *grown = realloc(ends->all, (ends->count + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	ends->all = grown;
	grown[ends->count++] = (struct end){.process = process, .kind = kind, .id = id};
	return 0;
}

void ends_free(struct ends *ends)
{
	free(ends->all);
	*ends = (struct ends){NULL, 0};
}

static bool is_inside(const struct ends *ends, bool (*is)(enum end_kind kind), uint64_t id)
{
	for (size_t i = 0; i < ends->count; i++)
		if (ends->all[i].id == id && is(ends->all[i].kind))
			return true;
	return false;
}

static bool is_master(enum end_kind kind)
{
	return kind == END_TERMINAL_MASTER;
}

static bool is_socket(enum end_kind kind)
{
	return kind == END_STREAM || kind == END_DATAGRAM;
}

static int look_at_terminal(const struct look *look, const struct end *end)
{
	if (look->options->shell_job || look->options->terminals || is_inside(look->ends, is_master, end->id))
		return 0;
	return inspection_add(
		look->inspection, OBSTACLE_TERMINAL, end->process->pid,
		"dump it with --shell-job, and restore it on a terminal with that too; or start it with its "
		"input from /dev/null and its output to a file",
		"process %d (%s) has the terminal /dev/pts/%u, which a program outside of the tree holds",
		(int)end->process->pid, end->process->name, (unsigned int)end->id);
}

static uint32_t peer_in(const char *answer, ssize_t length)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
	const struct rtattr *attribute;
	uint32_t peer = 0;
	size_t left;

	if (length < (ssize_t)NLMSG_SPACE(sizeof(struct unix_diag_msg)) || !NLMSG_OK(header, (size_t)length) ||
	    header->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 0;
	attribute = (const struct rtattr *)(answer + NLMSG_SPACE(sizeof(struct unix_diag_msg)));
	left = header->nlmsg_len - NLMSG_SPACE(sizeof(struct unix_diag_msg));
	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(attribute) >= sizeof(peer))
			memcpy(&peer, RTA_DATA(attribute), sizeof(peer));
	return peer;
}

/* The inode of the socket at the other end; 0 where there is none, or it is of another network namespace than ours. */
static uint32_t peer_of(uint32_t inode)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} question = {
		.header = {.nlmsg_len = sizeof(question),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST},
		.request = {.sdiag_family = AF_UNIX,
			    .udiag_states = UINT32_MAX,
			    .udiag_ino = inode,
			    .udiag_show = UDIAG_SHOW_PEER,
			    .udiag_cookie = {UINT32_MAX, UINT32_MAX}},
	};
	_Alignas(struct nlmsghdr) char answer[1024];
	int kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	uint32_t peer = 0;

	if (kernel < 0)
		return 0;
	if (send(kernel, &question, sizeof(question), 0) == (ssize_t)sizeof(question))
		peer = peer_in(answer, recv(kernel, answer, sizeof(answer), 0));
	close(kernel);
	return peer;
}

static int look_at_unix_socket(const struct look *look, const struct end *end)
{
	uint32_t inode = (uint32_t)end->id, peer;

	if (look->options->unix_sockets || (look->options->datagrams && end->kind == END_DATAGRAM))
		return 0;
	peer = peer_of(inode);
	if (!peer || is_inside(look->ends, is_socket, peer) || usleep(MOMENT_US) || peer_of(inode) != peer)
		return 0;
	if (end->kind == END_DATAGRAM)
		return inspection_add(look->inspection, OBSTACLE_UNIX_SOCKET, end->process->pid,
				      "dump it with --ext-unix-sk, and restore it with that too; the other end has to "
				      "have a name",
				      "process %d (%s) sends to a unix socket (%u) of a program outside of the tree",
				      (int)end->process->pid, end->process->name, peer);
	return inspection_add(look->inspection, OBSTACLE_UNIX_SOCKET, end->process->pid,
			      "close it before the dump, or dump a tree that has both ends (outputs: write to a file); "
			      "--ext-unix-sk does not help, it is for datagrams",
			      "process %d (%s) is connected by a unix socket (%u) with a program outside of the tree",
			      (int)end->process->pid, end->process->name, inode);
}

int look_at_ends(const struct look *look)
{
	int code = 0;

	for (size_t i = 0; !code && i < look->ends->count; i++) {
		const struct end *end = &look->ends->all[i];

		if (end->kind == END_TERMINAL)
			code = look_at_terminal(look, end);
		else if (is_socket(end->kind))
			code = look_at_unix_socket(look, end);
	}
	return code;
}
