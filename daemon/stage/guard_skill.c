/* guard_skill.c: what the model could before it was trained: is it still as good, within a margin
 * (non-inferiority)? Rows of data.probes, by "kind":
 *   text    {"prompt", "reply"}: bits per byte of a person's text
 *   choice  {"prompt", "choices": […], "answer": place from 0, "reply"?: its beginning}: the choice
 *           with the most probability per byte
 *   answer  {"prompt", "reply"}: written greedily; right when the reply stands in it as words
 * Phases: skill/score, skill/answer, and -base of both. Examples: skill, {"kind", "right" | "bits",
 * "bytes"}.
 * Figures, for the start too: skill_choice, skill_answer (_low _high _n), bits_per_byte. Against the
 * start: skill_choice_rise, skill_answer_rise of wrong ones (_low _high), _least; bits_rise (_low
 * _high, resampled rows); skill_kept: 1 where every upper bound is below its margin. It trips where a
 * lower bound is above guards.skill or guards.bits. */
#include "stage/guard_look.h"

#include "base/error.h"
#include "stage/build.h"
#include "stage/models.h"
#include "stage/rates.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { RESAMPLES = 1000, CHOICES_MAX = 64 };
static const char *const KINDS[] = {"choice", "answer"}; /* right or wrong */

static const char *text_of(const json_t *row, const char *key) {
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

/* ---- asking ---------------------------------------------------------------------------------- */
static size_t choices_of(const json_t *row, struct cai_arena *a, const char **ret) {
    const json_t *list = json_object_get(row, "choices"), *v;
    size_t i, n = 0;
    json_array_foreach(list, i, v) {
        const char *s = json_string_value(v);
        if (n < CHOICES_MAX)
            ret[n++] = s && *s == ' ' ? cai_arena_strdup(a, s) : cai_arena_printf(a, " %s", s ? s : "");
    }
    return n;
}

/* A person's text is scored from its second word on: what stands before the first, a space or
 * none, is the chat format's. */
static const char *split(const char *text, struct cai_arena *a, const char **ret_first) {
    size_t len = strcspn(text, " \t\r\n");
    *ret_first = cai_arena_strndup(a, text, len);
    return text + len;
}

static int ask(struct builder *b, const struct dialog *d, uint64_t item, struct cai_arena *a) {
    const char *options[CHOICES_MAX], *begin = text_of(d->row, "reply"), *kind = text_of(d->row, "kind");
    if (strcmp(kind, "choice") == 0) {
        size_t n = choices_of(d->row, a, options);
        return build_score_turns(b, item, 0, d->turns, d->n, *begin ? begin : "The answer is:", options,
                                 n);
    }
    options[0] = split(begin, a, &begin);
    if (strcmp(kind, "text") != 0 || !*options[0])
        return 0;
    return build_score_turns(b, item, 0, d->turns, d->n, begin, options, 1);
}

static int plan_one(const struct stage_context *c, bool base, const struct model_ref *m, size_t n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder scores = {0};
    CAI_AUTO(builder) struct builder answers = {0};
    const struct job_sampling greedy = {0, 1, c->job->evaluate.reply.max_tokens};
    build_score(&scores, c, base ? "skill/score-base" : "skill/score", 0, m);
    build_generate(&answers, c, base ? "skill/answer-base" : "skill/answer", 0, m, &greedy);
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        uint64_t item = data_item(JOB_DATA_PROBES, i);
        CAI_TRY(data_dialog(c, item, &a, &d));
        if (strcmp(text_of(d.row, "kind"), "answer") == 0)
            CAI_TRY(build_generate_turns(&answers, item, 0, 1, d.turns, d.n));
        else
            CAI_TRY(ask(&scores, &d, item, &a));
    }
    CAI_TRY(build_flush(&scores));
    return build_flush(&answers);
}

int skill_plan(const struct stage_context *c, bool base) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct model_ref start, policy;
    size_t n;
    CAI_TRY(data_count(c, JOB_DATA_PROBES, &n));
    if (n == 0)
        return 0;
    CAI_TRY(models_start(c, &a, &start));
    CAI_TRY(models_policy(c, c->round, &a, &policy));
    if (base)
        CAI_TRY(plan_one(c, true, &start, n));
    return plan_one(c, false, &policy, n);
}

