/* paired: rises and reproduction numbers against values worked out apart, and their error rates
 * against simulated probes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "stage/paired.h"

#include <math.h>

static void known_values(void **state) {
    (void)state;
    struct paired p = {.n = 98, .both = 10, .worse = 12, .better = 4};
    assert_true(fabs(paired_before(&p) - 14.0 / 98) < 1e-15);
    assert_true(fabs(paired_after(&p) - 22.0 / 98) < 1e-15);
    /* n + 2 = 100, b = 12.5, c = 4.5: rise 0.08, √(17 − 0.64)/100 = 0.040447497 */
    assert_true(fabs(paired_rise_low(&p, 0.975) - (0.08 - 1.959963985 * 0.0404474969)) < 1e-9);
    double r, low, high;
    paired_ratio(&p, 0.95, &r, &low, &high);
    /* (10.5 + 12.5) ÷ (10.5 + 4.5); variance of its logarithm 17 ÷ (23 · 15) */
    assert_true(fabs(r - 23.0 / 15) < 1e-12);
    assert_true(fabs(log(high / low) - 2 * 1.959963985 * sqrt(17.0 / 345)) < 1e-8);
    assert_true(fabs(low * high - r * r) < 1e-12);
}

static void nothing_fails(void **state) {
    (void)state;
    struct paired none = {0}, clean = {.n = 500};
    double r, low, high;
    assert_true(paired_rise_low(&none, 0.99) == -1 && paired_least_rise(&none, 0, 0.99, 0.8) == 1);
    assert_true(paired_rise_low(&clean, 0.99) < 0);
    paired_ratio(&clean, 0.95, &r, &low, &high);
    assert_true(r == 1 && low < 0.2 && high > 5);
}

/* `runs` pairs of rounds of n probes; a probe fails before with `rate`, and after with `rate`
 * and, when it did not, with `more` on top. How often the lower bound passes the margin. */
static double alarms(size_t runs, size_t n, double rate, double more, double margin,
                     double confidence) {
    size_t hits = 0;
    for (size_t run = 0; run < runs; run++) {
        struct cai_key key = cai_key_make(11, 0, "paired", run, (uint32_t)n);
        struct paired p = {.n = n};
        for (size_t i = 0; i < n; i++) {
            int then = cai_rng_uniform(key, 3 * i) < rate;
            int now = cai_rng_uniform(key, 3 * i + 1) < rate;
            now = now || (!then && cai_rng_uniform(key, 3 * i + 2) < more);
            p.both += then && now;
            p.worse += !then && now;
            p.better += then && !now;
        }
        hits += paired_rise_low(&p, confidence) > margin;
    }
    return (double)hits / (double)runs;
}

static void false_alarms_are_rare(void **state) {
    (void)state;
    assert_true(alarms(2000, 400, 0.02, 0, 0, 0.95) < 0.065);
    assert_true(alarms(2000, 400, 0.30, 0, 0, 0.95) < 0.065);
    assert_true(alarms(2000, 400, 0.05, 0, 0, 0.999) < 0.004);
    assert_true(alarms(2000, 400, 0.05, 0, 0.02, 0.99) < 0.01);
}

/* A rise of the size that is called the least is seen about as often as was promised. */
static void the_least_rise_is_seen(void **state) {
    (void)state;
    const double rate = 0.05, margin = 0.02, confidence = 0.999;
    double churn = rate * (1 - rate);
    struct paired typical = {.n = 800, .both = 2, .worse = (size_t)(800 * churn),
                             .better = (size_t)(800 * churn)};
    double least = paired_least_rise(&typical, margin, confidence, 0.8);
    assert_true(least > margin + 0.02 && least < 0.1);
    double seen = alarms(1000, 800, rate, least / (1 - rate), margin, confidence);
    assert_true(seen > 0.7 && seen < 0.95);
    assert_true(alarms(1000, 800, rate, (margin + 0.01) / (1 - rate), margin, confidence) < 0.3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(nothing_fails),
        cmocka_unit_test(false_alarms_are_rare),
        cmocka_unit_test(the_least_rise_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
