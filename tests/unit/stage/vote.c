/* vote: majorities and their ties; isotonic regression against results worked out by hand; the
 * threshold; the change of a mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "stage/vote.h"
#include <math.h>

static void the_most_votes_win(void **state) {
    (void)state;
    const char *a[] = {"7", NULL, "8", "8", "9", "8", NULL};
    struct vote v = vote_count(a, 7);
    assert_string_equal(v.answer, "8");
    assert_int_equal(v.votes, 3);
    assert_int_equal(v.first, 2);
    assert_false(v.tie);
    assert_true(fabs(vote_share(&v) - 3.0 / 7) < 1e-15); /* of all ways, unread ones too */
}

static void among_equals_the_first_wins(void **state) {
    (void)state;
    const char *a[] = {"5", "4", "4", "5", "3"}, *b[] = {"4", "5", "5", "4"};
    struct vote v = vote_count(a, 5), w = vote_count(b, 4);
    assert_string_equal(v.answer, "5");
    assert_true(v.tie);
    assert_string_equal(w.answer, "4");
    const char *c[] = {"4", "5", "5", "6", "6", "6"}; /* a tie that is overtaken is none */
    struct vote x = vote_count(c, 6);
    assert_string_equal(x.answer, "6");
    assert_false(x.tie);
    const char *d[] = {"4", "5", "6", "4"};
    assert_false(vote_count(d, 4).tie);
}

static void nothing_to_count(void **state) {
    (void)state;
    const char *a[] = {NULL, NULL};
    struct vote v = vote_count(a, 2), none = vote_count(a, 0);
    assert_null(v.answer);
    assert_true(vote_share(&v) == 0 && vote_share(&none) == 0);
}

static void expect(const double *share, const bool *right, size_t n, const double *want) {
    double fit[16];
    vote_isotonic(share, right, n, fit);
    for (size_t i = 0; i < n; i++)
        if (fabs(fit[i] - want[i]) > 1e-12)
            fail_msg("%zu: %.17g, by hand %.17g", i, fit[i], want[i]);
}

static void isotonic_by_hand(void **state) {
    (void)state;
    /* rising already */
    expect((double[]){.1, .2, .3}, (bool[]){0, 0, 1}, 3, (double[]){0, 0, 1});
    /* one violation: 1 0 → ½ ½ */
    expect((double[]){.1, .2, .3, .4}, (bool[]){0, 1, 0, 1}, 4, (double[]){0, .5, .5, 1});
    /* pooled backwards: 1 1 0 0 1 → ½ over the first four */
    expect((double[]){.1, .2, .3, .4, .5}, (bool[]){1, 1, 0, 0, 1}, 5,
           (double[]){.5, .5, .5, .5, 1});
    /* equal shares are one point, wherever they stand */
    expect((double[]){.5, .3, .5, .9, .5}, (bool[]){1, 0, 0, 1, 0}, 5,
           (double[]){1. / 3, 0, 1. / 3, 1, 1. / 3});
    /* 1 at .2; ½ at .4; 0 at .6: all are pooled to 2/4 */
    expect((double[]){.6, .4, .2, .4}, (bool[]){0, 1, 1, 0}, 4, (double[]){.5, .5, .5, .5});
}

static void the_threshold_is_the_least_share(void **state) {
    (void)state;
    double share[] = {.2, .4, .6, .8, 1}, fit[] = {.1, .5, .7, .7, .9};
    assert_true(vote_threshold(share, fit, 5, 0.7, 1) == .6);
    assert_true(vote_threshold(share, fit, 5, 0.7, 3) == .6);
    assert_true(isinf(vote_threshold(share, fit, 5, 0.7, 4))); /* too few to say so */
    assert_true(isinf(vote_threshold(share, fit, 5, 0.95, 1)));
    assert_true(vote_threshold(share, fit, 5, 0.05, 1) == .2);
}

static void a_change_and_its_bounds(void **state) {
    (void)state;
    /* mean 0.1, deviation √(0.02 / 3), error half of that; 1.6449 of it at 95 % */
    struct vote_change o = vote_rise((double[]){0, .1, .1, .2}, 4, 0.95);
    double error = sqrt(0.02 / 3 / 4);
    assert_true(fabs(o.mean - 0.1) < 1e-15);
    assert_true(fabs(o.low - (0.1 - 1.6448536 * error)) < 1e-8);
    assert_true(fabs(o.high - (0.1 + 1.6448536 * error)) < 1e-8);
    assert_true(isinf(vote_rise((double[]){1}, 1, 0.95).low));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_votes_win),
        cmocka_unit_test(among_equals_the_first_wins),
        cmocka_unit_test(nothing_to_count),
        cmocka_unit_test(isotonic_by_hand),
        cmocka_unit_test(the_threshold_is_the_least_share),
        cmocka_unit_test(a_change_and_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