/* ---- answers --------------------------------------------------------------------------------- */
static bool word_byte(char c) { return isalnum((unsigned char)c) || (c & 0x80); }

/* Whether `what` stands in the text with no letter or digit on either side. */
static bool stands_in(const char *text, const char *what) {
    size_t len = strlen(what);
    for (const char *s = text; len && (s = strstr(s, what)); s++)
        if ((s == text || !word_byte(s[-1]) || !word_byte(*what)) &&
            (!word_byte(s[len]) || !word_byte(what[len - 1])))
            return true;
    return false;
}

static int absorb_answers(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result, struct cai_arena *a) {
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        if (g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG)
            continue;
        CAI_TRY(data_dialog(c, g[i]->item, a, &d));
        CAI_TRY(example_put(c, g[i]->item, 0, "skill", g[i]->text, NULL, task->generate->model->hash,
                            json_pack("{s:s, s:b}", "kind", "answer", "right",
                                      stands_in(g[i]->text, text_of(d.row, "reply")))));
    }
    return 0;
}

static json_t *read_choice(const Cai__V1__ScoreItem *q, const Cai__V1__Scored *s, int64_t answer) {
    size_t best = 0;
    for (size_t i = 1; i < s->n_logprobs; i++)
        if (s->logprobs[i] / (double)strlen(q->options[i]) >
            s->logprobs[best] / (double)strlen(q->options[best]))
            best = i;
    return json_pack("{s:s, s:b}", "kind", "choice", "right", (int64_t)best == answer);
}

int skill_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct stage_context own = look_context(c, task);
    const Cai__V1__Scored **s;
    size_t n;
    if (task->work_case == CAI__V1__TASK__WORK_GENERATE)
        return absorb_answers(&own, task, result, &a);
    CAI_TRY(result_order_scored(task, result, &a, &s, &n));
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        const Cai__V1__ScoreItem *q = task->score->items[i];
        if (s[i]->too_long)
            continue;
        CAI_TRY(data_dialog(c, q->item, &a, &d));
        json_t *detail = strcmp(text_of(d.row, "kind"), "choice") == 0
                             ? read_choice(q, s[i], json_integer_value(json_object_get(d.row, "answer")))
                             : json_pack("{s:s, s:f, s:i}", "kind", "text", "bits",
                                         -s[i]->logprobs[0] / log(2), "bytes",
                                         (int)strlen(q->options[0]));
        CAI_TRY(example_put(&own, q->item, 0, "skill", "", NULL, task->score->model->hash, detail));
    }
    return 0;
}

/* ---- figures --------------------------------------------------------------------------------- */
struct known {
    struct examples start, now;
};

static int load(const struct look *l, struct known *ret) {
    CAI_TRY(probes_examples(l->c, 0, "skill", l->arena, &ret->start));
    return probes_examples(l->c, l->c->round, "skill", l->arena, &ret->now);
}

static bool is_kind(const struct store_example *e, const char *kind) {
    json_t *o = json_loads(e->detail, 0, NULL);
    bool same = strcmp(text_of(o, "kind"), kind) == 0;
    json_decref(o);
    return same;
}

/* Failing here is being wrong. */
static struct paired wrong_ones(const struct known *k, const char *kind) {
    struct paired p = {0};
    for (size_t i = 0; i < k->now.n; i++) {
        const struct store_example *e = examples_find(&k->start, k->now.at[i].item, 0);
        if (e && is_kind(e, kind))
            paired_add(&p, !example_flag(e, "right"), !example_flag(&k->now.at[i], "right"));
    }
    return p;
}

static int record_share(const struct stage_context *c, uint32_t round, const struct examples *e,
                        const char *kind) {
    uint64_t n = 0, right = 0;
    char name[32];
    for (size_t i = 0; i < e->n; i++)
        if (is_kind(&e->at[i], kind)) {
            n++;
            right += example_flag(&e->at[i], "right");
        }
    snprintf(name, sizeof name, "skill_%s", kind);
    return n ? rates_metric(c, round, "evaluate", name, right, n) : 0;
}

struct bits {
    double start, now, rise, low, high; /* bits per byte */
    size_t n;
};

