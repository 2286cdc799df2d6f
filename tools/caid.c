/* caid.c: the coordinator's main(): options, folders, the spawner, serving. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "control/front.h"
#include "run/run.h"
#include "journal.h"
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONFIG = 78, SPAWN_MAX = 64, SPAWNER_STOP_MS = 6000 };

static const char help[] =
    "caid: trains a language model under a written constitution; caictl is its hand.\n"
    "\n"
    "  caid --spawn 2                      serve, with two workers of its own\n"
    "  caid --state /srv/caid --config /etc/caid/caid.conf\n"
    "  caid --check-config --config FILE   check the file and exit\n"
    "\n"
    "  --state DIR             what must last (default $STATE_DIRECTORY, or\n"
    "                          $XDG_STATE_HOME/caid)\n"
    "  --runtime DIR           sockets 'control' and 'worker' (default $RUNTIME_DIRECTORY, or\n"
    "                          $XDG_RUNTIME_DIR/caid)\n"
    "  --spawn N               start N workers and keep them running; they end with caid\n"
    "  --threads-per-worker T  of each spawned worker (default 1)\n"
    "  --device D              auto: each spawned worker has a GPU of its own, or the\n"
    "                          processor where there is none (default); cpu; cuda\n"
    "  --keys DIR              caid's own key and the list of keys it accepts from other\n"
    "                          machines (default 'keys' in the state folder; elsewhere when\n"
    "                          other machines mount that)\n"
    "  --config FILE           settings; SIGHUP reads it again\n"
    "  --check-config          exit 0 when the file is right, 78 when not\n"
    "  -V, --version   -h, --help\n"
    "\n"
    "SIGTERM lets workers save their work and stops; a second one stops at once.\n";

struct arguments {
    char *state, *runtime, *keys;
    const char *config, *device;
    long spawn, threads;
    bool check;
};

/* The first entry of a colon-separated list, as systemd gives it. */
static char *first_entry(const char *list) {
    return cai_strndup(list, strcspn(list, ":"));
}

static char *default_dir(const char *systemd_name, const char *xdg_name, const char *home_part) {
    const char *value = getenv(systemd_name);
    if (value && *value)
        return first_entry(value);
    value = getenv(xdg_name);
    if (value && *value)
        return cai_format("%s/caid", value);
    const char *home = getenv("HOME");
    return home && *home && home_part ? cai_format("%s/%s/caid", home, home_part)
                                      : cai_format("/tmp/caid-%u", (unsigned)getuid());
}

/* Workers run in folders of their own making; paths handed to them are absolute. */
static char *absolute(char *path) {
    if (path[0] == '/')
        return path;
    char cwd[PATH_MAX];
    CAI_CHECK(getcwd(cwd, sizeof cwd));
    char *joined = cai_path_join(cwd, path);
    free(path);
    return joined;
}

static bool number(const char *text, long min, long max, long *ret) {
    char *end;
    *ret = strtol(text, &end, 10);
    return *text && !*end && *ret >= min && *ret <= max;
}

static int usage(const char *what) {
    fprintf(stderr, "caid: %s; see caid --help\n", what);
    return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct arguments *a) {
    static const struct option options[] = {
        {"state", required_argument, NULL, 's'},
        {"runtime", required_argument, NULL, 'r'},
        {"spawn", required_argument, NULL, 'n'},
        {"threads-per-worker", required_argument, NULL, 't'},
        {"device", required_argument, NULL, 'd'},
        {"keys", required_argument, NULL, 'y'},
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0}};
    for (int c; (c = getopt_long(argc, argv, "Vh", options, NULL)) != -1;) {
        switch (c) {
        case 's': free(a->state); a->state = cai_strdup(optarg); break;
        case 'r': free(a->runtime); a->runtime = cai_strdup(optarg); break;
        case 'y': free(a->keys); a->keys = cai_strdup(optarg); break;
        case 'c': a->config = optarg; break;
        case 'k': a->check = true; break;
        case 'V': puts("caid " CAI_VERSION); return 0;
        case 'h': fputs(help, stdout); return 0;
        case 'd':
            a->device = optarg;
            if (strcmp(optarg, "auto") && strcmp(optarg, "cpu") && strcmp(optarg, "cuda"))
                return usage("--device takes auto, cpu or cuda");
            break;
        case 'n':
            if (!number(optarg, 0, SPAWN_MAX, &a->spawn))
                return usage("--spawn takes a number from 0 to 64");
            break;
        case 't':
            if (!number(optarg, 1, 1024, &a->threads))
                return usage("--threads-per-worker takes a number from 1 to 1024");
            break;
        default: return EXIT_USAGE;
        }
    }
    return optind < argc ? usage("there are no other arguments") : -1;
}

/* Beside caid when run from the build folder, else where it is installed. */
static char *find_worker(void) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        char *beside = cai_path_join(dirname(self), "cai-worker");
        if (access(beside, X_OK) == 0)
            return beside;
        free(beside);
    }
    return cai_strdup(CAI_LIBEXECDIR "/cai-worker");
}

static int start_spawner(const struct arguments *a, struct run_options *o, pid_t *ret_pid) {
    CAI_AUTO(mem) char *program = find_worker();
    CAI_AUTO(mem) char *endpoint = cai_format("ipc://%s/worker", a->runtime);
    return spawner_start(program, endpoint, a->state, (int)a->spawn, (int)a->threads,
                         a->device, &o->spawner_fd, ret_pid);
}

static int serve(const struct arguments *a, struct run_options *o) {
    pid_t spawner = 0;
    struct run *run = NULL;
    int rc = cai_dir_make(a->state);
    if (rc == 0)
        rc = cai_dir_make(a->runtime);
    if (rc == 0 && a->spawn)
        rc = start_spawner(a, o, &spawner);
    if (rc == 0)
        rc = run_open(o, &run);
    if (rc == 0)
        rc = run_serve(run);
    if (rc < 0)
        cai_error("%s", cai_error_text());
    if (spawner)
        spawner_stop(o->spawner_fd, spawner, SPAWNER_STOP_MS);
    run_close(run);
    return rc < 0 ? EXIT_FAILED : 0;
}

static int configure(const struct arguments *a, struct run_config *config) {
    run_config_default(config);
    int rc = a->config ? run_config_load(a->config, config) : 0;
    if (rc < 0)
        cai_error("%s", cai_error_text());
    return rc < 0 ? EXIT_CONFIG : 0;
}

int main(int argc, char **argv) {
    struct arguments a = {.threads = 1, .device = "auto"};
    umask(0027);
    cai_log_to(journal_sink);
    cai_log_open("caid", CAI_LOG_INFO);
    int code = parse(argc, argv, &a);
    struct run_options o = {.spawner_fd = -1, .front = &control_front};
    if (code < 0) {
        code = configure(&a, &o.config);
        if (code == 0 && !a.check) {
            cai_log_open("caid", (enum cai_log_level)o.config.log_level);
            a.state = absolute(a.state ? a.state
                                       : default_dir("STATE_DIRECTORY", "XDG_STATE_HOME",
                                                     ".local/state"));
            a.runtime = absolute(a.runtime ? a.runtime
                                           : default_dir("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR",
                                                         NULL));
            o.state_dir = a.state;
            o.runtime_dir = a.runtime;
            o.keys_dir = a.keys = a.keys ? absolute(a.keys) : NULL;
            o.config_path = a.config;
            o.spawn = (int)a.spawn;
            o.threads = (int)a.threads;
            code = serve(&a, &o);
        }
    }
    free(a.state);
    free(a.runtime);
    free(a.keys);
    return code;
}
