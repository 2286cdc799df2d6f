/* rng.c: Philox4x32-10 keyed by what a draw is for. */
#include "base/rng.h"
#include "base/check.h"
#include <math.h>
#include <sodium.h>
#include <string.h>

struct cai_key cai_key_make(uint64_t seed, uint32_t round, const char *stage, uint64_t item,
                            uint32_t k) {
    /* The name's length is hashed too, so that no two field tuples share an encoding. */
    unsigned char fixed[32] = {0};
    uint64_t name_length = strlen(stage);
    memcpy(fixed, &seed, 8);
    memcpy(fixed + 8, &item, 8);
    memcpy(fixed + 16, &name_length, 8);
    memcpy(fixed + 24, &round, 4);
    memcpy(fixed + 28, &k, 4);
    crypto_generichash_state state;
    struct cai_key key;
    crypto_generichash_init(&state, NULL, 0, sizeof key);
    crypto_generichash_update(&state, fixed, sizeof fixed);
    crypto_generichash_update(&state, (const unsigned char *)stage, name_length);
    crypto_generichash_final(&state, (unsigned char *)&key, sizeof key);
    return key;
}

static void philox(const uint32_t counter[4], uint64_t key, uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t draw(struct cai_key key, uint64_t position) {
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)key.hi,
                           (uint32_t)(key.hi >> 32)};
    uint32_t out[4];
    philox(counter, key.lo, out);
    return (uint64_t)out[1] << 32 | out[0];
}

uint64_t cai_rng_u64(struct cai_key key, uint64_t position) { return draw(key, position); }

double cai_rng_uniform(struct cai_key key, uint64_t position) {
    return (double)(draw(key, position) >> 11) * 0x1p-53;
}

uint64_t cai_rng_below(struct cai_key key, uint64_t position, uint64_t n) {
    CAI_CHECK(n > 0);
    /* Lemire's multiply-shift; the bias is below n / 2^64. */
    return (uint64_t)(((unsigned __int128)draw(key, position) * n) >> 64);
}

double cai_rng_normal(struct cai_key key, uint64_t position) {
    uint64_t bits = draw(key, position);
    double u = ((double)(uint32_t)bits + 0.5) * 0x1p-32;
    double v = (double)(uint32_t)(bits >> 32) * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

size_t cai_rng_weighted(struct cai_key key, uint64_t position, const double *weight, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight[i];
    CAI_CHECK(sum > 0);
    double target = cai_rng_uniform(key, position) * sum, seen = 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (weight[i] <= 0)
            continue;
        last = i;
        seen += weight[i];
        if (target < seen)
            return i;
    }
    return last; /* rounding at the upper end */
}

void cai_rng_permutation(struct cai_key key, uint64_t n, uint32_t *perm) {
    CAI_CHECK(n <= UINT32_MAX);
    for (uint64_t i = 0; i < n; i++)
        perm[i] = (uint32_t)i;
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = cai_rng_below(key, i, i);
        uint32_t swap = perm[i - 1];
        perm[i - 1] = perm[j];
        perm[j] = swap;
    }
}
