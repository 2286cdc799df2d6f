/* audit_people.c: see audit_people.h. */
#include "stage/audit_people.h"

#include "base/error.h"
#include "stage/audit_second.h"
#include "stage/exact.h"
#include "stage/rates.h"
#include "stage/review.h"
#include <math.h>
#include <string.h>

static const double passed_share = 0.8; /* of what people read, as of the sample */

/* ---- drawing ------------------------------------------------------------------------------ */

struct parts {
    struct items of[2]; /* flagged, passed */
};

static size_t take_part(const struct stage_context *c, struct items *from, bool passed,
                        size_t want) {
    if (want == 0)
        from->n = 0;
    items_take(c, c->round, passed ? "audit/people-passed" : "audit/people-flagged", want, from);
    return from->n;
}

/* Where one part is too small, more of the other. */
static size_t split(const struct stage_context *c, const struct examples *sample,
                    struct cai_arena *a, uint64_t **ret) {
    size_t want = (size_t)c->job->human.audits, n[2];
    struct parts p;
    for (int k = 0; k < 2; k++)
        p.of[k] = (struct items){cai_arena_array(a, sample->n + 1, sizeof(uint64_t)), 0};
    for (size_t i = 0; i < sample->n; i++) {
        struct items *into = &p.of[example_flag(&sample->at[i], "passed")];
        into->at[into->n++] = sample->at[i].item;
    }
    n[1] = (size_t)llround(passed_share * (double)want);
    n[1] = n[1] < p.of[1].n ? n[1] : p.of[1].n;
    n[0] = want - n[1] < p.of[0].n ? want - n[1] : p.of[0].n;
    n[1] = want - n[0] < p.of[1].n ? want - n[0] : p.of[1].n;
    size_t flagged = take_part(c, &p.of[0], false, n[0]), passed = take_part(c, &p.of[1], true, n[1]);
    *ret = cai_arena_array(a, flagged + passed + 1, sizeof **ret);
    memcpy(*ret, p.of[0].at, flagged * sizeof **ret);
    memcpy(*ret + flagged, p.of[1].at, passed * sizeof **ret);
    return flagged + passed;
}

static int put_item(const struct stage_context *c, const struct store_example *e, uint32_t place,
                    bool second, struct cai_arena *a) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_AUTO(mem) char *reply = NULL;
    const struct principle *p = constitution_find(c->constitution, e->principle);
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "revise", e->item, "reply", 0, &reply,
                              NULL));
    CAI_TRY(data_dialog(c, e->item, a, &d));
    struct shown o = {
        .principle = p && p->critique ? p->critique : "",
        .question = "Has this reply a flaw of the kind that the text above speaks of?",
        .reply = {reply}, .critiques = json_array(), .messages = data_messages(d.turns, d.n),
        .kept = json_pack("{s:s, s:b, s:i, s:s, s:s}", "principle", e->principle, "grader",
                          !example_flag(e, "passed"), "round", (int)c->round, "revision",
                          c->constitution->revision, "from", "audit")};
    CAI_AUTO(mem) char *content = shown_content(&o);
    struct store_review_item i = {.job = c->job_id, .round = c->round, .kind = "audit",
                                  .item = e->item, .position = place, .drawn = "random",
                                  .second = second, .content = content};
    return store_review_item_add(c->store, &i, NULL);
}

static int draw(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(mem) char *gate = cai_format("reaudit-%u", c->round);
    struct examples sample;
    uint64_t *chosen;
    CAI_TRY(examples_load(c, c->round, c->stage, "passed", &a, &sample));
    size_t n = split(c, &sample, &a, &chosen);
    uint32_t *order = cai_arena_array(&a, n + 1, sizeof *order);
    if (n)
        cai_rng_permutation(cai_key_make(c->job->seed, c->round, "audit/people-order", 0, 0), n,
                            order);
    size_t second = (size_t)llround(c->job->human.overlap * (double)n);
    for (size_t i = 0; i < n; i++)
        CAI_TRY(put_item(c, examples_find(&sample, chosen[order[i]], 0), (uint32_t)i,
                         order[i] < second, &a));
    CAI_TRY(rates_value(c, "reaudits_drawn", (double)n));
    /* One reader alone can give what needs no second one. */
    return review_open_queue(c, "audit", gate, (int64_t)(n - second));
}

int audit_people_wait(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(book) struct book b = {0};
    bool closed;
    ret->next = STAGE_DONE;
    if (c->job->human.audits == 0)
        return 0;
    if (!rates_known(c, "reaudits_drawn"))
        CAI_TRY(draw(c));
    CAI_TRY(book_load(c->store, c->job_id, c->round, "audit", &b));
    return review_wait(c, "audit", &b, ret, &closed);
}

/* ---- what verdicts show ---------------------------------------------------------------------- */

bool reaudit_missed(const struct reaudit *r, double alpha, double *ret, double *ret_low,
                    double *ret_high) {
    double passed = (double)r->all_passed, flagged = (double)r->all_flagged, half = alpha / 2;
    *ret = *ret_low = 0;
    *ret_high = 1;
    if ((r->passed.n == 0 && r->all_passed > 0) || (r->flagged.n == 0 && r->all_flagged > 0) ||
        r->passed.hits + r->flagged.hits == 0)
        return false;
    double f = r->passed.n ? passed * (double)r->passed.hits / (double)r->passed.n : 0;
    double g = r->flagged.n ? flagged * (double)r->flagged.hits / (double)r->flagged.n : 0;
    double low = passed * exact_low(r->passed.hits, r->passed.n, half);
    double high = passed * exact_high(r->passed.hits, r->passed.n, half);
    double most = flagged * exact_high(r->flagged.hits, r->flagged.n, half);
    double least = flagged * exact_low(r->flagged.hits, r->flagged.n, half);
    *ret = f / (f + g);
    *ret_low = low > 0 ? low / (low + most) : 0;
    *ret_high = high > 0 ? high / (high + least) : 0;
    return true;
}

