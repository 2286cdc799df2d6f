/* agree.c: see agree.h. */
#include "stage/agree.h"
#include "base/check.h"
#include "base/error.h"
#include "stage/rates.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int at(const struct readings *r, size_t item, size_t reader) {
    int v = r->value[item * r->readers + reader];
    CAI_CHECK(v < (int)r->categories && r->categories <= AGREE_CATEGORIES);
    return v;
}

/* Shares beyond chance; false where chance alone agrees always. */
static bool beyond_chance(double observed, double expected, double *ret) {
    *ret = 0;
    if (1 - expected < 1e-12)
        return false;
    *ret = (observed - expected) / (1 - expected);
    return true;
}

bool agree_cohen(const struct readings *r, double *ret) {
    double n = 0, same = 0, expected = 0;
    double share[2][AGREE_CATEGORIES] = {{0}};
    CAI_CHECK(r->readers == 2);
    for (size_t i = 0; i < r->items; i++) {
        int a = at(r, i, 0), b = at(r, i, 1);
        if (a < 0 || b < 0)
            continue;
        n++;
        same += a == b;
        share[0][a]++;
        share[1][b]++;
    }
    *ret = 0;
    if (n == 0)
        return false;
    for (size_t c = 0; c < r->categories; c++)
        expected += share[0][c] / n * (share[1][c] / n);
    return beyond_chance(same / n, expected, ret);
}

/* How many readings of an item fall into each category; their number. */
static size_t count_item(const struct readings *r, size_t item, double ret[AGREE_CATEGORIES]) {
    size_t n = 0;
    memset(ret, 0, AGREE_CATEGORIES * sizeof *ret);
    for (size_t k = 0; k < r->readers; k++) {
        int v = at(r, item, k);
        if (v < 0)
            continue;
        ret[v]++;
        n++;
    }
    return n;
}

bool agree_fleiss(const struct readings *r, double *ret) {
    double count[AGREE_CATEGORIES], share[AGREE_CATEGORIES] = {0}, observed = 0, expected = 0;
    size_t items = 0, readers = 0;
    *ret = 0;
    for (size_t i = 0; i < r->items; i++) {
        size_t n = count_item(r, i, count);
        readers = readers ? readers : n;
        if (n < 2 || n != readers)
            continue;
        double pairs = 0;
        for (size_t c = 0; c < r->categories; c++) {
            pairs += count[c] * (count[c] - 1);
            share[c] += count[c];
        }
        observed += pairs / ((double)n * (double)(n - 1));
        items++;
    }
    if (items == 0)
        return false;
    for (size_t c = 0; c < r->categories; c++) {
        double p = share[c] / (double)(items * readers);
        expected += p * p;
    }
    return beyond_chance(observed / (double)items, expected, ret);
}

/* The squared distance of two categories; n[c] readings that can be paired fall into c. */
static double distance(enum agree_metric metric, const double *n, size_t a, size_t b) {
    double d = 0;
    if (a == b)
        return 0;
    if (metric == AGREE_NOMINAL)
        return 1;
    if (metric == AGREE_INTERVAL)
        return ((double)a - (double)b) * ((double)a - (double)b);
    for (size_t c = a < b ? a : b; c <= (a < b ? b : a); c++)
        d += n[c];
    d -= (n[a] + n[b]) / 2;
    return d * d;
}

bool agree_alpha(const struct readings *r, enum agree_metric metric, double *ret) {
    double both[AGREE_CATEGORIES][AGREE_CATEGORIES] = {{0}}, n[AGREE_CATEGORIES] = {0}, all = 0;
    double count[AGREE_CATEGORIES], observed = 0, expected = 0;
    for (size_t i = 0; i < r->items; i++) {
        size_t m = count_item(r, i, count);
        if (m < 2)
            continue;
        for (size_t a = 0; a < r->categories; a++)
            for (size_t b = 0; b < r->categories; b++)
                both[a][b] += count[a] * (count[b] - (a == b)) / (double)(m - 1);
    }
    for (size_t a = 0; a < r->categories; a++)
        for (size_t b = 0; b < r->categories; b++) {
            n[a] += both[a][b];
            all += both[a][b];
        }
    for (size_t a = 0; a < r->categories; a++)
        for (size_t b = 0; b < r->categories; b++) {
            double d = distance(metric, n, a, b);
            observed += both[a][b] * d;
            expected += n[a] * n[b] * d;
        }
    *ret = 0;
    if (all < 2 || expected <= 0)
        return false;
    *ret = 1 - (all - 1) * observed / expected;
    return true;
}

bool agree_nominal_alpha(const struct readings *r, double *ret) {
    return agree_alpha(r, AGREE_NOMINAL, ret);
}

bool agree_ordinal_alpha(const struct readings *r, double *ret) {
    return agree_alpha(r, AGREE_ORDINAL, ret);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool agree_interval(const struct readings *r, agree_figure *f, struct cai_key key,
                    double confidence, double *ret_low, double *ret_high) {
    double figure[AGREE_RESAMPLES];
    size_t n = 0;
    CAI_AUTO(mem) int *drawn = cai_realloc(NULL, r->items * r->readers + 1, sizeof *drawn);
    struct readings again = *r;
    again.value = drawn;
    *ret_low = *ret_high = 0;
    if (r->items == 0)
        return false;
    for (size_t s = 0; s < AGREE_RESAMPLES; s++) {
        for (size_t i = 0; i < r->items; i++) {
            size_t from = (size_t)cai_rng_below(key, s * r->items + i, r->items);
            memcpy(drawn + i * r->readers, r->value + from * r->readers,
                   r->readers * sizeof *drawn);
        }
        n += f(&again, &figure[n]);
    }
    if (2 * n < AGREE_RESAMPLES)
        return false;
    qsort(figure, n, sizeof *figure, by_value);
    double tail = (1 - confidence) / 2 * (double)(n - 1);
    *ret_low = figure[(size_t)floor(tail)];
    *ret_high = figure[n - 1 - (size_t)floor(tail)];
    return true;
}

bool agree_difference(uint64_t hits_a, uint64_t a, uint64_t hits_b, uint64_t b, double confidence,
                      double *ret, double *ret_low, double *ret_high) {
    double low_a, high_a, low_b, high_b;
    *ret = 0;
    *ret_low = -1;
    *ret_high = 1;
    if (a == 0 || b == 0)
        return false;
    double p = (double)hits_a / (double)a, q = (double)hits_b / (double)b;
    rates_wilson(hits_a, a, confidence, &low_a, &high_a);
    rates_wilson(hits_b, b, confidence, &low_b, &high_b);
    *ret = p - q;
    *ret_low = *ret - hypot(p - low_a, high_b - q);
    *ret_high = *ret + hypot(high_a - p, q - low_b);
    return true;
}
