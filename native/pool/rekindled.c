/* SPDX-License-Identifier: MIT */
/* The pool process. It stays in the foreground and logs to stderr; whoever starts it does the rest. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "process/process_lock.h"
#include "store/checkpoint_folder.h"
#include "pool/run/guardian.h"
#include "pool/device/states_report.h"
#include "pool/server/pool_server.h"
#include "pool/run/revive.h"
#include "settings/settings.h"
#include "support/log.h"

static const char usage[] =
	"usage: rekindled [--socket PATH] [--idle SECONDS] [--log FILE] [--configuration FILE]\n"
	"                 [--private-descriptor NUMBER] [--version] [--help]\n"
	"       rekindled --revive PID [--images FOLDER]\n"
	"       rekindled --states PID...\n"
	"Keeps GPUs warm for checkpoints and restores by CRIU with cuda_plugin.so.\n"
	"  --socket PATH                where to listen (REKINDLE_POOL_SOCKET)\n"
	"  --idle SECONDS               end after this long without work; 0: never (default)\n"
	"  --log FILE                   log there instead of to stderr\n"
	"  --problems FILE              errors and warnings until it listens go there too\n"
	"  --configuration FILE         settings, instead of /etc/rekindle.conf\n"
	"  --private-descriptor NUMBER  serve only the client on this connected socket, then end\n"
	"  --revive PID                 bring back a process that a dump has left frozen, then end\n"
	"  --images FOLDER              where that dump has put its images\n"
	"  --states PID...              print each process and the driver's state of its CUDA (-1: unused, -2: cannot "
	"be\n"
	"                               asked now, else CUprocessState), then end\n";

struct arguments {
	const char *socket, *log, *problems, *configuration, *images;
	unsigned int idle_seconds;
	int private_descriptor; /* -1: none */
	int guard;		/* of its own, of the pool that started it as its guardian: -1: none */
	int revive;		/* a process, 0: none */
	bool states;		/* processes are the other arguments */
};

static int parse_number(const char *text, long highest, long *number)
{
	char *end;

	errno = 0;
	*number = strtol(text, &end, 10);
	return errno || end == text || *end || *number < 0 || *number > highest ? -EINVAL : 0;
}

