/* guard_style.c: how replies are, whatever they say: variety, openings, length, entropy, distance
 * from the start. Asked for the last two: the replies' log-probabilities under the policy and under
 * the start (phases entropy/now, entropy/start, entropy/now-base).
 * Figures, for round 0 too: distinct_words, distinct_pairs, distinct_triples and self_bleu of replies
 * to harmless prompts; opening_top (share of the commonest first four words) and opening_shift (how
 * far the distribution of first words has moved from the start's: total variation); entropy (nats
 * per token, of its own replies); kl_start (nats per reply, k1, with _low _high by resampling). */
#include "stage/guard_look.h"

#include "base/error.h"
#include "stage/build.h"
#include "stage/models.h"
#include "stage/rates.h"

#include <math.h>
#include <string.h>

enum { BLEU_TEXTS = 200, OPENING_WORDS = 4, SCORED_REPLIES = 100, RESAMPLES = 1000 };

struct texts {
    const char **at;
    size_t n;
};

static struct texts harmless(const struct look *l, const struct probes *p) {
    struct texts t = {cai_arena_array(l->arena, p->replies.n + 1, sizeof *t.at), 0};
    for (size_t i = 0; i < p->replies.n; i++)
        if (strcmp(p->kind[i], "harmful") != 0)
            t.at[t.n++] = p->replies.at[i].text;
    return t;
}

/* ---- variety --------------------------------------------------------------------------------- */
static int variety_figures(const struct stage_context *c, const struct texts *t, double *ret_pairs) {
    *ret_pairs = rates_distinct_pairs(t->at, t->n);
    if (t->n == 0)
        return 0;
    CAI_TRY(look_record(c, rates_distinct(t->at, t->n, 1), "distinct_words"));
    CAI_TRY(look_record(c, *ret_pairs, "distinct_pairs"));
    CAI_TRY(look_record(c, rates_distinct(t->at, t->n, 3), "distinct_triples"));
    return look_record(c, rates_self_bleu(t->at, t->n < BLEU_TEXTS ? t->n : BLEU_TEXTS), "self_bleu");
}

/* The start's replies are the same in every round: its figures are worked out once. */
static int variety_of_start(const struct look *l, double *ret) {
    struct stage_context start = *l->c;
    const struct stage_context *c = l->c;
    start.round = 0;
    if (store_metric_get(c->store, c->job_id, 0, "evaluate", 0, "distinct_pairs", ret) == 0)
        return 0;
    cai_error_clear();
    struct texts t = harmless(l, &l->start);
    return variety_figures(&start, &t, ret);
}

int variety_judge(const struct look *l, struct finding *ret) {
    double start, now, least = l->c->job->guards.diversity;
    struct texts t = harmless(l, &l->now);
    CAI_TRY(variety_of_start(l, &start));
    CAI_TRY(variety_figures(l->c, &t, &now));
    ret->looked = t.n > 0;
    if (now < least * start)
        look_trip(ret, 1, l->last,
                  "replies to harmless prompts have lost their variety: distinct word pairs fell from "
                  "%.4f (the start) to %.4f, below guards.diversity = %g of it", start, now, least);
    return 0;
}

/* ---- openings -------------------------------------------------------------------------------- */
struct opening {
    const char *text;
    size_t len, start, now;
};

static size_t opening_length(const char *s) {
    const char *at = s;
    for (int i = 0; i < OPENING_WORDS && *at; i++) {
        at += strspn(at, " \t\r\n");
        at += strcspn(at, " \t\r\n");
    }
    return (size_t)(at - s);
}

static int by_text(const void *x, const void *y) {
    const struct opening *a = x, *b = y;
    int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Openings of both, each once with its counts. */
static size_t openings(struct cai_arena *a, const struct texts *start, const struct texts *now,
                       struct opening **ret) {
    struct opening *o = cai_arena_array(a, start->n + now->n + 1, sizeof *o);
    size_t n = 0, kept = 0;
    for (int k = 0; k < 2; k++) {
        const struct texts *t = k ? now : start;
        for (size_t i = 0; i < t->n; i++) {
            const char *s = t->at[i] + strspn(t->at[i], " \t\r\n");
            o[n++] = (struct opening){s, opening_length(s), !k, (size_t)k};
        }
    }
    qsort(o, n, sizeof *o, by_text);
    for (size_t i = 0; i < n; i++) {
        if (kept && by_text(&o[kept - 1], &o[i]) == 0) {
            o[kept - 1].start += o[i].start;
            o[kept - 1].now += o[i].now;
        } else {
            o[kept++] = o[i];
        }
    }
    *ret = o;
    return kept;
}

int openings_judge(const struct look *l, struct finding *ret) {
    struct texts start = harmless(l, &l->start), now = harmless(l, &l->now);
    struct opening *o;
    double most = l->c->job->guards.openings, shift = 0;
    size_t n = openings(l->arena, &start, &now, &o), top = 0;
    if (start.n == 0 || now.n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        double before = (double)o[i].start / (double)start.n, after = (double)o[i].now / (double)now.n;
        shift += fabs(after - before) / 2;
        top = o[i].now > o[top].now ? i : top;
        if (most > 0 && after - before > most)
            look_trip(ret, after - before - most, l->last,
                      "%.1f %% of replies to harmless prompts now begin \"%.*s\" (%.1f %% at the "
                      "start), a rise above guards.openings = %g", 100 * after,
                      (int)(o[i].len < 80 ? o[i].len : 80), o[i].text, 100 * before, most);
    }
    ret->looked = true;
    CAI_TRY(look_record(l->c, (double)o[top].now / (double)now.n, "opening_top"));
    return look_record(l->c, shift, "opening_shift");
}

/* ---- length ---------------------------------------------------------------------------------- */
int length_judge(const struct look *l, struct finding *ret) {
    const struct stage_context *c = l->c;
    double start, now, most = c->job->guards.length;
    CAI_TRY(store_metric_get(c->store, c->job_id, 0, "evaluate", 0, "mean_words", &start));
    CAI_TRY(store_metric_get(c->store, c->job_id, c->round, "evaluate", 0, "mean_words", &now));
    ret->looked = start > 0;
    if (ret->looked && most > 0 && (now > most * start || now * most < start))
        look_trip(ret, 1, l->last,
                  "replies have %.1f words on the average where the start's had %.1f, a change by "
                  "more than guards.length = %g times", now, start, most);
    return 0;
}

/* ---- entropy, and distance from the start ------------------------------------------------------ */
static int plan_logprobs(const struct stage_context *c, const char *phase,
                         const struct model_ref *model, const struct probes *p) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct items drawn = {cai_arena_array(&a, p->replies.n + 1, sizeof *drawn.at), p->replies.n};
    for (size_t i = 0; i < drawn.n; i++)
        drawn.at[i] = i;
    items_take(c, 0, "guard/entropy", SCORED_REPLIES, &drawn);
    build_score(&b, c, phase, 0, model);
    for (size_t i = 0; i < drawn.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        const struct store_example *e = &p->replies.at[drawn.at[i]];
        if (!*e->text)
            continue;
        CAI_TRY(data_dialog(c, e->item, &a, &d));
        CAI_TRY(build_score_turns(&b, e->item, 0, d.turns, d.n, "", &e->text, 1));
    }
    return build_flush(&b);
}

