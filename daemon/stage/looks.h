/* looks.h: looking at growing data more than once without being fooled more often. Each look may
 * spend a part of the error; what it takes to decide there follows from what was spent before
 * (group-sequential design by error spending: Lan and DeMets 1983). Not for what is looked at. */
#ifndef CAI_STAGE_LOOKS_H
#define CAI_STAGE_LOOKS_H

#include <stddef.h>

enum { LOOKS_MAX = 16 };

/* The standard deviations that a one-sided statistic must pass at each of n looks (at most
 * LOOKS_MAX), t[j] the share of all data that look j has (rising, at most 1), spent[j] the chance of
 * passing at look 0 … j where nothing is to be found (rising). By the recursion of Armitage,
 * McPherson and Rowe 1969; where looks have more in common than their shares say, as they have when
 * probes differ, the chance is smaller. */
void looks_bounds(const double *t, const double *spent, size_t n, double *ret_z);

/* Looks at 1, 2, 4 … draws up to `most`, each spending in proportion to its draws (Kim and DeMets
 * 1987, ρ = 1). Returns their number. */
size_t looks_doubling(size_t most, double error, size_t *ret_draws, double *ret_z);

#endif
