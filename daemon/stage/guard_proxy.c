/* guard_proxy.c: is the preference model still a stand-in for people? Asked where it could tell:
 * there are people's pairs, or several members.
 * Phase: people/score (the members' scores of this round's replies and of the start's). Examples:
 * pm_score (k = 0: this round's reply, 1: the start's; {"mean", "spread"}).
 * Figures: pm_gain (_low _high, resampled): mean score above the start's replies; pm_spread,
 * pm_spread_start: mean deviation between the members; people_wrong_rise (_low _high _least): on
 * people's held-out pairs, this round's preference model against the one before.
 * `people` trips when the gain is above 0 for sure and the lower bound of the rise is above
 * guards.people; `disagreement` when pm_spread is above guards.disagreement times the start's. */
#include "stage/guard_look.h"

#include "base/error.h"
#include "stage/build.h"
#include "stage/models.h"
#include "stage/pairs.h"
#include "stage/rates.h"

#include <math.h>
#include <string.h>

enum { RESAMPLES = 1000, REPLIES = 200 };

/* ---- asking ----------------------------------------------------------------------------------- */
static int wanted(const struct stage_context *c, bool *ret) {
    size_t people;
    CAI_TRY(data_count(c, JOB_DATA_HUMAN, &people));
    *ret = c->job->prefer.enabled && (people > 0 || c->job->prefer.members > 1);
    return 0;
}

static int ask(struct builder *b, const struct stage_context *c, const struct store_example *e,
               uint32_t k) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, e->item, &a, &d));
    return build_reward_reply(b, e->item, k, d.turns, d.n, e->text);
}

int proxy_plan_scores(const struct stage_context *c, bool base) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct model_ref *pm;
    struct probes start, now;
    size_t n;
    bool want;
    (void)base;
    CAI_TRY(wanted(c, &want));
    int rc = want ? models_pm(c, c->round, &a, &pm, &n) : CAI_ENOTFOUND;
    if (rc == CAI_ENOTFOUND) {
        cai_error_clear();
        return 0;
    }
    CAI_TRY(rc);
    CAI_TRY(probes_load(c, 0, &a, &start));
    CAI_TRY(probes_load(c, c->round, &a, &now));
    struct items drawn = {cai_arena_array(&a, now.replies.n + 1, sizeof *drawn.at), now.replies.n};
    for (size_t i = 0; i < drawn.n; i++)
        drawn.at[i] = i;
    items_take(c, 0, "guard/proxy", REPLIES, &drawn);
    build_reward(&b, c, "people/score", 0, pm, n);
    for (size_t i = 0; i < drawn.n; i++) {
        const struct store_example *e = &now.replies.at[drawn.at[i]];
        const struct store_example *first = examples_find(&start.replies, e->item, 0);
        if (!first)
            continue;
        CAI_TRY(ask(&b, c, e, 0));
        CAI_TRY(ask(&b, c, first, 1));
    }
    return build_flush(&b);
}

int proxy_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                 const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Rewarded **r;
    size_t n;
    CAI_TRY(result_order_rewarded(task, result, &a, &r, &n));
    for (size_t i = 0; i < n; i++) {
        double mean = 0, square = 0, m = (double)r[i]->n_scores;
        if (r[i]->too_long)
            continue;
        for (size_t j = 0; j < r[i]->n_scores; j++)
            mean += r[i]->scores[j] / m;
        for (size_t j = 0; j < r[i]->n_scores; j++)
            square += (r[i]->scores[j] - mean) * (r[i]->scores[j] - mean) / m;
        CAI_TRY(example_put(c, r[i]->item, r[i]->k, "pm_score", "", NULL, task->reward->models[0]->hash,
                            json_pack("{s:f, s:f}", "mean", mean, "spread", sqrt(square))));
    }
    return 0;
}

/* ---- figures ---------------------------------------------------------------------------------- */
struct proxy {
    double gain, low, high, spread, spread_start;
    size_t n;
};

static int load(const struct look *l, struct proxy *ret) {
    const struct stage_context *c = l->c;
    struct examples scores;
    *ret = (struct proxy){0};
    CAI_TRY(probes_examples(c, c->round, "pm_score", l->arena, &scores));
    double *value = cai_arena_array(l->arena, scores.n + 1, sizeof *value);
    for (size_t i = 0; i < scores.n; i++) {
        const struct store_example *now = &scores.at[i], *start = examples_find(&scores, now->item, 1);
        if (now->k != 0 || !start)
            continue;
        value[ret->n] = example_number(now, "mean", 0) - example_number(start, "mean", 0);
        ret->gain += value[ret->n++];
        ret->spread += example_number(now, "spread", 0);
        ret->spread_start += example_number(start, "spread", 0);
    }
    if (ret->n == 0)
        return 0;
    ret->gain /= (double)ret->n;
    ret->spread /= (double)ret->n;
    ret->spread_start /= (double)ret->n;
    rates_bootstrap(cai_key_make(c->job->seed, c->round, "guard/proxy", 0, 0), value, ret->n, RESAMPLES,
                    0.95, &ret->low, &ret->high);
    return 0;
}

