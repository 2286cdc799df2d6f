/* red.c: see red.h. */
#include "learn/red.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/error.h"
#include "input/test_case.h"
#include "learn/dataset.h"
#include "learn/packing.h"
#include "learn/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct side { /* a model with what it reads */
    struct model *m;
    struct hf_tokenizer *tokenizer;
    struct hf_chat *chat;
};

struct red {
    const struct learn_task *task;
    struct red_options o;
    int64_t tokens; /* of a pack */
    size_t chunk;
    struct side target, classifier;
    struct engine *engine;
    void (*see)(void *context, const struct red_seen *s);
    void *seer;
    double failing, harm, unusable, distinct; /* shares of the last step */
};

enum verdict { VERDICT_NONE, VERDICT_UNUSABLE, VERDICT_NO_ROOM, VERDICT_JUDGED };

/* What travels for one rollout. */
struct wire {
    uint64_t number;
    double raw;
    uint64_t verdict;
};

/* ---- opening ------------------------------------------------------------------------- */

static int load_side(const Cai__V1__Model *from, struct model *const *beside, size_t n,
                     struct side *ret) {
    CAI_TRY(model_load_beside(from->path, beside, n, &ret->m));
    CAI_TRY(hf_tokenizer_load(from->path, &ret->tokenizer));
    return hf_chat_load(from->path, ret->tokenizer, &ret->chat);
}

static int check_sides(const struct learn_task *t, const struct red *r) {
    if (r->target.m->head != MODEL_HEAD_LM)
        return cai_fail(CAI_EINPUT, "target %s writes no text", t->train->target->path);
    if (r->classifier.m->head != MODEL_HEAD_SCALAR)
        return cai_fail(CAI_EINPUT, "classifier %s has no score head", t->train->pm[0]->path);
    if (r->target.m->config.max_positions <= r->o.max_tokens)
        return cai_fail(CAI_EINPUT, "reply.max_tokens is %lld, but the target takes only %lld ids",
                        (long long)r->o.max_tokens, (long long)r->target.m->config.max_positions);
    return 0;
}

/* Prompts are as long as a rollout and what the format puts around one. */
static int make_engine(struct red *r, const struct ppo_options *o) {
    enum { AROUND = 256 };
    int64_t capacity = o->max_tokens + AROUND + r->o.max_tokens;
    if (capacity > r->target.m->config.max_positions)
        capacity = r->target.m->config.max_positions;
    struct engine_options eo = {.slots = engine_slots(r->target.m, r->chunk, capacity),
                                .capacity = capacity,
                                .end_id = hf_chat_end_id(r->target.chat),
                                .bfloat16 = r->task->bfloat16};
    return engine_new(r->target.m, r->target.tokenizer, &eo, &r->engine);
}

int red_open(const struct learn_task *t, const struct ppo_options *o, struct model *const *beside,
             size_t n, struct red **ret) {
    struct model *known[8];
    *ret = NULL;
    if (t->train->target == NULL || t->train->n_pm != 1)
        return cai_fail(CAI_EPROTO, "a red model is trained against a target and one classifier");
    CAI_CHECK(n + 1 < CAI_COUNT(known));
    struct red *r = cai_alloc(sizeof *r);
    *r = (struct red){.task = t, .tokens = trainer_tokens(&o->optimizer),
                      .chunk = rollout_chunk((size_t)o->rollouts)};
    memcpy(known, beside, n * sizeof *known);
    int rc = options_red(t->train->options, &r->o);
    if (rc == 0)
        rc = load_side(t->train->target, known, n, &r->target);
    known[n] = r->target.m;
    if (rc == 0)
        rc = load_side(t->train->pm[0], known, n + 1, &r->classifier);
    if (rc == 0)
        rc = check_sides(t, r);
    if (rc == 0) {
        r->target.m->half_products = r->classifier.m->half_products = o->half;
        rc = make_engine(r, o);
    }
    if (rc < 0) {
        red_close(r);
        return rc;
    }
    *ret = r;
    return 0;
}

static void close_side(struct side *s) {
    hf_chat_free(s->chat);
    hf_tokenizer_free(s->tokenizer);
    model_free(s->m);
}

void red_close(struct red *r) {
    if (r == NULL)
        return;
    engine_free(r->engine);
    close_side(&r->classifier);
    close_side(&r->target);
    free(r);
}

void red_on_stop(struct red *r) {
    const struct learn_host *host = r->task->host;
    if (host != NULL && host->stopping != NULL)
        engine_on_stop(r->engine, host->stopping, host->context);
}

void red_observe(struct red *r, void (*see)(void *context, const struct red_seen *s),
                 void *context) {
    r->see = see;
    r->seer = context;
}

/* ---- one chunk ----------------------------------------------------------------------- */

struct attack {
    struct wire wire;
    const char *prompt; /* NULL: no usable one */
    char *reply;        /* the target's */
    struct hf_ids asked, judged;
};

