/* vote.h: a majority among answers, and how often a majority of some size is right. Pure
 * functions of their arguments. Not for: reading an answer out of a text (answer.h). */
#ifndef CAI_STAGE_VOTE_H
#define CAI_STAGE_VOTE_H

#include <stdbool.h>
#include <stddef.h>

struct vote {
    const char *answer; /* one of those given; NULL when none could be read */
    size_t votes;       /* for it */
    size_t paths;       /* all, those without an answer too */
    size_t first;       /* the first path that gives it */
    bool tie;           /* another has as many */
};
/* answer[k]: of path k, or NULL. Among equals the one that was given first (by k) wins: paths are
 * exchangeable, so that is a draw, and a counted one, since path k is drawn by k. */
struct vote vote_count(const char *const *answer, size_t n);
/* votes ÷ paths; 0 without paths. */
double vote_share(const struct vote *v);

/* Isotonic regression (pool adjacent violators; Barlow et al. 1972) of right (0 or 1) on share,
 * rising: ret_fit[i] is the fitted chance that i is right. Equal shares are pooled first. */
void vote_isotonic(const double *share, const bool *right, size_t n, double *ret_fit);
/* The least share whose fit reaches `accuracy` and that at least `least` of the n reach; infinite
 * when there is none. */
double vote_threshold(const double *share, const double *fit, size_t n, double accuracy,
                      size_t least);

/* The mean of n differences and its one-sided lower and upper bounds at `confidence` (normal). */
struct vote_change {
    double mean, low, high;
    size_t n;
};
struct vote_change vote_rise(const double *difference, size_t n, double confidence);

#endif
