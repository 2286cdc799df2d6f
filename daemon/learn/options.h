/* options.h: the settings of a training run, read from Train.options (JSON): the stage's
 * resolved settings from the job file. The one place that says which members are needed.
 * A missing or wrong member is CAI_EINPUT naming it; there are no defaults here.
 *
 * Common, flat in the stage's object ("optimizer": numbers of struct job_optimizer):
 *   lr weight_decay beta1 beta2 eps clip_norm warmup batch   numbers
 *   schedule                                                 "constant" "linear" "cosine"
 * sft:        epochs
 * pm:         epochs members
 * classifier: epochs held_out (share held out when no row of the dataset names its split)
 * ppo:        steps rollouts epochs minibatches clip value_clip gamma lambda value_coef
 *             kl_coef kl_target kl_horizon (or an object "kl" with coef, target, horizon)
 *             whiten_advantages whiten_rewards reward_clip no_end_reward value_lr
 *             checkpoint_every helpful, an object "rollout" with temperature top_p max_tokens,
 *             and kl_budget (guards.kl_budget of the job, added by the stage; 0 = no limit).
 *             `batch` is not read: a step's minibatches are shares of its rollouts.
 * Optional, because their absence means "off":
 *   lora              all: an object with rank alpha targets; without it whole weights
 *   checkpoint_every  sft, pm, classifier: steps between resumable states
 *   pm_variance       ppo: λ of mean − λ·variance over the members' scores
 *   centre margin     pm: terms of loss_bradley_terry */
#ifndef CAI_LEARN_OPTIONS_H
#define CAI_LEARN_OPTIONS_H

#include "hf/adapter.h"

#include <stdbool.h>
#include <stdint.h>

enum train_schedule { TRAIN_CONSTANT, TRAIN_LINEAR, TRAIN_COSINE };

struct train_optimizer {
    double lr, weight_decay, beta1, beta2, eps;
    double clip_norm; /* 0 = not clipped */
    double warmup;    /* share of the steps, linear from 0 */
    enum train_schedule schedule;
    int64_t batch;    /* rows per step, all ranks together */
};

struct sft_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    int64_t epochs, checkpoint_every;
};

struct pm_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    int64_t epochs, members, checkpoint_every;
    double centre, margin;
};

struct classifier_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    int64_t epochs, checkpoint_every;
    double held_out;
};

struct ppo_options {
    struct train_optimizer optimizer;
    struct hf_adapter lora; /* rank 0: none */
    int64_t steps, rollouts, epochs, minibatches, checkpoint_every, max_tokens;
    double clip, value_clip, gamma, lambda, value_coef, value_lr;
    double kl_coef, kl_target, kl_horizon, kl_budget;
    bool whiten_advantages, whiten_rewards;
    double reward_clip, no_end_reward, helpful, temperature, top_p, pm_variance;
};

int options_sft(const char *json, struct sft_options *ret);
int options_pm(const char *json, struct pm_options *ret);
int options_classifier(const char *json, struct classifier_options *ret);
int options_ppo(const char *json, struct ppo_options *ret);

/* The learning rate of step `step` (from 0) of `steps`: linear warm-up over warmup·steps,
 * then constant, or down to 0 by a line or a half cosine. */
double train_rate(const struct train_optimizer *o, int64_t step, int64_t steps);

#endif
