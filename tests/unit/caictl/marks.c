/* marks: which option is chosen, Wilson's interval, McNemar's test, paired differences and bits
 * per byte, against values worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "marks.h"
#include <math.h>
#include <string.h>

static void near(double got, double want) {
    if (!(fabs(got - want) < 1e-6))
        fail_msg("%.9g instead of %.9g", got, want);
}

static void as_a_whole_and_per_token(void **state) {
    (void)state;
    struct mark m = {0};
    mark_set(&m, (double[]){-4, -3, -6}, (double[]){2, 1, 4}, 3);
    assert_int_equal(m.chosen, 1);
    assert_int_equal(m.chosen_each, 2); /* −2, −3, −1.5 */
    mark_free(&m);
    mark_set(&m, (double[]){-1, -1}, (double[]){1, 1}, 2);
    assert_int_equal(m.chosen, 0); /* among equals the first */
    mark_free(&m);
}

static void wilson(void **state) {
    (void)state;
    struct share s = marks_share(15, 20); /* R: binom.confint(15, 20, methods = "wilson") */
    near(s.value, 0.75);
    near(s.low, 0.5312992);
    near(s.high, 0.8881383);
    s = marks_share(0, 0);
    assert_true(s.low == 0 && s.high == 1);
    assert_true(marks_share(0, 5).low == 0 && marks_share(5, 5).high == 1);
}

static void paired(void **state) {
    (void)state;
    bool a[20] = {0}, b[20] = {0};
    for (size_t i = 0; i < 10; i++)
        a[i] = b[i] = true;
    a[10] = true;
    for (size_t i = 11; i < 17; i++)
        b[i] = true;
    struct marks_paired p = marks_compare(a, b, 20);
    assert_int_equal(p.both, 10);
    assert_int_equal(p.only_a, 1);
    assert_int_equal(p.only_b, 6);
    near(p.difference, 0.25);
    near(p.p, 2 * (1 + 7) / 128.0); /* binomial(7, ½): P(at most 1) twice */
    /* cells 6.5 and 1.5 of 22: middle 5/22, error √(8 − 25/22) / 22 */
    double middle = 5.0 / 22, error = sqrt(8 - 25.0 / 22) / 22;
    near(p.low, middle - 1.959963985 * error);
    near(p.high, middle + 1.959963985 * error);
    assert_true(marks_compare(a, a, 20).p == 1);
    assert_true(marks_compare(a, b, 0).p == 1);
}

static void bits(void **state) {
    (void)state;
    const double a[] = {8 * log(2), 2 * log(2)}, b[] = {4 * log(2), 1 * log(2)}, n[] = {4, 1};
    double low, high;
    near(marks_bits(a, n, 2), 2);
    near(marks_bits(b, n, 2), 1);
    marks_bits_apart(a, b, n, 2, &low, &high);
    near(low, -1); /* −4 of 4 bytes or −1 of 1: one less in every draw */
    near(high, -1);
    marks_bits_apart(a, b, n, 0, &low, &high);
    assert_true(low == 0 && high == 0);
}

static void what_has_no_room_is_left_out(void **state) {
    (void)state;
    char *options[] = {(char *)"x", (char *)"y"};
    double scores[] = {0, 1};
    struct evalset_item items[3];
    for (size_t i = 0; i < 3; i++)
        items[i] = (struct evalset_item){.kind = EVALSET_CHOICE, .line = i + 1, .text = (char *)"q",
                                         .options = options, .scores = scores, .n = 2};
    struct evalset s = {items, 3, 3, 0};
    struct mark a[3] = {0}, b[3] = {0};
    for (size_t i = 0; i < 3; i++)
        mark_set(&a[i], (double[]){-2, -1}, (double[]){1, 1}, 2);
    mark_set(&b[0], (double[]){-1, -2}, (double[]){1, 1}, 2);
    mark_set(&b[2], (double[]){-2, -1}, (double[]){1, 1}, 2);
    json_t *o = marks_json("f", &s, a, b), *choice = json_object_get(o, "choice");
    json_t *right = json_object_get(json_object_get(choice, "a"), "n");
    assert_int_equal(json_integer_value(right), 2); /* those that both could read */
    assert_int_equal(json_integer_value(json_object_get(o, "too_long")), 1);
    near(json_number_value(json_object_get(json_object_get(choice, "difference"), "value")), -0.5);
    json_decref(o);
    o = mark_row("f", &items[1], &a[1], &b[1]);
    assert_int_equal(json_array_size(json_object_get(json_object_get(o, "b"), "logprobs")), 0);
    assert_true(json_is_true(json_object_get(json_object_get(o, "a"), "right")));
    json_decref(o);
    for (size_t i = 0; i < 3; i++) {
        mark_free(&a[i]);
        mark_free(&b[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_whole_and_per_token), cmocka_unit_test(wilson),
        cmocka_unit_test(paired),                   cmocka_unit_test(bits),
        cmocka_unit_test(what_has_no_room_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
