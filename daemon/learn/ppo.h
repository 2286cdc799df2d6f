/* ppo.h: reinforcement learning against a preference model, a whole run as one gang task:
 * proximal policy optimisation (Schulman et al. 2017; Ziegler et al. 2019; "N+
 * implementation details", Huang et al. 2024), or another row of policy.h. Per step:
 *
 *   rollouts → packs → old, reference log-probabilities, values, scores → rewards → the
 *   algorithm's advantages → epochs × minibatches of policy and value updates → figures
 *
 * Old log-probabilities come from the very packs that are trained on, by the same function
 * in the same gradient mode, and epochs permute whole packs: until weights move every
 * ratio is exactly 1, which is asserted for each token (CAI_ENUMERIC otherwise). Numbers
 * per token are exchanged between ranks, so moments are global and every rank does the
 * same host arithmetic.
 *
 * Figures per step: score_mean score_std score_harmful score_helpful raw_score reward kl
 * kl2 kl3 entropy policy_loss value_loss value_clip_fraction clip_fraction ratio_mean
 * ratio_max approx_kl explained_variance score/PRINCIPLE (replies to prompts that broke it)
 * length end_rate sampler_gap sampler_gap_max lr kl_coef grad_norm value_grad_norm
 * skipped_updates (the gradient was not finite) left_out_updates (max_ratio, kl.stop)
 * used_replies (share the policy learned from) ptx_loss (mean per token of the rows mixed
 * in; ppo_mix.c). Those of a value model or a mix are missing where there is none. Ends early
 * with "kl budget" when the mean sequence KL of the last PPO_KL_WINDOW steps is above
 * kl_budget. */
#ifndef CAI_LEARN_PPO_H
#define CAI_LEARN_PPO_H

#include "learn/policy.h"
#include "learn/red.h"
#include "learn/saving.h"

enum { PPO_KL_WINDOW = 4 };

/* One run on one rank. */
struct ppo {
    const struct learn_task *task;
    struct ppo_options o;
    const struct policy_algorithm *algorithm;
    struct ppo_models models;
    struct red *red; /* scores the replies in place of preference models; NULL: they do */
    struct model *policy, *value, *reference; /* owned; trainers borrow them; value may be NULL */
    struct hf_tokenizer *tokenizer;
    struct hf_chat *chat;
    struct engine *engine;
    struct dataset data;
    struct prompts prompts;
    struct dataset mix; /* rows learned beside the replies; none without ptx.coef */
    int64_t updates;    /* begun in this step */
    /* What moves from step to step, besides weights and moments. */
    int64_t done;   /* steps */
    double kl_coef;
    double kl_window[PPO_KL_WINDOW]; /* mean sequence KL of step s at s % PPO_KL_WINDOW */
    struct metrics last;             /* figures of the last step */
    bool leaving;                    /* some rank wishes to leave after that step */
    bool due;                        /* its state is to be saved */
    struct saving saving;
};

int ppo_open(const struct learn_task *t, struct ppo **ret);
void ppo_close(struct ppo *p);
/* One step; collective. Fills p->last and reports. */
int ppo_step(struct ppo *p);
/* True when the KL budget is used up. */
bool ppo_spent(const struct ppo *p);

/* The updates of one step, for ppo_step and tests. */
struct ppo_update_stats {
    double policy_loss, share;     /* sum over replies and updates, and of their normaliser */
    double value_loss, rows;       /* sum over rows and updates, and their number */
    double value_clipped;          /* of them, where the clipped loss counts */
    double clipped, approx_kl, ratio, ratios; /* sums over ratios, and their number */
    double ptx_loss, mixed; /* sum over updates of the mix's mean loss, and their number */
    double ratio_max, grad_norm, value_grad_norm; /* largest */
    int64_t skipped, left_out;
    bool ended; /* kl.stop was reached */
    double leaving; /* ranks that wish to leave after this step */
    double due;     /* not 0: rank 0 wishes that the state is saved after it */
};
/* One minibatch, its bins per_minibatch: stats is added to, and is this rank's part of sums.
 * *moved: whether weights have changed since the old log-probabilities were taken. */
int ppo_minibatch(struct ppo *p, struct ppo_batch *b, const uint32_t *bins, bool *moved,
                  struct ppo_update_stats *stats);
int ppo_update(struct ppo *p, struct ppo_batch *b, struct ppo_update_stats *ret);
/* PPO-ptx: adds to the policy's gradient that of ptx.coef · mean over tokens of −log π at
 * temperature 1, over the ptx.batch rows of the mix that the number of the update names. Each
 * rank takes its part, before the update's last backward. *loss is added this rank's part of
 * the mean. */
int ppo_mix(struct ppo *p, int64_t update, double *loss);

#endif
