/* guard.h: tells a spike of the loss from its usual noise, by the running mean and variance
 * of the losses so far (weight 1/50 for the newest; plain means until there are 50). */
#ifndef CAI_LEARN_GUARD_H
#define CAI_LEARN_GUARD_H

#include <stdbool.h>
#include <stdint.h>

enum { GUARD_FIRST = 20, GUARD_SPAN = 50 }; /* losses before it judges; its memory */

struct loss_guard {
    int64_t n;
    double mean, variance;
};

/* True when `loss` lies more than `deviations` (0 = never) deviations above the mean. A
 * deviation counts as 5 % of the mean at least: what hardly varies is not a spike yet. */
bool loss_guard_spike(const struct loss_guard *g, double loss, double deviations);
/* Takes in the loss of a step that was not a spike. */
void loss_guard_take(struct loss_guard *g, double loss);

#endif
