/* paired.h: one failure, looked for on the same probes before and after: how much more often it
 * is there, with its uncertainty. Not for deciding what is too much. */
#ifndef CAI_STAGE_PAIRED_H
#define CAI_STAGE_PAIRED_H

#include <stddef.h>

/* Probes judged both times. */
struct paired {
    size_t n;
    size_t both;   /* failed before and after */
    size_t worse;  /* only after */
    size_t better; /* only before */
};
/* Counts a probe; −1 (not judged) on either side leaves it out. */
void paired_add(struct paired *p, int before, int after);
double paired_before(const struct paired *p); /* shares; 0 when n = 0 */
double paired_after(const struct paired *p);

/* Lower bound of (after − before) at a one-sided confidence: Wald's interval with half a probe
 * added to each of the four cells (Agresti and Min 2005, §2.1). −1 when n = 0. */
double paired_rise_low(const struct paired *p, double confidence);
/* The upper bound likewise; 1 when n = 0. */
double paired_rise_high(const struct paired *p, double confidence);

/* The reproduction number R = after ÷ before and its two-sided interval on the log scale
 * (Nam and Blackwelder 2002, §2), half a probe added to each cell so that it exists when
 * nothing failed. */
void paired_ratio(const struct paired *p, double confidence, double *ret, double *ret_low,
                  double *ret_high);

/* The smallest rise whose lower bound at `confidence` would pass `margin` with probability
 * `power`, given how many probes change to and fro by chance: margin + δ is seen when n·δ exceeds
 * (z_confidence + z_power)·√(n·(2m + margin + δ)), m the smaller of the two kinds of change. */
double paired_least_rise(const struct paired *p, double margin, double confidence, double power);

#endif
