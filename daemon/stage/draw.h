/* draw.h: counted draws of principles and exemplars (base/rng.h). */
#ifndef CAI_STAGE_DRAW_H
#define CAI_STAGE_DRAW_H

#include "base/rng.h"
#include "stage/stage.h"

enum draw_use { DRAW_CRITIQUE, DRAW_CHOICE }; /* critique and revision texts; choice text */

/* Whether the principle can be drawn: enabled, its phase on, its texts there, weight > 0. */
bool draw_usable(const struct principle *p, enum draw_use use);
/* A principle by weight for draw k of an item, with replacement; NULL when none is usable.
 * `what` is a stable name such as "revise/principle". */
const struct principle *draw_principle(const struct stage_context *c, enum draw_use use,
                                       const char *what, uint64_t item, uint32_t k);
/* The i-th of several different ones for an item: each drawn by weight among those not
 * drawn before it. NULL when fewer are usable. */
const struct principle *draw_principle_distinct(const struct stage_context *c, enum draw_use use,
                                                const char *what, uint64_t item, uint32_t i);

/* Many draws from one set of weights: cumulative sums and a binary search. */
struct draw_table {
    double *cumulative;
    size_t n;
};
void draw_table_make(struct draw_table *t, const double *weight, size_t n);
size_t draw_table_pick(const struct draw_table *t, struct cai_key key, uint64_t position);
void draw_table_free(struct draw_table *t);

#endif
