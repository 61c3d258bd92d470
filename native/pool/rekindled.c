/* SPDX-License-Identifier: MIT */
/* The pool process. It stays in the foreground and logs to stderr; whoever starts it does the rest. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "pool/pool_server.h"
#include "settings/settings.h"
#include "support/log.h"

static const char usage[] = "usage: rekindled [--socket PATH] [--idle SECONDS] [--log FILE] [--configuration FILE]\n"
			    "                 [--private-descriptor NUMBER] [--version] [--help]\n"
			    "Keeps GPUs warm for checkpoints and restores by CRIU with cuda_plugin.so.\n"
			    "  --socket PATH                where to listen (REKINDLE_POOL_SOCKET)\n"
			    "  --idle SECONDS               end after this long without work; 0: never (default)\n"
			    "  --log FILE                   log there instead of to stderr\n"
			    "  --configuration FILE         settings, instead of /etc/rekindle.conf\n"
			    "  --private-descriptor NUMBER  serve only the client on this connected socket, then end\n";

struct arguments {
	const char *socket, *log, *configuration;
	unsigned int idle_seconds;
	int private_descriptor; /* -1: none */
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
		{"configuration", required_argument, NULL, 'c'},
		{"private-descriptor", required_argument, NULL, 'p'},
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
	if (optind < count) {
		fputs(usage, stderr);
		return 2;
	}
	return 0;
}

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
	pool_server_wait(server);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	pool_server_stop(server);
	return 0;
}

int main(int count, char **values)
{
	struct arguments arguments = {.private_descriptor = -1};
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
			fprintf(stderr, "rekindled: could not open the log %s: %s\n", arguments.log, strerror(errno));
			return 1;
		}
	}
	log_set_sink(write_log_line, log, LOG_LEVEL_INFO);
	result = settings_load(&settings, arguments.configuration, &error);
	if (result == 0 && arguments.socket && strlen(arguments.socket) >= sizeof(settings.pool_socket))
		result = fail(&error, -ENAMETOOLONG, "--socket is too long: %s", arguments.socket);
	if (result) {
		log_error("%s", error.text);
		return 1;
	}
	if (arguments.socket)
		strcpy(settings.pool_socket, arguments.socket);
	raise_descriptor_limit();
	/* A private pool ends with its client: what it holds may be the only copy of somebody's memory. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (arguments.private_descriptor >= 0) {
		result = pool_serve_private(&settings, arguments.private_descriptor, &error);
		if (result)
			log_error("%s", error.text);
		return result ? 1 : 0;
	}
	return serve(&settings, &arguments);
}
