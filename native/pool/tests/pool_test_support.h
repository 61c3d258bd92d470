/* SPDX-License-Identifier: MIT */
#ifndef REKINDLE_POOL_TESTS_POOL_TEST_SUPPORT_H
#define REKINDLE_POOL_TESTS_POOL_TEST_SUPPORT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/server/pool_server.h"
#include "protocol/agent_protocol.h"

/* After the others: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* An application with an agent, on the simulated driver. */
struct application {
	pid_t pid;
	int agent, commands;
	uint64_t checksum; /* of its contents when it was started */
};

/* A pool in this process, a folder for images and the applications of a test. */
struct pool_fixture {
	char path[64];
	int folder;
	struct settings settings;
	struct pool_server *server;
	struct application applications[4];
	int application_count;
};

/* REKINDLE_TIMEOUT of the fixture's pool. Nothing reaches it but what hangs. */
extern unsigned int pool_fixture_timeout_seconds;

int pool_fixture_set_up(void **state);
/* With a limit of 5 s, for tests in which it is reached. */
int pool_fixture_set_up_impatient(void **state);
int pool_fixture_tear_down(void **state);
/* Makes calls of the pool's driver fail or wait: rules as simcuda's injection takes them, "" for none. */
void inject(const char *rules);

/* Until a call is there that "NAME=held" holds; once for each time that it is injected. */
void wait_until_held(void);

struct application *application_start(struct pool_fixture *fixture, int allocations, int mebibytes,
				      const char *behaviour);
/* Asks for its checksum. */
uint64_t application_checksum(struct application *application);
uint64_t application_write(struct application *application);
/* How many of the signals that it was sent have not come. */
uint64_t application_lost_signals(struct application *application);
void application_kill(struct application *application);

int client_connect(struct pool_fixture *fixture);
/* Connects and says HELLO for a run. */
/* Its run has this name. */
#define CLIENT_RUN_NAME "1-0"
int client_begin(struct pool_fixture *fixture, uint32_t stage);
/* HELLO with the folders of images and of work, and of a dump that which is locked. */
void client_hello(int client, const struct pool_request *hello, const int *folders, size_t count);
/* How often a pool has said that it is still working. */
extern unsigned int client_words;
/* One request, one reply; descriptor -1 for none. Returns the reply's result. */
int client_ask(int client, struct pool_request *request, int descriptor, struct pool_reply *reply);
/* The same about a process, named by a pidfd, which is the lock on it too; agent -1 for none. */
int client_ask_about(int client, struct pool_request *request, int pidfd, int agent, struct pool_reply *reply);
/* The pidfd by which the tests name a process. */
int client_pidfd(pid_t pid);
/* A request that has only a type and a process. */
int client_simple(int client, uint32_t type, pid_t pid, struct pool_reply *reply);
int client_checkpoint(int client, struct application *application, bool with_agent, struct pool_reply *reply);
/* Begins a dump of an application, locks it and saves it; the test goes on with *client. */
int client_begin_dump(struct pool_fixture *fixture, struct application *application, bool with_agent,
		      struct pool_reply *reply, int *client);
CUprocessState client_state_of(int client, struct application *application);
int client_resume(int client, struct application *application, const uint8_t *image_id, struct pool_reply *reply);
/* FINISH and close. */
void client_finish(int client, int criu_result);

/* Reads the id of a process's image in the fixture's folder. */
void image_id_of(struct pool_fixture *fixture, pid_t pid, uint8_t *image_id);
bool image_is_there(struct pool_fixture *fixture, pid_t pid);
/* The names of its manifest ("rekindle-") or data file ("rekindle-pages-"); it has one. name: 64 bytes. */
void image_file_of(struct pool_fixture *fixture, pid_t pid, const char *prefix, char *name);
/* The statistics that the last run left. The caller frees it. */
char *read_statistics(struct pool_fixture *fixture);
/* Waits until nothing is held, which a run that was lost gives back in its own time. */
void wait_until_nothing_is_held(struct pool_fixture *fixture);

#endif
