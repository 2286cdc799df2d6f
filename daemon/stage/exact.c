/* exact.c: see exact.h. */
#include "stage/exact.h"

#include "base/check.h"
#include "stage/rates.h"

#include <math.h>

/* log P(X = k); 0 < p < 1. */
static double log_share(size_t k, size_t n, double p) {
    return lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) +
           (double)k * log(p) + (double)(n - k) * log1p(-p);
}

static double sum(size_t from, size_t to, size_t n, double p) {
    double s = 0;
    for (size_t k = from; k <= to; k++)
        s += exp(log_share(k, n, p));
    return fmin(1, s);
}

double exact_at_most(long k, size_t n, double p) {
    if (k < 0)
        return 0;
    if ((size_t)k >= n || p <= 0)
        return 1;
    return p >= 1 ? 0 : sum(0, (size_t)k, n, p);
}

double exact_at_least(long k, size_t n, double p) {
    if (k <= 0 || p >= 1)
        return k <= (long)n ? 1 : 0;
    if ((size_t)k > n || p <= 0)
        return 0;
    return sum((size_t)k, n, n, p);
}

/* The share at which a tail that rises with it (or falls) is alpha. */
static double bound(size_t hits, size_t n, double alpha, bool upper) {
    double low = 0, high = 1;
    for (int i = 0; i < 60; i++) {
        double p = 0.5 * (low + high);
        bool beyond = upper ? exact_at_most((long)hits, n, p) < alpha
                            : exact_at_least((long)hits, n, p) > alpha;
        if (beyond)
            high = p;
        else
            low = p;
    }
    return 0.5 * (low + high);
}

double exact_low(size_t hits, size_t n, double alpha) {
    CAI_CHECK(hits <= n);
    return hits == 0 ? 0 : bound(hits, n, alpha, false);
}

double exact_high(size_t hits, size_t n, double alpha) {
    CAI_CHECK(hits <= n);
    return hits == n ? 1 : bound(hits, n, alpha, true);
}

double exact_mcnemar_more(size_t worse, size_t better) {
    return exact_at_least((long)worse, worse + better, 0.5);
}

double exact_mcnemar(size_t worse, size_t better) {
    size_t most = worse > better ? worse : better;
    return fmin(1, 2 * exact_at_least((long)most, worse + better, 0.5));
}

static double log_choose(size_t n, size_t k) {
    return lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1);
}

double exact_fewer(size_t hits, size_t n, size_t other_hits, size_t other_n) {
    CAI_CHECK(hits <= n && other_hits <= other_n);
    size_t all = hits + other_hits, from = all > other_n ? all - other_n : 0;
    double whole = log_choose(n + other_n, all), s = 0;
    for (size_t k = from; k <= hits; k++)
        s += exp(log_choose(n, k) + log_choose(other_n, all - k) - whole);
    return fmin(1, s);
}

static double needed(double from, double to, double alpha, double power) {
    double a = rates_quantile(1 - alpha), b = rates_quantile(power), mean = 0.5 * (from + to);
    double root = a * sqrt(2 * mean * (1 - mean)) + b * sqrt(from * (1 - from) + to * (1 - to));
    return root * root / ((from - to) * (from - to));
}

size_t exact_needed(double from, double to, double alpha, double power, bool two_sided) {
    CAI_CHECK(from != to);
    return (size_t)ceil(needed(from, to, two_sided ? alpha / 2 : alpha, power));
}

double exact_shown(double from, size_t n, double alpha, double power) {
    double low = 0, high = from;
    if (n == 0 || from <= 0 || needed(from, 0, alpha, power) > (double)n)
        return 0;
    for (int i = 0; i < 50; i++) {
        double to = 0.5 * (low + high);
        if (needed(from, to, alpha, power) <= (double)n)
            low = to;
        else
            high = to;
    }
    return low;
}

double exact_weighted(const bool *hit, const double *drawn, size_t n, double *ret_error) {
    double all = 0, hits = 0, square = 0;
    *ret_error = 1;
    for (size_t i = 0; i < n; i++) {
        CAI_CHECK(drawn[i] > 0 && drawn[i] <= 1);
        all += 1 / drawn[i];
        hits += hit[i] ? 1 / drawn[i] : 0;
    }
    if (n == 0)
        return 0;
    double share = hits / all;
    for (size_t i = 0; i < n; i++) {
        double d = ((hit[i] ? 1 : 0) - share) / drawn[i];
        square += (1 - drawn[i]) * d * d;
    }
    *ret_error = sqrt(square) / all;
    return share;
}
