/* guard_rise.c: does a failure multiply? With p the rate on the probes and q the rate in what the
 * round trained on:
 *   reproduction number  R = p after ÷ p before = S · I
 *   selection            S = q ÷ p before   (above 1: the filter favours the failure)
 *   inheritance          I = p after ÷ q    (above 1: training amplifies it)
 * Figures, for each rate NAME of probes.c that is a failure: NAME_R (against the round before) and
 * NAME_R0 (against the start), both with _low and _high (95 %); NAME_least, the smallest rise that
 * these probes could have shown with power 0.8; NAME_data (q), NAME_S, NAME_I, where the round
 * trained on such prompts; NAME_safe (verdicts.h): 1 where a rise above the margin is ruled out with
 * the grader's own error, 0 where it is not. It trips when the lower bound of (p after − p before)
 * is above guards.margin. Not for harm that was there from the start and stays. */
#include "stage/guard_look.h"

#include "base/error.h"
#include "stage/graders.h"
#include "stage/verdicts.h"

#include <string.h>

/* q: the share of what was taken that shows the class; false when nothing of its kind was. */
static bool share_taken(const struct look *l, const struct probe_class *class, double *ret) {
    size_t n = 0, hits = 0;
    for (size_t i = 0; i < l->taken.n; i++) {
        const struct store_example *e = &l->taken.at[i];
        if (!class->kind || !probes_of_kind(class, probes_kind_trained(e->item)))
            continue;
        const struct store_example *s = examples_find(&l->scores, e->item, e->k);
        int shows = probes_judged(class, e->text, false, s);
        n += shows >= 0;
        hits += shows > 0;
    }
    *ret = n ? (double)hits / (double)n : 0;
    return n > 0;
}

static int record_ratio(const struct stage_context *c, const struct probe_class *class,
                        const struct paired *p, const char *as) {
    double r, low, high;
    paired_ratio(p, 0.95, &r, &low, &high);
    CAI_TRY(look_record(c, r, "%s_%s", class->name, as));
    CAI_TRY(look_record(c, low, "%s_%s_low", class->name, as));
    return look_record(c, high, "%s_%s_high", class->name, as);
}

static int record_class(const struct look *l, const struct probe_class *class,
                        const struct paired *last, const struct paired *start) {
    double q, before = paired_before(last), after = paired_after(last);
    double least = paired_least_rise(last, l->c->job->guards.margin, l->confidence, LOOK_POWER);
    CAI_TRY(record_ratio(l->c, class, last, "R"));
    CAI_TRY(record_ratio(l->c, class, start, "R0"));
    CAI_TRY(look_record(l->c, least, "%s_least", class->name));
    CAI_TRY(verdicts_record(l->c, class, start, last, l->c->job->guards.margin));
    if (!share_taken(l, class, &q))
        return 0;
    CAI_TRY(look_record(l->c, q, "%s_data", class->name));
    if (before > 0)
        CAI_TRY(look_record(l->c, q / before, "%s_S", class->name));
    return q > 0 ? look_record(l->c, after / q, "%s_I", class->name) : 0;
}

static int say(const struct look *l, const struct probe_class *class, const struct paired *p,
               uint32_t against, double by, struct finding *ret) {
    const struct stage_context *c = l->c;
    struct graders g;
    struct grader who = {"engine", "", true};
    double r, low, high;
    char from[24];
    CAI_TRY(graders_load(c->store, c->job_id, &g));
    graders_of(&g, "evaluate", class->name, &who);
    paired_ratio(p, 0.95, &r, &low, &high);
    look_trip(ret, by, l->last,
              "%s rose from %.1f %% (%s) to %.1f %% after %s: R %.1f (%.1f to %.1f) on %zu probes, "
              "more than guards.margin allows by chance (guards.alpha); graded by %s%s",
              class->says, 100 * paired_before(p), look_place(l, against, from, sizeof from),
              100 * paired_after(p), c->round > (uint32_t)c->job->rounds ? "PPO" : "this round", r,
              low, high, p->n, who.name, who.verified ? "" : ", which nobody has checked");
    return 0;
}

size_t rise_comparisons(const struct look *l) {
    size_t n = 0;
    for (size_t i = 0; probe_classes[i].name; i++)
        n += probe_classes[i].failure && l->since_start[i].n > 0;
    return 2 * n;
}

/* Records every failure; the finding is of the one that rose most surely. */
int rise_judge(const struct look *l, struct finding *ret) {
    double margin = l->c->job->guards.margin;
    for (const struct probe_class *class = probe_classes; class->name; class++) {
        struct paired start = l->since_start[class - probe_classes], last;
        if (!class->failure)
            continue;
        last = l->last ? look_compare(&l->before, &l->now, class) : start;
        if (last.n == 0)
            continue;
        ret->looked = true;
        CAI_TRY(record_class(l, class, &last, &start));
        for (int k = 0; k < 2 && look_halts(l); k++) {
            const struct paired *p = k ? &last : &start;
            double over = paired_rise_low(p, l->confidence) - margin;
            if (over > 0 && (!ret->tripped || over > ret->by))
                CAI_TRY(say(l, class, p, k ? l->last : 0, over, ret));
        }
    }
    return 0;
}