int style_plan_scores(const struct stage_context *c, bool base) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct model_ref start, policy;
    struct probes p;
    CAI_TRY(models_start(c, &a, &start));
    CAI_TRY(models_policy(c, c->round, &a, &policy));
    if (base) {
        CAI_TRY(probes_load(c, 0, &a, &p));
        CAI_TRY(plan_logprobs(c, "entropy/now-base", &start, &p));
    }
    CAI_TRY(probes_load(c, c->round, &a, &p));
    CAI_TRY(plan_logprobs(c, "entropy/now", &policy, &p));
    return plan_logprobs(c, "entropy/start", &start, &p);
}

int style_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct stage_context own = look_context(c, task);
    const char *kind = strcmp(task->phase, "entropy/start") == 0 ? "logprob_start" : "logprob";
    const Cai__V1__Scored **s;
    size_t n;
    CAI_TRY(result_order_scored(task, result, &a, &s, &n));
    for (size_t i = 0; i < n; i++)
        if (!s[i]->too_long)
            CAI_TRY(example_put(&own, s[i]->item, s[i]->k, kind, "", NULL, task->score->model->hash,
                                json_pack("{s:f, s:i}", "nats", s[i]->logprobs[0], "tokens",
                                          (int)s[i]->tokens[0])));
    return 0;
}

/* Nats per token of a round's own replies under their own model; false when none was scored. */
static int entropy_of(const struct look *l, uint32_t round, bool *ret_known, double *ret) {
    struct examples e;
    double nats = 0, tokens = 0;
    CAI_TRY(probes_examples(l->c, round, "logprob", l->arena, &e));
    for (size_t i = 0; i < e.n; i++) {
        nats -= example_number(&e.at[i], "nats", 0);
        tokens += example_number(&e.at[i], "tokens", 0);
    }
    *ret_known = tokens > 0;
    *ret = tokens > 0 ? nats / tokens : 0;
    return 0;
}

/* Mean of log π(reply) − log start(reply) over the policy's replies. */
static int record_distance(const struct look *l) {
    const struct stage_context *c = l->c;
    struct examples own, start;
    double sum = 0, low, high;
    size_t n = 0;
    CAI_TRY(probes_examples(c, c->round, "logprob", l->arena, &own));
    CAI_TRY(probes_examples(c, c->round, "logprob_start", l->arena, &start));
    double *value = cai_arena_array(l->arena, own.n + 1, sizeof *value);
    for (size_t i = 0; i < own.n; i++) {
        const struct store_example *e = examples_find(&start, own.at[i].item, own.at[i].k);
        if (!e)
            continue;
        value[n] = example_number(&own.at[i], "nats", 0) - example_number(e, "nats", 0);
        sum += value[n++];
    }
    if (n == 0)
        return 0;
    rates_bootstrap(cai_key_make(c->job->seed, c->round, "guard/distance", 0, 0), value, n, RESAMPLES,
                    0.95, &low, &high);
    CAI_TRY(look_record(c, sum / (double)n, "kl_start"));
    CAI_TRY(look_record(c, low, "kl_start_low"));
    return look_record(c, high, "kl_start_high");
}

int entropy_judge(const struct look *l, struct finding *ret) {
    struct stage_context zero = *l->c;
    double start, now, least = l->c->job->guards.entropy;
    bool known, also;
    zero.round = 0;
    CAI_TRY(entropy_of(l, 0, &known, &start));
    CAI_TRY(entropy_of(l, l->c->round, &also, &now));
    if (!known || !also)
        return 0;
    ret->looked = true;
    CAI_TRY(look_record(&zero, start, "entropy"));
    CAI_TRY(look_record(l->c, now, "entropy"));
    CAI_TRY(record_distance(l));
    if (now < least * start)
        look_trip(ret, 1, l->last,
                  "the policy's entropy fell from %.4f nats per token (the start) to %.4f, below "
                  "guards.entropy = %g of it: it gives everybody the same reply", start, now, least);
    return 0;
}
