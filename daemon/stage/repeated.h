/* repeated.h: one failure, looked for on the same probes before and after, in several replies to
 * each: by how much more often it may be there now. Not for deciding what is too much, nor for
 * looking more than once (looks.h). */
#ifndef CAI_STAGE_REPEATED_H
#define CAI_STAGE_REPEATED_H

#include <stddef.h>

/* A pair is a reply before and one after, to one probe, with the same draws. */
struct repeated {
    size_t probes, pairs, most; /* with a pair; all; of one probe */
    size_t both;                /* pairs that fail both times */
    size_t worse, better;       /* only after, only before */
    double sizes, cross, squares; /* Σ m², Σ m·s, Σ s² over probes with m pairs, s = worse − better */
};
/* Counts a probe; without pairs it is left out. */
void repeated_add(struct repeated *r, size_t pairs, size_t both, size_t worse, size_t better);
double repeated_before(const struct repeated *r); /* shares of pairs; 0 when there are none */
double repeated_after(const struct repeated *r);
double repeated_rise(const struct repeated *r);

/* By how much replies to one probe are alike: the variance of the rise over that of as many probes
 * asked once (Rao and Scott 1992, §2), at least 1. One more probe whose pairs all changed is added,
 * so that a few changes never show that replies are independent. */
double repeated_effect(const struct repeated *r);

/* The one-sided bounds of the rise at z standard deviations: the score interval for paired shares
 * (Tango 1998, §2) on counts divided by the effect. Unlike Wald's it holds where hardly anything
 * changed, which is where a rise is said to be ruled out. 1 and −1 without pairs. */
double repeated_high(const struct repeated *r, double z);
double repeated_low(const struct repeated *r, double z);

/* Pairs with which a bound at z would be at most `tolerance` with probability `power`, if the rise
 * and the changes are as seen (a fall counts as no rise); infinite where the rise is not below. */
double repeated_enough(const struct repeated *r, double tolerance, double z, double power);

#endif
