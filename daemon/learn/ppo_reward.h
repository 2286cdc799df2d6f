/* ppo_reward.h: from the members' raw scores to one reward per reply: normalisation
 * (ppo_options.normalise), the ensemble's verdict, clipping, the rule for replies that did
 * not end. Not for: computing scores, KL.
 *
 *   pairs      as the preference model was saved: over the replies of its pairs
 *   reference  mean and deviation over the first step's replies, which are the reference's
 *              as long as no weight has moved (Ziegler et al. 2019, §2.1)
 *   running    divided by the deviation of all scores so far, not shifted (Zheng et al.
 *              2023, PPO-max)
 *   none       as they are
 * What comes of it counts as far as held-out labels bore the scores out (ppo_options.trust):
 * a preference model that learnt nothing has no say, and whitening cannot give it one.
 * What was fitted is part of the resumable state. */
#ifndef CAI_LEARN_PPO_REWARD_H
#define CAI_LEARN_PPO_REWARD_H

#include "learn/ppo_batch.h"

#include <jansson.h>

/* Sets every member's normalisation and the value model's scale for the start of a run. */
void ppo_reward_begin(struct ppo_models *m, const struct ppo_options *o);
/* After the raw scores of step `step` are known, before they are used: fits what is fitted.
 * CAI_ENUMERIC when a member gives every reply the same score. */
int ppo_reward_fit(struct ppo_models *m, const struct ppo_options *o, const struct ppo_batch *b,
                   int64_t step);
/* The reward of reply i. */
double ppo_reward_of(const struct ppo_batch *b, const struct ppo_models *m,
                     const struct ppo_options *o, size_t i);

json_t *ppo_reward_state(const struct ppo_models *m);
/* False when the state is not one for these members. */
bool ppo_reward_restore(struct ppo_models *m, const json_t *state);

#endif
