/* rng.h: randomness that is counted, not carried.
 * A draw is a pure function of a key and a position (Philox4x32-10, Salmon et al.
 * 2011, "Parallel random numbers: as easy as 1, 2, 3"). The key names what the draw
 * is for: (job seed, round, stage, item, k). No state, so nothing to save or resume,
 * and no dependence on order, batch or number of workers. */
#ifndef CAI_BASE_RNG_H
#define CAI_BASE_RNG_H

#include <stdint.h>
#include <stddef.h>

struct cai_key {
    uint64_t hi, lo;
};

/* `stage` is a stable name such as "revise/critique", never an enum's number. */
struct cai_key cai_key_make(uint64_t seed, uint32_t round, const char *stage, uint64_t item,
                            uint32_t k);

uint64_t cai_rng_u64(struct cai_key key, uint64_t position);
double cai_rng_uniform(struct cai_key key, uint64_t position);             /* [0, 1) */
uint64_t cai_rng_below(struct cai_key key, uint64_t position, uint64_t n); /* [0, n), n > 0 */
double cai_rng_normal(struct cai_key key, uint64_t position);              /* mean 0, variance 1 */
/* Index drawn with probability weight[i] / sum; n > 0, weights finite and >= 0, sum > 0. */
size_t cai_rng_weighted(struct cai_key key, uint64_t position, const double *weight, size_t n);
/* Fills perm with a permutation of 0 … n-1. */
void cai_rng_permutation(struct cai_key key, uint64_t n, uint32_t *perm);

#endif
