/* train.c: trains the clerk's base in the parts of corpus.h, one after the other: started with
 * everything at once, the base needs more than twice as long. */
#include "clerk/train.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "clerk/exam.h"
#include "clerk/rows.h"
#include "clerk/tokenizer.h"
#include "learn/lm.h"
#include <string.h>
#include <unistd.h>

enum {
    CHAT_STEPS = 800, LESSON_STEPS = 1000, LESSONS = 7, MOST_LESSONS = 16, SETTLE_STEPS = 2000,
    ALL_STEPS = 700,
    CHAT_BATCH = 16, MIXED_BATCH = 12,    /* rows: about 1,024 tokens */
    POSITIONS = 512
};
static const double PASS = 0.9, PASS_EACH = 0.8; /* of questions whose answer is known */
static const double WEAK = 0.6;             /* worth a word in the end */

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
    uint64_t first; /* document */
    int64_t steps, batch;
    double lr, warmup;
    enum train_schedule schedule;
    const double *practice; /* of corpus_document() */
};

static int run_part(struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                    const struct part *part, uint64_t seed) {
    if (part->steps == 0)
        return 0;
    struct rows rows = {0};
    struct lm_options o = {
        .optimizer = {.lr = part->lr, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8,
                      .clip_norm = 1, .warmup = part->warmup, .schedule = part->schedule,
                      .batch = part->batch},
        .epochs = 1, .steps = part->steps, .seed = seed};
    struct progress p = {.part = part->name, .started = cai_now_ms(),
                         .terminal = isatty(STDERR_FILENO)};
    int rc = rows_make(chat, t, seed, part->part, part->practice, part->first,
                       (size_t)(part->steps * part->batch), &rows);
    if (rc == 0)
        rc = train_language_model(m, rows.at, rows.n, &o, show, &p, NULL);
    rows_free(&rows);
    return rc;
}

static int examine(struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                   uint64_t seed, struct exam_result *ret) {
    CAI_TRY(exam_questions(m, chat, t, seed, ret));
    fprintf(stderr, "examined: %.0f of 100 answers are right; fewest of \"%s\": %.0f\n",
            100 * ret->share, ret->worst_name, 100 * ret->worst);
    return 0;
}

static bool passed(const struct exam_result *r) {
    return r->share >= PASS && r->worst >= PASS_EACH;
}

/* Choices are learnt in a jump, sooner with one seed than with another. So the base is examined
 * every thousand steps, at a learning rate that does not fall, and goes on with new documents
 * until it passes, as a whole and in each group; only then it settles. What is still wrong after
 * the usual lessons is practised more. */
static int train_transcripts(struct model *m, const struct hf_chat *chat,
                             const struct hf_tokenizer *t, int64_t most, uint64_t seed) {
    struct part p = {.name = "transcripts", .part = CORPUS_LESSON, .batch = MIXED_BATCH, .lr = 3e-3,
                     .warmup = 0.05, .schedule = TRAIN_CONSTANT};
    double practice[CORPUS_GROUPS];
    struct exam_result r = {0};
    for (int64_t done = 0, lesson = 1; done < most && !passed(&r); done += p.steps, lesson++) {
        p.steps = most - done < LESSON_STEPS ? most - done : LESSON_STEPS;
        if (lesson > LESSONS) {
            for (size_t g = 0; g < CORPUS_GROUPS; g++)
                practice[g] = 0.1 + 1 - r.of[g];
            p.name = "transcripts, what was wrong";
            p.part = CORPUS_REMEDY;
            p.practice = practice;
        }
        CAI_TRY(run_part(m, chat, t, &p, seed));
        CAI_TRY(examine(m, chat, t, seed, &r));
        p.first += (uint64_t)(p.steps * p.batch);
    }
    p.name = "transcripts, settling";
    p.part = CORPUS_RIGHT;
    p.practice = NULL;
    p.steps = most < SETTLE_STEPS ? most : SETTLE_STEPS;
    p.schedule = TRAIN_COSINE;
    CAI_TRY(run_part(m, chat, t, &p, seed));
    return examine(m, chat, t, seed, &r);
}

static int train_parts(struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                       const struct train_settings *s) {
    enum { MOST_STEPS = MOST_LESSONS * LESSON_STEPS, USUAL = CHAT_STEPS + MOST_STEPS + ALL_STEPS };
    int64_t all = s->steps ? s->steps : USUAL;
    const struct part conversations = {.name = "conversations", .part = CORPUS_CHAT,
                                       .steps = all * CHAT_STEPS / USUAL, .batch = CHAT_BATCH,
                                       .lr = 3e-3, .warmup = 0.15, .schedule = TRAIN_CONSTANT};
    const struct part errors = {.name = "errors", .part = CORPUS_ALL,
                                .steps = all * ALL_STEPS / USUAL, .batch = MIXED_BATCH, .lr = 1e-3,
                                .warmup = 0.05, .schedule = TRAIN_COSINE};
    struct exam_result r;
    CAI_TRY(run_part(m, chat, t, &conversations, s->seed));
    CAI_TRY(train_transcripts(m, chat, t, all * MOST_STEPS / USUAL, s->seed));
    CAI_TRY(run_part(m, chat, t, &errors, s->seed));
    CAI_TRY(examine(m, chat, t, s->seed, &r));
    if (s->steps == 0 && r.worst < WEAK)
        fprintf(stderr, "clerk: this base is weak at \"%s\", and will be as an overseer; another "
                        "--seed has other weaknesses\n", r.worst_name);
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
