/* agree: against published examples, and by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "stage/agree.h"
#include <math.h>
#include <string.h>

static void near(double got, double want, double within) {
    if (fabs(got - want) > within)
        fail_msg("%.6f instead of %.6f", got, want);
}

/* Two readers, yes or no: 20 both yes, 5 yes/no, 10 no/yes, 15 both no: p_o 0.7, p_e 0.5. */
static void cohen_by_hand(void **state) {
    (void)state;
    int value[100];
    size_t n = 0;
    const int count[2][2] = {{20, 5}, {10, 15}};
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++)
            for (int i = 0; i < count[a][b]; i++) {
                value[n++] = a;
                value[n++] = b;
            }
    struct readings r = {value, 50, 2, 2};
    double kappa, low, high, again[2];
    assert_true(agree_cohen(&r, &kappa));
    near(kappa, 0.4, 1e-12);
    struct cai_key key = cai_key_make(1, 0, "test", 0, 0);
    assert_true(agree_interval(&r, agree_cohen, key, 0.95, &low, &high));
    /* Fleiss, Cohen and Everitt 1969: standard error 0.1297, so 0.146 … 0.654. */
    near(low, 0.146, 0.05);
    near(high, 0.654, 0.05);
    assert_true(agree_interval(&r, agree_cohen, key, 0.95, &again[0], &again[1]));
    assert_memory_equal(again, ((double[]){low, high}), sizeof again);
}

/* Fleiss 1971's layout with the ten subjects and fourteen raters that are its usual example. */
static void fleiss_example(void **state) {
    (void)state;
    static const int count[10][5] = {
        {0, 0, 0, 0, 14}, {0, 2, 6, 4, 2}, {0, 0, 3, 5, 6}, {0, 3, 9, 2, 0}, {2, 2, 8, 1, 1},
        {7, 7, 0, 0, 0},  {3, 2, 6, 3, 0}, {2, 5, 3, 2, 2}, {6, 5, 2, 1, 0}, {0, 2, 2, 3, 7}};
    int value[140];
    size_t n = 0;
    for (int i = 0; i < 10; i++)
        for (int c = 0; c < 5; c++)
            for (int k = 0; k < count[i][c]; k++)
                value[n++] = c;
    struct readings r = {value, 10, 14, 5};
    double kappa;
    assert_true(agree_fleiss(&r, &kappa));
    near(kappa, 0.210, 0.0005);
}

/* Krippendorff 2011, section C to E: four observers, twelve units, with gaps. */
static void krippendorff_example(void **state) {
    (void)state;
    static const int by_observer[4][12] = {{1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0},
                                           {1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3},
                                           {0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0},
                                           {1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0}};
    int value[48];
    for (int i = 0; i < 12; i++)
        for (int o = 0; o < 4; o++)
            value[i * 4 + o] = by_observer[o][i] - 1; /* 0 is a gap */
    struct readings r = {value, 12, 4, 5};
    double alpha, low, high;
    assert_true(agree_alpha(&r, AGREE_NOMINAL, &alpha));
    near(alpha, 0.743, 0.0005);
    assert_true(agree_alpha(&r, AGREE_ORDINAL, &alpha));
    near(alpha, 0.815, 0.0005);
    assert_true(agree_alpha(&r, AGREE_INTERVAL, &alpha));
    near(alpha, 0.849, 0.0005);
    struct cai_key key = cai_key_make(1, 0, "test", 0, 0);
    assert_true(agree_interval(&r, agree_ordinal_alpha, key, 0.95, &low, &high));
    assert_true(low < 0.815 && high > 0.815 && low > 0 && high <= 1);
    assert_true(agree_interval(&r, agree_nominal_alpha, key, 0.95, &low, &high));
    assert_true(low < 0.743 && high > 0.743);
}

/* Two readers without gaps: for large n alpha is Scott's pi; by hand for four items. */
static void alpha_by_hand(void **state) {
    (void)state;
    static const int value[] = {0, 0, 0, 1, 1, 1, 1, 1};
    struct readings r = {value, 4, 2, 2};
    double alpha, kappa;
    /* Coincidences: 00: 2, 01 and 10: 1 each, 11: 4; n0 3, n1 5, n 8.
     * D_o = 2/8; D_e = 2·3·5/(8·7); alpha = 1 − 0.25/(30/56) = 0.53333. */
    assert_true(agree_alpha(&r, AGREE_NOMINAL, &alpha));
    near(alpha, 1 - 0.25 / (30.0 / 56), 1e-12);
    /* p_o 3/4; the first says 0 in 2 of 4, the second in 1: p_e = .5·.25 + .5·.75 = .5. */
    assert_true(agree_cohen(&r, &kappa));
    near(kappa, 0.5, 1e-12);
}

static void what_is_not_defined(void **state) {
    (void)state;
    static const int same[] = {1, 1, 1, 1, 1, 1}, gaps[] = {1, -1, -1, 0, -1, -1};
    struct readings r = {same, 3, 2, 2};
    double x = 9, y;
    struct cai_key key = cai_key_make(1, 0, "test", 0, 0);
    assert_false(agree_cohen(&r, &x));
    assert_false(agree_fleiss(&r, &x));
    assert_false(agree_alpha(&r, AGREE_NOMINAL, &x));
    assert_false(agree_interval(&r, agree_cohen, key, 0.95, &x, &y));
    r.value = gaps;
    assert_false(agree_cohen(&r, &x));
    assert_false(agree_fleiss(&r, &x));
    assert_false(agree_alpha(&r, AGREE_ORDINAL, &x));
    r.items = 0;
    assert_false(agree_cohen(&r, &x));
    assert_false(agree_interval(&r, agree_fleiss, key, 0.95, &x, &y));
    assert_true(x == 0);
}

/* Newcombe 1998, table II: 56/70 against 48/80 by method 10: 0.0524 … 0.3339; and 9/10, 3/10. */
static void differences(void **state) {
    (void)state;
    double d, low, high;
    assert_true(agree_difference(56, 70, 48, 80, 0.95, &d, &low, &high));
    near(d, 0.2, 1e-12);
    near(low, 0.0524, 0.0001);
    near(high, 0.3339, 0.0001);
    assert_true(agree_difference(9, 10, 3, 10, 0.95, &d, &low, &high));
    near(low, 0.1705, 0.0001);
    near(high, 0.8090, 0.0001);
    assert_false(agree_difference(0, 0, 3, 10, 0.95, &d, &low, &high));
    assert_true(low == -1 && high == 1 && d == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cohen_by_hand),     cmocka_unit_test(fleiss_example),
        cmocka_unit_test(krippendorff_example), cmocka_unit_test(alpha_by_hand),
        cmocka_unit_test(what_is_not_defined),  cmocka_unit_test(differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
