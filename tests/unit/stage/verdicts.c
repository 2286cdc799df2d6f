/* verdicts: a rate corrected for its grader's error holds the truth as often as it claims, and
 * nothing is claimed of a grader that cannot see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "stage/verdicts.h"

#include <math.h>

static uint64_t drawn;

static size_t binomial(size_t n, double p) {
    struct cai_key key = cai_key_make(11, 0, "verdicts", 0, 0);
    size_t hits = 0;
    for (size_t i = 0; i < n; i++)
        hits += cai_rng_uniform(key, drawn++) < p;
    return hits;
}

/* Share of `times` draws whose interval holds the truth. */
static double coverage(double truth, double sees, double passes, size_t n, size_t graded) {
    size_t held = 0;
    const size_t times = 2000;
    for (size_t i = 0; i < times; i++) {
        size_t failing = binomial(n, truth), hit = binomial(graded, sees), pass = binomial(graded, passes);
        size_t seen = binomial(failing, sees) + binomial(n - failing, 1 - passes);
        struct graded g = {hit, graded - hit, pass, graded - pass};
        double p, low, high;
        verdicts_corrected(seen, n, &g, 0.95, &p, &low, &high);
        assert_true(low <= high && low >= 0 && high <= 1);
        held += low <= truth && truth <= high;
    }
    return (double)held / (double)times;
}

static void the_interval_holds_the_truth(void **state) {
    (void)state;
    static const double truths[] = {0.02, 0.1, 0.5, 0.9};
    for (size_t i = 0; i < 4; i++) {
        assert_true(coverage(truths[i], 0.9, 0.95, 400, 100) > 0.93);
        assert_true(coverage(truths[i], 0.7, 0.8, 400, 60) > 0.93);
        assert_true(coverage(truths[i], 1.0, 1.0, 200, 50) > 0.93);
    }
}

static void the_estimate_is_rogan_and_gladens(void **state) {
    (void)state;
    struct graded g = {80, 20, 90, 10};
    double p, low, high;
    assert_true(verdicts_corrected(170, 1000, &g, 0.95, &p, &low, &high));
    assert_true(fabs(p - (0.17 + 0.9 - 1) / (0.8 + 0.9 - 1)) < 1e-12);
    assert_true(low < p && p < high);
}

static void a_blind_grader_says_nothing(void **state) {
    (void)state;
    struct graded blind = {3, 97, 98, 2}, few = {1, 0, 1, 0}, none = {0};
    double p, low, high;
    assert_false(verdicts_corrected(0, 1000, &blind, 0.95, &p, &low, &high));
    assert_true(low == 0 && high == 1);
    assert_false(verdicts_corrected(0, 1000, &few, 0.95, &p, &low, &high));
    assert_false(verdicts_corrected(0, 1000, &none, 0.95, &p, &low, &high));
}

/* Of 1,000 replies the grader flags none; people read 100 of them and find 30 failures. */
static void verdicts_here_hold_however_the_grader_errs(void **state) {
    (void)state;
    struct graded g = {0, 30, 70, 0};
    double p, low, high;
    verdicts_two_parts(0, &g, 0.9, &p, &low, &high);
    assert_true(fabs(p - 0.3) < 1e-12 && low > 0.2 && high < 0.4);
    g = (struct graded){19, 0, 100, 1};
    verdicts_two_parts(0.2, &g, 0.9, &p, &low, &high);
    assert_true(fabs(p - 0.2 * 0.95) < 1e-12 && low > 0.1 && high < 0.25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_interval_holds_the_truth),
        cmocka_unit_test(the_estimate_is_rogan_and_gladens),
        cmocka_unit_test(a_blind_grader_says_nothing),
        cmocka_unit_test(verdicts_here_hold_however_the_grader_errs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
