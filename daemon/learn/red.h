/* red.h: what a red model's rollouts earn (Perez et al. 2022, §3.1): the prompt in each goes to
 * the target, whose reply a classifier judges. The gang holds both as it holds preference model
 * and reference; the run is otherwise ppo.h's, with kind "red": pm[0] is the classifier.
 *
 *   reward = (1 − α) · r − α · KL,  r = −log(1 − p) = log(1 + e^score) of the classifier's raw
 *   score, or `penalty` where the rollout is no usable prompt (input/test_case.h)
 *
 * KL to the reference, which is the model that the run began with, goes into the reward token by
 * token, as of ppo.h; the paper adds it to the loss, over all of the vocabulary.
 * A reply that the classifier has no room for earns 0. Replies are written in the rollouts'
 * chunks, each one engine call: the same bits for any number of ranks. Figures per step, beside
 * ppo.h's, all with "rl/" before them: failing (share with p ≥ 1/2), harm (mean p), unusable,
 * distinct (share of different prompts). */
#ifndef CAI_LEARN_RED_H
#define CAI_LEARN_RED_H

#include "learn/host.h"
#include "learn/options.h"
#include "learn/rollout.h"

struct red;
/* Options of the run that are not of ppo.h's are read here. `beside`: models whose bases others
 * may lie over. */
int red_open(const struct learn_task *t, const struct ppo_options *o, struct model *const *beside,
             size_t n, struct red **ret);
void red_close(struct red *r);
void red_on_stop(struct red *r);
/* Told what became of each rollout of this rank, in their order; prompt is NULL where there is no
 * usable one, reply NULL where nothing was judged. For showing it: nothing may depend on it. */
struct red_seen {
    uint64_t number;
    const char *prompt, *reply;
    double raw; /* the classifier's score */
};
void red_observe(struct red *r, void (*see)(void *context, const struct red_seen *s),
                 void *context);
/* Collective: (1 − α) r of every rollout, equal on every rank. */
int red_score(struct red *r, const struct rollouts *all, double *score);
/* The reward of one: `judged` by the classifier's raw score, or no prompt. */
double red_reward(const struct red_options *o, bool usable, bool judged, double raw);
/* Of the last red_score; and the prefix of all names. */
void red_figures(const struct red *r, struct metrics *m);

#endif
