/* train.c: trains the clerk's base in the parts of corpus.h, one after the other: started with
 * everything at once, the base needs more than twice as long. */
#include "clerk/train.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "clerk/corpus.h"
#include "clerk/tokenizer.h"
#include "learn/lm.h"
#include <string.h>
#include <unistd.h>

enum {
    CHAT_STEPS = 800, RIGHT_STEPS = 4000, ALL_STEPS = 700,
    CHAT_BATCH = 16, MIXED_BATCH = 12,    /* rows: about 1,024 tokens */
    POSITIONS = 512
};
/* A choice is one letter among a hundred other tokens; counted as one of them, it would
 * hardly be learnt. */
static const float LETTER_WEIGHT = 12;

/* ---- rows --------------------------------------------------------------------------------- */
struct rows {
    struct lm_row *at;
    size_t n;
};

static void rows_free(struct rows *r) {
    for (size_t i = 0; i < r->n; i++) {
        free((void *)(uintptr_t)r->at[i].ids);
        free((void *)(uintptr_t)r->at[i].weight);
    }
    free(r->at);
}

static size_t ids_in(const struct hf_tokenizer *t, const char *text) {
    struct hf_ids ids = {0};
    CAI_AUTO(mem) char *spaced = cai_format(" %s", text);
    size_t n = hf_tokenizer_encode(t, spaced, strlen(spaced), false, &ids) == 0 ? ids.n : 0;
    hf_ids_free(&ids);
    return n;
}

/* The weight of each token: only learnt turns count, and of a choice only what follows
 * its prefix. */
static float *weigh(const struct hf_tokenizer *t, const struct document *doc, const size_t *starts,
                    const size_t *ends, size_t n) {
    static const char prefix[] = CLERK_CHOICE_PREFIX;
    float *weight = cai_alloc(n * sizeof *weight);
    for (size_t i = 0; i < doc->n; i++) {
        if (!doc->turns[i].learnt)
            continue;
        bool choice = strncmp(doc->turns[i].text, prefix, strlen(prefix)) == 0;
        size_t from = starts[i] + (choice ? ids_in(t, prefix) : 0);
        for (size_t k = from; k < ends[i]; k++)
            weight[k] = choice ? LETTER_WEIGHT : 1;
    }
    return weight;
}

/* One document as a row. */
static int encode(const struct hf_chat *chat, const struct hf_tokenizer *t,
                  const struct document *doc, struct lm_row *ret) {
    struct hf_message messages[DOCUMENT_TURNS];
    size_t starts[DOCUMENT_TURNS], ends[DOCUMENT_TURNS];
    for (size_t i = 0; i < doc->n; i++)
        messages[i] = (struct hf_message){.role = doc->turns[i].role, .text = doc->turns[i].text};
    struct hf_ids ids = {0};
    CAI_TRY(hf_chat_encode(chat, messages, doc->n, false, NULL, &ids, starts, ends));
    float *weight = weigh(t, doc, starts, ends, ids.n);
    int64_t from = 1;
    while (from < (int64_t)ids.n && weight[from] == 0)
        from++;
    *ret = (struct lm_row){ids.data, (int64_t)ids.n, from, weight};
    return 0;
}

static int make_rows(const struct hf_chat *chat, const struct hf_tokenizer *t, uint64_t seed,
                     enum corpus_part part, size_t n, struct rows *ret) {
    ret->at = cai_alloc(n * sizeof *ret->at);
    for (; ret->n < n; ret->n++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        corpus_document(seed, part, ret->n, &arena, &doc);
        CAI_TRY(encode(chat, t, &doc, &ret->at[ret->n]));
    }
    return 0;
}

/* ---- progress ------------------------------------------------------------------------------ */
struct progress {
    const char *part;
    int64_t started, shown; /* ms; only ever shown */
    double loss;            /* smoothed */
    bool terminal;
};

static bool show(void *context, int64_t step, int64_t steps, double loss, int64_t tokens) {
    struct progress *p = context;
    (void)tokens;
    int64_t now = cai_now_ms();
    p->loss = step <= 1 ? loss : 0.95 * p->loss + 0.05 * loss;
    if (step < steps && now - p->shown < (p->terminal ? 500 : 10000))
        return false;
    p->shown = now;
    double seconds = (double)(now - p->started) / 1000, left = seconds * (double)(steps - step) /
                                                               (double)(step > 0 ? step : 1);
    char text[32];
    cai_text_duration(text, sizeof text, left);
    fprintf(stderr, "%s%s: step %lld of %lld, %.0f steps/s, loss %.3f, %s left%s",
            p->terminal ? "\r" : "", p->part, (long long)step, (long long)steps,
            seconds > 0 ? (double)step / seconds : 0, p->loss, text, p->terminal ? "   " : "\n");
    if (p->terminal && step >= steps)
        fputc('\n', stderr);
    return false;
}

