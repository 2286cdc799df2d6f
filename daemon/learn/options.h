/* options.h: the settings of a training run, read from Train.options (JSON): the stage's
 * resolved settings from the job file. The one place that says which members are needed.
 * A missing or wrong member is CAI_EINPUT naming it; there are no defaults here.
 *
 * Common, flat in the stage's object ("optimizer": numbers of struct job_optimizer):
 *   lr weight_decay beta1 beta2 eps clip_norm warmup batch   numbers
 *   schedule                                 "constant" "linear" "cosine" "inverse_sqrt"
 * sft:        epochs
 * pm:         epochs members
 * classifier: epochs held_out (share held out when no row of the dataset names its split)
 * ppo:        steps rollouts epochs minibatches clip value_clip gamma lambda value_coef
 *             kl_coef kl_target kl_horizon (or an object "kl" with coef, target, horizon)
 *             whiten_advantages whiten_rewards reward_clip no_end_reward value_lr
 *             checkpoint_every helpful, an object "rollout" with temperature top_p max_tokens,
 *             and kl_budget (guards.kl_budget of the job, added by the stage; 0 = no limit).
 *             `batch` is not read: a step's minibatches are shares of its rollouts.
 * ppo with algorithm "dpo": kl_coef and the like are not read, but an object "dpo" with
 *             beta batch epochs.
 * red:        as ppo, with algorithm "rloo", "grpo" or "best_of_n" and kl_coef = α; an object
 *             "red" with alpha penalty question, and "reply" with temperature top_p max_tokens.
 *   zero              1 (and without it): ranks share AdamW's moments; 0: each keeps all
 *   bucket            struct train_optimizer; no job sets it
 *   micro_batch_tokens recompute   struct train_optimizer
 * Optional, because their absence means "off", or the first of the words:
 *   lora              all: an object with rank alpha targets; without it whole weights
 *   train_dtype       all: "bfloat16": matrix products in it; weights and sums stay float32
 *   batch_tokens      sft: struct train_optimizer
 *   checkpoint_every  sft, pm, classifier, dpo: steps between resumable states
 *   fault_every       all: struct saving, in place of checkpoint_every
 *   loss_spike max_skipped  struct train_guard
 *   centre margin average trunk  pm: terms of loss_bradley_terry; the members' weights
 *                     averaged; "shared": they are heads over one trunk
 *   algorithm group scale aggregate pm_combine pm_variance normalise no_end value_from
 *   value_warmup clip_high dual_clip advantage_clip max_ratio eps_place whiten_over and of the
 *   object "kl" estimator, clamp, stop, and "ptx" coef, batch; samples sample_every: struct
 *                     ppo_options
 *   clear             pm, dpo: |p − 1/2| up to which a label decides nothing; 0.1 without it
 *   trust             ppo: 1 without it */
#ifndef CAI_LEARN_OPTIONS_H
#define CAI_LEARN_OPTIONS_H

#include "hf/adapter.h"

#include <stdbool.h>
#include <stdint.h>

enum train_schedule { TRAIN_CONSTANT, TRAIN_LINEAR, TRAIN_COSINE, TRAIN_INVERSE_SQRT };
/* Whether layers are computed once more in backward; auto: trainer_should_recompute(). */
enum train_recompute { RECOMPUTE_AUTO, RECOMPUTE_ALWAYS, RECOMPUTE_NEVER };

struct train_optimizer {
    double lr, weight_decay, beta1, beta2, eps;
    double clip_norm; /* 0 = not clipped */
    double warmup;    /* share of the steps, linear from 0 */
    enum train_schedule schedule;
    int64_t batch;    /* rows per step, all ranks together */
    int64_t batch_tokens; /* > 0: about so many learned tokens per step instead (supervise.h) */
    int64_t micro_batch_tokens; /* aimed at; 0 = packing.h's */
    enum train_recompute recompute;
    bool whole_moments; /* every rank keeps all of AdamW's moments: no ZeRO-1 */
    int64_t bucket;     /* elements summed over ranks at a time, at least; 0 = shard.h's */
    double fault_every; /* seconds between faults, for saving.h; 0 = checkpoint_every counts */
};

/* When an update is left out rather than taken. */
struct train_guard {
    double loss_spike;   /* deviations above the running mean of the loss; 0 = not watched */
    int64_t max_skipped; /* updates left out in a row that end the run; 0 = 3 */
};

