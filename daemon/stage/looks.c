/* looks.c: see looks.h. The sum that has gathered until a look is a Brownian motion at time t: its
 * density over the values at which nothing was decided yet is kept on a grid and carried from look to
 * look. */
#include "stage/looks.h"

#include "base/check.h"
#include "stage/rates.h"

#include <math.h>

enum { STEPS = 400 /* even, for Simpson's rule */ };
#define FAR 8.0 /* standard deviations beyond which nothing happens */

struct grid {
    double from, step;         /* place of value 0, distance of values */
    double density[STEPS + 1]; /* times Simpson's weight */
};

static double above(double x) { return 0.5 * erfc(x / sqrt(2)); }

static double normal(double x, double variance) {
    return exp(-x * x / (2 * variance)) / sqrt(2 * acos(-1) * variance);
}

static double weight(int i, double step) {
    return step / 3 * (i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2);
}

/* Chance of being above `bound` after `time` more, from undecided values. */
static double crossing(const struct grid *g, double time, double bound) {
    double sum = 0;
    for (int i = 0; i <= STEPS; i++)
        sum += g->density[i] * above((bound - g->from - i * g->step) / sqrt(time));
    return sum;
}

/* The bound above which the chance is `wanted`. */
static double bound_for(const struct grid *g, double time, double t, double wanted) {
    double low = -FAR * sqrt(t), high = FAR * sqrt(t);
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (crossing(g, time, middle) > wanted)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

/* Densities of what is undecided at time t below `bound`; `last` NULL: at the first look. */
static void carry(const struct grid *last, double time, double t, double bound, struct grid *ret) {
    ret->from = -FAR * sqrt(t);
    ret->step = (bound - ret->from) / STEPS;
    for (int i = 0; i <= STEPS; i++) {
        double x = ret->from + i * ret->step, sum = 0;
        for (int k = 0; last && k <= STEPS; k++)
            sum += last->density[k] * normal(x - last->from - k * last->step, time);
        ret->density[i] = weight(i, ret->step) * (last ? sum : normal(x, t));
    }
}

void looks_bounds(const double *t, const double *spent, size_t n, double *ret_z) {
    struct grid grids[2];
    CAI_CHECK(n <= LOOKS_MAX);
    for (size_t j = 0; j < n; j++) {
        const struct grid *last = j ? &grids[(j + 1) % 2] : NULL;
        double time = t[j] - (j ? t[j - 1] : 0), wanted = spent[j] - (j ? spent[j - 1] : 0);
        double bound = last ? bound_for(last, time, t[j], wanted)
                            : rates_quantile(1 - wanted) * sqrt(t[j]);
        ret_z[j] = bound / sqrt(t[j]);
        carry(last, time, t[j], bound, &grids[j % 2]);
    }
}

size_t looks_doubling(size_t most, double error, size_t *ret_draws, double *ret_z) {
    double t[LOOKS_MAX], spent[LOOKS_MAX];
    size_t n = 0;
    for (size_t draws = 1; n < LOOKS_MAX; draws *= 2, n++) {
        ret_draws[n] = draws < most && n + 1 < LOOKS_MAX ? draws : most;
        t[n] = (double)ret_draws[n] / (double)most;
        spent[n] = error * t[n];
        if (ret_draws[n] == most)
            break;
    }
    looks_bounds(t, spent, n + 1, ret_z);
    return n + 1;
}
