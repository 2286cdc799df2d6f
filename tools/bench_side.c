/* bench_side.c: our side of a two-sided bench (tools/benches/sides.py): prints "ready",
 * then answers each line "go" with the seconds that one run took and the tokens it did.
 *
 *   bench-side generate --model DIR --threads N --batch N --prompt N --new N
 *                       [--requests N] [--head N] [--least N] [--dtype bfloat16]
 *   bench-side train    --model DIR --threads N --batches FILE
 *   bench-side load     --model DIR --threads N         (gigabytes of the file, not tokens)
 *
 * Not for results: it measures the engine and the trainer that the worker uses, nothing
 * of its own. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "learn/engine.h"
#include "learn/lm.h"
#include "model/model.h"

#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct arguments {
    const char *model, *batches, *dtype;
    int threads, batch, prompt, new;
    int requests; /* of which `batch` are in flight; as many as that unless said */
    int head;     /* tokens of every prompt that all share */
    int least;    /* new tokens: from this many to `new`; all `new` unless said */
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int die(void) {
    fprintf(stderr, "bench-side: %s\n", cai_error_text());
    return 1;
}

/* ---- generation ------------------------------------------------------------------------ */

/* The same numbers stand in generate.py. */
static int32_t prompt_id(const struct arguments *a, int i, int j, int vocab) {
    return 3 + (7 * (j < a->head ? 0 : i) + 13 * j) % (vocab - 3);
}

static int new_of(const struct arguments *a, int i) {
    return a->least + i * 101 % (a->new - a->least + 1);
}

static int generate_once(struct engine *e, const struct arguments *a, int vocab, int64_t *tokens) {
    size_t n = (size_t)a->requests;
    struct gen_request *request = cai_alloc(sizeof *request * n);
    struct gen_result *result = cai_alloc(sizeof *result * n);
    int32_t *ids = cai_alloc(sizeof *ids * n * (size_t)a->prompt);
    for (int i = 0; i < a->requests; i++) {
        for (int j = 0; j < a->prompt; j++)
            ids[i * a->prompt + j] = prompt_id(a, i, j, vocab);
        request[i] = (struct gen_request){.ids = ids + i * a->prompt, .n_ids = (size_t)a->prompt,
                                          .key = cai_key_make(1, 0, "bench", (uint64_t)i, 0),
                                          .max_tokens = new_of(a, i)};
    }
    struct sampling sampling = {.temperature = 1, .top_p = 1, .max_tokens = a->new};
    int rc = engine_generate(e, request, n, &sampling, NULL, NULL, result);
    for (size_t i = 0; i < n && rc == 0; i++) {
        *tokens += (int64_t)result[i].n;
        gen_result_free(&result[i]);
    }
    free(ids);
    free(result);
    free(request);
    return rc;
}

static int bench_generate(const struct arguments *a) {
    struct model *m = NULL;
    struct hf_tokenizer *t = NULL;
    struct engine *e = NULL;
    if (model_load(a->model, &m) < 0 || hf_tokenizer_load(a->model, &t) < 0)
        return die();
    /* No end id: every sequence runs to its last token, as the peer's does. */
    m->config.eos_token_id = -1;
    m->config.num_eos = 0;
    struct engine_options o = {.slots = a->batch, .capacity = a->prompt + a->new, .end_id = -1,
                               .bfloat16 = a->dtype && strcmp(a->dtype, "bfloat16") == 0};
    if (engine_new(m, t, &o, &e) < 0)
        return die();
    puts("ready");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        int64_t tokens = 0;
        double start = now();
        if (generate_once(e, a, (int)m->config.vocab_size, &tokens) < 0)
            return die();
        printf("%.6f %lld\n", now() - start, (long long)tokens);
        fflush(stdout);
    }
    engine_free(e);
    hf_tokenizer_free(t);
    model_free(m);
    return 0;
}

/* ---- training ----------------------------------------------------------------------------- */

struct corpus {
    struct lm_row *rows;
    size_t n, per_batch;
    int64_t tokens;
};

