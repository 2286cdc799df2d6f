/* ppo_batch.h: one PPO step's rollouts laid out for training: packs made once, one number
 * per reply token in flat arrays, and the arithmetic from log-probabilities and scores to
 * advantages. No weights move here. Private to the
 * runs with rollouts (ppo.c, ppo_step.c, policy.c). */
#ifndef CAI_LEARN_PPO_BATCH_H
#define CAI_LEARN_PPO_BATCH_H

#include "learn/packing.h"
#include "learn/reward.h"
#include "learn/rollout.h"
#include "learn/trainer.h"

enum { PPO_PM_MAX = 64 };

/* Mean and squared deviations of the scores seen so far. */
struct ppo_running {
    int64_t n;
    double mean, square;
};

struct ppo_models {
    struct trainer *policy, *value; /* value: NULL where the algorithm has none */
    const struct model *reference;
    struct reward_model *pm;
    size_t n_pm;
    struct ppo_running running[PPO_PM_MAX];
    double value_mean, value_std; /* the scale in which the value model predicts */
};

/* A row is a reply token; rows go by bin, then by rollout within it, then by position. */
struct ppo_batch {
    const struct rollouts *rollouts;
    struct packing p;
    size_t per_minibatch;  /* bins */
    size_t n_rows;
    size_t *bin_rows;      /* [bins + 1] */
    size_t *row_of;        /* [rollouts] first row of each */
    /* [n_rows] each */
    double *sampled, *old, *entropy, *reference, *value, *reward, *advantage, *returns;
    double *white; /* [n_rows] policy_whiten's; NULL unless whiten_over is "minibatch" */
    /* [rollouts] each */
    double *raw;           /* [rollouts × n_pm] scores as the members give them */
    double *score;         /* normalised, clipped, end rule applied */
    double *kl;            /* Σ over the reply of log π_old − log π_ref */
    uint64_t *group;       /* rising; replies to one draw of a prompt */
    uint8_t *used;         /* whether the policy learns from it */
    struct micro **policy_micro, **value_micro; /* [bins], made when first needed */
};

/* Packs depend on the lengths, the number of minibatches and, beyond four ranks, the
 * world; so one rank and two train on the same packs. */
int ppo_batch_new(const struct rollouts *r, const struct ppo_options *o, int world,
                  struct ppo_batch *ret);
void ppo_batch_free(struct ppo_batch *b);
/* The bin's micro-batch for the policy or the value model. */
int ppo_batch_micro(struct ppo_batch *b, const struct ppo_models *m, size_t bin, bool value,
                    struct micro **ret);

/* Collective: old log-probabilities, entropies, reference log-probabilities, values and
 * scores of all rows, each bin computed by one rank. */
int ppo_batch_evaluate(struct ppo_batch *b, const struct ppo_models *m,
                       const struct learn_task *t, const struct ppo_options *o);
/* Scores, KL, then the algorithm's advantages: host arithmetic over all rows, equal on every
 * rank. Without preference models the scores are there already (red.h). `step` counts from 0. */
int ppo_batch_advantages(struct ppo_batch *b, struct ppo_models *m, const struct ppo_options *o,
                         int64_t step, double kl_coef);

/* The value model predicts in the scale that value_mean and value_std name. */
double ppo_value_of(const struct ppo_models *m, double raw);

#endif
