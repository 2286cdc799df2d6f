/* step_times: the 99th percentile of a gang's last steps: the longest of few, all but the longest
 * hundredth part of many, and the longest of all; nothing before eight are known; old ones are forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run/step_times.h"

/* n steps of that length each, one after another. */
static void steps(struct step_times *s, int n, int64_t ms, int64_t *io_now) {
    for (int i = 0; i < n; i++)
        step_times_add(s, 1, *io_now += ms);
}

static void nothing_is_known_of_a_few(void **state) {
    (void)state;
    struct step_times s = {0};
    int64_t now = 5000;
    steps(&s, STEP_TIMES_MIN, 100, &now); /* the first tells no time */
    assert_int_equal(s.p99_ms, 0);
    assert_int_equal(s.longest_ms, 0);
    steps(&s, 1, 130, &now);
    assert_int_equal(s.p99_ms, 130);
}

static void the_longest_of_few_counts(void **state) {
    (void)state;
    struct step_times s = {0};
    int64_t now = 5000;
    steps(&s, 50, 100, &now);
    steps(&s, 1, 900, &now);
    steps(&s, 48, 100, &now);
    assert_int_equal(s.n, 98);
    assert_int_equal(s.p99_ms, 900);
}

static void one_in_a_hundred_is_left_out(void **state) {
    (void)state;
    struct step_times s = {0};
    int64_t now = 5000;
    steps(&s, 60, 100, &now);
    steps(&s, 1, 5000, &now); /* a state was saved */
    steps(&s, 60, 100, &now);
    assert_int_equal(s.p99_ms, 100);
    assert_int_equal(s.longest_ms, 5000);
    steps(&s, 1, 700, &now);
    assert_int_equal(s.p99_ms, 700);
    assert_int_equal(s.longest_ms, 5000);
}

static void many_at_once_are_divided(void **state) {
    (void)state;
    struct step_times s = {0};
    int64_t now = 5000;
    step_times_add(&s, 60, now); /* taken up from a state: no time of ours */
    for (int i = 0; i < 8; i++)
        step_times_add(&s, 4, now += 400);
    assert_int_equal(s.p99_ms, 100);
    step_times_add(&s, 0, now += 9000);
    step_times_add(&s, 1, now += 100);
    assert_int_equal(s.p99_ms, 100);
}

static void old_ones_are_forgotten(void **state) {
    (void)state;
    struct step_times s = {0};
    int64_t now = 5000;
    steps(&s, 300, 1000, &now);
    assert_int_equal(s.p99_ms, 1000);
    steps(&s, STEP_TIMES, 20, &now);
    assert_int_equal(s.p99_ms, 20);
    assert_int_equal(s.longest_ms, 20);
    steps(&s, STEP_TIMES, 0, &now); /* shorter than the clock tells */
    assert_int_equal(s.p99_ms, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_of_a_few),
        cmocka_unit_test(the_longest_of_few_counts),
        cmocka_unit_test(one_in_a_hundred_is_left_out),
        cmocka_unit_test(many_at_once_are_divided),
        cmocka_unit_test(old_ones_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
