/* ppo_reward.c: see ppo_reward.h. */
#include "learn/ppo_reward.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/loss.h"

#include <math.h>

/* The value model predicts what replies earn: scores as far as they are trusted. */
static void value_scale(struct ppo_models *m, double mean, double std, double trust) {
    m->value_mean = trust > 0 ? mean : 0;
    m->value_std = trust > 0 ? std / trust : 1;
}

void ppo_reward_begin(struct ppo_models *m, const struct ppo_options *o) {
    enum ppo_normalise how = o->normalise;
    value_scale(m, m->pm[0].norm.mean, m->pm[0].norm.std, o->trust);
    for (size_t k = 0; k < m->n_pm; k++) {
        m->running[k] = (struct ppo_running){0};
        if (how == NORMALISE_RUNNING || how == NORMALISE_NONE)
            m->pm[k].norm.mean = 0;
        if (how == NORMALISE_NONE)
            m->pm[k].norm.std = 1;
    }
    if (how == NORMALISE_NONE)
        value_scale(m, 0, 1, o->trust);
}

/* Welford's update with each score in turn. */
static void run_on(struct ppo_running *r, double x) {
    double d = x - r->mean;
    r->n++;
    r->mean += d / (double)r->n;
    r->square += d * (x - r->mean);
}

static int fit_member(struct ppo_models *m, const struct ppo_batch *b, size_t k, bool shift) {
    struct ppo_running *r = &m->running[k];
    struct reward_norm *norm = &m->pm[k].norm;
    for (size_t i = 0; i < b->rollouts->n; i++)
        run_on(r, b->raw[i * m->n_pm + k]);
    norm->std = r->n > 1 ? sqrt(r->square / (double)(r->n - 1)) : 0;
    norm->mean = shift ? r->mean : 0;
    if (!(norm->std > 1e-8))
        return cai_fail(CAI_ENUMERIC, "preference model %zu gives every reply the same score "
                        "(deviation %g over %lld replies)", k, norm->std, (long long)r->n);
    return 0;
}

int ppo_reward_fit(struct ppo_models *m, const struct ppo_options *o, const struct ppo_batch *b,
                   int64_t step) {
    bool reference = o->normalise == NORMALISE_REFERENCE;
    if (o->normalise != NORMALISE_RUNNING && !(reference && step == 0))
        return 0;
    for (size_t k = 0; k < m->n_pm; k++)
        CAI_TRY(fit_member(m, b, k, reference));
    if (reference)
        value_scale(m, m->pm[0].norm.mean, m->pm[0].norm.std, o->trust);
    return 0;
}

double ppo_reward_of(const struct ppo_batch *b, const struct ppo_models *m,
                     const struct ppo_options *o, size_t i) {
    double x[PPO_PM_MAX];
    bool ended = b->rollouts->r[i].ended;
    for (size_t k = 0; k < m->n_pm; k++)
        x[k] = (b->raw[i * m->n_pm + k] - m->pm[k].norm.mean) / m->pm[k].norm.std;
    double score = o->trust * loss_ensemble(x, m->n_pm, o->pm_worst, o->pm_variance);
    if (o->reward_clip > 0)
        score = fmin(fmax(score, -o->reward_clip), o->reward_clip);
    if (ended || o->no_end == NO_END_KEEP)
        return score;
    return o->no_end == NO_END_ADD ? score + o->no_end_reward : o->no_end_reward;
}

/* ---- resumable state ------------------------------------------------------------------ */

json_t *ppo_reward_state(const struct ppo_models *m) {
    json_t *members = json_array();
    for (size_t k = 0; k < m->n_pm; k++)
        json_array_append_new(members, json_pack("[f, f, I, f, f]", m->pm[k].norm.mean,
                                                 m->pm[k].norm.std, (json_int_t)m->running[k].n,
                                                 m->running[k].mean, m->running[k].square));
    json_t *o = json_pack("{s:o, s:[f, f]}", "members", members, "value", m->value_mean,
                          m->value_std);
    CAI_CHECK(o != NULL);
    return o;
}

bool ppo_reward_restore(struct ppo_models *m, const json_t *state) {
    const json_t *members = json_object_get(state, "members");
    json_t *value = json_object_get(state, "value");
    if (json_array_size(members) != m->n_pm ||
        json_unpack(value, "[F, F]", &m->value_mean, &m->value_std) < 0)
        return false;
    for (size_t k = 0; k < m->n_pm; k++) {
        json_int_t n;
        if (json_unpack(json_array_get(members, k), "[F, F, I, F, F]", &m->pm[k].norm.mean,
                        &m->pm[k].norm.std, &n, &m->running[k].mean, &m->running[k].square) < 0)
            return false;
        m->running[k].n = n;
    }
    return true;
}