static int corpus_load(const char *path, struct corpus *ret) {
    json_error_t error;
    json_t *all = json_load_file(path, 0, &error);
    if (!json_is_array(all) || json_array_size(all) == 0)
        return cai_fail(CAI_EINPUT, "%s: %s", path, error.text);
    size_t b, r, k;
    json_t *batch, *row, *id;
    ret->per_batch = json_array_size(json_array_get(all, 0));
    size_t total = json_array_size(all) * ret->per_batch;
    ret->rows = cai_realloc(NULL, total, sizeof *ret->rows);
    json_array_foreach(all, b, batch) {
        json_array_foreach(batch, r, row) {
            int32_t *ids = cai_realloc(NULL, json_array_size(row), sizeof *ids);
            json_array_foreach(row, k, id)
                ids[k] = (int32_t)json_integer_value(id);
            ret->rows[ret->n++] = (struct lm_row){.ids = ids, .n = (int64_t)json_array_size(row)};
            ret->tokens += (int64_t)json_array_size(row);
        }
    }
    json_decref(all);
    return 0;
}

static int bench_train(const struct arguments *a) {
    struct model *m = NULL;
    struct corpus c = {0};
    if (model_load(a->model, &m) < 0 || corpus_load(a->batches, &c) < 0)
        return die();
    puts("ready");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        struct lm_options o = {.optimizer = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
                                             .weight_decay = 0.01, .clip_norm = 1,
                                             .batch = (int64_t)c.per_batch},
                               .epochs = 1, .seed = 1};
        double start = now();
        if (train_language_model(m, c.rows, c.n, &o, NULL, NULL, NULL) < 0)
            return die();
        printf("%.6f %lld\n", now() - start, (long long)c.tokens);
        fflush(stdout);
    }
    model_free(m);
    return 0;
}

/* ---- loading ------------------------------------------------------------------------------ */

/* Processor time: on one thread and from the page cache, what the clock would show were the
 * machine ours alone. */
static double spent(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int bench_load(const struct arguments *a) {
    CAI_AUTO(mem) char *path = cai_path_join(a->model, "model.safetensors");
    struct stat st;
    if (stat(path, &st) < 0) {
        cai_fail_errno("%s", path);
        return die();
    }
    puts("ready");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        struct model *m;
        double start = spent();
        if (model_load(a->model, &m) < 0)
            return die();
        printf("%.6f %.6f\n", spent() - start, (double)st.st_size * 1e-9);
        fflush(stdout);
        model_free(m);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct arguments a = {.threads = 1, .batch = 32, .prompt = 16, .new = 128};
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--model") == 0)
            a.model = value;
        else if (strcmp(name, "--batches") == 0)
            a.batches = value;
        else if (strcmp(name, "--dtype") == 0)
            a.dtype = value;
        else if (strcmp(name, "--threads") == 0)
            a.threads = atoi(value);
        else if (strcmp(name, "--batch") == 0)
            a.batch = atoi(value);
        else if (strcmp(name, "--prompt") == 0)
            a.prompt = atoi(value);
        else if (strcmp(name, "--new") == 0)
            a.new = atoi(value);
        else if (strcmp(name, "--requests") == 0)
            a.requests = atoi(value);
        else if (strcmp(name, "--head") == 0)
            a.head = atoi(value);
        else if (strcmp(name, "--least") == 0)
            a.least = atoi(value);
        else
            argc = 0;
    }
    a.requests = a.requests ? a.requests : a.batch;
    a.least = a.least ? a.least : a.new;
    bool generate = argc > 1 && strcmp(argv[1], "generate") == 0;
    bool train = argc > 1 && strcmp(argv[1], "train") == 0;
    bool load = argc > 1 && strcmp(argv[1], "load") == 0;
    if (!a.model || !(generate || load || (train && a.batches))) {
        fputs("bench-side: see tools/bench\n", stderr);
        return 2;
    }
    if (ct_init(a.threads) < 0)
        return die();
    return generate ? bench_generate(&a) : load ? bench_load(&a) : bench_train(&a);
}
