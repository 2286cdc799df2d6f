/* paired.c: see paired.h. */
#include "stage/paired.h"

#include "stage/rates.h"

#include <math.h>

void paired_add(struct paired *p, int before, int after) {
    if (before < 0 || after < 0)
        return;
    p->n++;
    p->both += before && after;
    p->worse += !before && after;
    p->better += before && !after;
}

double paired_before(const struct paired *p) {
    return p->n ? (double)(p->both + p->better) / (double)p->n : 0;
}

double paired_after(const struct paired *p) {
    return p->n ? (double)(p->both + p->worse) / (double)p->n : 0;
}

/* The bound on one side (−1: lower, 1: upper). */
static double bound(const struct paired *p, double confidence, double side) {
    double n = (double)p->n + 2, b = (double)p->worse + 0.5, c = (double)p->better + 0.5;
    double rise = (b - c) / n;
    double deviation = sqrt(fmax(0, b + c - (b - c) * (b - c) / n)) / n;
    return rise + side * rates_quantile(confidence) * deviation;
}

double paired_rise_low(const struct paired *p, double confidence) {
    return p->n ? bound(p, confidence, -1) : -1;
}

double paired_rise_high(const struct paired *p, double confidence) {
    return p->n ? bound(p, confidence, 1) : 1;
}

void paired_ratio(const struct paired *p, double confidence, double *ret, double *ret_low,
                  double *ret_high) {
    double b = (double)p->worse + 0.5, c = (double)p->better + 0.5, both = (double)p->both + 0.5;
    double ratio = (both + b) / (both + c);
    double deviation = sqrt((b + c) / ((both + b) * (both + c)));
    double factor = exp(rates_quantile(0.5 + confidence / 2) * deviation);
    *ret = ratio;
    *ret_low = ratio / factor;
    *ret_high = ratio * factor;
}

double paired_least_rise(const struct paired *p, double margin, double confidence, double power) {
    if (p->n == 0)
        return 1;
    double n = (double)p->n, z = rates_quantile(confidence) + rates_quantile(power);
    double m = (double)(p->worse < p->better ? p->worse : p->better) / n, k = z * z / n;
    return fmin(1, margin + 0.5 * (k + sqrt(k * k + 4 * k * (2 * m + margin))));
}
