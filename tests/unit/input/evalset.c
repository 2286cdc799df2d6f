/* evalset: every published form, and what is wrong in a line or example, by its number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "input/evalset.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void read_text(const char *text, struct input_report *report, struct evalset *ret) {
    char path[] = "/tmp/cai-evalset-XXXXXX";
    close(mkstemp(path));
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
    *report = (struct input_report){.file = "set"};
    assert_int_equal(evalset_read(path, report, ret), 0);
    unlink(path);
}

static void forms_by_line(void **state) {
    (void)state;
    struct input_report r;
    struct evalset s;
    read_text("{\"input\":\"a?\",\"target_scores\":{\"x\":0,\"y\":1,\"z\":0.5}}\n"
              "\n"
              "{\"prompt\":\"b?\",\"options\":[\"x\",\"y\"],\"answer\":\"B\"}\n"
              "{\"question\":\"c?\",\"choices\":[\"x\",\"y\"],\"target\":0}\n"
              "{\"question\":\"d?\",\"options\":[\"A\",\"B\",\"C\"],\"answer\":\"B\"}\n"
              "{\"question\":\"e?\",\"answer_matching_behavior\":\" (A)\","
              "\"answer_not_matching_behavior\":\" (B)\"}\n"
              "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
              "\"content\":\"f?\"}],\"options\":[\"x\",\"y\"],\"answer\":\"x\"}\n"
              "{\"prompt\":\"g?\",\"target\":[\"right\",\"also\"]}\n"
              "{\"text\":\"Only words.\"}\n",
              &r, &s);
    static const struct {
        size_t line, n, best;
        enum evalset_kind kind;
    } want[] = {{1, 3, 1, EVALSET_CHOICE}, {3, 2, 1, EVALSET_CHOICE}, {4, 2, 0, EVALSET_CHOICE},
                {5, 3, 1, EVALSET_CHOICE}, {6, 2, 0, EVALSET_CHOICE}, {7, 2, 0, EVALSET_CHOICE},
                {8, 1, 0, EVALSET_OPEN},   {9, 0, 0, EVALSET_TEXT}};
    assert_int_equal(r.errors, 0);
    assert_int_equal(s.n, 8);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(s.at[i].line, want[i].line);
        assert_int_equal(s.at[i].n, want[i].n);
        assert_int_equal(s.at[i].kind, want[i].kind);
        if (s.at[i].n)
            assert_int_equal(evalset_best(&s.at[i]), want[i].best);
    }
    assert_string_equal(s.at[5].text, "f?");
    assert_int_equal(json_array_size(s.at[5].messages), 2);
    assert_string_equal(s.at[6].options[0], "right");
    assert_string_equal(s.at[7].text, "Only words.");
    evalset_drop(&s);
    assert_int_equal(s.n, 7);
    evalset_free(&s);
}

static void a_whole_task(void **state) {
    (void)state;
    struct input_report r;
    struct evalset s;
    read_text("{\n \"name\": \"t [\",\n \"task_prefix\": \"Choose.\",\n \"examples\": [\n"
              "  {\"input\": \"a ] }?\", \"target_scores\": {\"x\": 1, \"y\": 0}},\n"
              "  {\"input\": \"b?\",\n   \"target_scores\": {\"x\": 0, \"y\": 0}},\n"
              "  {\"input\": \"c?\", \"target_scores\": {\"x\": 0, \"y\": 1}}]}\n",
              &r, &s);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.bad, 1);
    assert_int_equal(s.at[0].line, 5);
    assert_int_equal(s.at[1].line, 8);
    assert_non_null(strstr(r.text.data, "set:6:")); /* where the example begins */
    assert_string_equal(s.at[0].text, "Choose.\nQ: a ] }?\n  choice: x\n  choice: y\nA: ");
    const char *turn = json_string_value(
        json_object_get(json_array_get(s.at[0].messages, 0), "content"));
    assert_string_equal(turn, "a ] }?"); /* a chat format has its own words */
    evalset_free(&s);
    input_report_free(&r);
    read_text("{\"examples\":[{\"input\":\"a\",\"target_scores\":{\"x\":1,\"y\":0}}],"
              "\"append_choices_to_input\":false,\"example_input_prefix\":\"\","
              "\"example_output_prefix\":\" =\"}",
              &r, &s);
    assert_string_equal(s.at[0].text, "a =");
    evalset_free(&s);
}

static void every_bad_line_by_its_number(void **state) {
    (void)state;
    static const struct {
        const char *line, *says;
    } bad[] = {{"{\"input\":\"a?\",\"target_scores\":{\"x\":0,\"y\":0}}", "no option is right"},
               {"{\"input\":\"a?\",\"target_scores\":{\"x\":1}}", "nothing to choose from"},
               {"{\"input\":\"a?\",\"target_scores\":[1]}", "must be an object"},
               {"{\"input\":\"a?\",\"target_scores\":{\"x\":\"1\",\"y\":0}}", "each option a number"},
               {"{\"target_scores\":{\"x\":1,\"y\":0}}", "missing member \"prompt\""},
               {"{\"prompt\":\"\",\"options\":[\"x\",\"y\"],\"answer\":0}", "must be a text"},
               {"{\"prompt\":\"a\",\"options\":[\"x\",\"y\"],\"answer\":2}", "none of the options"},
               {"{\"prompt\":\"a\",\"options\":[\"x\",\"y\"],\"answer\":\"C\"}", "none of the options"},
               {"{\"prompt\":\"a\",\"options\":[\"x\",\"y\"]}", "none of the options"},
               {"{\"prompt\":\"a\",\"options\":[\"x\",\"x\"],\"answer\":0}", "are the same"},
               {"{\"prompt\":\"a\",\"options\":[\"x\",7],\"answer\":0}", "each option must be a text"},
               {"{\"prompt\":\"a\"}", "nothing to choose from"},
               {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}],\"target\":\"x\"}",
                "must be a text, or messages"},
               {"{\"question\":\"a\",\"answer_matching_behavior\":\"x\"}", "both answers"},
               {"{\"prompt\":", "error[D001]"},
               {"[1]", "error[D004]"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct input_report r;
        struct evalset s;
        CAI_AUTO(mem) char *text = cai_format("{\"text\":\"good\"}\n%s\n", bad[i].line);
        read_text(text, &r, &s);
        if (s.n != 1 || s.bad != 1 || !strstr(r.text.data, "set:2:") ||
            !strstr(r.text.data, bad[i].says))
            fail_msg("%s: %zu good, %zu bad: %s", bad[i].line, s.n, s.bad,
                     r.text.len ? r.text.data : "");
        evalset_free(&s);
        input_report_free(&r);
    }
}

static void no_rows_and_no_file(void **state) {
    (void)state;
    struct input_report r;
    struct evalset s;
    read_text("\n\n", &r, &s);
    assert_non_null(strstr(r.text.data, "no rows"));
    evalset_free(&s);
    input_report_free(&r);
    r = (struct input_report){.file = "/nowhere/x"};
    assert_true(evalset_read("/nowhere/x", &r, &s) < 0);
    assert_int_equal(r.errors, 1);
    input_report_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_by_line),
        cmocka_unit_test(a_whole_task),
        cmocka_unit_test(every_bad_line_by_its_number),
        cmocka_unit_test(no_rows_and_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
