/* record: every published form is told by its keys and read as one conversation; what is wrong is
 * said at its column; what is written in a form is read back as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "input/record.h"
#include <stdlib.h>
#include <string.h>

struct subject {
    json_t *row;
    struct input_report report;
    struct input_record r;
    int rc;
};

static struct subject read_text(const char *text) {
    struct subject s = {.report = {.file = "f.jsonl", .row = text, .row_len = strlen(text),
                                   .row_line = 7}};
    s.row = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(s.row);
    s.rc = input_record(s.row, 7, &s.report, &s.r);
    return s;
}

static void done(struct subject *s) {
    if (s->rc == 0)
        input_record_free(&s->r);
    json_decref(s->row);
    input_report_free(&s->report);
}

/* Form; turns as "u:text|a:text"; reply; replies of a pair. */
static const struct good {
    const char *text;
    enum input_form form;
    const char *turns, *reply, *a, *b;
    double p;
} goods[] = {
    {"{\"prompt\": \"q\", \"reply\": \"r\", \"more\": 1}", FORM_PROMPT, "u:q|", "r", NULL, NULL, 1},
    {"{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}]}", FORM_PROMPT, "u:q|", NULL, NULL, NULL, 1},
    {"{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": "
     "\"q\"}, {\"role\": \"assistant\", \"content\": \"r\"}]}",
     FORM_MESSAGES, "s:s|u:q|", "r", NULL, NULL, 1},
    {"{\"prompt\": \"q\", \"completion\": \"r\"}", FORM_COMPLETION, "u:q|", "r", NULL, NULL, 1},
    {"{\"prompt\": \"q\", \"chosen\": \"x\", \"rejected\": \"y\"}", FORM_PREFERENCE, "u:q|", NULL,
     "x", "y", 1},
    {"{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"chosen\": [{\"role\": \"assistant\", "
     "\"content\": \"x\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"y\"}], \"p\": 0.75}",
     FORM_PREFERENCE, "u:q|", NULL, "x", "y", 0.75},
    {"{\"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": "
     "\"x\"}], \"rejected\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
     "\"content\": \"y\"}]}",
     FORM_IMPLICIT, "u:q|", NULL, "x", "y", 1},
    {"{\"prompt\": \"q\", \"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
     "\"assistant\", \"content\": \"x\"}], \"rejected\": [{\"role\": \"user\", \"content\": \"q\"}, "
     "{\"role\": \"assistant\", \"content\": \"y\"}]}",
     FORM_IMPLICIT, "u:q|", NULL, "x", "y", 1},
    {"{\"chosen\": \"The sky is blue.\", \"rejected\": \"The sky is bland.\"}", FORM_IMPLICIT,
     "u:The sky is|", NULL, "blue.", "bland.", 1},
    {"{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: r\\n\\nHuman: q2 \\n\\nAssistant: x\", "
     "\"rejected\": \"\\n\\nHuman: q\\n\\nAssistant: r\\n\\nHuman: q2 \\n\\nAssistant:  y\\n\"}",
     FORM_HH, "u:q|a:r|u:q2|", NULL, "x", "y", 1},
    {"{\"prompt\": \"\\n\\nHuman: q\\n\\nAssistant:\", \"chosen\": \"x\", \"rejected\": \"y\"}",
     FORM_PREFERENCE, "u:q|", NULL, "x", "y", 1},
    {"{\"transcript\": \"\\n\\nHuman: q\\n\\nAssistant: r\\n\", \"rating\": 4.0}", FORM_RED_TEAM,
     "u:q|", "r", NULL, NULL, 1},
    {"{\"transcript\": \"\\n\\nHuman: q\\n\\nAssistant:\"}", FORM_RED_TEAM, "u:q|", NULL, NULL,
     NULL, 1},
    {"{\"question\": \"q\", \"answer\": \"7\"}", FORM_PROMPT, "u:q|", NULL, NULL, NULL, 1},
    {"{\"prompt\": \"p\", \"question\": \"q\"}", FORM_PROMPT, "u:p|", NULL, NULL, NULL, 1},
    {"{\"prompt\": \"q\", \"a\": \"x\", \"b\": \"y\", \"p\": 0.2}", FORM_AB, "u:q|", NULL, "x", "y",
     0.2},
};

static char *turns_text(const struct input_record *r) {
    struct cai_buf b = {0};
    cai_buf_puts(&b, "");
    for (size_t i = 0; i < r->n; i++)
        cai_buf_printf(&b, "%c:%s|", r->turns[i].role[0], r->turns[i].text);
    return cai_buf_detach(&b);
}

static void same(const char *x, const char *y) {
    assert_int_equal(!x, !y);
    if (x)
        assert_string_equal(x, y);
}

static void forms_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < CAI_COUNT(goods); i++) {
        struct subject s = read_text(goods[i].text);
        if (s.rc < 0)
            fail_msg("%s: %s", goods[i].text, s.report.first);
        CAI_AUTO(mem) char *turns = turns_text(&s.r);
        assert_string_equal(input_form_name(s.r.form), input_form_name(goods[i].form));
        assert_string_equal(turns, goods[i].turns);
        same(s.r.reply, goods[i].reply);
        same(s.r.a, goods[i].a);
        same(s.r.b, goods[i].b);
        assert_true(s.r.p == goods[i].p);
        done(&s);
    }
}

