/* SPDX-License-Identifier: MIT */
#include "pool/tests/pool_test_support.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "protocol/message_socket.h"
#include "report/run_record.h"
#include "store/gpu_image.h"

extern char **environ;

unsigned int pool_fixture_timeout_seconds = 15;

void inject(const char *rules)
{
	char temporary[64], held[80];
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s.%d.tmp", getenv("REKINDLE_SIMCUDA_CONTROL"), getpid());
	file = fopen(temporary, "w");
	assert_non_null(file);
	fputs(rules, file);
	fclose(file);
	snprintf(held, sizeof(held), "%s.held", getenv("REKINDLE_SIMCUDA_CONTROL"));
	unlink(held); /* before the next one may be there */
	assert_int_equal(rename(temporary, getenv("REKINDLE_SIMCUDA_CONTROL")), 0);
}

void wait_until_held(void)
{
	char name[80];
	int tries;

	snprintf(name, sizeof(name), "%s.held", getenv("REKINDLE_SIMCUDA_CONTROL"));
	for (tries = 0; tries < 60000 && unlink(name); tries++)
		usleep(1000);
	assert_true(tries < 60000);
}

/* The pidfds by which tests name processes: always the same one, as the lock on a process is that of a descriptor. */
static struct {
	pid_t pid;
	int pidfd;
} known[64];

int client_pidfd(pid_t pid)
{
	size_t i = 0;

	while (known[i].pid && known[i].pid != pid)
		i++;
	if (!known[i].pid) {
		known[i].pid = pid;
		known[i].pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		assert_true(known[i].pidfd >= 0);
	}
	return known[i].pidfd;
}

static void forget_pidfds(void)
{
	size_t i;

	for (i = 0; known[i].pid; i++) {
		close(known[i].pidfd);
		known[i].pid = 0;
	}
}

int pool_fixture_set_up(void **state)
{
	struct pool_fixture *fixture = calloc(1, sizeof(*fixture));
	struct pool_server_options options = {.warm = true};
	struct error_text error = {""};
	char control[80];

	strcpy(fixture->path, "/tmp/pool-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->path));
	snprintf(control, sizeof(control), "%s/injection", fixture->path);
	setenv("REKINDLE_SIMCUDA_CONTROL", control, 1);
	inject("");
	fixture->folder = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (settings_load(&fixture->settings, "/dev/null", &error)) {
		print_error("%s\n", error.text);
		return -1;
	}
	fixture->settings.streams = 4;
	fixture->settings.chunk_bytes = 2 << 20;
	fixture->settings.ring_bytes = 8 << 20;
	fixture->settings.timeout_seconds = pool_fixture_timeout_seconds;
	snprintf(fixture->settings.pool_socket, sizeof(fixture->settings.pool_socket), "%s/socket/pool.sock",
		 fixture->path);
	if (pool_server_start(&fixture->settings, &options, &fixture->server, &error) ||
	    pool_server_wait_warm(fixture->server, &error)) {
		print_error("%s\n", error.text);
		return -1;
	}
	*state = fixture;
	return 0;
}

int pool_fixture_set_up_impatient(void **state)
{
	unsigned int usual = pool_fixture_timeout_seconds;
	int result;

	pool_fixture_timeout_seconds = 5;
	result = pool_fixture_set_up(state);
	pool_fixture_timeout_seconds = usual;
	return result;
}

int pool_fixture_tear_down(void **state)
{
	struct pool_fixture *fixture = *state;
	struct pool_status status;
	char command[128];
	int i;

	inject("");
	for (i = 0; i < fixture->application_count; i++)
		application_kill(&fixture->applications[i]);
	if (fixture->server) {
		wait_until_nothing_is_held(fixture);
		pool_server_status(fixture->server, &status);
		assert_int_equal(status.device_bytes_held, 0);
		pool_server_stop(fixture->server);
	}
	forget_pidfds();
	close(fixture->folder);
	snprintf(command, sizeof(command), "rm -rf %s", fixture->path);
	assert_int_equal(system(command), 0);
	free(fixture);
	return 0;
}

/*
 * The environment without what is injected, which is for the pool only, and with the application's own driver. A copy: the
 * pool's threads look into the environment of this process at any time.
 */
static char **environment_of_applications(void)
{
	static const char control[] = "REKINDLE_SIMCUDA_CONTROL=", driver[] = "REKINDLE_CUDA_DRIVER=";
	size_t count = 0, i;
	char **copy;

	while (environ[count])
		count++;
	copy = calloc(count + 2, sizeof(*copy));
	assert_non_null(copy);
	for (count = 0, i = 0; environ[i]; i++)
		if (strncmp(environ[i], control, strlen(control)) && strncmp(environ[i], driver, strlen(driver)))
			copy[count++] = environ[i];
	copy[count] = (char *)"REKINDLE_CUDA_DRIVER=" REKINDLE_TEST_APPLICATION_DRIVER;
	return copy;
}

struct application *application_start(struct pool_fixture *fixture, int allocations, int mebibytes,
				      const char *behaviour)
{
	struct application *application = &fixture->applications[fixture->application_count++];
	char agent_text[16], outside_text[16], commands_text[16], allocations_text[16], mebibytes_text[16];
	char *arguments[] = {(char *)REKINDLE_TEST_APPLICATION,
			     agent_text,
			     outside_text,
			     commands_text,
			     allocations_text,
			     mebibytes_text,
			     (char *)behaviour,
			     NULL};
	int agent[2], commands[2];
	char **environment = environment_of_applications();

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, agent), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, commands), 0);
	fcntl(agent[0], F_SETFD, 0);
	fcntl(agent[1], F_SETFD, 0);
	fcntl(commands[1], F_SETFD, 0);
	snprintf(agent_text, sizeof(agent_text), "%d", agent[1]);
	snprintf(outside_text, sizeof(outside_text), "%d", agent[0]);
	snprintf(commands_text, sizeof(commands_text), "%d", commands[1]);
	snprintf(allocations_text, sizeof(allocations_text), "%d", allocations);
	snprintf(mebibytes_text, sizeof(mebibytes_text), "%d", mebibytes);
	assert_int_equal(posix_spawn(&application->pid, arguments[0], NULL, NULL, arguments, environment), 0);
	free(environment);
	fcntl(agent[0], F_SETFD, FD_CLOEXEC);
	close(agent[1]);
	close(commands[1]);
	client_pidfd(application->pid);
	application->agent = agent[0];
	application->commands = commands[0];
	application->checksum = application_checksum(application);
	return application;
}

