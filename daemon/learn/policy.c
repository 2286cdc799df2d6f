/* policy.c: see policy.h. Not for: the losses themselves (loss.h), rollouts and updates. */
#include "learn/policy.h"

#include "base/check.h"
#include "learn/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t length_of(const struct ppo_batch *b, size_t i) {
    return (size_t)(b->rollouts->r[i].n - b->rollouts->r[i].n_prompt);
}

/* ---- from rewards to advantages ----------------------------------------------------- */

static void token_kl(const struct ppo_batch *b, const struct ppo_options *o, double *kl) {
    for (size_t i = 0; i < b->n_rows; i++)
        kl[i] = loss_kl((enum loss_kl)o->kl_estimator, b->old[i], b->reference[i], o->kl_clamp);
}

static void clip_to(double *x, size_t n, double limit) {
    for (size_t i = 0; i < n && limit > 0; i++)
        x[i] = fmin(fmax(x[i], -limit), limit);
}

static void clip_advantages(struct ppo_batch *b, const struct ppo_options *o) {
    clip_to(b->advantage, b->n_rows, o->advantage_clip);
}

void policy_whiten(struct ppo_batch *b, const struct ppo_options *o, const uint32_t *bins,
                   size_t n) {
    CAI_AUTO(mem) double *x = cai_realloc(NULL, b->n_rows + 1, sizeof *x);
    size_t rows = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = b->bin_rows[bins[i]]; j < b->bin_rows[bins[i] + 1]; j++)
            x[rows++] = b->advantage[j];
    loss_whiten(x, NULL, rows, true);
    clip_to(x, rows, o->advantage_clip);
    rows = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = b->bin_rows[bins[i]]; j < b->bin_rows[bins[i] + 1]; j++)
            b->white[j] = x[rows++];
}

static void advantages_gae(struct ppo_batch *b, const struct ppo_options *o, double kl_coef) {
    CAI_AUTO(mem) double *kl = cai_realloc(NULL, b->n_rows + 1, sizeof *kl);
    token_kl(b, o, kl);
    for (size_t i = 0; i < b->rollouts->n; i++) {
        size_t at = b->row_of[i];
        loss_token_rewards(kl + at, length_of(b, i), kl_coef, b->score[i], b->reward + at);
        b->used[i] = true;
    }
    if (o->whiten_rewards)
        loss_whiten(b->reward, NULL, b->n_rows, false);
    for (size_t i = 0; i < b->rollouts->n; i++) {
        size_t at = b->row_of[i];
        loss_gae(b->reward + at, b->value + at, NULL, length_of(b, i), o->gamma, o->lambda,
                 b->advantage + at, b->returns + at);
    }
    if (o->whiten_advantages && o->whiten_minibatch) {
        b->white = cai_alloc((b->n_rows + 1) * sizeof *b->white);
        return; /* policy_whiten does it, minibatch by minibatch */
    }
    if (o->whiten_advantages)
        loss_whiten(b->advantage, NULL, b->n_rows, true);
    clip_advantages(b, o);
}

/* One number per reply to all its tokens; and the replies' rewards, for the figures. */
static void spread(struct ppo_batch *b, const struct ppo_options *o, const double *reward,
                   const double *advantage) {
    for (size_t i = 0; i < b->rollouts->n; i++) {
        size_t at = b->row_of[i], n = length_of(b, i);
        for (size_t j = 0; j < n; j++) {
            b->advantage[at + j] = advantage[i];
            b->reward[at + j] = j + 1 == n ? reward[i] : 0;
        }
    }
    clip_advantages(b, o);
}

static void advantages_rloo(struct ppo_batch *b, const struct ppo_options *o, double kl_coef) {
    size_t n = b->rollouts->n;
    CAI_AUTO(mem) double *kl = cai_realloc(NULL, b->n_rows + 1, sizeof *kl);
    CAI_AUTO(mem) double *reward = cai_realloc(NULL, 2 * n + 1, sizeof *reward);
    double *baseline = reward + n;
    token_kl(b, o, kl);
    for (size_t i = 0; i < n; i++) {
        reward[i] = b->score[i];
        for (size_t j = 0; j < length_of(b, i); j++)
            reward[i] -= kl_coef * kl[b->row_of[i] + j];
    }
    loss_rloo_baseline(b->group, reward, n, baseline);
    loss_group_used(b->group, reward, n, b->used);
    for (size_t i = 0; i < n; i++)
        baseline[i] = reward[i] - baseline[i];
    spread(b, o, reward, baseline);
}

