/* bench_learn.c: our side of `tools/bench sft`, `pm` and `ppo` (tools/benches/sides.py): whole
 * training tasks as a worker runs them (learn/train.h), timed.
 *
 *   bench-learn TASK.json --threads N [--device cpu|cuda:N]
 *       prints "ready"; each line "go" runs the task once and is answered with the seconds
 *       from the moment before its first step to the report of its last, and its units
 *   bench-learn head --threads N --tokens N --width N --vocab N
 *       forward and backward of the language model's head alone: prints the bytes by which
 *       memory grew at most beyond what its inputs and their gradients take
 *
 * TASK.json: {"kind", "init", "reference"?, "pm"?, "dataset", "options", "output", "units",
 *             "bfloat16"?, "seed"?}
 * Not for results: it measures the code that the worker uses, nothing of its own. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "learn/train.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int die(void) {
    fprintf(stderr, "bench-learn: %s\n", cai_error_text());
    return 1;
}

/* ---- a task ----------------------------------------------------------------------------- */

struct bench_task {
    json_t *json; /* owns the strings */
    Cai__V1__Train train;
    Cai__V1__Model init, reference, pm, *pms[1];
    Cai__V1__Dataset dataset;
    char *options, *states;
    double began, ended; /* 0: not yet */
};

static char *text(const json_t *o, const char *name) {
    return (char *)(uintptr_t)json_string_value(json_object_get(o, name));
}

static int task_open(const char *path, struct bench_task *b) {
    json_error_t error;
    b->json = json_load_file(path, 0, &error);
    if (!text(b->json, "kind") || !text(b->json, "init") || !text(b->json, "dataset") ||
        !text(b->json, "output"))
        return cai_fail(CAI_EINPUT, "%s: not a task: %s", path, error.text);
    cai__v1__train__init(&b->train);
    cai__v1__model__init(&b->init);
    cai__v1__model__init(&b->reference);
    cai__v1__model__init(&b->pm);
    cai__v1__dataset__init(&b->dataset);
    b->options = json_dumps(json_object_get(b->json, "options"), JSON_COMPACT);
    b->states = cai_format("%s/states", text(b->json, "output"));
    b->init.path = text(b->json, "init");
    b->reference.path = text(b->json, "reference");
    b->pm.path = text(b->json, "pm");
    b->pms[0] = &b->pm;
    b->dataset.path = text(b->json, "dataset");
    b->train.kind = text(b->json, "kind");
    b->train.init = &b->init;
    b->train.reference = b->reference.path ? &b->reference : NULL;
    b->train.n_pm = b->pm.path ? 1 : 0;
    b->train.pm = b->pms;
    b->train.dataset = &b->dataset;
    b->train.options = b->options;
    b->train.output = text(b->json, "output");
    b->train.checkpoints = b->states;
    return 0;
}

static void task_close(struct bench_task *b) {
    free(b->options);
    free(b->states);
    json_decref(b->json);
}

/* Asked before each step: the first time is where the clock starts. */
static bool stopping(void *context) {
    struct bench_task *b = context;
    if (b->began == 0)
        b->began = now();
    return false;
}

static void report(void *context, Cai__V1__Report *r) {
    struct bench_task *b = context;
    if (r->done == r->total && b->ended == 0)
        b->ended = now();
}

static int task_run(struct bench_task *b) {
    struct learn_host host = {.context = b, .report = report, .stopping = stopping};
    struct learn_task t = {.train = &b->train, .round = 1, .host = &host,
                           .seed = (uint64_t)json_integer_value(json_object_get(b->json, "seed")),
                           .bfloat16 = json_is_true(json_object_get(b->json, "bfloat16"))};
    Cai__V1__Trained *trained;
    b->began = b->ended = 0;
    CAI_TRY(learn_train(&t, &trained));
    cai__v1__trained__free_unpacked(trained, NULL);
    return b->ended > 0 ? 0 : cai_fail(CAI_ESTATE, "the run ended before its last step");
}

static int bench_task(const char *path) {
    struct bench_task b = {0};
    if (task_open(path, &b) < 0)
        return die();
    puts("ready");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        if (task_run(&b) < 0)
            return die();
        printf("%.6f %.6f\n", b.ended - b.began,
               json_number_value(json_object_get(b.json, "units")));
        fflush(stdout);
    }
    task_close(&b);
    return 0;
}

