/* gate.c: before anything is labelled the overseer answers questions whose answer is
 * known, and must beat chance: the lower bound of its accuracy's interval above one half,
 * and the options it is given must be what it would say (their probability together, the
 * option mass): a model that would write something else altogether may still lean to the
 * longer or the smoother reply.
 * Known are the constitution's choice examples (each asked without itself among the
 * few-shots), and pairs of a reply against a spoilt one: the reply to another prompt, an
 * empty-handed one, a garbled one. (Reply against revision is no known answer: that the
 * revision is better is what the overseer is asked to judge.)
 * Where labels come after debates, people's pairs are asked too, and everything directly and after
 * reasons as well.
 * Examples: gate (item = place, {"p", "p_ab", "p_ba", "mass_ab", "mass_ba", "right", "of"}), and
 * gate_direct, gate_cot beside debates, all three then with "generated" and "read" tokens.
 * Metrics: gate_accuracy (_low _high _n), gate_option_mass, gate_flipped, gate_bias. */
#include "base/rng.h"
#include "stage/data.h"
#include "stage/debate.h"
#include "stage/draw.h"
#include "stage/label.h"
#include "stage/methods.h"
#include "stage/rates.h"
#include "stage/reason.h"
#include <string.h>

#define GATE_ITEM UINT64_C(8000000000)

struct question {
    const struct turn *turns;
    size_t n;
    const char *good, *bad, *of;
    struct principle principle;   /* its choice text is what is asked */
    size_t without;               /* few-shot left out; SIZE_MAX = none */
};

/* A coin decides on which side the good reply stands; the pair is asked in both orders. */
static bool good_is_a(const struct stage_context *c, uint64_t item) {
    struct cai_key key = cai_key_make(c->job->seed, c->round, "label/gate_side", item, 0);
    return cai_rng_below(key, 0, 2) == 0;
}

/* The ways in which questions are asked: [0] as labels are, the others beside debates. */
enum { WAYS = 3 };
struct ways {
    struct builder b[WAYS];
    size_t n;
};

static void open_ways(struct ways *w, const struct stage_context *c,
                      const struct model_ref *overseer) {
    w->n = 1;
    if (debate_used(c)) {
        debate_open(&w->b[0], c, true, 0, overseer);
        build_score(&w->b[1], c, "gate-direct", 0, overseer);
        reason_open(&w->b[2], c, "gate-cot-reason", 0, overseer);
        w->n = WAYS;
    } else if (reason_used(c)) { /* known answers are found the way labels are */
        reason_open(&w->b[0], c, "gate-reason", 0, overseer);
    } else {
        build_score(&w->b[0], c, "gate", 0, overseer);
    }
}

static int flush_ways(struct ways *w) {
    for (size_t i = 0; i < w->n; i++)
        CAI_TRY(build_flush(&w->b[i]));
    return 0;
}

static void free_ways(struct ways *w) {
    for (size_t i = 0; i < WAYS; i++)
        build_free(&w->b[i]);
}

static int ask(struct ways *w, const struct stage_context *c, const struct question *q,
               uint64_t item) {
    struct constitution without = *c->constitution;
    struct stage_context own = *c;
    CAI_AUTO(mem) struct choice_example *left =
        cai_realloc(NULL, without.n_choice_examples + 1, sizeof *left);
    if (q->without < without.n_choice_examples) {
        size_t n = 0;
        for (size_t i = 0; i < without.n_choice_examples; i++)
            if (i != q->without)
                left[n++] = without.choice_examples[i];
        without.choice_examples = left;
        without.n_choice_examples = n;
        own.constitution = &without;
    }
    bool a = good_is_a(c, item);
    for (size_t i = 0; i < w->n; i++)
        CAI_TRY(choice_ask(&w->b[i], &own, &q->principle, q->turns, q->n, a ? q->good : q->bad,
                           a ? q->bad : q->good, item, 0, true));
    return example_put(c, item, 0, "gate_question", q->good, q->principle.id, "",
                       json_pack("{s:s, s:s, s:b}", "bad", q->bad, "of", q->of, "good_is_a", a));
}

/* Words in reversed order: the letters of the reply, the sense of none. */
static const char *garbled(struct cai_arena *a, const char *text) {
    size_t len = strlen(text), n = 0;
    char *o = cai_arena_alloc(a, len + 2);
    for (size_t end = len; end > 0;) {
        size_t start = end;
        while (start > 0 && !strchr(" \n\t", text[start - 1]))
            start--;
        memcpy(o + n, text + start, end - start);
        n += end - start;
        end = start;
        while (end > 0 && strchr(" \n\t", text[end - 1]))
            end--;
        if (end > 0)
            o[n++] = ' ';
    }
    o[n] = 0;
    return o;
}

