/* guard.c: see guard.h. */
#include "learn/guard.h"

#include <math.h>

bool loss_guard_spike(const struct loss_guard *g, double loss, double deviations) {
    if (deviations <= 0 || g->n < GUARD_FIRST)
        return false;
    double deviation = fmax(sqrt(g->variance), 0.05 * fabs(g->mean));
    return loss > g->mean + deviations * deviation;
}

void loss_guard_take(struct loss_guard *g, double loss) {
    if (!isfinite(loss))
        return;
    g->n++;
    double weight = 1 / (double)(g->n < GUARD_SPAN ? g->n : GUARD_SPAN), d = loss - g->mean;
    g->mean += weight * d;
    g->variance = (1 - weight) * (g->variance + weight * d * d);
}
