/* rng: pure, keyed, uniform enough, and the published Philox answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

static void philox_known_answer(void **state) {
    (void)state;
    /* Random123 kat_vectors: philox4x32-10, counter 0, key 0 → 6627e8d5 e169c58d … */
    assert_true(cai_rng_u64((struct cai_key){0, 0}, 0) == 0xe169c58d6627e8d5u);
}

static void keys_differ_in_every_field(void **state) {
    (void)state;
    struct cai_key base = cai_key_make(1, 2, "sft", 3, 4);
    struct cai_key same = cai_key_make(1, 2, "sft", 3, 4);
    assert_memory_equal(&base, &same, sizeof base);
    struct cai_key other[] = {cai_key_make(2, 2, "sft", 3, 4), cai_key_make(1, 3, "sft", 3, 4),
                              cai_key_make(1, 2, "sfu", 3, 4), cai_key_make(1, 2, "sft", 4, 4),
                              cai_key_make(1, 2, "sft", 3, 5)};
    for (size_t i = 0; i < CAI_COUNT(other); i++)
        assert_memory_not_equal(&base, &other[i], sizeof base);
}

static void moments(void **state) {
    (void)state;
    struct cai_key key = cai_key_make(7, 1, "test", 0, 0);
    enum { N = 200000 };
    double sum = 0, sum2 = 0, normal = 0, normal2 = 0;
    for (int i = 0; i < N; i++) {
        double u = cai_rng_uniform(key, (uint64_t)i), z = cai_rng_normal(key, (uint64_t)i);
        assert_true(u >= 0 && u < 1);
        sum += u;
        sum2 += u * u;
        normal += z;
        normal2 += z * z;
    }
    assert_true(fabs(sum / N - 0.5) < 0.004);
    assert_true(fabs(sum2 / N - 1.0 / 3) < 0.004);
    assert_true(fabs(normal / N) < 0.01);
    assert_true(fabs(normal2 / N - 1) < 0.02);
}

static void weighted_skips_zero(void **state) {
    (void)state;
    struct cai_key key = cai_key_make(7, 1, "weighted", 0, 0);
    double weight[] = {0, 3, 0, 1, 0};
    int seen[5] = {0};
    for (uint64_t i = 0; i < 40000; i++)
        seen[cai_rng_weighted(key, i, weight, 5)]++;
    assert_int_equal(seen[0] + seen[2] + seen[4], 0);
    assert_true(abs(seen[1] - 30000) < 500);
}

static void permutation_is_one(void **state) {
    (void)state;
    uint32_t perm[1000], seen[1000] = {0};
    cai_rng_permutation(cai_key_make(1, 1, "p", 0, 0), 1000, perm);
    int moved = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        seen[perm[i]]++;
        moved += perm[i] != i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 980);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answer), cmocka_unit_test(keys_differ_in_every_field),
        cmocka_unit_test(moments), cmocka_unit_test(weighted_skips_zero),
        cmocka_unit_test(permutation_is_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