/* Material: helpful prompts whose reply is given in the data, or was written by the start
 * model for sft. */
struct material {
    struct dialog *dialog;
    const char **reply;
    size_t n;
};

static int load_material(const struct stage_context *c, size_t want, struct cai_arena *a,
                         struct material *ret) {
    struct items pool;
    struct examples written;
    CAI_TRY(data_pool(c, JOB_DATA_HELPFUL, a, &pool));
    CAI_TRY(examples_load(c, c->round, "sft", "helpful", a, &written));
    items_take(c, 0, "label/gate", want, &pool);
    ret->dialog = cai_arena_array(a, pool.n + 1, sizeof *ret->dialog);
    ret->reply = cai_arena_array(a, pool.n + 1, sizeof *ret->reply);
    for (size_t i = 0; i < pool.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, pool.at[i], a, &d));
        const char *reply = json_string_value(json_object_get(d.row, "reply"));
        const struct store_example *own = examples_find(&written, pool.at[i], 0);
        reply = reply ? reply : own ? own->text : NULL;
        if (!reply || strlen(reply) < 8)
            continue;
        ret->dialog[ret->n] = (struct dialog){d.turns, d.n, NULL};
        ret->reply[ret->n++] = cai_arena_strdup(a, reply);
    }
    return 0;
}

static int ask_spoilt(const struct stage_context *c, const struct material *m, struct ways *b,
                      size_t first, size_t want) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    for (size_t i = 0; i < want && m->n >= 2; i++) {
        size_t at = i % m->n;
        const struct principle *p =
            draw_principle(c, DRAW_CHOICE, "label/gate_principle", i, 0);
        struct question q = {.turns = m->dialog[at].turns, .n = m->dialog[at].n,
                             .good = m->reply[at], .principle = *p, .without = SIZE_MAX};
        size_t way = (i / m->n + i) % 3;
        size_t other = (at + 1 + i / m->n) % m->n;
        q.of = way == 0 ? "other" : way == 1 ? "empty" : "garbled";
        q.bad = way == 0 ? m->reply[other] : way == 1 ? "..." : garbled(&a, q.good);
        if (strcmp(q.bad, q.good) != 0)
            CAI_TRY(ask(b, c, &q, GATE_ITEM + first + i));
    }
    return 0;
}

/* People's pairs, at most `want`, under the principle that a row names or a drawn one. */
static int ask_people(const struct stage_context *c, struct ways *b, size_t want,
                      size_t *io_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct items pool;
    CAI_TRY(data_pool(c, JOB_DATA_HUMAN, &a, &pool));
    if (want == 0)
        pool.n = 0;
    items_take(c, 0, "label/gate_people", want, &pool);
    for (size_t i = 0; i < pool.n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, pool.at[i], &a, &d));
        const char *good = json_string_value(json_object_get(d.row, "chosen"));
        const char *bad = json_string_value(json_object_get(d.row, "rejected"));
        const char *name = json_string_value(json_object_get(d.row, "principle"));
        const struct principle *p = name ? constitution_find(c->constitution, name) : NULL;
        if (!p || !p->choice)
            p = draw_principle(c, DRAW_CHOICE, "label/gate_people_principle", pool.at[i], 0);
        struct question q = {.turns = d.turns, .n = d.n, .good = good, .bad = bad, .of = "people",
                             .principle = *p, .without = SIZE_MAX};
        if (good && bad && strcmp(good, bad) != 0)
            CAI_TRY(ask(b, c, &q, GATE_ITEM + (*io_n)++));
    }
    return 0;
}

static int plan_questions(const struct stage_context *c, struct ways *b, struct cai_arena *a) {
    struct material m = {0};
    struct model_ref overseer;
    size_t want = (size_t)c->job->label.gate_pairs, known = c->constitution->n_choice_examples;
    known = known < want ? known : want;
    CAI_TRY(models_role(c, "overseer", c->round, a, &overseer));
    open_ways(b, c, &overseer);
    for (size_t i = 0; i < known; i++) {
        const struct choice_example *e = &c->constitution->choice_examples[i];
        struct question q = {.turns = e->turns, .n = e->n_turns, .of = "example", .without = i,
                             .good = e->answer == 'A' ? e->a : e->b,
                             .bad = e->answer == 'A' ? e->b : e->a,
                             .principle = {.id = "", .choice = e->choice}};
        CAI_TRY(ask(b, c, &q, GATE_ITEM + i));
    }
    if (debate_used(c))
        CAI_TRY(ask_people(c, b, want - known, &known));
    if (want > known)
        CAI_TRY(load_material(c, want - known, a, &m));
    if (want > known)
        CAI_TRY(ask_spoilt(c, &m, b, known, want - known));
    return flush_ways(b);
}

