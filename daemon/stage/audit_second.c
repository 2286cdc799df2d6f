/* audit_second.c: see audit_second.h. */
#include "stage/audit_second.h"

#include "base/error.h"
#include "stage/audit_ask.h"
#include "stage/exact.h"
#include "stage/rates.h"
#include <math.h>
#include <string.h>

static const double passed_share = 0.8; /* of the sample */

double audit_corrected(double flagged, double recall, double alarms) {
    if (recall <= alarms)
        return -1;
    return fmin(1, fmax(0, (flagged - alarms) / (recall - alarms)));
}

/* ---- the sample --------------------------------------------------------------------------- */
/* First critiques of the round: they judge the reply as it was written. */
static int draw_part(const struct stage_context *c, const struct examples *critiques, bool passed,
                     size_t want, struct cai_arena *a) {
    struct items all = {cai_arena_array(a, critiques->n + 1, sizeof *all.at), 0};
    for (size_t i = 0; i < critiques->n; i++)
        if (critiques->at[i].k == 1 && example_flag(&critiques->at[i], "no_flaw") == passed)
            all.at[all.n++] = critiques->at[i].item;
    size_t of = all.n;
    if (want == 0 || of == 0)
        return 0;
    items_take(c, c->round, passed ? "audit/passed" : "audit/flagged", want, &all);
    for (size_t i = 0; i < all.n; i++) {
        const struct store_example *e = examples_find(critiques, all.at[i], 1);
        CAI_TRY(example_put(c, e->item, 0, "passed", "", e->principle, e->model,
                            json_pack("{s:b, s:f}", "passed", passed, "drawn",
                                      (double)all.n / (double)of)));
    }
    return 0;
}

static int draw_sample(const struct stage_context *c, struct cai_arena *a) {
    struct examples critiques;
    size_t want = (size_t)c->job->audit.passed;
    CAI_TRY(examples_load(c, c->round, "revise", "critique", a, &critiques));
    size_t of_passed = (size_t)llround(passed_share * (double)want);
    CAI_TRY(draw_part(c, &critiques, true, of_passed, a));
    return draw_part(c, &critiques, false, want - of_passed, a);
}

static int ask_one(struct builder *b, const struct stage_context *c, const struct store_example *e,
                   struct cai_arena *a) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_AUTO(mem) char *reply = NULL;
    const struct principle *p = constitution_find(c->constitution, e->principle);
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "revise", e->item, "reply", 0, &reply,
                              NULL));
    CAI_TRY(data_dialog(c, e->item, a, &d));
    struct rendering r;
    render_critique(c->constitution, p, audit_transcript(d.turns, d.n, reply, a), d.n + 1, &r);
    int rc = build_generate_rendered(b, e->item, 1, &r);
    rendering_free(&r);
    return rc;
}

int audit_second_ask(const struct stage_context *c, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct examples sample;
    struct audit_guise own;
    struct model_ref second;
    CAI_TRY(draw_sample(c, a));
    int rc = audit_second(c, a, &second);
    if (rc == CAI_ENOTFOUND)
        return 0;
    CAI_TRY(rc);
    CAI_TRY(examples_load(c, c->round, c->stage, "passed", a, &sample));
    audit_disguise(c, "revise", "critique-1", &own);
    build_generate(&b, &own.c, "passed-second", 0, &second, &c->job->revise.critique);
    for (size_t i = 0; i < sample.n; i++)
        CAI_TRY(ask_one(&b, &own.c, &sample.at[i], a));
    return build_flush(&b);
}

int audit_second_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(mem) char *reply = NULL;
        CAI_TRY(store_example_get(c->store, c->job_id, c->round, "revise", g[i]->item, "reply", 0,
                                  &reply, NULL));
        struct audit_critique r = audit_read_critique(c, g[i], reply, &text);
        if (!r.dropped)
            CAI_TRY(example_put(c, g[i]->item, 0, "passed_critique", text.data ? text.data : "",
                                NULL, task->generate->model->hash,
                                json_pack("{s:b}", "found", r.found)));
    }
    return 0;
}