/* ---- the head's memory ------------------------------------------------------------------- */

struct head_size {
    int64_t tokens, width, vocab;
};

/* A line of /proc/self/status in bytes: "VmHWM:" the most so far, "VmRSS:" now. */
static int64_t status_bytes(const char *name) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtoll(line + strlen(name), NULL, 10);
    if (f)
        fclose(f);
    return kib * 1024;
}

/* Adds up what the head does to a leaf h [T, D] under w [V, D]; the gradients are written in
 * buffers that are there before. */
static int head_once(ct_scope *s, const struct head_size *z, ct_tensor *h, ct_tensor *w) {
    CAI_AUTO(mem) int64_t *ids = cai_realloc(NULL, (size_t)z->tokens, sizeof *ids);
    CAI_AUTO(mem) float *seed = cai_realloc(NULL, (size_t)z->tokens, sizeof *seed);
    for (int64_t i = 0; i < z->tokens; i++) {
        ids[i] = i * 7919 % z->vocab;
        seed[i] = -1 / (float)z->tokens;
    }
    ct_tensor *target = ct_from_i64(s, ids, z->tokens);
    ct_tensor *out = ct_linear_logprob(s, h, w, target, 1, 0, NULL, NULL);
    ct_tensor *g = ct_from_f32(s, seed, z->tokens);
    CAI_TRY(ct_scope_status(s));
    return ct_backward(s, &out, &g, 1);
}

static ct_tensor *leaf_of(ct_scope *s, int64_t rows, int64_t columns) {
    ct_tensor *x = ct_zeros(s, CT_F32, (int64_t[]){rows, columns}, 2);
    ct_tensor *g = ct_zeros(s, CT_F32, (int64_t[]){rows, columns}, 2);
    if (ct_scope_status(s) < 0 || ct_fill_(x, 0.01) < 0 || ct_fill_(g, 0) < 0)
        return NULL;
    ct_tensor *leaf = ct_leaf(s, x);
    return ct_scope_status(s) == 0 && ct_bind_grad(leaf, g) == 0 ? leaf : NULL;
}

/* A first pass over few rows brings what every pass has in common: code, threads, and the
 * gradient that autograd makes beside the one that it is added to. */
static int bench_head(const struct head_size *z) {
    ct_scope *s = ct_scope_open_grad();
    struct head_size few = {.tokens = 1, .width = z->width, .vocab = z->vocab};
    ct_tensor *h = leaf_of(s, z->tokens, z->width), *w = leaf_of(s, z->vocab, z->width);
    ct_tensor *one = leaf_of(s, 1, z->width);
    if (!h || !w || !one || head_once(s, &few, one, w) < 0)
        return die();
    int64_t before = status_bytes("VmHWM:");
    if (head_once(s, z, h, w) < 0)
        return die();
    printf("%lld\n", (long long)(status_bytes("VmHWM:") - before));
    ct_scope_close(s);
    return 0;
}

/* ------------------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    struct head_size z = {.tokens = 4096, .width = 256, .vocab = 151936};
    const char *device_name = "cpu";
    int threads = 1;
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--threads") == 0)
            threads = atoi(value);
        else if (strcmp(name, "--device") == 0)
            device_name = value;
        else if (strcmp(name, "--tokens") == 0)
            z.tokens = atoll(value);
        else if (strcmp(name, "--width") == 0)
            z.width = atoll(value);
        else if (strcmp(name, "--vocab") == 0)
            z.vocab = atoll(value);
        else
            argc = 0;
    }
    if (argc < 2 || z.tokens < 1 || z.width < 1 || z.vocab < 2) {
        fputs("bench-learn: see tools/bench\n", stderr);
        return 2;
    }
    struct ct_device device;
    if (ct_init(threads) < 0 || ct_device_find(device_name, &device, NULL, 0) < 0 ||
        ct_device_use(device) < 0)
        return die();
    return strcmp(argv[1], "head") == 0 ? bench_head(&z) : bench_task(argv[1]);
}