int gate_plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct ways b = {0};
    int rc = plan_questions(c, &b, &a);
    free_ways(&b);
    return rc;
}

/* What the answers took besides: beside debates alone, so that other jobs' records stay as they
 * were. */
static int add_tokens(const struct stage_context *c, const char *kind, const Cai__V1__Scored *ab,
                      const Cai__V1__Scored *ba, json_t *detail) {
    double generated, read;
    if (!debate_used(c))
        return 0;
    CAI_TRY(methods_tokens(c, kind, ab->item, &generated, &read));
    json_object_set_new(detail, "generated", json_real(generated));
    json_object_set_new(detail, "read",
                        json_real(read + (double)ab->prompt_tokens + (double)ba->prompt_tokens));
    return 0;
}

int gate_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Scored **s;
    size_t n;
    CAI_TRY(result_order_scored(task, result, &a, &s, &n));
    for (size_t i = 0; i + 1 < n; i += 2) {
        struct choice o = choice_read(s[i], s[i + 1]);
        if (o.lost)
            continue;
        bool right = good_is_a(c, s[i]->item) ? o.p > 0.5 : o.p < 0.5;
        const char *kind = methods_kind(task->phase);
        json_t *detail = json_pack("{s:f, s:f, s:f, s:f, s:f, s:b}", "p", o.p, "p_ab", o.p_ab,
                                   "p_ba", o.p_ba, "mass_ab", o.mass_ab, "mass_ba", o.mass_ba,
                                   "right", right);
        CAI_TRY(add_tokens(c, kind, s[i], s[i + 1], detail));
        CAI_TRY(example_put(c, s[i]->item, 0, kind, "", NULL, task->score->model->hash, detail));
    }
    return 0;
}

int gate_judge(const struct stage_context *c, bool *ret_wait, char *ret_reason, size_t size) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct examples asked;
    struct choice_figures f = {0};
    size_t right = 0;
    double low, high;
    CAI_TRY(examples_load(c, c->round, "label", "gate", &a, &asked));
    for (size_t i = 0; i < asked.n; i++) {
        const struct store_example *e = &asked.at[i];
        struct choice o = {.p_ab = example_number(e, "p_ab", 0.5),
                           .p_ba = example_number(e, "p_ba", 0.5),
                           .mass_ab = example_number(e, "mass_ab", 0),
                           .mass_ba = example_number(e, "mass_ba", 0)};
        choice_weigh(&o);
        choice_count(&f, &o, true);
        right += example_flag(e, "right");
    }
    CAI_TRY(rates_metric(c, c->round, "label", "gate_accuracy", right, asked.n));
    CAI_TRY(rates_value(c, "gate_option_mass", choice_mass(&f)));
    CAI_TRY(rates_value(c, "gate_flipped", choice_flipped(&f)));
    CAI_TRY(rates_value(c, "gate_bias", f.n ? f.bias / (double)f.n : 0));
    if (debate_used(c))
        CAI_TRY(methods_figures(c));
    bool above =
        rates_beat_chance(right, asked.n, c->job->label.gate_confidence, &low, &high);
    double mass = choice_mass(&f), least = c->job->label.min_option_mass;
    *ret_wait = !above || mass < least;
    CAI_AUTO(mem) char *why =
        !above ? cai_strdup("overseer at chance")
               : cai_format("overseer does not answer with the options (their probability is "
                            "below stages.label.min_option_mass %.3g, so that its choices may "
                            "be habits of style)",
                            least);
    snprintf(ret_reason, size,
             "%s: accuracy %.3f on %zu pairs with a known answer, interval %.3f to %.3f, option "
             "mass %.3g, flip rate %.3f; use another overseer (models.overseer) or better choice "
             "examples, or accept it with 'caictl resume %lld --accept overseer'",
             why, asked.n ? (double)right / (double)asked.n : 0, asked.n, low, high, mass,
             choice_flipped(&f), (long long)c->job_id);
    return 0;
}
