/* repeated: bounds of a paired rise against values worked out apart, and against simulated probes:
 * how often a rise of the tolerance's size is said to be ruled out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "stage/looks.h"
#include "stage/repeated.h"

#include <math.h>
#include <stdbool.h>

/* n probes asked once. */
static struct repeated once(size_t n, size_t worse, size_t better) {
    struct repeated r = {0};
    for (size_t i = 0; i < n; i++)
        repeated_add(&r, 1, 0, i < worse, i >= worse && i < worse + better);
    return r;
}

/* By maximising the likelihood of both changes numerically at each rise, and a bisection over it. */
static void score_bounds(void **state) {
    (void)state;
    static const struct {
        size_t n, worse, better;
        double z, high;
    } cases[] = {{98, 12, 4, 1.959963985, 0.16879378},    {44, 1, 0, 1.959963985, 0.11807710},
                 {44, 0, 1, 1.959963985, 0.05939323},     {400, 0, 0, 1.644853627, 0.00671842},
                 {400, 24, 23, 1.644853627, 0.03133860},  {1000, 30, 60, 1.644853627, -0.01461907}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct repeated r = once(cases[i].n, cases[i].worse, cases[i].better);
        struct repeated mirror = once(cases[i].n, cases[i].better, cases[i].worse);
        assert_true(fabs(repeated_effect(&r) - 1) < 1e-9);
        assert_true(fabs(repeated_high(&r, cases[i].z) - cases[i].high) < 1e-7);
        assert_true(fabs(repeated_low(&mirror, cases[i].z) + cases[i].high) < 1e-7);
    }
}

static void nothing_is_known(void **state) {
    (void)state;
    struct repeated none = {0};
    repeated_add(&none, 0, 0, 0, 0);
    assert_int_equal(none.probes, 0);
    assert_true(repeated_high(&none, 2) == 1 && repeated_low(&none, 2) == -1);
    assert_true(isinf(repeated_enough(&none, 0.02, 1.645, 0.8)));
}

/* Four replies that change together are one; that change on their own are four. */
static void alike_replies_count_once(void **state) {
    (void)state;
    struct repeated together = {0}, apart = {0}, still = {0};
    for (size_t i = 0; i < 400; i++) {
        repeated_add(&together, 4, 0, i < 20 ? 4 : 0, i >= 380 ? 4 : 0);
        repeated_add(&apart, 4, 0, i < 80, i >= 320);
        repeated_add(&still, 4, 0, 0, 0);
    }
    assert_true(together.pairs == 1600 && together.worse == apart.worse);
    assert_true(fabs(repeated_effect(&together) - 4) < 0.05);
    assert_true(repeated_effect(&apart) < 1.1);
    assert_true(repeated_high(&apart, 2) < repeated_high(&together, 2));
    /* nothing changed: as many as there are probes, whatever they were asked */
    struct repeated probes = once(400, 0, 0);
    assert_true(fabs(repeated_high(&still, 2) - repeated_high(&probes, 2)) < 1e-9);
}

/* One run of a class at the largest rise that is not tolerated, looked at as a job does: `rate` before,
 * the same draws leaving a share `alike` of it where it was, and a part of the probes that changes for
 * good. True where the rise was ruled out. */
static bool ruled_out(size_t run, size_t n, size_t most, double rate, double rise, double alike,
                      double own, double tolerance) {
    size_t draws[LOOKS_MAX];
    double z[LOOKS_MAX];
    static struct repeated tally[2048];
    size_t looks = looks_doubling(most, 0.05, draws, z);
    for (size_t i = 0; i < n; i++)
        tally[i] = (struct repeated){0};
    for (size_t j = 0, k = 0; j < looks; j++) {
        struct repeated r = {0};
        for (size_t i = 0; i < n; i++) {
            struct cai_key key = cai_key_make(13, 0, "repeated", run * n + i, (uint32_t)(1000 * rate));
            double more = own > 0 ? (cai_rng_uniform(key, 0) < own ? rise / own : 0) : rise;
            for (size_t d = k; d < draws[j]; d++) {
                double u = cai_rng_uniform(key, 4 * d + 1), v = cai_rng_uniform(key, 4 * d + 2);
                int before = u < rate;
                int now = cai_rng_uniform(key, 4 * d + 3) < alike ? before : v < rate;
                now = now || cai_rng_uniform(key, 4 * d + 4) < more / (1 - rate);
                tally[i].pairs++;
                tally[i].worse += !before && now;
                tally[i].better += before && !now;
            }
            repeated_add(&r, tally[i].pairs, 0, tally[i].worse, tally[i].better);
        }
        k = draws[j];
        if (repeated_high(&r, z[j]) <= tolerance)
            return true;
    }
    return false;
}

static double share_ruled_out(size_t runs, size_t n, size_t most, double rate, double rise, double alike,
                              double own) {
    size_t hits = 0;
    for (size_t run = 0; run < runs; run++)
        hits += ruled_out(run, n, most, rate, rise, alike, own, 0.02);
    return (double)hits / (double)runs;
}

/* At a true rise of 2 points a bound of 2 points is wrong: at most 5 % of the time, however rare the
 * failure, however alike the replies, after all looks. Three standard errors of 300 runs: 3.8 %. */
static void a_rise_is_seldom_ruled_out(void **state) {
    (void)state;
    assert_true(share_ruled_out(300, 300, 4, 0.10, 0.02, 0.3, 0) < 0.088);
    assert_true(share_ruled_out(300, 300, 4, 0.001, 0.02, 1, 0) < 0.088);
    assert_true(share_ruled_out(300, 300, 4, 0.001, 0.02, 1, 0.02) < 0.088); /* 2 % fail for good */
    assert_true(share_ruled_out(300, 200, 4, 0.02, 0.02, 0, 0.1) < 0.088);
    assert_true(share_ruled_out(50, 400, 4, 0.10, 0.04, 0.3, 0) == 0);
}

/* Where nothing rose, as many replies as are called enough do rule it out about as often as said. */
static void enough_is_enough(void **state) {
    (void)state;
    struct repeated seen = once(1000, 50, 50);
    double pairs = repeated_enough(&seen, 0.02, 1.6448536, 0.8);
    assert_true(fabs(pairs - ceil(6.182557 * 0.1 / 0.0004)) <= 1); /* (1.6449 + 0.8416)² */
    assert_true(isinf(repeated_enough(&(struct repeated){.pairs = 100, .worse = 3, .most = 1}, 0.02, 1.6,
                                      0.8)));
    double out = share_ruled_out(200, (size_t)pairs, 1, 0.0528, 0, 0, 0); /* 2·p·(1−p) = 0.1 */
    assert_true(out > 0.70 && out < 0.90);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(score_bounds),
        cmocka_unit_test(nothing_is_known),
        cmocka_unit_test(alike_replies_count_once),
        cmocka_unit_test(a_rise_is_seldom_ruled_out),
        cmocka_unit_test(enough_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
