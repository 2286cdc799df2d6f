/* pairs.h: the labels of a job as pairs of replies, for what is trained on them. A pair
 * compared under several principles is one, whose p is the mean of theirs; where a reader has given
 * a verdict on it (review.h), that alone. */
#ifndef CAI_STAGE_PAIRS_H
#define CAI_STAGE_PAIRS_H

#include "stage/dataset.h"

struct pair {
    uint32_t round, pass;
    uint64_t item;
    bool held_out, human;
    double p;
    uint32_t n; /* principles averaged */
};
struct pairs {
    struct pair *at; /* the caller's to free */
    size_t n, cap;
    uint32_t per_pair, last_round;
};

/* Those of the rounds up to last_round, in the order of the labels; people's, which are the
 * same in every round, as last_round has them. */
int pairs_load(const struct stage_context *c, uint32_t last_round, struct pairs *ret);
/* The two texts, copied to the arena. */
int pair_replies(const struct stage_context *c, const struct pair *p, struct cai_arena *a,
                 const char **ret_a, const char **ret_b);
/* Adds the pair as a row of the form "pm". */
int pair_row(const struct stage_context *c, const struct pair *p, struct dataset *d);

#endif