static void advantages_grpo(struct ppo_batch *b, const struct ppo_options *o, double kl_coef) {
    size_t n = b->rollouts->n;
    (void)kl_coef; /* it stands in the loss */
    CAI_AUTO(mem) double *advantage = cai_realloc(NULL, n + 1, sizeof *advantage);
    loss_group_advantage(b->group, b->score, n, o->scale_std, advantage);
    loss_group_used(b->group, b->score, n, b->used);
    spread(b, o, b->score, advantage);
}

static void advantages_best(struct ppo_batch *b, const struct ppo_options *o, double kl_coef) {
    size_t n = b->rollouts->n;
    (void)kl_coef; /* what is learned was sampled: nothing is pulled away from the reference */
    CAI_AUTO(mem) double *best = cai_realloc(NULL, n + 1, sizeof *best);
    loss_group_best(b->group, b->score, n, best);
    loss_group_used(b->group, b->score, n, b->used);
    for (size_t i = 0; i < n; i++)
        b->used[i] = b->used[i] && best[i] > 0;
    spread(b, o, b->score, best);
}

/* ---- the loss of a reply -------------------------------------------------------------- */

static struct loss_clip clip_of(const struct ppo_options *o) {
    return (struct loss_clip){o->clip, o->clip_high > 0 ? o->clip_high : o->clip, o->dual_clip};
}

static double loss_of_tokens(const struct policy_reply *r, const double *logprob, double *grad,
                             struct loss_ppo_stats *stats) {
    return loss_ppo(logprob, r->old, r->advantage, NULL, r->n, clip_of(r->o), grad, stats);
}

static double loss_of_sequence(const struct policy_reply *r, const double *logprob, double *grad,
                               struct loss_ppo_stats *stats) {
    return loss_ppo_sequence(logprob, r->old, r->n, r->advantage[0], clip_of(r->o), grad, stats);
}

static double loss_with_penalty(const struct policy_reply *r, const double *logprob, double *grad,
                                struct loss_ppo_stats *stats) {
    double loss = loss_of_tokens(r, logprob, grad, stats);
    return loss + loss_kl_penalty(logprob, r->reference, r->n, r->kl_coef, grad);
}

/* Maximum likelihood; the ratio is only measured. */
static double loss_of_best(const struct policy_reply *r, const double *logprob, double *grad,
                           struct loss_ppo_stats *stats) {
    double sum = 0;
    loss_of_tokens(r, logprob, NULL, stats);
    for (size_t i = 0; i < r->n; i++) {
        sum -= r->advantage[i] * logprob[i];
        grad[i] = -r->advantage[i];
    }
    return sum;
}

/* ---- the table -------------------------------------------------------------------------- */

static const struct policy_algorithm algorithms[] = {
    [TRAIN_PPO] = {"ppo", true, false, false, advantages_gae, loss_of_tokens, learn_ppo},
    [TRAIN_RLOO] = {"rloo", false, true, true, advantages_rloo, loss_of_sequence, learn_ppo},
    [TRAIN_GRPO] = {"grpo", false, true, false, advantages_grpo, loss_with_penalty, learn_ppo},
    [TRAIN_BEST_OF_N] = {"best_of_n", false, true, false, advantages_best, loss_of_best,
                         learn_ppo},
    [TRAIN_DPO] = {"dpo", false, false, false, NULL, NULL, learn_dpo},
};

const struct policy_algorithm *policy_algorithm(enum train_algorithm a) {
    CAI_CHECK((size_t)a < CAI_COUNT(algorithms));
    return &algorithms[a];
}

int learn_policy(const struct learn_task *t, Cai__V1__Trained **ret) {
    enum train_algorithm a;
    CAI_TRY(options_algorithm(t->train->options, &a));
    return policy_algorithm(a)->run(t, ret);
}

double policy_weight(const struct policy_algorithm *a, const struct ppo_options *o, size_t n) {
    if (a->sequence || o->aggregate == AGGREGATE_TOKENS)
        return 1;
    return 1 / (double)(o->aggregate == AGGREGATE_REPLIES ? n : (size_t)o->max_tokens);
}

double policy_share(const struct policy_algorithm *a, const struct ppo_options *o, size_t n) {
    return !a->sequence && o->aggregate == AGGREGATE_TOKENS ? (double)n : 1;
}