/* ---- figures ------------------------------------------------------------------------------ */
struct second_look {
    const struct stage_context *c;
    struct examples sample, critiques;
};

/* Among those passed under one principle. */
static struct audit_count flagged(const struct second_look *s, const char *principle) {
    struct audit_count o = {0};
    for (size_t i = 0; i < s->sample.n; i++) {
        const struct store_example *e = &s->sample.at[i];
        const struct store_example *other = examples_find(&s->critiques, e->item, 0);
        if (!other || strcmp(e->principle, principle) != 0 || !example_flag(e, "passed"))
            continue;
        o.n++;
        o.hits += example_flag(other, "found");
    }
    return o;
}

static int put_principle(const struct second_look *s, const struct canaries *l,
                         const struct audit_class *of, const struct principle *p,
                         struct cai_arena *a) {
    struct audit_count n = flagged(s, p->id), recall = {0}, alarms = {0};
    if (n.n == 0)
        return 0;
    const char *name = cai_arena_printf(a, "passed_flagged/%s", p->id);
    double share = (double)n.hits / (double)n.n;
    CAI_TRY(rates_value(s->c, name, share));
    CAI_TRY(rates_value(s->c, cai_arena_printf(a, "%s_low", name), exact_low(n.hits, n.n, 0.025)));
    CAI_TRY(rates_value(s->c, cai_arena_printf(a, "%s_high", name), exact_high(n.hits, n.n, 0.025)));
    CAI_TRY(rates_value(s->c, cai_arena_printf(a, "%s_n", name), (double)n.n));
    bool seen[64] = {0};
    for (size_t i = 0; i < l->n; i++) {
        size_t k = l->at[i].class;
        if (l->at[i].principle != p || k >= CAI_COUNT(seen) || seen[k])
            continue;
        seen[k] = true;
        recall.hits += of[k].second.hits;
        recall.n += of[k].second.n;
        alarms.hits += of[k].second_alarms.hits;
        alarms.n += of[k].second_alarms.n;
    }
    if (recall.n == 0 || alarms.n == 0)
        return 0;
    double flawed = audit_corrected(share, (double)recall.hits / (double)recall.n,
                                    (double)alarms.hits / (double)alarms.n);
    return flawed < 0 ? 0 : rates_value(s->c, cai_arena_printf(a, "passed_flawed/%s", p->id), flawed);
}

/* The share of all first critiques that the second overseer would not have made so. */
static int put_disagreement(const struct second_look *s, struct cai_arena *a) {
    bool *differ = cai_arena_array(a, s->sample.n + 1, sizeof *differ);
    double *drawn = cai_arena_array(a, s->sample.n + 1, sizeof *drawn), error;
    size_t n = 0;
    for (size_t i = 0; i < s->sample.n; i++) {
        const struct store_example *e = &s->sample.at[i];
        const struct store_example *other = examples_find(&s->critiques, e->item, 0);
        if (!other)
            continue;
        differ[n] = example_flag(other, "found") == example_flag(e, "passed");
        drawn[n++] = example_number(e, "drawn", 1);
    }
    if (n == 0)
        return 0;
    CAI_TRY(rates_value(s->c, "disagreement", exact_weighted(differ, drawn, n, &error)));
    return rates_value(s->c, "disagreement_error", error);
}

int audit_second_figures(const struct stage_context *c, const struct canaries *l,
                         const struct audit_class *of, struct cai_arena *a) {
    struct second_look s = {.c = c};
    CAI_TRY(examples_load(c, c->round, c->stage, "passed", a, &s.sample));
    CAI_TRY(examples_load(c, c->round, c->stage, "passed_critique", a, &s.critiques));
    for (size_t i = 0; i < c->constitution->n_principles; i++)
        CAI_TRY(put_principle(&s, l, of, &c->constitution->principles[i], a));
    return put_disagreement(&s, a);
}