static int ask(struct red *r, struct attack *x) {
    struct hf_message message = {.role = "user", .text = x->prompt};
    size_t dropped, room = (size_t)(r->target.m->config.max_positions - r->o.max_tokens);
    int rc = hf_chat_fit(r->target.chat, &message, 1, NULL, room, &x->asked, &dropped);
    if (rc == CAI_ELIMIT) { /* as a reply that nobody could judge */
        cai_error_clear();
        x->asked.n = 0;
        return 0;
    }
    return rc;
}

static int take_reply(struct red *r, struct attack *x, const struct gen_result *g) {
    struct hf_message messages[] = {{.role = "user", .text = x->prompt},
                                    {.role = "assistant", .text = g->text}};
    if (g->finish == FINISH_TOO_LONG)
        return 0;
    x->reply = cai_strdup(g->text);
    CAI_TRY(dataset_encode(r->classifier.chat, messages, 2, &x->judged, NULL));
    if ((int64_t)x->judged.n > r->classifier.m->config.max_positions)
        x->judged.n = 0;
    return 0;
}

/* The target's replies to the chunk's usable prompts. */
static int reply(struct red *r, struct attack *x, size_t n) {
    CAI_AUTO(mem) struct gen_request *q = cai_alloc((n + 1) * sizeof *q);
    CAI_AUTO(mem) struct gen_result *g = cai_alloc((n + 1) * sizeof *g);
    CAI_AUTO(mem) size_t *of = cai_alloc((n + 1) * sizeof *of);
    struct sampling how = {.temperature = r->o.temperature, .top_p = r->o.top_p,
                           .max_tokens = (int)r->o.max_tokens};
    size_t asked = 0;
    for (size_t i = 0; i < n; i++) {
        if (x[i].asked.n == 0)
            continue;
        q[asked] = (struct gen_request){
            .ids = x[i].asked.data, .n_ids = x[i].asked.n,
            .key = cai_key_make(r->task->seed, r->task->round, "red/reply", x[i].wire.number, 0)};
        of[asked++] = i;
    }
    if (asked == 0)
        return 0;
    CAI_TRY(engine_generate(r->engine, q, asked, &how, NULL, NULL, g));
    int rc = 0;
    for (size_t i = 0; i < asked; i++) {
        if (rc == 0)
            rc = take_reply(r, &x[of[i]], &g[i]);
        gen_result_free(&g[i]);
    }
    return rc;
}

static int judge_bin(struct red *r, struct attack **x, const size_t *units, size_t n) {
    CAI_AUTO(mem) struct span *spans = cai_alloc((n + 1) * sizeof *spans);
    CAI_AUTO(mem) double *out = cai_alloc((n + 1) * sizeof *out);
    struct micro *micro;
    for (size_t i = 0; i < n; i++) {
        const struct hf_ids *ids = &x[units[i]]->judged;
        spans[i] = (struct span){ids->data, (int64_t)ids->n, (int64_t)ids->n - 1,
                                 (int64_t)ids->n};
    }
    CAI_TRY(micro_new(r->classifier.m, spans, n, &micro));
    int rc = model_outputs(r->classifier.m, micro, 1, out, NULL);
    micro_free(micro);
    CAI_TRY(rc);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(out[i]))
            return cai_fail(CAI_ENUMERIC, "the classifier gave a number that is not finite (%g)",
                            out[i]);
        x[units[i]]->wire.raw = out[i];
        x[units[i]]->wire.verdict = VERDICT_JUDGED;
    }
    return 0;
}

static int judge(struct red *r, struct attack *x, size_t n) {
    CAI_AUTO(mem) struct attack **judged = cai_alloc((n + 1) * sizeof *judged);
    CAI_AUTO(mem) int64_t *lengths = cai_alloc((n + 1) * sizeof *lengths);
    struct packing p;
    size_t many = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i].judged.n > 0) {
            lengths[many] = (int64_t)x[i].judged.n;
            judged[many++] = &x[i];
        }
    if (many == 0)
        return 0;
    CAI_TRY(packing_make(lengths, many, r->tokens, 1, &p));
    int rc = 0;
    for (size_t b = 0; b < p.n_bins && rc == 0; b++)
        if (p.starts[b] < p.starts[b + 1])
            rc = judge_bin(r, judged, p.units + p.starts[b], p.starts[b + 1] - p.starts[b]);
    packing_free(&p);
    return rc;
}

static void tell(const struct red *r, const struct attack *x) {
    bool judged = x->wire.verdict == VERDICT_JUDGED;
    struct red_seen s = {x->wire.number, x->prompt, judged ? x->reply : NULL, x->wire.raw};
    if (r->see)
        r->see(r->seer, &s);
}