/* ---- people ----------------------------------------------------------------------------------- */
/* Whether round r's model takes the reply that people did not; −1: not asked. */
static int wrong_in(const struct examples *scores, const struct pair *pair, uint32_t round) {
    /* k of prefer.c: round << 16 | pass; people's pairs are taken up anew in each round */
    const struct store_example *e = examples_find(scores, pair->item, round << 16 | pair->pass);
    if (!e)
        return -1;
    return (example_number(e, "a", 0) > example_number(e, "b", 0)) != (pair->p > 0.5);
}

static int compare_people(const struct look *l, uint32_t now, uint32_t before, struct paired *ret) {
    struct examples new, old;
    struct pairs pairs;
    *ret = (struct paired){0};
    CAI_TRY(examples_load(l->c, now, "prefer", "score", l->arena, &new));
    CAI_TRY(examples_load(l->c, before, "prefer", "score", l->arena, &old));
    int rc = pairs_load(l->c, now, &pairs);
    for (size_t i = 0; i < pairs.n && rc == 0; i++)
        if (pairs.at[i].human && pairs.at[i].held_out && pairs.at[i].p != 0.5)
            paired_add(ret, wrong_in(&old, &pairs.at[i], before), wrong_in(&new, &pairs.at[i], now));
    free(pairs.at);
    return rc;
}

/* The newest round with a preference model up to `round`; 0 = none. */
static uint32_t model_round(const struct look *l, uint32_t round) {
    struct stage_context o = *l->c;
    for (o.round = round, o.stage = "prefer"; o.round > 0; o.round--)
        if (rates_known(&o, "held_out_asked"))
            return o.round;
    return 0;
}

size_t people_comparisons(const struct look *l) {
    size_t people;
    if (data_count(l->c, JOB_DATA_HUMAN, &people) < 0)
        cai_error_clear();
    return people > 0;
}

int people_judge(const struct look *l, struct finding *ret) {
    const struct stage_context *c = l->c;
    uint32_t now = model_round(l, c->round), before = now ? model_round(l, now - 1) : 0;
    double margin = c->job->guards.people;
    struct proxy p;
    struct paired wrong;
    CAI_TRY(load(l, &p));
    if (p.n == 0)
        return 0;
    CAI_TRY(look_record(c, p.gain, "pm_gain"));
    CAI_TRY(look_record(c, p.low, "pm_gain_low"));
    CAI_TRY(look_record(c, p.high, "pm_gain_high"));
    if (!before)
        return 0;
    CAI_TRY(compare_people(l, now, before, &wrong));
    if (wrong.n == 0)
        return 0;
    ret->looked = true;
    CAI_TRY(look_record_rise(l, "people_wrong", &wrong, margin));
    double over = paired_rise_low(&wrong, l->confidence) - margin;
    if (look_halts(l) && p.low > 0 && over > 0)
        look_trip(ret, over, l->last,
                  "people and the preference model part: it scores the replies %.2f above the start's "
                  "(%.2f to %.2f), and takes the reply that people did not in %.1f %% of %zu held-out "
                  "pairs (%.1f %% in round %u), a rise surely above guards.people = %g", p.gain, p.low,
                  p.high, 100 * paired_after(&wrong), wrong.n, 100 * paired_before(&wrong), before,
                  margin);
    return 0;
}

int disagreement_judge(const struct look *l, struct finding *ret) {
    double most = l->c->job->guards.disagreement;
    struct proxy p;
    CAI_TRY(load(l, &p));
    if (p.n == 0 || p.spread_start <= 0)
        return 0;
    ret->looked = true;
    CAI_TRY(look_record(l->c, p.spread, "pm_spread"));
    CAI_TRY(look_record(l->c, p.spread_start, "pm_spread_start"));
    if (most > 0 && p.spread > most * p.spread_start)
        look_trip(ret, 1, l->last,
                  "the preference models disagree by %.3f on the replies where they did by %.3f on the "
                  "start's, more than guards.disagreement = %g times: they were never shown the like",
                  p.spread, p.spread_start, most);
    return 0;
}