struct sft_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    bool half;              /* matrix products in bfloat16 */
    struct train_guard guard;
    int64_t epochs, checkpoint_every;
};

struct pm_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    bool half;              /* matrix products in bfloat16 */
    struct train_guard guard;
    int64_t epochs, members, checkpoint_every;
    double centre, margin;
    double clear; /* targets within this of 1/2 decide nothing */
    bool average; /* one model of the members' mean weights (Ramé et al. 2024, WARM) */
    bool shared;  /* the members are heads over one trunk */
};

struct classifier_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    bool half;              /* matrix products in bfloat16 */
    struct train_guard guard;
    int64_t epochs, checkpoint_every;
    double held_out;
};

/* What a red model is rewarded for, beside the settings of its run (red.h). */
struct red_options {
    double alpha;    /* share of the tie to where the run began in the objective */
    double penalty;  /* of a rollout that is no usable prompt */
    bool question;   /* a prompt must ask something */
    double temperature, top_p; /* of the target's replies */
    int64_t max_tokens;
};

/* The rows of the table in policy.h. */
enum train_algorithm { TRAIN_PPO, TRAIN_RLOO, TRAIN_GRPO, TRAIN_BEST_OF_N, TRAIN_DPO };
enum ppo_normalise { NORMALISE_PAIRS, NORMALISE_REFERENCE, NORMALISE_RUNNING, NORMALISE_NONE };
enum ppo_no_end { NO_END_REPLACE, NO_END_ADD, NO_END_KEEP };
enum ppo_aggregate { AGGREGATE_TOKENS, AGGREGATE_REPLIES, AGGREGATE_FIXED };

/* For what each does and whose default it is, daemon/job/settings.c. */
struct ppo_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    bool half;              /* matrix products in bfloat16 */
    struct train_guard guard; /* of it max_skipped */
    enum train_algorithm algorithm;
    int64_t steps, rollouts, epochs, minibatches, checkpoint_every, max_tokens;
    int64_t samples, sample_every; /* replies of a step reported; steps between, 0 = 25 in a run */
    int64_t group; /* replies to each prompt; 1 where the algorithm compares none */
    double clip, clip_high, dual_clip, advantage_clip, max_ratio;
    double value_clip, gamma, lambda, value_coef, value_lr;
    int64_t value_warmup;    /* first steps that train the value model alone */
    bool value_from_policy;  /* else from the first preference model */
    double kl_coef, kl_target, kl_horizon, kl_budget, kl_clamp, kl_stop;
    int kl_estimator;        /* enum loss_kl */
    bool whiten_advantages, whiten_rewards;
    bool whiten_minibatch;   /* advantages, by the moments of each minibatch */
    bool scale_std;          /* grpo: advantages divided by the group's deviation */
    enum ppo_aggregate aggregate;
    enum ppo_normalise normalise;
    double trust; /* what scores are multiplied by: how far they are borne out, 0 to 1 */
    enum ppo_no_end no_end;
    bool pm_worst;           /* the lowest member's score counts, not their mean */
    bool eps_tensorflow;
    double ptx_coef;   /* weight of the loss of rows mixed in; 0: none */
    int64_t ptx_batch; /* such rows per update, all ranks together */
    double reward_clip, no_end_reward, helpful, temperature, top_p, pm_variance;
};

struct dpo_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    bool half;              /* matrix products in bfloat16 */
    struct train_guard guard;
    int64_t epochs, checkpoint_every;
    double beta;
    double clear; /* as of pm_options */
    bool eps_tensorflow;
};

int options_sft(const char *json, struct sft_options *ret);
int options_pm(const char *json, struct pm_options *ret);
int options_classifier(const char *json, struct classifier_options *ret);
/* The algorithm that options of the stage ppo name. */
int options_algorithm(const char *json, enum train_algorithm *ret);
int options_ppo(const char *json, struct ppo_options *ret);
int options_dpo(const char *json, struct dpo_options *ret);
int options_red(const char *json, struct red_options *ret);

/* The learning rate of step `step` (from 0) of `steps`: linear warm-up over warmup·steps,
 * then constant, or down to 0 by a line or a half cosine, or with 1 / √step (Vaswani et al.
 * 2017, §5.3). */
double train_rate(const struct train_optimizer *o, int64_t step, int64_t steps);

#endif
