/* schema: numbers as files may write them, whatever the locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "input/schema.h"
#include <locale.h>

static void numbers(void **state) {
    (void)state;
    double d;
    int64_t i;
    setlocale(LC_ALL, "de_DE.UTF-8"); /* if it is there: a comma must not become a point */
    assert_true(schema_number("2e-5", &d) && d == 2e-5);
    assert_true(schema_number("-0.5", &d) && d == -0.5);
    assert_true(schema_number("7", &d) && d == 7);
    static const char *const no[] = {"",   "nan", "inf", "1e999", "0x10", "1,5",
                                     " 1", "1 ",  "e5",  ".",     "--1",  "1.2.3"};
    for (size_t k = 0; k < CAI_COUNT(no); k++)
        assert_false(schema_number(no[k], &d));
    assert_true(schema_integer("-12", &i) && i == -12);
    assert_true(schema_integer("1_000_000", &i) && i == 1000000);
    assert_true(schema_integer("9223372036854775807", &i) && i == INT64_MAX);
    static const char *const bad[] = {"",
                                      "-",
                                      "1.0",
                                      "1e3",
                                      "9223372036854775808",
                                      "0x1",
                                      "_1",
                                      "1_",
                                      "12a",
                                      " 1",
                                      "1111111111111111111111111111111111111111111"};
    for (size_t k = 0; k < CAI_COUNT(bad); k++)
        assert_false(schema_integer(bad[k], &i));
}

struct target {
    const char *text;
    int64_t n;
    bool flag;
};

static void null_keeps_the_default(void **state) {
    (void)state;
    static const struct schema_field fields[] = {
        {"text", SCHEMA_STRING, offsetof(struct target, text), false, 0, 0, NULL},
        {"n", SCHEMA_INT, offsetof(struct target, n), false, 0, 10, NULL},
        {"flag", SCHEMA_BOOL, offsetof(struct target, flag), false, 0, 0, NULL}};
    struct target t = {"before", 3, false};
    struct input_report report = {.file = "t"};
    CAI_AUTO(arena) struct cai_arena arena = {0};
    const struct yaml_node *root;
    static const char text[] = "text: ~\nn:\nflag: yes\n";
    assert_int_equal(yaml_parse(text, sizeof text - 1, &report, &arena, &root), 0);
    assert_true(schema_read(root, "a thing", fields, 3, &t, &report));
    assert_string_equal(t.text, "before");
    assert_int_equal(t.n, 3);
    assert_true(t.flag);
    input_report_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers),
                                       cmocka_unit_test(null_keeps_the_default)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
