/* policy.h: the algorithms that train a policy, one table (stages.ppo.algorithm):
 *
 *   ppo        GAE over a value model, clipped ratio per token (Schulman et al. 2017)
 *   rloo       groups; reward with KL inside less the mean of the others'; a reply is one
 *              action (Ahmadian et al. 2024)
 *   grpo       groups; (reward − mean) / deviation for every token, k3 in the loss (Shao et
 *              al. 2024)
 *   best_of_n  groups; maximum likelihood of each group's best reply (rejection sampling)
 *   dpo        a labelled dataset in place of rollouts and preference model (Rafailov et
 *              al. 2023)
 *
 * The first four are one run (ppo.h) which differs in how rewards become advantages and in
 * the loss of a reply; groups whose rewards are equal are skipped. dpo is dpo.c. */
#ifndef CAI_LEARN_POLICY_H
#define CAI_LEARN_POLICY_H

#include "learn/loss.h"
#include "learn/ppo_batch.h"

/* What a reply's loss is made of: n tokens, each array [n]. */
struct policy_reply {
    const struct ppo_options *o;
    double kl_coef;
    size_t n;
    const double *old, *reference, *advantage;
};

struct policy_algorithm {
    const char *name;
    bool values;   /* a value model is trained beside the policy */
    bool groups;   /* several replies to each prompt are compared */
    bool sequence; /* one ratio for a whole reply; the normaliser counts replies */
    /* From b's scores, KL and values to advantage[n_rows] (and returns), and used[rollouts]. */
    void (*advantages)(struct ppo_batch *b, const struct ppo_options *o, double kl_coef);
    /* Loss summed over a reply and grad[n], before the normaliser; stats is added to. */
    double (*loss)(const struct policy_reply *r, const double *logprob, double *grad,
                   struct loss_ppo_stats *stats);
    int (*run)(const struct learn_task *t, Cai__V1__Trained **ret);
};
const struct policy_algorithm *policy_algorithm(enum train_algorithm a);

/* Whitens, then clips, the advantages of the n bins of a minibatch into b->white (Ziegler et
 * al. 2019's code; whitening all of a step's is the algorithm's own). Equal on every rank. */
void policy_whiten(struct ppo_batch *b, const struct ppo_options *o, const uint32_t *bins,
                   size_t n);
/* A reply's weight in the loss and its share of the normaliser (ppo_options.aggregate):
 * tokens: 1 and n; replies: 1 / n and 1; fixed: 1 / max_tokens and 1. */
double policy_weight(const struct policy_algorithm *a, const struct ppo_options *o, size_t n);
double policy_share(const struct policy_algorithm *a, const struct ppo_options *o, size_t n);

#endif
