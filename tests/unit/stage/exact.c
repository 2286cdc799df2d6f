/* exact: values worked out in rational arithmetic, published examples, hand-counted weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stage/exact.h"
#include <math.h>

static void near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        print_error("%.15g, expected %.15g\n", got, want);
    assert_true(fabs(got - want) <= tolerance);
}

static void tails(void **state) {
    (void)state;
    near(exact_at_most(3, 10, 0.2), 0.8791261184, 1e-12);
    near(exact_at_least(97, 117, 0.7), 0.0010225669607354523, 1e-13);
    near(exact_at_most(9, 10, 0.2) + exact_at_least(10, 10, 0.2), 1, 1e-12);
    assert_true(exact_at_most(-1, 5, 0.5) == 0 && exact_at_most(5, 5, 0.5) == 1);
    assert_true(exact_at_least(0, 5, 0.5) == 1 && exact_at_least(6, 5, 0.5) == 0);
    assert_true(exact_at_least(1, 5, 0) == 0 && exact_at_least(5, 5, 1) == 1);
    assert_true(exact_at_most(4, 5, 1) == 0 && exact_at_most(0, 5, 0) == 1);
}

static void intervals(void **state) {
    (void)state;
    near(exact_low(15, 20, 0.025), 0.5089541282920425, 1e-12);
    near(exact_high(15, 20, 0.025), 0.9134285308985655, 1e-12);
    near(exact_low(4, 59, 0.025), 0.018779963492386746, 1e-12);
    near(exact_high(4, 59, 0.025), 0.16458517267582334, 1e-12);
    assert_true(exact_low(0, 59, 0.025) == 0 && exact_high(59, 59, 0.025) == 1);
    /* 59 of 59: at least 95 % with confidence 95 % */
    near(exact_low(59, 59, 0.05), pow(0.05, 1.0 / 59), 1e-12);
    assert_true(exact_low(59, 59, 0.05) > 0.95 && exact_low(58, 58, 0.05) < 0.95);
    assert_true(exact_low(0, 0, 0.05) == 0 && exact_high(0, 0, 0.05) == 1);
}

static void changed_pairs(void **state) {
    (void)state;
    near(exact_mcnemar_more(15, 5), 0.020694732666015625, 1e-15);
    near(exact_mcnemar(15, 5), 0.04138946533203125, 1e-15);
    near(exact_mcnemar(2, 10), 0.03857421875, 1e-15);
    assert_true(exact_mcnemar(4, 4) == 1 && exact_mcnemar(0, 0) == 1);
    assert_true(exact_mcnemar_more(0, 0) == 1);
}

static void two_samples(void **state) {
    (void)state;
    /* 1 of 10 against 11 of 14 : (C(10,0) C(14,12) + C(10,1) C(14,11)) of C(24,12) */
    near(exact_fewer(1, 10, 11, 14), 0.0013797280926100418, 1e-12);
    near(exact_fewer(3, 10, 8, 10), 0.03488925934746368, 1e-12);
    near(exact_fewer(70, 102, 92, 102), 0.00010842420566387297, 1e-13);
    near(exact_fewer(10, 10, 10, 10), 1, 1e-12);
    near(exact_fewer(0, 0, 3, 9), 1, 1e-12);
}

static void power(void **state) {
    (void)state;
    assert_int_equal(exact_needed(0.9, 0.7, 0.01, 0.9, false), 102);
    assert_int_equal(exact_needed(0.9, 0.7, 0.01, 0.9, true), 117);
    double shown = exact_shown(0.9, 102, 0.01, 0.9);
    assert_true(shown >= 0.7 && shown < 0.702);
    assert_true(exact_needed(0.9, shown, 0.01, 0.9, false) <= 102);
    assert_true(exact_shown(0.9, 0, 0.01, 0.9) == 0 && exact_shown(0.05, 10, 0.01, 0.9) == 0);
}

static void weights(void **state) {
    (void)state;
    /* Two drawn surely (one a hit), three drawn one time in four (one a hit): (1 + 4) of 14. */
    const bool hit[] = {true, false, true, false, false};
    const double drawn[] = {1, 1, 0.25, 0.25, 0.25};
    double error, p = 5.0 / 14;
    near(exact_weighted(hit, drawn, 5, &error), p, 1e-15);
    double square = 0.75 * 16 * ((1 - p) * (1 - p) + 2 * p * p);
    near(error, sqrt(square) / 14, 1e-15);
    near(exact_weighted(hit, drawn, 2, &error), 0.5, 0);
    assert_true(error == 0); /* all of them were looked at */
    near(exact_weighted(hit, drawn, 0, &error), 0, 0);
    assert_true(error == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tails),       cmocka_unit_test(intervals), cmocka_unit_test(changed_pairs),
        cmocka_unit_test(two_samples), cmocka_unit_test(power),     cmocka_unit_test(weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