/* Returns 0 to go on, 1 where all is done, 2 where the command line is wrong. */
static int parse_arguments(int count, char **values, struct arguments *arguments)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"idle", required_argument, NULL, 'i'},
		{"log", required_argument, NULL, 'l'},
		{"problems", required_argument, NULL, 'P'},
		{"configuration", required_argument, NULL, 'c'},
		{"private-descriptor", required_argument, NULL, 'p'},
		{"guard", required_argument, NULL, 'g'},
		{"revive", required_argument, NULL, 'r'},
		{"images", required_argument, NULL, 'm'},
		{"states", no_argument, NULL, 'S'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	long number;
	int option;

	while ((option = getopt_long(count, values, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			arguments->socket = optarg;
			break;
		case 'l':
			arguments->log = optarg;
			break;
		case 'P':
			arguments->problems = optarg;
			break;
		case 'c':
			arguments->configuration = optarg;
			break;
		case 'i':
			if (parse_number(optarg, 604800, &number)) {
				fprintf(stderr, "rekindled: --idle takes seconds, 0 to 604800, not \"%s\"\n", optarg);
				return 2;
			}
			arguments->idle_seconds = (unsigned int)number;
			break;
		case 'p':
			if (parse_number(optarg, 1 << 20, &number)) {
				fprintf(stderr, "rekindled: --private-descriptor takes a number, not \"%s\"\n", optarg);
				return 2;
			}
			arguments->private_descriptor = (int)number;
			break;
		case 'g':
			if (parse_number(optarg, 1 << 20, &number))
				return 2; /* nobody else uses it */
			arguments->guard = (int)number;
			break;
		case 'r':
			if (parse_number(optarg, 1 << 22, &number) || !number) {
				fprintf(stderr, "rekindled: --revive takes a process id, not \"%s\"\n", optarg);
				return 2;
			}
			arguments->revive = (int)number;
			break;
		case 'm':
			arguments->images = optarg;
			break;
		case 'S':
			arguments->states = true;
			break;
		case 'V':
			printf("rekindled %s\n", REKINDLE_VERSION);
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < count && !arguments->states)
		fprintf(stderr, "rekindled: \"%s\" is no option, and it takes nothing else: see --help\n",
			values[optind]);
	else if (optind == count && arguments->states)
		fputs("rekindled: --states takes process ids\n", stderr);
	else if (arguments->images && !arguments->revive)
		fputs("rekindled: --images goes with --revive PID\n", stderr);
	else
		return 0;
	return 2;
}

/* For whoever has started it and waits; NULL once it listens. */
static FILE *problems;

static void write_log_line(enum log_level level, const char *line, void *context)
{
	static const char *const names[] = {"", "error: ", "warning: ", "", "debug: "};
	struct timespec now;
	struct tm date;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &date);
	strftime(text, sizeof(text), "%FT%T", &date);
	fprintf(context, "%s.%03ldZ rekindled: %s%s\n", text, now.tv_nsec / 1000000, names[level], line);
	fflush(context);
	if (problems && (level == LOG_LEVEL_ERROR || level == LOG_LEVEL_WARNING)) {
		fprintf(problems, "%s\n", line);
		fflush(problems);
	}
}

/* Every allocation of a dumped process is a descriptor here until the dump ends. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* It may hold the only copy of somebody's memory. Where that is not allowed it is as likely as others to be chosen. */
static void keep_from_out_of_memory_killer(void)
{
	static const char never[] = "-1000";
	int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (file < 0)
		return;
	if (write(file, never, sizeof(never) - 1) < 0)
		log_debug("The kernel may end this process when memory is short: %s", errno_text(errno));
	close(file);
}

/* Where a dump into the folder has not ended, its GPU image is in the hidden folder. */
static int open_images(const char *path, struct error_text *error)
{
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), hidden;

	if (folder < 0)
		return fail(error, -errno, "Could not open the folder %s: %s", path, errno_text(errno));
	hidden = openat(folder, CHECKPOINT_NEW_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (hidden < 0)
		return folder;
	close(folder);
	return hidden;
}

static int revive_process(const struct settings *settings, int pid, const char *images)
{
	struct abandoned_process process = {.folder = -1, .lock = -1, .folder_lock = -1};
	struct error_text error;
	struct pool *pool;
	int pidfd, result;

	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	result = pidfd < 0 ? fail(&error, -errno, "Process %d cannot be opened: %s", pid, errno_text(errno))
			   : target_open(&process.target, pidfd, pid, &error);
	if (result == 0)
		process.lock = result = process_lock_take(pidfd, pid, &error);
	if (result >= 0 && images)
		process.folder = result = open_images(images, &error);
	if (result >= 0)
		result = pool_create(&pool, settings, &error);
	if (result < 0) {
		log_error("%s", error.text);
		return 1;
	}
	result = revive(pool, &process);
	pool_destroy(pool);
	return result ? 1 : 0;
}

/* The thread that waits for a signal to end. Signals are blocked everywhere else. */
static void *wait_for_signal(void *server)
{
	sigset_t signals;
	int number;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	while (sigwait(&signals, &number))
		;
	log_info("Asked to end: the pool ends once its runs have ended");
	pool_server_request_stop(server);
	return NULL;
}

static int serve(const struct settings *settings, const struct arguments *arguments)
{
	struct pool_server_options options = {.idle_seconds = arguments->idle_seconds, .warm = true};
	struct pool_server *server;
	struct error_text error;
	pthread_t thread;
	int status;

	if (pool_server_start(settings, &options, &server, &error)) {
		log_error("%s", error.text);
		return 1;
	}
	if (pthread_create(&thread, NULL, wait_for_signal, server)) {
		log_error("Could not start a thread");
		pool_server_stop(server);
		return 1;
	}
	log_info("Listening at %s", settings->pool_socket);
	if (problems)
		fclose(problems);
	problems = NULL;
	pool_server_wait(server);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	/* A failure for whoever keeps the pool running. */
	status = pool_server_has_lost_a_device(server);
	pool_server_stop(server);
	return status;
}

int main(int count, char **values)
{
	struct arguments arguments = {.private_descriptor = -1, .guard = -1};
	struct settings settings;
	struct error_text error;
	FILE *log = stderr;
	sigset_t signals;
	int result;

	result = parse_arguments(count, values, &arguments);
	if (result)
		return result == 1 ? 0 : result;
	if (arguments.log) {
		log = fopen(arguments.log, "ae");
		if (!log) {
			fprintf(stderr, "rekindled: could not open the log %s: %s\n", arguments.log, errno_text(errno));
			return 1;
		}
		/* What the driver says, and the guardians of runs. */
		dup2(fileno(log), STDERR_FILENO);
	}
	if (arguments.problems && !(problems = fopen(arguments.problems, "ae"))) {
		fprintf(stderr, "rekindled: could not open %s: %s\n", arguments.problems, errno_text(errno));
		return 1;
	}
	log_set_sink(write_log_line, log, LOG_LEVEL_INFO);
	keep_from_out_of_memory_killer();
	raise_descriptor_limit();
	if (arguments.guard >= 0)
		return guardian_main(arguments.guard);
	result = settings_load(&settings, arguments.configuration, &error);
	if (result == 0 && arguments.socket && strlen(arguments.socket) >= sizeof(settings.pool_socket))
		result = fail(&error, -ENAMETOOLONG, "--socket is too long: %s", arguments.socket);
	if (result) {
		log_error("%s", error.text);
		return 1;
	}
	if (arguments.socket)
		strcpy(settings.pool_socket, arguments.socket);
	/* Device memory of other people's processes passes through this one: no core of it, and only root may look. */
	prctl(PR_SET_DUMPABLE, 0);
	/* A private pool ends with its client: what it holds may be the only copy of somebody's memory. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (arguments.states) {
		result = process_states_print(&settings, values + optind, count - optind, stdout, &error);
		if (result)
			log_error("%s", error.text);
		return result ? 1 : 0;
	}
	if (arguments.revive)
		return revive_process(&settings, arguments.revive, arguments.images);
	if (arguments.private_descriptor >= 0) {
		result = pool_serve_private(&settings, arguments.private_descriptor, &error);
		if (result)
			log_error("%s", error.text);
		return result ? 1 : 0;
	}
	return serve(&settings, &arguments);
}
