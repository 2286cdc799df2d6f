/* cai-worker.c: a worker's main(): one process per device. */
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "worker/device.h"
#include "worker/memory.h"
#include "journal.h"
#include <getopt.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "cai-worker: generates, scores and trains for caid; one process per device.\n"
    "\n"
    "  cai-worker --state /var/lib/caid --name gpu-0\n"
    "\n"
    "  --connect ENDPOINT  caid's socket (default ipc://$RUNTIME_DIRECTORY/worker, or\n"
    "                      ipc:///run/caid/worker)\n"
    "                      tcp://HOST:PORT of another machine, with --key\n"
    "  --key FILE          of this worker, as `caictl key new` writes it; others must not read it\n"
    "  --server-key KEY    caid's own public key (default: what the key file says; several with\n"
    "                      commas between while caid's key changes)\n"
    "  --interface NAME    for the sockets between the ranks of a gang, which have no\n"
    "                      authentication (default: the one of caid's configuration, lo)\n"
    "  --state DIR         caid's state folder, which this worker must see (default\n"
    "                      $STATE_DIRECTORY, or /var/lib/caid)\n"
    "  --name NAME         how caid calls it (default worker-PID)\n"
    "  --device D          cpu, cuda:0, cuda:1 …, or auto (default: the first GPU if there\n"
    "                      is one, else the processor); part of what a job's bits depend on\n"
    "  --threads N         of its computations (default $CAI_THREADS, or 1); part of what a\n"
    "                      job's bits depend on\n"
    "  --memory SIZE       that its tasks may take, 16G (default: what is free of its GPU's when\n"
    "                      it starts; on the processor the machine's, or its control group's,\n"
    "                      which workers of one host share)\n"
    "  -V, --version   -h, --help\n";

struct arguments {
    char *endpoint, *state, *name, *device;
    const char *key, *server_key, *interface;
    long threads;
    uint64_t memory;
};

static int parse(int argc, char **argv, struct arguments *a) {
    static const struct option options[] = {{"connect", required_argument, NULL, 'c'},
                                            {"state", required_argument, NULL, 's'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"server-key", required_argument, NULL, 'K'},
                                            {"interface", required_argument, NULL, 'i'},
                                            {"version", no_argument, NULL, 'V'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "Vh", options, NULL)) != -1;) {
        switch (c) {
        case 'c': free(a->endpoint); a->endpoint = cai_strdup(optarg); break;
        case 's': free(a->state); a->state = cai_strdup(optarg); break;
        case 'n': free(a->name); a->name = cai_strdup(optarg); break;
        case 'd': free(a->device); a->device = cai_strdup(optarg); break;
        case 'k': a->key = optarg; break;
        case 'K': a->server_key = optarg; break;
        case 'i': a->interface = optarg; break;
        case 't': a->threads = strtol(optarg, NULL, 10); break;
        case 'm':
            if (memory_parse(optarg, &a->memory) == 0)
                break;
            fprintf(stderr, "cai-worker: --memory: %s\n", cai_error_text());
            return 2;
        case 'V': puts("cai-worker " CAI_VERSION); return 0;
        case 'h': fputs(help, stdout); return 0;
        default: return 2;
        }
    }
    if (optind == argc)
        return -1;
    fputs("cai-worker: there are no other arguments; see cai-worker --help\n", stderr);
    return 2;
}

static void fill_defaults(struct arguments *a) {
    const char *runtime = getenv("RUNTIME_DIRECTORY"), *state = getenv("STATE_DIRECTORY");
    const char *threads = getenv("CAI_THREADS");
    if (!a->endpoint)
        a->endpoint = cai_format("ipc://%s/worker", runtime && *runtime ? runtime : "/run/caid");
    if (!a->state)
        a->state = cai_strdup(state && *state ? state : "/var/lib/caid");
    if (!a->name)
        a->name = cai_format("worker-%d", (int)getpid());
    if (!a->device)
        a->device = cai_strdup("auto");
    if (!a->threads)
        a->threads = threads && *threads ? strtol(threads, NULL, 10) : 1;
}

/* The key of a worker of another machine; *ret_used is false for a local one. */
static int load_key(const struct arguments *a, struct key_file *ret, bool *ret_used) {
    *ret_used = strncmp(a->endpoint, "ipc://", 6) != 0;
    if (!*ret_used)
        return 0;
    if (!a->key)
        return cai_fail(CAI_EINPUT, "%s: over a network it takes --key FILE; `caictl key new NAME "
                                    "--role worker --out FILE` makes one", a->endpoint);
    CAI_TRY(key_file_load(a->key, ret));
    return a->server_key ? key_servers_parse(a->server_key, ret) : 0;
}

static int check(const struct arguments *a) {
    if (a->threads < 1 || a->threads > 1024)
        return cai_fail(CAI_EINPUT, "--threads takes a number from 1 to 1024");
    if (a->interface && !if_nametoindex(a->interface))
        return cai_fail(CAI_EINPUT, "--interface %s: there is no such interface here", a->interface);
    return 0;
}

static int serve(const struct arguments *a) {
    struct key_file key = {0};
    bool used = false;
    int rc = check(a);
    if (rc == 0)
        rc = load_key(a, &key, &used);
    if (rc < 0) {
        cai_error("%s", cai_error_text());
        return 2;
    }
    struct loop_options o = {a->endpoint, a->state, a->name, CAI_VERSION, (int)a->threads,
                             &worker_device, a->memory, a->device, memory_of_machine(""),
                             used ? &key : NULL, a->interface};
    rc = worker_loop(&o);
    if (rc < 0)
        cai_error("%s", cai_error_text());
    explicit_bzero(&key, sizeof key);
    return rc < 0 ? 1 : 0;
}

int main(int argc, char **argv) {
    struct arguments a = {0};
    int code = parse(argc, argv, &a);
    if (code < 0) {
        fill_defaults(&a);
        cai_log_to(journal_sink);
        cai_log_open(a.name, CAI_LOG_INFO);
        code = serve(&a);
    }
    free(a.endpoint);
    free(a.state);
    free(a.name);
    free(a.device);
    return code;
}
