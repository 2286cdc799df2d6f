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

static bool chance(double p) {
    return cai_rng_uniform(cai_key_make(11, 0, "verdicts", 0, 0), drawn++) < p;
}

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

/* The fewest that show so much of it, if it never errs; and never so few that one error counts. */
static void enough_verdicts(void **state) {
    (void)state;
    assert_int_equal(verdicts_enough(0.1, 0.975), VERDICTS_LEAST);
    for (double index = 0.86; index < 0.98; index += 0.03) {
        double n = (double)verdicts_enough(index, 0.975) / 2;
        struct graded right = {n, 0, n, 0}, fewer = {n - 1, 0, n - 1, 0};
        assert_true(verdicts_index_low(&right, 0.975) >= index);
        assert_true(verdicts_index_low(&fewer, 0.975) < index);
    }
    assert_int_equal(verdicts_enough(1, 0.975), verdicts_enough(0.99, 0.975)); /* not for ever */
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

/* Replies drawn alike: what is counted is what there is. */
static void equal_weights_are_counts(void **state) {
    (void)state;
    struct weighed w[40];
    for (size_t i = 0; i < 40; i++)
        w[i] = (struct weighed){i < 20, i < 15 || i >= 36, 3};
    struct graded g = verdicts_weighed(w, 40);
    assert_true(fabs(g.hit - 15) < 1e-9 && fabs(g.miss - 5) < 1e-9);
    assert_true(fabs(g.pass - 16) < 1e-9 && fabs(g.alarm - 4) < 1e-9);
    g = verdicts_weighed(w, 0);
    assert_true(g.hit == 0 && g.miss == 0 && g.pass == 0 && g.alarm == 0);
}

/* `each` of the flagged and as many of the passed are read, of 1,000 replies of which `truth` fail. */
static double checked_coverage(double truth, double sees, double passes, size_t each, double *ret_sees) {
    enum { ALL = 1000, TIMES = 400 };
    size_t held = 0, told = 0;
    *ret_sees = 0;
    for (int t = 0; t < TIMES; t++) {
        struct weighed part[2][ALL], w[ALL];
        size_t n[2] = {0}, k = 0, seen = binomial(ALL, truth * sees + (1 - truth) * (1 - passes));
        for (size_t i = 0; i < ALL; i++) {
            bool fails = chance(truth), flagged = chance(fails ? sees : 1 - passes);
            part[flagged][n[flagged]++] = (struct weighed){fails, flagged, 0};
        }
        for (int s = 0; s < 2; s++)
            for (size_t i = 0; i < each && i < n[s]; i++) { /* the order is chance already */
                w[k] = part[s][i];
                w[k++].weight = (double)n[s] / (double)(each < n[s] ? each : n[s]);
            }
        struct graded g = verdicts_weighed(w, k);
        double p, low, high;
        if (g.hit + g.miss > 0)
            *ret_sees += g.hit / (g.hit + g.miss) / TIMES;
        told += verdicts_corrected(seen, ALL, &g, 0.95, &p, &low, &high);
        held += low <= truth && truth <= high;
    }
    assert_true(told > TIMES / 2);
    return (double)held / TIMES;
}

/* As drawn, half of what is read was flagged: counted plainly, a grader that overlooks half looks as
 * if it saw nearly all. */
static void what_was_drawn_by_the_grader_is_weighed(void **state) {
    (void)state;
    double sees;
    assert_true(checked_coverage(0.3, 0.5, 0.95, 60, &sees) > 0.93);
    assert_true(fabs(sees - 0.5) < 0.06);
    assert_true(checked_coverage(0.2, 0.9, 0.9, 40, &sees) > 0.93);
    assert_true(checked_coverage(0.5, 0.8, 0.98, 30, &sees) > 0.93);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_interval_holds_the_truth),
        cmocka_unit_test(the_estimate_is_rogan_and_gladens),
        cmocka_unit_test(a_blind_grader_says_nothing),
        cmocka_unit_test(enough_verdicts),
        cmocka_unit_test(verdicts_here_hold_however_the_grader_errs),
        cmocka_unit_test(equal_weights_are_counts),
        cmocka_unit_test(what_was_drawn_by_the_grader_is_weighed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