static uint64_t command(struct application *application, char letter)
{
	uint64_t answer = 0;

	assert_int_equal(send(application->commands, &letter, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(application->commands, &answer, sizeof(answer), 0), sizeof(answer));
	return answer;
}

uint64_t application_checksum(struct application *application)
{
	return command(application, 'c');
}

uint64_t application_write(struct application *application)
{
	return command(application, 'w');
}

uint64_t application_lost_signals(struct application *application)
{
	return command(application, 's');
}

void application_kill(struct application *application)
{
	if (application->pid == 0)
		return;
	kill(application->pid, SIGKILL);
	waitpid(application->pid, NULL, 0);
	close(application->agent);
	close(application->commands);
	application->pid = 0;
}

int client_connect(struct pool_fixture *fixture)
{
	int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, fixture->settings.pool_socket);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	return client;
}

unsigned int client_words;

static int exchange(int client, const struct pool_request *request, const int *descriptors, size_t count,
		    struct pool_reply *reply)
{
	ssize_t size;

	assert_int_equal(message_send(client, request, sizeof(*request), descriptors, count), 0);
	do {
		size = message_receive(client, reply, sizeof(*reply), NULL, NULL, 60000);
		assert_int_equal(size, sizeof(*reply));
		client_words += reply->still_working;
	} while (reply->still_working);
	return reply->result;
}

void client_hello(int client, const struct pool_request *hello, const int *folders, size_t count)
{
	struct pool_reply reply;

	assert_int_equal(exchange(client, hello, folders, count, &reply), 0);
}

int client_begin(struct pool_fixture *fixture, uint32_t stage)
{
	struct pool_request request = {.type = POOL_HELLO,
				       .version = POOL_PROTOCOL_VERSION,
				       .stage = stage,
				       .parallel = 1,
				       .verify = 1,
				       .note = CLIENT_RUN_NAME};
	int client = client_connect(fixture), folders[2] = {fixture->folder, fixture->folder};
	struct pool_reply reply;

	assert_int_equal(exchange(client, &request, folders, stage == POOL_STAGE_CLIENT ? 0 : 2, &reply), 0);
	assert_int_equal(reply.pool_warm, 1);
	return client;
}

int client_ask(int client, struct pool_request *request, int descriptor, struct pool_reply *reply)
{
	return exchange(client, request, &descriptor, descriptor >= 0, reply);
}

int client_ask_about(int client, struct pool_request *request, int pidfd, int agent, struct pool_reply *reply)
{
	int descriptors[POOL_PROCESS_DESCRIPTORS] = {pidfd, pidfd, agent};

	return exchange(client, request, descriptors, agent >= 0 ? 3 : 2, reply);
}

static int ask_about_pid(int client, struct pool_request *request, int agent, struct pool_reply *reply)
{
	return client_ask_about(client, request, client_pidfd(request->pid), agent, reply);
}

int client_simple(int client, uint32_t type, pid_t pid, struct pool_reply *reply)
{
	struct pool_request request = {.type = type, .pid = pid, .wants_state = type == POOL_QUERY};

	return pid == 0 ? client_ask(client, &request, -1, reply) : ask_about_pid(client, &request, -1, reply);
}

