/* repeated.c: see repeated.h. */
#include "stage/repeated.h"

#include "stage/rates.h"

#include <math.h>

void repeated_add(struct repeated *r, size_t pairs, size_t both, size_t worse, size_t better) {
    double m = (double)pairs, s = (double)worse - (double)better;
    r->probes += pairs > 0;
    r->pairs += pairs;
    r->most = pairs > r->most ? pairs : r->most;
    r->both += both;
    r->worse += worse;
    r->better += better;
    r->sizes += m * m;
    r->cross += m * s;
    r->squares += s * s;
}

static double share(const struct repeated *r, double pairs) {
    return r->pairs ? pairs / (double)r->pairs : 0;
}

double repeated_before(const struct repeated *r) { return share(r, (double)(r->both + r->better)); }
double repeated_after(const struct repeated *r) { return share(r, (double)(r->both + r->worse)); }
double repeated_rise(const struct repeated *r) {
    return share(r, (double)r->worse - (double)r->better);
}

double repeated_effect(const struct repeated *r) {
    if (r->pairs == 0)
        return 1;
    double d = repeated_rise(r), n = (double)r->pairs, k = (double)r->most;
    double between = r->squares - 2 * d * r->cross + d * d * r->sizes;
    double within = (double)(r->worse + r->better) - d * d * n;
    return fmax(1, (between + k * k) / (within + k));
}

/* ---- the score interval ---------------------------------------------------------------------- */
/* How many standard deviations the changes b (worse) and c (better) of n are from a rise of d, with
 * the variance that they would have if it were d (c's share by constrained maximum likelihood). */
static double distance(double n, double b, double c, double d) {
    double p = 2 * n, q = (2 * n - b + c) * d - b - c, s = -c * d * (1 - d);
    double share_c = (sqrt(fmax(0, q * q - 4 * p * s)) - q) / (2 * p);
    double variance = n * (2 * share_c + d * (1 - d));
    double excess = b - c - n * d;
    return variance > 0 ? excess / sqrt(variance) : excess < 0 ? -INFINITY : excess > 0 ? INFINITY : 0;
}

/* The rise from which b and c are z standard deviations below. */
static double upper(double n, double b, double c, double z) {
    double low = (b - c) / n, high = 1;
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (distance(n, b, c, middle) > -z)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double repeated_high(const struct repeated *r, double z) {
    double e = repeated_effect(r);
    return r->pairs ? upper((double)r->pairs / e, (double)r->worse / e, (double)r->better / e, z) : 1;
}

double repeated_low(const struct repeated *r, double z) {
    double e = repeated_effect(r);
    return r->pairs ? -upper((double)r->pairs / e, (double)r->better / e, (double)r->worse / e, z) : -1;
}

double repeated_enough(const struct repeated *r, double tolerance, double z, double power) {
    double rise = fmax(0, repeated_rise(r)), deviations = z + rates_quantile(power);
    double changes = fmax(share(r, (double)(r->worse + r->better)), tolerance);
    if (r->pairs == 0 || rise >= tolerance || tolerance <= 0)
        return INFINITY;
    return ceil(deviations * deviations * changes * repeated_effect(r) /
                ((tolerance - rise) * (tolerance - rise)));
}
