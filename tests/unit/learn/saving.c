/* saving: when a state is saved: by steps, or by Young's rule from what the last one cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "learn/saving.h"
#include <math.h>
#include <time.h>

static void nap(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void by_steps(void **state) {
    (void)state;
    struct saving s;
    saving_begin(&s, 3, 0);
    assert_false(saving_due(&s, 1));
    assert_false(saving_due(&s, 2));
    assert_true(saving_due(&s, 3));
    assert_true(saving_due(&s, 6));
    saving_begin(&s, 0, 0);
    for (int64_t i = 1; i < 10; i++)
        assert_false(saving_due(&s, i));
}

static void by_youngs_rule(void **state) {
    (void)state;
    struct saving s;
    double seconds;
    uint32_t n;
    saving_tally_begin();
    saving_begin(&s, 1, 0.5);
    assert_true(saving_due(&s, 1)); /* the first, to know what one costs */
    saving_start(&s);
    nap(10);
    saving_done(&s);
    assert_true(s.cost >= 0.009);
    double interval = saving_interval(&s);
    assert_true(fabs(interval - sqrt(2 * s.cost * 0.5)) < 1e-12);
    assert_false(saving_due(&s, 2));
    nap((long)(1000 * interval) + 2);
    assert_true(saving_due(&s, 3));
    saving_tally(&seconds, &n);
    assert_int_equal(n, 1);
    assert_true(seconds == s.cost && seconds == s.spent);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_steps), cmocka_unit_test(by_youngs_rule)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
