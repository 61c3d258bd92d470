/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "inspect/inspection_internal.h"

static int option_of(int socket, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(socket, level, name, &value, &length) ? -1 : value;
}

static int look_at_connection(const struct look *look, int socket)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	if (option_of(socket, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP ||
	    getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) || info.tcpi_state == TCP_CLOSE ||
	    info.tcpi_state == TCP_LISTEN)
		return 0;
	return inspection_add(look->inspection, OBSTACLE_CONNECTION, look->process->pid,
			      "dump it with --tcp-established or --tcp-close, or close them first",
			      "process %d (%s) has established TCP connections", (int)look->process->pid,
			      look->process->name);
}

/*
 * A client of the multi-process service speaks with it over a unix socket. One that listens has itself for a peer, and
 * whoever is connected to it is looked at by its own.
 */
static int look_at_unix(const struct look *look, int socket, uint64_t inode)
{
	char name[PROCESS_NAME_MAX] = "";
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (option_of(socket, SOL_SOCKET, SO_ACCEPTCONN))
		return 0;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.pid <= 0 ||
	    process_name_read(peer.pid, name) || strncmp(name, "nvidia-cuda-mps", 15))
		return look->options->known
			       ? ends_add(look->ends, look->process,
					  option_of(socket, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM ? END_DATAGRAM
											       : END_STREAM,
					  inode)
			       : 0;
	return inspection_add(look->inspection, OBSTACLE_MPS, look->process->pid,
			      "start it without the multi-process service",
			      "process %d (%s) is a client of CUDA's multi-process service (process %d), which the "
			      "driver cannot checkpoint",
			      (int)look->process->pid, look->process->name, (int)peer.pid);
}

/* A duplicate of it tells more than /proc, whatever network namespace it is of. */
static int look_at_socket(const struct look *look, int number, uint64_t inode)
{
	int socket = (int)syscall(SYS_pidfd_getfd, look->pidfd, number, 0), domain, code = 0;

	if (socket < 0)
		return 0;
	domain = option_of(socket, SOL_SOCKET, SO_DOMAIN);
	if (domain == AF_UNIX)
		code = look_at_unix(look, socket, inode);
	else if ((domain == AF_INET || domain == AF_INET6) && look->options->known && !look->options->connections)
		code = look_at_connection(look, socket);
	close(socket);
	return code;
}

/* What the kernel says of a descriptor beside where it leads. */
struct descriptor_facts {
	int mount;    /* -1 where it does not say */
	int terminal; /* of the master of a terminal: its number, else -1 */
	bool has_lock;
};

static struct descriptor_facts read_facts(pid_t pid, int number)
{
	struct descriptor_facts facts = {.mount = -1, .terminal = -1};
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, number);
	file = fopen(path, "re");
	if (!file)
		return facts;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "mnt_id: %d", &facts.mount);
		sscanf(line, "tty-index: %d", &facts.terminal);
		/* A delegation is the file server's, not the program's. */
		if (!strncmp(line, "lock:", 5) && !strstr(line, "DELEG"))
			facts.has_lock = true;
	}
	fclose(file);
	return facts;
}

static bool is_terminal(const struct stat *file)
{
	unsigned int number = major(file->st_rdev);

	return S_ISCHR(file->st_mode) && (number == 4 || number == 5 || (number >= 136 && number < 144));
}

static int look_at_terminal(const struct look *look, const struct stat *file, const struct descriptor_facts *facts)
{
	unsigned int number = major(file->st_rdev);

	if (!S_ISCHR(file->st_mode))
		return 0;
	if (facts->terminal >= 0)
		return ends_add(look->ends, look->process, END_TERMINAL_MASTER, (uint64_t)facts->terminal);
	if (number >= 136 && number < 144)
		return ends_add(look->ends, look->process, END_TERMINAL, (number - 136) * 256 + minor(file->st_rdev));
	return 0;
}

static int look_at_lock(const struct look *look, const char *path, const struct descriptor_facts *facts)
{
	if (!facts->has_lock || look->options->file_locks)
		return 0;
	return inspection_add(
		look->inspection, OBSTACLE_FILE_LOCK, look->process->pid,
		"dump and restore it with --file-locks, which the preset inference has, or let it unlock it",
		"process %d (%s) has a lock on the file %s", (int)look->process->pid, look->process->name, path);
}

static int look_at_mount(const struct look *look, int number, const char *path, const struct stat *file, int id)
{
	if (!look->options->known || look->options->external_files || (look->options->shell_job && is_terminal(file)) ||
	    is_memory_file(path) || is_nvidia_device(path) ||
	    !(S_ISREG(file->st_mode) || S_ISDIR(file->st_mode) || S_ISCHR(file->st_mode)))
		return 0;
	if (id < 0 || mount_set_has(look->mounts, id))
		return 0;
	return inspection_add(look->inspection, OBSTACLE_OTHER_MOUNTS, look->process->pid,
			      "close it, or open it inside (containers: standard input, --init); or dump it with "
			      "--external file[MOUNT:INODE]",
			      "descriptor %d of process %d (%s) is a file of another mount namespace (%s)", number,
			      (int)look->process->pid, look->process->name, path);
}

static int look_at_descriptor(const struct look *look, int number)
{
	char link[64], path[4096];
	struct descriptor_facts facts;
	struct stat file;
	ssize_t length;
	int code;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)look->process->pid, number);
	length = readlink(link, path, sizeof(path) - 1);
	if (length <= 0)
		return 0;
	path[length] = '\0';
	if (!strcmp(path, "anon_inode:[io_uring]"))
		return add_io_uring(look);
	if (!strncmp(path, "socket:", 7))
		return look_at_socket(look, number, strtoull(path + strlen("socket:["), NULL, 10));
	if (is_nvidia_device(path) && is_device_file(AT_FDCWD, link))
		look->process->has_device = true;
	if (!look->options->known || *path != '/' || stat(link, &file))
		return 0;
	facts = read_facts(look->process->pid, number);
	code = is_deleted(path) ? look_at_deleted(look, path, &file) : 0;
	if (!code)
		code = look_at_terminal(look, &file, &facts);
	if (!code)
		code = look_at_lock(look, path, &facts);
	return code ? code : look_at_mount(look, number, path, &file, facts.mount);
}

int look_at_descriptors(const struct look *look)
{
	struct dirent *entry;
	char path[64];
	DIR *folder;
	int code = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)look->process->pid);
	folder = opendir(path);
	if (!folder)
		return 0;
	while (!code && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			code = look_at_descriptor(look, atoi(entry->d_name));
	closedir(folder);
	return code;
}