struct verdicts {
    struct reaudit all, *of; /* by the constitution's index */
    size_t undecided;
};

static int count(const struct stage_context *c, struct cai_arena *a, struct verdicts *ret) {
    CAI_AUTO(book) struct book b = {0};
    struct examples critiques;
    *ret = (struct verdicts){.of = cai_arena_array(a, c->constitution->n_principles + 1,
                                                   sizeof *ret->of)};
    CAI_TRY(examples_load(c, c->round, "revise", "critique", a, &critiques));
    CAI_TRY(book_load(c->store, c->job_id, c->round, "audit", &b));
    for (size_t i = 0; i < critiques.n; i++) {
        const struct principle *p = constitution_find(c->constitution, critiques.at[i].principle);
        bool passed = example_flag(&critiques.at[i], "no_flaw");
        if (critiques.at[i].k != 1 || !p)
            continue;
        struct reaudit *r = &ret->of[p - c->constitution->principles];
        ++*(passed ? &r->all_passed : &r->all_flagged);
        ++*(passed ? &ret->all.all_passed : &ret->all.all_flagged);
    }
    for (size_t i = 0; i < b.n; i++) {
        const struct book_item *x = &b.at[i];
        const char *id = json_string_value(json_object_get(book_kept(x), "principle"));
        bool flagged = json_is_true(json_object_get(book_kept(x), "grader"));
        const struct principle *p = id ? constitution_find(c->constitution, id) : NULL;
        if (!p || x->n_final == 0)
            continue;
        if (x->state == REVIEW_DISPUTED || x->verdict == 4) {
            ret->undecided++;
            continue;
        }
        struct reaudit *r = &ret->of[p - c->constitution->principles];
        struct audit_count *to[2] = {flagged ? &r->flagged : &r->passed,
                                     flagged ? &ret->all.flagged : &ret->all.passed};
        for (size_t k = 0; k < CAI_COUNT(to); k++) {
            to[k]->n++;
            to[k]->hits += x->verdict > 4;
        }
    }
    return 0;
}

static int put(const struct stage_context *c, const char *name, double value, double low,
               double high, size_t n, struct cai_arena *a) {
    CAI_TRY(rates_value(c, name, value));
    CAI_TRY(rates_value(c, cai_arena_printf(a, "%s_low", name), low));
    CAI_TRY(rates_value(c, cai_arena_printf(a, "%s_high", name), high));
    return rates_value(c, cai_arena_printf(a, "%s_n", name), (double)n);
}

/* id NULL: of all principles together. */
static int put_figures(const struct stage_context *c, const struct reaudit *r, const char *id,
                       struct cai_arena *a) {
    double missed, low, high;
    const char *dash = id ? "/" : "", *of = id ? id : "";
    if (reaudit_missed(r, 0.025, &missed, &low, &high))
        CAI_TRY(put(c, cai_arena_printf(a, "missed%s%s", dash, of), missed, low, high,
                    r->passed.n + r->flagged.n, a));
    if (r->passed.n == 0)
        return 0;
    return put(c, cai_arena_printf(a, "passed_wrong%s%s", dash, of),
               (double)r->passed.hits / (double)r->passed.n,
               exact_low(r->passed.hits, r->passed.n, 0.025),
               exact_high(r->passed.hits, r->passed.n, 0.025), r->passed.n, a);
}

static void alarm_of(const struct reaudit *r, const char *id, double level,
                     const struct audit_limits *limits, struct cai_arena *a,
                     struct audit_alarms *io) {
    double missed, low, high;
    if (!reaudit_missed(r, level, &missed, &low, &high) || 1 - low >= limits->least_recall)
        return;
    audit_alarm(io, cai_arena_printf(
                        a, "people read again what it judged%s%s%s: they find a flaw in %zu of %zu "
                        "replies that it passed, so that it finds %.1f %% of what is flawed, surely "
                        "below %.1f %%; stages.audit.least_recall is %g",
                        id ? " under '" : "", id ? id : "", id ? "'" : "", r->passed.hits,
                        r->passed.n, 100 * (1 - missed), 100 * (1 - low), limits->least_recall));
}

int audit_people_judge(const struct stage_context *c, const struct audit_limits *limits,
                       struct cai_arena *a, struct audit_alarms *io) {
    struct verdicts v;
    size_t tested = 1;
    if (c->job->human.audits == 0)
        return 0;
    CAI_TRY(count(c, a, &v));
    for (size_t i = 0; i < c->constitution->n_principles; i++)
        tested += v.of[i].passed.n > 0;
    double alpha = c->job->audit.alpha > 0 ? c->job->audit.alpha : 0.01;
    double level = 0.5 * alpha / ((double)(c->job->rounds > 0 ? c->job->rounds : 1) * (double)tested);
    for (size_t i = 0; i < c->constitution->n_principles; i++) {
        const char *id = c->constitution->principles[i].id;
        CAI_TRY(put_figures(c, &v.of[i], id, a));
        alarm_of(&v.of[i], id, level, limits, a, io);
    }
    CAI_TRY(put_figures(c, &v.all, NULL, a));
    alarm_of(&v.all, NULL, level, limits, a, io);
    CAI_TRY(rates_value(c, "reaudits", (double)(v.all.passed.n + v.all.flagged.n)));
    return rates_value(c, "reaudits_undecided", (double)v.undecided);
}