/* ---- the parts ---------------------------------------------------------------------------- */
struct part {
    const char *name;
    enum corpus_part part;
    int64_t steps, batch;
    double lr, warmup;
    enum train_schedule schedule;
};

static int run_part(struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                    const struct part *part, uint64_t seed) {
    struct rows rows = {0};
    struct lm_options o = {
        .optimizer = {.lr = part->lr, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8,
                      .clip_norm = 1, .warmup = part->warmup, .schedule = part->schedule,
                      .batch = part->batch},
        .epochs = 1, .steps = part->steps, .seed = seed};
    struct progress p = {.part = part->name, .started = cai_now_ms(),
                         .terminal = isatty(STDERR_FILENO)};
    int rc = make_rows(chat, t, seed, part->part, (size_t)(part->steps * part->batch), &rows);
    if (rc == 0)
        rc = train_language_model(m, rows.at, rows.n, &o, show, &p, NULL);
    rows_free(&rows);
    return rc;
}

static int train_parts(struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                       const struct train_settings *s) {
    enum { USUAL = CHAT_STEPS + RIGHT_STEPS + ALL_STEPS };
    int64_t all = s->steps ? s->steps : USUAL;
    const struct part parts[] = {
        {"conversations", CORPUS_CHAT, all * CHAT_STEPS / USUAL, CHAT_BATCH, 3e-3, 0.15,
         TRAIN_CONSTANT},
        {"transcripts", CORPUS_RIGHT, all * RIGHT_STEPS / USUAL, MIXED_BATCH, 3e-3, 0.02,
         TRAIN_COSINE},
        {"errors", CORPUS_ALL, all * ALL_STEPS / USUAL, MIXED_BATCH, 1e-3, 0.05, TRAIN_COSINE}};
    for (size_t i = 0; i < CAI_COUNT(parts); i++)
        if (parts[i].steps > 0)
            CAI_TRY(run_part(m, chat, t, &parts[i], s->seed));
    return 0;
}

static struct hf_config shape(int64_t vocabulary, int64_t end, int64_t pad) {
    return (struct hf_config){
        .model_type = "llama", .vocab_size = vocabulary, .hidden_size = 128,
        .intermediate_size = 352, .num_layers = 3, .num_heads = 4, .num_kv_heads = 4,
        .head_dim = 32, .max_positions = POSITIONS, .rms_norm_eps = 1e-5, .rope_theta = 10000,
        .tie_word_embeddings = true, .bos_token_id = -1, .eos_token_id = end,
        .pad_token_id = pad};
}

static int train_in(const struct train_settings *s, const char *dir, struct hf_tokenizer **t,
                    struct hf_chat **chat, struct model **m) {
    int64_t vocabulary, end, pad;
    CAI_TRY(cai_dir_make(dir));
    CAI_TRY(clerk_tokenizer_write(dir, &vocabulary, &end, &pad));
    CAI_TRY(hf_tokenizer_load(dir, t));
    CAI_TRY(hf_chat_load(dir, *t, chat));
    struct hf_config config = shape(vocabulary, end, pad);
    CAI_TRY(model_new(&config, cai_key_make(s->seed, 0, "clerk/weights", 0, 0), m));
    CAI_TRY(train_parts(*m, *chat, *t, s));
    free((*m)->dir);
    (*m)->dir = cai_strdup(dir); /* the tokenizer's files are copied from there */
    return model_save(*m, s->out);
}

int clerk_train(const struct train_settings *s) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    CAI_TRY(ct_init((int)(s->threads ? s->threads : cpus > 0 ? cpus : 1)));
    CAI_AUTO(mem) char *dir = cai_format("%s.tokenizer", s->out);
    struct hf_tokenizer *t = NULL;
    struct hf_chat *chat = NULL;
    struct model *m = NULL;
    int rc = train_in(s, dir, &t, &chat, &m);
    model_free(m);
    hf_chat_free(chat);
    hf_tokenizer_free(t);
    int removed = cai_dir_remove(dir);
    return rc < 0 ? rc : removed;
}
