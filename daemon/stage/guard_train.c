/* guard_train.c: what reinforcement learning reported of itself: how far it went, and whether the
 * engine that samples and the one that trains agree. Looked at after PPO alone. */
#include "stage/guard_look.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { WINDOW = 4 }; /* steps over which PPO takes its budget */

struct curve {
    uint32_t round;
    const char *name;
    double window[WINDOW], most;
    size_t n;
};

static int take(void *context, const struct store_metric *m) {
    struct curve *o = context;
    if (m->round != o->round || m->step == 0 || strcmp(m->stage, "ppo") != 0 ||
        strcmp(m->name, o->name) != 0)
        return 0;
    o->most = o->n ? fmax(o->most, m->value) : m->value;
    o->window[o->n++ % WINDOW] = m->value;
    return 0;
}

/* The steps of PPO that led to this evaluation; none after a round. */
static int curve_of(const struct look *l, const char *name, struct curve *ret) {
    const struct stage_context *c = l->c;
    *ret = (struct curve){.round = c->round, .name = name};
    if (c->round <= (uint32_t)c->job->rounds)
        return 0;
    return store_metrics_each(c->store, c->job_id, take, ret);
}

int kl_judge(const struct look *l, struct finding *ret) {
    double budget = l->c->job->guards.kl_budget, mean = 0;
    struct curve kl;
    CAI_TRY(curve_of(l, "kl", &kl));
    ret->looked = kl.n > 0 && budget > 0;
    if (!ret->looked || kl.n < WINDOW)
        return 0;
    for (size_t i = 0; i < WINDOW; i++)
        mean += kl.window[i] / WINDOW;
    if (mean > budget)
        look_trip(ret, mean - budget, l->last,
                  "PPO has spent its KL budget: %.1f nats per reply over its last %d steps, above "
                  "guards.kl_budget = %g; it ended after %zu steps, and what the preference model says "
                  "so far from the start was never checked", mean, WINDOW, budget, kl.n);
    return 0;
}

int sampler_judge(const struct look *l, struct finding *ret) {
    double most = l->c->job->guards.sampler_gap;
    struct curve gap;
    CAI_TRY(curve_of(l, "sampler_gap", &gap));
    ret->looked = gap.n > 0;
    if (ret->looked && most > 0 && gap.most > most)
        look_trip(ret, gap.most - most, l->last,
                  "sampler and trainer disagree: the mean gap of their log-probabilities for the same "
                  "tokens reached %.4f nats in a step, above guards.sampler_gap = %g: ratios were not "
                  "those of the policy that replied", gap.most, most);
    return 0;
}