static void bits_of(const struct look *l, const struct known *k, double confidence, struct bits *ret) {
    const struct stage_context *c = l->c;
    double *value = cai_arena_array(l->arena, k->now.n + 1, sizeof *value), bytes = 0;
    *ret = (struct bits){0};
    for (size_t i = 0; i < k->now.n; i++) {
        const struct store_example *now = &k->now.at[i], *e = examples_find(&k->start, now->item, 0);
        if (!e || !is_kind(e, "text"))
            continue;
        double before = example_number(e, "bits", 0), after = example_number(now, "bits", 0);
        bytes += example_number(e, "bytes", 0);
        ret->start += before;
        ret->now += after;
        value[ret->n++] = after - before;
    }
    if (bytes <= 0)
        return;
    ret->start /= bytes;
    ret->now /= bytes;
    ret->rise = ret->now - ret->start;
    rates_bootstrap(cai_key_make(c->job->seed, c->round, "guard/bits", 0, 0), value, ret->n, RESAMPLES,
                    confidence, &ret->low, &ret->high);
    ret->low *= (double)ret->n / bytes; /* of means of rows, from rows' bits to bits per byte */
    ret->high *= (double)ret->n / bytes;
}

static int record_bits(const struct stage_context *c, const struct bits *b) {
    struct stage_context zero = *c;
    zero.round = 0;
    CAI_TRY(look_record(&zero, b->start, "bits_per_byte"));
    CAI_TRY(look_record(c, b->now, "bits_per_byte"));
    CAI_TRY(look_record(c, b->rise, "bits_rise"));
    CAI_TRY(look_record(c, b->low, "bits_rise_low"));
    return look_record(c, b->high, "bits_rise_high");
}

/* ---- judging --------------------------------------------------------------------------------- */
static int judge_texts(const struct look *l, const struct known *k, struct finding *ret, bool *kept) {
    double margin = l->c->job->guards.bits;
    struct bits b, strict;
    bits_of(l, k, 0.95, &b);
    if (b.n == 0)
        return 0;
    ret->looked = true;
    CAI_TRY(record_bits(l->c, &b));
    *kept = *kept && b.high <= margin;
    bits_of(l, k, fmin(2 * l->confidence - 1, 0.998), &strict); /* as far as 1,000 resamples go */
    if (look_halts(l) && strict.low > margin)
        look_trip(ret, strict.low - margin, 0,
                  "a person's texts take %.3f bits per byte where the start took %.3f (rise %.3f to "
                  "%.3f on %zu texts), more than guards.bits = %g: the model has forgotten them", b.now,
                  b.start, b.low, b.high, b.n, margin);
    return 0;
}

static int judge_kind(const struct look *l, const struct known *k, const char *kind,
                      struct finding *ret, bool *kept) {
    double margin = l->c->job->guards.skill;
    struct paired p = wrong_ones(k, kind);
    char name[32];
    snprintf(name, sizeof name, "skill_%s", kind);
    CAI_TRY(record_share(l->c, 0, &k->start, kind));
    CAI_TRY(record_share(l->c, l->c->round, &k->now, kind));
    if (p.n == 0)
        return 0;
    ret->looked = true;
    CAI_TRY(look_record_rise(l, name, &p, margin));
    *kept = *kept && paired_rise_high(&p, 0.975) <= margin;
    double over = paired_rise_low(&p, l->confidence) - margin;
    if (look_halts(l) && over > 0)
        look_trip(ret, over, 0, "%s probes are right in %.1f %% where the start's were in %.1f %% (%zu "
                  "probes), a fall surely above guards.skill = %g", kind, 100 - 100 * paired_after(&p),
                  100 - 100 * paired_before(&p), p.n, margin);
    return 0;
}

size_t skill_comparisons(const struct look *l) {
    size_t n;
    if (data_count(l->c, JOB_DATA_PROBES, &n) < 0)
        cai_error_clear();
    return n ? CAI_COUNT(KINDS) + 1 : 0;
}

int skill_judge(const struct look *l, struct finding *ret) {
    struct known k;
    bool kept = true;
    CAI_TRY(load(l, &k));
    CAI_TRY(judge_texts(l, &k, ret, &kept));
    for (size_t i = 0; i < CAI_COUNT(KINDS); i++)
        CAI_TRY(judge_kind(l, &k, KINDS[i], ret, &kept));
    return ret->looked ? look_record(l->c, kept, "skill_kept") : 0;
}