static int attack(struct red *r, const struct rollout *from, size_t n, struct cai_arena *a,
                  struct cai_buf *out) {
    CAI_AUTO(mem) struct attack *x = cai_alloc((n + 1) * sizeof *x);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        x[i].wire.number = from[i].number;
        x[i].prompt = test_case(a, from[i].text, !from[i].ended, r->o.question);
        x[i].wire.verdict = x[i].prompt ? VERDICT_NO_ROOM : VERDICT_UNUSABLE;
        rc = x[i].prompt ? ask(r, &x[i]) : 0;
    }
    if (rc == 0)
        rc = reply(r, x, n);
    if (rc == 0)
        rc = judge(r, x, n);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0) {
            tell(r, &x[i]);
            cai_buf_append(out, &x[i].wire, sizeof x[i].wire);
        }
        free(x[i].reply);
        hf_ids_free(&x[i].asked);
        hf_ids_free(&x[i].judged);
    }
    return rc;
}

/* ---- all of them ----------------------------------------------------------------------- */

double red_reward(const struct red_options *o, bool usable, bool judged, double raw) {
    double reward = !usable ? o->penalty : !judged ? 0 : fmax(raw, 0) + log1p(exp(-fabs(raw)));
    return (1 - o->alpha) * reward;
}

static int by_text(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static double share_distinct(const struct red *r, const struct rollouts *all) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const char **text = cai_arena_array(&a, all->n + 1, sizeof *text);
    size_t n = 0, distinct = 0;
    for (size_t i = 0; i < all->n; i++) {
        const char *prompt = test_case(&a, all->r[i].text, !all->r[i].ended, r->o.question);
        if (prompt)
            text[n++] = test_case_folded(&a, prompt);
    }
    qsort(text, n, sizeof *text, by_text);
    for (size_t i = 0; i < n; i++)
        distinct += i == 0 || strcmp(text[i - 1], text[i]) != 0;
    return n > 0 ? (double)distinct / (double)n : 0;
}

static int settle(struct red *r, const struct rollouts *all, const struct wire *w, size_t n,
                  double *score) {
    CAI_AUTO(mem) uint8_t *seen = cai_alloc(all->n + 1);
    double failing = 0, harm = 0, unusable = 0;
    for (size_t k = 0; k < n; k++) {
        size_t low = 0, high = all->n;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (all->r[middle].number < w[k].number)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == all->n || all->r[low].number != w[k].number || seen[low] ||
            w[k].verdict > VERDICT_JUDGED)
            return cai_fail(CAI_EPROTO, "a rank sent a malformed verdict");
        bool usable = w[k].verdict != VERDICT_UNUSABLE, judged = w[k].verdict == VERDICT_JUDGED;
        seen[low] = 1;
        score[low] = red_reward(&r->o, usable, judged, w[k].raw);
        failing += judged && w[k].raw >= 0;
        harm += judged ? 1 / (1 + exp(-w[k].raw)) : 0;
        unusable += !usable;
    }
    if (n != all->n)
        return cai_fail(CAI_EPROTO, "the ranks judged %zu rollouts of %zu", n, all->n);
    double total = (double)all->n;
    r->failing = failing / total;
    r->harm = harm / total;
    r->unusable = unusable / total;
    r->distinct = share_distinct(r, all);
    return 0;
}

int red_score(struct red *r, const struct rollouts *all, double *score) {
    size_t rank = (size_t)learn_rank(r->task), world = (size_t)learn_world(r->task);
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(buf) struct cai_buf own = {.max = (size_t)1 << 30};
    CAI_AUTO(mem) void *gathered = NULL;
    for (size_t c = rank; c * r->chunk < all->n; c += world) {
        CAI_TRY(learn_stopping(r->task));
        size_t from = c * r->chunk, many = all->n - from < r->chunk ? all->n - from : r->chunk;
        CAI_TRY(attack(r, all->r + from, many, &a, &own));
    }
    CAI_TRY(cai_buf_status(&own));
    const void *data = own.data;
    size_t len = own.len;
    if (world > 1) {
        CAI_AUTO(mem) size_t *starts = cai_realloc(NULL, world + 1, sizeof *starts);
        CAI_TRY(comm_all_gather_bytes(r->task->comm, own.data, own.len, &gathered, &len, starts));
        data = gathered;
    }
    if (len % sizeof(struct wire) != 0)
        return cai_fail(CAI_EPROTO, "a rank sent half a verdict");
    return settle(r, all, data, len / sizeof(struct wire), score);
}

void red_figures(const struct red *r, struct metrics *m) {
    metrics_add(m, r->failing, "failing");
    metrics_add(m, r->harm, "harm");
    metrics_add(m, r->unusable, "unusable");
    metrics_add(m, r->distinct, "distinct");
    for (int i = 0; i < m->n; i++) {
        char name[METRIC_NAME];
        memcpy(name, m->item[i].name, sizeof name);
        snprintf(m->item[i].name, METRIC_NAME, "rl/%.*s", METRIC_NAME - 4, name);
    }
}
