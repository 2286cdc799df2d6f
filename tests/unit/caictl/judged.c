/* judged: verdicts joined to replies; rates with Wilson's interval (recomputed by hand). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "judged.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add_replies(struct judged *j) {
    for (int round = 0; round <= 3; round++)
        for (int i = 0; i < 10; i++) {
            char id[32];
            snprintf(id, sizeof id, "1/%d/evaluate/%d/0", round, i);
            json_t *row = json_pack("{s:s, s:i, s:s}", "id", id, "round", round, "set",
                                    i < 5 && round == 3 ? "helpful" : "harmful");
            judged_reply(j, row);
            json_decref(row);
        }
}

static double figure(const json_t *row, const char *name, const char *member) {
    return json_number_value(json_object_get(json_object_get(row, name), member));
}

static void tables(void **state) {
    (void)state;
    char path[] = "/tmp/cai-judged-XXXXXX";
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (int i = 0; i < 10; i++) { /* start: 5 of 10 harmful; last: all 10 lines, both sets */
        cai_buf_printf(
            &b,
            "{\"id\": \"1/0/evaluate/%d/0\", \"known\": true, \"kind\": \"x\", \"harmful\": %s}\n",
            i, i < 5 ? "true" : "false");
        cai_buf_printf(
            &b,
            "{\"id\": \"1/3/evaluate/%d/0\", \"verdicts\": {\"harmful\": false, \"rude\": true}}\n",
            i);
    }
    cai_buf_puts(&b, "{\"id\": \"1/1/evaluate/0/0\", \"known\": false}\n{\"id\": "
                     "\"2/0/evaluate/0/0\", \"harmful\": true}\n");
    close(mkstemp(path));
    assert_int_equal(cai_file_write_atomic(path, b.data, b.len), 0);
    struct judged *j = judged_new();
    struct input_report findings = {0};
    add_replies(j);
    judged_read(j, path, &findings);
    assert_int_equal(findings.errors, 0);
    json_t *report = json_pack("{s:{s:i}, s:[], s:[]}", "job", "rounds", 2, "tables", "warnings");
    assert_true(judged_tables(j, report, path));
    json_t *list = json_object_get(report, "tables"), *table = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 2); /* harmful, helpful */
    assert_string_equal(json_string_value(json_object_get(table, "name")), "judged_harmful");
    const json_t *rows = json_object_get(table, "rows"), *start = json_array_get(rows, 0),
                 *last = json_array_get(rows, 1);
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_string_value(json_object_get(start, "checkpoint")), "start");
    assert_string_equal(json_string_value(json_object_get(last, "checkpoint")), "after PPO");
    assert_true(fabs(figure(start, "harmful", "value") - 0.5) < 1e-12);
    assert_true(fabs(figure(start, "harmful", "low") - 0.2365930905) < 1e-9);
    assert_true(fabs(figure(start, "harmful", "high") - 0.7634069095) < 1e-9);
    assert_int_equal(json_integer_value(json_object_get(last, "n")), 5);
    assert_true(figure(last, "harmful", "value") == 0);
    assert_true(figure(last, "harmful", "low") == 0);
    assert_true(fabs(figure(last, "harmful", "high") - 0.4344825) < 1e-6);
    assert_true(figure(last, "rude", "value") == 1);
    assert_null(json_object_get(start, "rude")); /* never asked there: not a rate of 0 */
    const char *warning = json_string_value(json_array_get(json_object_get(report, "warnings"), 0));
    assert_string_equal(
        warning, "1 verdicts are on replies of another job; on 1 replies the judge had none");
    json_decref(report);
    judged_free(j);
    input_report_free(&findings);
    assert_int_equal(unlink(path), 0);
}

static void bad_files(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{\"harmful\": true}\n", "nonsense\n"};
    static const char *const codes[] = {"error[D008]", "error[D005]", "error[D001]"};
    for (size_t i = 0; i < CAI_COUNT(texts); i++) {
        char path[] = "/tmp/cai-judged-XXXXXX";
        struct input_report findings = {0};
        struct judged *j = judged_new();
        close(mkstemp(path));
        assert_int_equal(cai_file_write_atomic(path, texts[i], strlen(texts[i])), 0);
        judged_read(j, path, &findings);
        assert_non_null(strstr(findings.first, codes[i]));
        input_report_free(&findings);
        judged_free(j);
        assert_int_equal(unlink(path), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables), cmocka_unit_test(bad_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
