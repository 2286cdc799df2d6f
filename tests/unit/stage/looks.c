/* looks: boundaries against published ones, and how often data without anything in them pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "stage/looks.h"
#include "stage/rates.h"

#include <math.h>

static const double fifths[] = {0.2, 0.4, 0.6, 0.8, 1};

/* Five equal looks at 2.5 % (Lan and DeMets 1983; the tables of Jennison and Turnbull 2000, ch. 7). */
static void published_bounds(void **state) {
    (void)state;
    static const double late[] = {4.8769, 3.3569, 2.6803, 2.2898, 2.0310};  /* as O'Brien and Fleming */
    static const double early[] = {2.4380, 2.4268, 2.4101, 2.3966, 2.3859}; /* as Pocock */
    double spent[5], z[5];
    for (int i = 0; i < 5; i++)
        spent[i] = erfc(rates_quantile(1 - 0.025 / 2) / sqrt(fifths[i]) / sqrt(2));
    looks_bounds(fifths, spent, 5, z);
    for (int i = 0; i < 5; i++)
        assert_true(fabs(z[i] - late[i]) < 2e-3);
    for (int i = 0; i < 5; i++)
        spent[i] = 0.025 * log(1 + (exp(1) - 1) * fifths[i]);
    looks_bounds(fifths, spent, 5, z);
    for (int i = 0; i < 5; i++)
        assert_true(fabs(z[i] - early[i]) < 2e-3);
}

static void one_look_has_all(void **state) {
    (void)state;
    size_t draws[LOOKS_MAX];
    double z[LOOKS_MAX];
    assert_int_equal(looks_doubling(1, 0.05, draws, z), 1);
    assert_int_equal(draws[0], 1);
    assert_true(fabs(z[0] - 1.6448536) < 1e-6);
    assert_int_equal(looks_doubling(6, 0.05, draws, z), 4); /* 1, 2, 4 and what is left */
    assert_true(draws[0] == 1 && draws[1] == 2 && draws[2] == 4 && draws[3] == 6);
    assert_true(z[0] > z[1] && z[1] > z[3] && z[3] > 1.6448536);
}

/* Normal draws, looked at as they gather; `alike`: what all draws of a probe have in common. */
static double passed(size_t runs, size_t most, double alike) {
    size_t draws[LOOKS_MAX], hits = 0;
    double z[LOOKS_MAX];
    size_t looks = looks_doubling(most, 0.05, draws, z);
    for (size_t run = 0; run < runs; run++) {
        struct cai_key key = cai_key_make(5, 0, "looks", run, (uint32_t)most);
        double sum = 0, common = alike * rates_quantile(cai_rng_uniform(key, 0) * 0.999998 + 1e-6);
        size_t n = 0, hit = 0;
        for (size_t j = 0; j < looks; j++) {
            for (; n < draws[j]; n++)
                sum += rates_quantile(cai_rng_uniform(key, 1 + n) * 0.999998 + 1e-6);
            double m = (double)n, variance = alike * alike + 1 / m;
            hit = hit || (common + sum / m) / sqrt(variance) > z[j];
        }
        hits += hit;
    }
    return (double)hits / (double)runs;
}

static void the_error_is_kept(void **state) {
    (void)state;
    double rate = passed(8000, 8, 0);
    assert_true(rate > 0.043 && rate < 0.057); /* three standard errors */
    assert_true(passed(8000, 8, 0.5) < 0.05);  /* looks that have more in common err less */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_bounds),
        cmocka_unit_test(one_look_has_all),
        cmocka_unit_test(the_error_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
