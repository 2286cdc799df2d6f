/* lm.h: language modelling on raw token rows, from scratch or on: what a base model is
 * trained with. No chat format, no checkpoints; a run of minutes. */
#ifndef CAI_LEARN_LM_H
#define CAI_LEARN_LM_H

#include "learn/options.h"
#include "model/model.h"
#include "shim/comm.h"

struct lm_row {
    const int32_t *ids;
    int64_t n;
    int64_t from; /* first token that is learned (>= 1 in effect: the first has no context) */
    const float *weight; /* [n] of each token's loss, from `from` on; NULL = 1 */
};

struct lm_options {
    struct train_optimizer optimizer; /* batch = rows per step */
    int64_t epochs;
    int64_t steps;    /* > 0: stop after so many, whatever the epochs; the schedule ends there */
    uint64_t seed;    /* order of the rows: keyed (seed, epoch) */
    struct comm *comm; /* NULL: this process alone */
};

/* One call per step; returning true ends the run early (not an error). loss: weighted mean
 * over the step's learned tokens; tokens: learned tokens so far. */
typedef bool (*lm_progress)(void *context, int64_t step, int64_t steps, double loss,
                            int64_t tokens);

/* Trains m in place. Rows longer than the model's positions, or with nothing to learn,
 * are skipped; *ret_skipped counts them (may be NULL). CAI_ENUMERIC when three steps in
 * a row have a gradient that is not finite. */
int train_language_model(struct model *m, const struct lm_row *rows, size_t n_rows,
                         const struct lm_options *o, lm_progress progress, void *context,
                         size_t *ret_skipped);

#endif
