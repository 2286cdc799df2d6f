/* reward.h: the preference model in use: its scores' normalisation, and the proof that its
 * head is the trained one.
 *
 * A PM's folder holds reward.json beside the weights:
 *   {"format": 1, "mean", "std", "replies", "steps", "head": SHA-256 of score.weight,
 *    "accuracy", "pairs"}
 * mean and std are of its scores over the replies of held-out pairs (of the training
 * pairs when nothing was held out), so that a normalised score has mean 0 and variance 1.
 * `head` ties them to the trained head: a folder whose head is missing, zero, or not the
 * one that was trained is refused (rule 4). */
#ifndef CAI_LEARN_REWARD_H
#define CAI_LEARN_REWARD_H

#include "model/model.h"

struct reward_norm {
    double mean, std;
    int64_t replies, steps, pairs;
    double accuracy; /* on the held-out pairs that are decided; NAN when there are none */
};

int reward_norm_save(const char *dir, const struct model *m, const struct reward_norm *norm);

/* A preference model ready for use in PPO: trunk, head, normalisation, all checked. */
struct reward_model {
    struct model *m;
    struct reward_norm norm;
};
int reward_model_load(const char *dir, struct reward_model *ret);
/* The same, over a base that one of these models already has (model_load_beside). */
int reward_model_load_beside(const char *dir, struct model *const *beside, size_t n,
                             struct reward_model *ret);
void reward_model_free(struct reward_model *r);

#endif
