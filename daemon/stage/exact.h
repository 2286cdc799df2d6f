/* exact.h: exact tests and intervals of counts, for samples too small for normal
 * approximations. Sums run in one order, so equal input gives equal bits. Not for deciding what
 * a result means. */
#ifndef CAI_STAGE_EXACT_H
#define CAI_STAGE_EXACT_H

#include <stdbool.h>
#include <stddef.h>

/* P(X <= k) and P(X >= k) of a binomial with n trials of probability p; k may lie outside. */
double exact_at_most(long k, size_t n, double p);
double exact_at_least(long k, size_t n, double p);

/* Bounds of a share (Clopper and Pearson 1934), each at the one-sided level alpha: the interval
 * of both at alpha covers with probability >= 1 - 2 alpha. 0 and 1 when n = 0. */
double exact_low(size_t hits, size_t n, double alpha);
double exact_high(size_t hits, size_t n, double alpha);

/* McNemar's test of pairs that changed, exactly: one-sided, that `worse` are no more than chance
 * makes of worse + better; and two-sided. */
double exact_mcnemar_more(size_t worse, size_t better);
double exact_mcnemar(size_t worse, size_t better);

/* Fisher's exact test, one-sided: the chance that so few of the hits, or fewer, fall in the first
 * of two samples when both have the same share. */
double exact_fewer(size_t hits, size_t n, size_t other_hits, size_t other_n);

/* Items an arm in which a share that falls from `from` to `to` is seen with probability `power` at
 * the level alpha, two samples compared (Fleiss, Levin and Paik 2003, §4.2, uncorrected). */
size_t exact_needed(double from, double to, double alpha, double power, bool two_sided);
/* The same turned round: the highest share below `from` that n items an arm show with that power;
 * 0 when none. */
double exact_shown(double from, size_t n, double alpha, double power);

/* A share estimated from items that were drawn with known probabilities (Hájek 1971): the
 * weights are their inverses. ret_error: its standard error by linearisation. 0 items: 0 and 1. */
double exact_weighted(const bool *hit, const double *drawn, size_t n, double *ret_error);

#endif
