/* rates.h: rates with their uncertainty, and the small statistics stages report. Sums run
 * in the order given, so equal input gives equal bits. */
#ifndef CAI_STAGE_RATES_H
#define CAI_STAGE_RATES_H

#include "base/rng.h"
#include "stage/stage.h"

/* Quantile of the standard normal: rates_quantile(0.975) = 1.95996… */
double rates_quantile(double p);
/* Wilson's score interval (Wilson 1927) for hits of n at a two-sided confidence; 0 … 1
 * when n = 0. */
void rates_wilson(uint64_t hits, uint64_t n, double confidence, double *ret_low,
                  double *ret_high);
/* Whether a share beats one half at a one-sided confidence γ; the interval is the two-sided one
 * at 2γ − 1, whose lower end is that of γ. */
bool rates_beat_chance(uint64_t hits, uint64_t n, double confidence, double *ret_low,
                       double *ret_high);
/* Percentile bootstrap of a mean with counted draws; n = 0 gives 0, 0. */
void rates_bootstrap(struct cai_key key, const double *value, size_t n, size_t resamples,
                     double confidence, double *ret_low, double *ret_high);
/* The factor b for which σ(b · gap) fits y (0 to 1) best: 1 where the gaps are the log-odds they
 * claim to be, below 1 where they are too sure, 0 where they say nothing (Cox 1958, calibration
 * slope without intercept). ret_error: its standard error, by the sandwich, as y may be soft;
 * infinite when no gap differs from 0. */
void rates_slope(const double *gap, const double *y, size_t n, double *ret_slope,
                 double *ret_error);
/* Expected calibration error over equal bins of [0, 1]: Σ share · |mean p − mean y|. The
 * bins' counts, mean p and mean y go to the arrays unless NULL. */
double rates_ece(const double *p, const double *y, size_t n, size_t bins, double *ret_count,
                 double *ret_p, double *ret_y);
/* Self-BLEU: the mean over texts of BLEU-4 against all the others (Zhu et al. 2018), words
 * split at white space, add-one smoothing above unigrams. 0 for fewer than two texts. */
double rates_self_bleu(const char *const *text, size_t n);
/* Distinct-2: different pairs of neighbouring words over all such pairs (Li et al. 2016, §4.2),
 * words split at white space. It falls with the number of texts: compare equal numbers. 1 when
 * there are none. */
double rates_distinct_pairs(const char *const *text, size_t n);
/* The same of runs of `words` words, 1 to 4. */
double rates_distinct(const char *const *text, size_t n, size_t words);

/* Entropy, in bits, of the pairs of neighbouring words over all texts. It rises with the number of
 * texts: compare equal numbers. 0 when there are none. */
double rates_pair_entropy(const char *const *text, size_t n);

/* Adds `name`, `name`_low, `name`_high (Wilson, 95 %) and `name`_n. */
int rates_metric(const struct stage_context *c, uint32_t round, const char *stage,
                 const char *name, uint64_t hits, uint64_t n);
/* One figure of this stage and round, step 0. */
bool rates_known(const struct stage_context *c, const char *name); /* added before? */
int rates_value(const struct stage_context *c, const char *name, double value);

#endif