int client_checkpoint(int client, struct application *application, bool with_agent, struct pool_reply *reply)
{
	struct pool_request request = {.type = POOL_CHECKPOINT, .pid = application->pid, .has_agent = with_agent};

	if (!with_agent)
		strcpy(request.note, "no agent in this test");
	return ask_about_pid(client, &request, with_agent ? application->agent : -1, reply);
}

int client_begin_dump(struct pool_fixture *fixture, struct application *application, bool with_agent,
		      struct pool_reply *reply, int *client)
{
	*client = client_begin(fixture, POOL_STAGE_DUMP);
	assert_int_equal(client_simple(*client, POOL_QUERY, application->pid, reply), 0);
	assert_int_equal(reply->uses_cuda, 1);
	assert_int_equal(reply->state, CU_PROCESS_STATE_RUNNING);
	assert_true(reply->restore_thread_id > 0);
	assert_int_equal(client_simple(*client, POOL_LOCK, application->pid, reply), 0);
	return client_checkpoint(*client, application, with_agent, reply);
}

CUprocessState client_state_of(int client, struct application *application)
{
	struct pool_reply reply;

	assert_int_equal(client_simple(client, POOL_QUERY, application->pid, &reply), 0);
	return (CUprocessState)reply.state;
}

int client_resume(int client, struct application *application, const uint8_t *image_id, struct pool_reply *reply)
{
	struct pool_request request = {.type = POOL_RESUME, .pid = application->pid, .has_agent = 1};

	request.agent_released = image_id != NULL;
	if (image_id)
		memcpy(request.image_id, image_id, 16);
	return ask_about_pid(client, &request, application->agent, reply);
}

void client_finish(int client, int criu_result)
{
	struct pool_request request = {.type = POOL_FINISH, .criu_result = criu_result};
	struct pool_reply reply;

	assert_int_equal(client_ask(client, &request, -1, &reply), 0);
	close(client);
}

static void make_image_name(const char *prefix, const struct gpu_image_name *image, char *name)
{
	int length = snprintf(name, 64, "%s%d-", prefix, image->pid);
	int i;

	for (i = 0; i < 16; i++)
		length += snprintf(name + length, (size_t)(64 - length), "%02x", image->id[i]);
	snprintf(name + length, (size_t)(64 - length), ".img");
}

/* The newest image of a process in the folder; false where there is none. */
static bool find_image(struct pool_fixture *fixture, pid_t pid, struct gpu_image_name *found)
{
	struct timespec newest = {.tv_sec = 0};
	struct gpu_image_name *names = NULL;
	struct error_text error = {""};
	struct stat status;
	size_t count = 0, i;
	char name[64];

	if (gpu_image_list(fixture->folder, &names, &count, &error))
		fail_msg("%s", error.text);
	for (i = 0; i < count; i++) {
		if (names[i].pid != pid)
			continue;
		make_image_name("rekindle-", &names[i], name);
		assert_int_equal(fstatat(fixture->folder, name, &status, 0), 0);
		if (status.st_mtim.tv_sec < newest.tv_sec ||
		    (status.st_mtim.tv_sec == newest.tv_sec && status.st_mtim.tv_nsec <= newest.tv_nsec))
			continue;
		newest = status.st_mtim;
		*found = names[i];
	}
	free(names);
	return newest.tv_sec != 0;
}

void image_id_of(struct pool_fixture *fixture, pid_t pid, uint8_t *image_id)
{
	struct gpu_image_name name;

	assert_true(find_image(fixture, pid, &name));
	assert_true(name.has_id);
	memcpy(image_id, name.id, 16);
}

bool image_is_there(struct pool_fixture *fixture, pid_t pid)
{
	struct gpu_image_name name;

	return find_image(fixture, pid, &name);
}

void image_file_of(struct pool_fixture *fixture, pid_t pid, const char *prefix, char *name)
{
	struct gpu_image_name found;

	assert_true(find_image(fixture, pid, &found));
	make_image_name(prefix, &found, name);
}

char *read_statistics(struct pool_fixture *fixture)
{
	char *text = calloc(1, 65536);
	int file = openat(fixture->folder, RUN_RECORD_FILE, O_RDONLY);

	assert_true(file >= 0);
	assert_true(read(file, text, 65535) > 0);
	close(file);
	return text;
}

void wait_until_nothing_is_held(struct pool_fixture *fixture)
{
	struct pool_status status;
	int i;

	for (i = 0; i < 12000; i++) {
		pool_server_status(fixture->server, &status);
		if (status.device_bytes_held == 0 && status.runs == 0)
			return;
		usleep(10000);
	}
	fail_msg("The pool still holds %llu bytes, %u runs", (unsigned long long)status.device_bytes_held, status.runs);
}
