/* agree.h: how far readers agree, and whether help changes what they find. Arithmetic only: who
 * read what is review/progress.c's. Sums run in the order given, so equal input gives equal
 * bits; resampling is counted (base/rng.h). */
#ifndef CAI_STAGE_AGREE_H
#define CAI_STAGE_AGREE_H

#include "base/rng.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AGREE_GAP = -1, AGREE_CATEGORIES = 16, AGREE_RESAMPLES = 1000 };

/* Readings as a table: value[item × readers + reader], 0 … categories − 1 or AGREE_GAP. */
struct readings {
    const int *value;
    size_t items, readers, categories;
};

/* All return false, and *ret is then 0, where the figure is not defined: too few readings, or all
 * of them in one category (agreement that chance would give as well). */

/* Of exactly two readers over the items that both read (Cohen 1960): (p_o − p_e) ÷ (1 − p_e),
 * p_e from each reader's own shares. */
bool agree_cohen(const struct readings *r, double *ret);
/* Of a fixed number of readers per item, whoever they were (Fleiss 1971): items with another number
 * than the first's are left out. */
bool agree_fleiss(const struct readings *r, double *ret);
/* Of any number, with gaps (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"):
 * 1 − D_o ÷ D_e over the coincidences of pairs of readings of an item. */
enum agree_metric { AGREE_NOMINAL, AGREE_ORDINAL, AGREE_INTERVAL };
bool agree_alpha(const struct readings *r, enum agree_metric metric, double *ret);

/* Percentile bootstrap over items (Efron 1979), AGREE_RESAMPLES draws of one of the above: those in
 * which it is not defined are left out. False when it is defined in less than half of them. */
typedef bool agree_figure(const struct readings *r, double *ret);
bool agree_nominal_alpha(const struct readings *r, double *ret);
bool agree_ordinal_alpha(const struct readings *r, double *ret);
bool agree_interval(const struct readings *r, agree_figure *f, struct cai_key key,
                    double confidence, double *ret_low, double *ret_high);

/* hits_a ÷ a − hits_b ÷ b and its interval from the two Wilson intervals (Newcombe 1998, method
 * 10). False when a or b is 0: then the interval is −1 … 1. */
bool agree_difference(uint64_t hits_a, uint64_t a, uint64_t hits_b, uint64_t b, double confidence,
                      double *ret, double *ret_low, double *ret_high);

#endif