static void what_is_unknown_is_kept(void **state) {
    (void)state;
    struct subject s = read_text("{\"id\": \"7\", \"transcript\": \"\\n\\nHuman: q\", \"rating\": 2}");
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.r.id, "7");
    assert_int_equal(json_object_size(s.r.rest), 2);
    assert_int_equal(json_integer_value(json_object_get(s.r.rest, "rating")), 2);
    done(&s);
    /* TRL's label of a completion is the opposite of a classifier's. */
    s = read_text("{\"prompt\": \"q\", \"completion\": \"r\", \"label\": true}");
    assert_int_equal(s.rc, 0);
    assert_null(json_object_get(s.r.rest, "label"));
    assert_true(json_is_true(json_object_get(s.r.rest, "desirable")));
    done(&s);
}

static const struct bad {
    const char *text, *place, *words;
} bads[] = {
    {"{\"a\": \"x\"}", ":7:1: error[D005]", "missing member \"prompt\""},
    {"{\"chosen\": \"x\", \"rejected\": \"y\"}", ":7:1: error[D005]", "no common words"},
    {"{\"prompt\": \"q\", \"chosen\": \"x\"}", ":7:1: error[D005]", "\"rejected\""},
    {"{\"prompt\": \"q\", \"chosen\": \"x\", \"rejected\": \"x\"}", ":7:44: error[D006]",
     "are the same"},
    {"{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: x\", \"rejected\": \"\\n\\nHuman: q2\\n\\nAssistant: "
     "y\"}",
     ":7:56: error[D006]", "part at turn 1"},
    {"{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: x\", \"rejected\": \"\\n\\nHuman: q\\n\\nAssistant:\"}",
     ":7:56: error[D006]", "turn 2, of the Assistant, is empty"},
    {"{\"transcript\": \"\\n\\nHuman: q\\n\\nHuman: q\"}", ":7:16: error[D006]", "Human again"},
    {"{\"transcript\": \"hello\"}", ":7:16: error[D006]", "is no transcript"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"é\"}, {\"role\": \"tool\", \"content\": \"\"}]}",
     ":7:58: error[D006]", "message 2 has the role tool"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"é\"}, {\"role\": \"assistant\"}]}",
     ":7:49: error[D005]", "no \"content\""},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}", ":7:15: error[D006]",
     "out of turn"},
    {"{\"prompt\": \"q\", \"a\": \"x\", \"b\": \"y\", \"p\": 2}", ":7:42: error[D006]", "from 0 to 1"},
    {"{\"prompt\": \"q\", \"id\": []}", ":7:23: error[D006]", "\"id\""},
    {"{\"prompt\": \"q\", \"messages\": []}", ":7:1: error[D005]", "both"},
};

static void what_is_wrong_is_said_in_its_place(void **state) {
    (void)state;
    for (size_t i = 0; i < CAI_COUNT(bads); i++) {
        struct subject s = read_text(bads[i].text);
        assert_int_equal(s.rc, CAI_EINPUT);
        assert_int_equal(s.report.errors, 1);
        if (!strstr(s.report.first, bads[i].place) || !strstr(s.report.first, bads[i].words))
            fail_msg("%s: %s", bads[i].text, s.report.first);
        done(&s);
    }
}

static void styles_come_back(void **state) {
    (void)state;
    for (size_t i = 0; i < CAI_COUNT(goods); i++)
        for (int style = 0; style < STYLES; style++) {
            struct subject s = read_text(goods[i].text);
            json_t *o = record_write(&s.r, (enum record_style)style);
            if (!o) {
                assert_true(style == STYLE_MESSAGES || style == STYLE_TEXT || style == STYLE_HH ||
                            style == STYLE_IMPLICIT);
                done(&s);
                continue;
            }
            CAI_AUTO(mem) char *text = json_dumps(o, 0);
            struct subject again = read_text(text);
            if (again.rc < 0)
                fail_msg("%s: %s", text, again.report.first);
            CAI_AUTO(mem) char *before = turns_text(&s.r);
            CAI_AUTO(mem) char *after = turns_text(&again.r);
            assert_string_equal(before, after);
            bool turned = s.r.p < 0.5, pair = s.r.a && style != STYLE_MESSAGES;
            if (pair) {
                assert_string_equal(again.r.a, turned ? s.r.b : s.r.a);
                assert_string_equal(again.r.b, turned ? s.r.a : s.r.b);
                assert_true(again.r.p == (turned ? 1 - s.r.p : s.r.p));
            }
            if (!s.r.a)
                same(again.r.reply, s.r.reply);
            json_decref(o);
            done(&again);
            done(&s);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_read), cmocka_unit_test(what_is_unknown_is_kept),
        cmocka_unit_test(what_is_wrong_is_said_in_its_place), cmocka_unit_test(styles_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
