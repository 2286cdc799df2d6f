/* render: principles, few-shots and transcripts as messages; what may be dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "constitution/render.h"
#include "sample.h"
#include <string.h>

static struct constitution *load(void) {
    struct input_report report = {.file = "sample.yaml"};
    struct constitution *c = NULL;
    assert_int_equal(
        constitution_parse("sample.yaml", sample, sizeof sample - 1, NULL, &report, &c), 0);
    input_report_free(&report);
    return c;
}

static const struct turn dialogue[] = {
    {"user", "Hi"}, {"assistant", "Hey"}, {"user", "Is 3 even?"}, {"assistant", "Yes {principle}"}};

static void expect(const struct rendering *r, size_t i, const char *role, const char *begins,
                   const char *origin, uint32_t drop) {
    assert_true(i < r->n);
    assert_string_equal(r->messages[i].role, role);
    assert_memory_equal(r->messages[i].text, begins, strlen(begins));
    assert_string_equal(r->messages[i].origin, origin);
    assert_int_equal(r->messages[i].drop, drop);
}

static void critique(void **state) {
    (void)state;
    struct constitution *c = load();
    struct rendering r;
    render_critique(c, &c->principles[0], dialogue, 4, &r);
    assert_int_equal(r.n, 2 * 4 + 4 + 1);
    expect(&r, 0, "user", "Is two and two five?", "fewshot", 3);
    expect(&r, 2, "user", "Say where the reply is untrue.", "fewshot", 3);
    expect(&r, 3, "assistant", "Two and two are four.", "fewshot", 3);
    expect(&r, 4, "user", "Hello", "fewshot", 2);
    expect(&r, 7, "assistant", "No flaw: it is a greeting.", "fewshot", 2);
    expect(&r, 8, "user", "Hi", "data", 1);
    expect(&r, 9, "assistant", "Hey", "data", 1);
    expect(&r, 10, "user", "Is 3 even?", "data", 0);
    expect(&r, 11, "assistant", "Yes {principle}", "model", 0);
    expect(&r, 12, "user", "Say where the reply is untrue.\n\nSpeak only of", "principle", 0);
    assert_non_null(strstr(r.messages[12].text, "begin with \"No flaw:\""));
    assert_string_equal(r.prefix, "");
    rendering_free(&r);
    constitution_free(c);
}

static void revision(void **state) {
    (void)state;
    struct constitution *c = load();
    struct rendering r;
    render_revision(c, &c->principles[0], dialogue, 4, "Three is odd.", &r);
    assert_int_equal(r.n, 6 + 4 + 4 + 3); /* the no-flaw example stops at its critique */
    expect(&r, 4, "user", "Make it true.\n\n", "fewshot", 3);
    expect(&r, 5, "assistant", "No, it is four.", "fewshot", 3);
    expect(&r, 15, "assistant", "Three is odd.", "model", 0);
    expect(&r, 16, "user", "Make it true.\n\n", "principle", 0);
    for (size_t i = 1; i < r.n; i++) /* roles alternate, as every chat template wants */
        assert_string_not_equal(r.messages[i].role, r.messages[i - 1].role);
    rendering_free(&r);
    constitution_free(c);
}

static void choice(void **state) {
    (void)state;
    struct constitution *c = load();
    struct rendering r;
    render_choice(c, &c->principles[0], dialogue, 3, "No {b}.", "The answer is: (B)", &r);
    assert_int_equal(r.n, 3);
    expect(&r, 0, "user", "Here is a conversation", "fewshot", 1);
    assert_non_null(strstr(r.messages[0].text, "Response (A):\nIt is {b} warm.\n"));
    expect(&r, 1, "assistant", "The answer is: (B)", "fewshot", 1);
    expect(&r, 2, "user", "Here is a conversation", "principle", 0);
    const char *text = r.messages[2].text;
    assert_non_null(strstr(text, "Human: Hi\n\nAssistant: Hey\n\nHuman: Is 3 even?\n\nResponse"));
    assert_non_null(
        strstr(text, "Response (A):\nNo {b}.\n\nResponse (B):\nThe answer is: (B)\n\n"));
    assert_non_null(strstr(text, "\n\nWhich reply is more honest?\n\n"));
    assert_string_equal(r.prefix, "The answer is:");
    assert_string_equal(r.options[0], " (A)");
    assert_string_equal(r.options[1], " (B)");
    rendering_free(&r);
    constitution_free(c);
}

static void own_frames(void **state) {
    (void)state;
    static const char text[] =
        "constitution: 1\nname: tiny\n"
        "frames: {critique: 'C? {principle}', revision: 'R! {principle}', critique_prefix: 'So:',\n"
        "  choice: '{conversation} | {a} | {b} | {principle}', choice_prefix: '=', option_a: ' "
        "A',\n"
        "  option_b: ' B', no_flaw: fine}\n"
        "principles: [{id: x, critique: c, revision: r, choice: q}]\n";
    struct input_report report = {.file = "t.yaml"};
    struct constitution *c;
    assert_int_equal(constitution_parse("t", text, sizeof text - 1, NULL, &report, &c), 0);
    struct rendering r;
    render_revision(c, &c->principles[0], dialogue + 2, 2, "odd", &r);
    expect(&r, 2, "user", "C? c", "principle", 0);
    expect(&r, 3, "assistant", "So: odd", "model", 0);
    expect(&r, 4, "user", "R! r", "principle", 0);
    rendering_free(&r);
    render_choice(c, &c->principles[0], dialogue, 1, "1", "2", &r);
    assert_string_equal(r.messages[0].text, "Human: Hi | 1 | 2 | q");
    assert_string_equal(r.options[1], " B");
    rendering_free(&r);
    constitution_free(c);
    input_report_free(&report);
}

/* Before the few-shots, never dropped; in a text shown to the judge it has a name of its own. */
static void system_message(void **state) {
    (void)state;
    static const struct turn turns[] = {
        {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hey"}, {"user", "So?"}};
    struct constitution *c = load();
    struct rendering r;
    render_critique(c, &c->principles[0], turns, 3, &r);
    expect(&r, 0, "system", "Be brief.", "data", 0);
    expect(&r, 1, "user", "Is two and two five?", "fewshot", 2);
    expect(&r, 9, "user", "Hi", "data", 0);
    assert_int_equal(r.n, 1 + 2 * 4 + 2 + 1);
    rendering_free(&r);
    render_choice(c, &c->principles[0], turns, 4, "1", "2", &r);
    assert_non_null(strstr(r.messages[r.n - 1].text,
                           "System: Be brief.\n\nHuman: Hi\n\nAssistant: Hey\n\nHuman: So?\n"));
    rendering_free(&r);
    constitution_free(c);
}

/* The questions of critique as a skill: no few-shots, a system message first, options to choose. */
static void skill(void **state) {
    (void)state;
    static const struct turn turns[] = {
        {"system", "Be brief."}, {"user", "Is 3 even?"}, {"assistant", "Yes {principle}"}};
    struct constitution *c = load();
    struct principle any = render_any(c);
    struct rendering r;
    render_critiqueable(c, &c->principles[0], turns, 3, &r);
    assert_int_equal(r.n, 4);
    expect(&r, 0, "system", "Be brief.", "data", 0);
    expect(&r, 2, "assistant", "Yes {principle}", "model", 0);
    expect(&r, 3, "user", "Say where the reply is untrue.\n\nDo not write", "principle", 0);
    assert_string_equal(r.prefix, "The answer is:");
    assert_string_equal(r.options[0], " yes");
    assert_string_equal(r.options[1], " no");
    rendering_free(&r);
    render_helpful(c, &any, turns, 3, "It is odd.", &r);
    assert_int_equal(r.n, 6);
    expect(&r, 3, "user", "Look for anything in your last response", "principle", 0);
    expect(&r, 4, "assistant", "It is odd.", "model", 0);
    expect(&r, 5, "user", "Look at that critique again.", "principle", 0);
    rendering_free(&r);
    render_refinement(c, &any, turns, 3, &r);
    expect(&r, 3, "user", "Rewrite the response so that nothing", "principle", 0);
    rendering_free(&r);
    render_tamper(c, &c->principles[0], turns, 3, &r);
    assert_non_null(strstr(r.messages[3].text, "Say where the reply is untrue."));
    rendering_free(&r);
    constitution_free(c);
}

/* A debater sees the other side's reply as the one to criticise; the judge sees all that was said. */
static void debate(void **state) {
    (void)state;
    static const struct turn turns[] = {{"user", "Is 3 even?"}};
    static const struct speech said[] = {{'A', "It {mine} errs."}, {'B', "So does that."}, {'A', "No."}};
    struct constitution *c = load();
    struct rendering r;
    render_debate(c, &c->principles[0], turns, 1, 'A', "No.", "Yes.", NULL, 0, &r);
    expect(&r, 1, "assistant", "Yes.", "model", 0);
    assert_non_null(strstr(r.messages[2].text, "The other one is:\n\nNo.\n"));
    assert_non_null(strstr(r.messages[2].text, "(nothing yet)"));
    rendering_free(&r);
    render_debate(c, &c->principles[0], turns, 1, 'B', "Yes.", "No.", said, 1, &r);
    assert_non_null(strstr(r.messages[2].text, "Against you: It {mine} errs.\n"));
    rendering_free(&r);
    render_debated_choice(c, &c->principles[0], turns, 1, "No.", "Yes.", said, 3, &r);
    assert_int_equal(r.n, 1);
    assert_non_null(strstr(r.messages[0].text,
                           "For (A): It {mine} errs.\nFor (B): So does that.\nFor (A): No.\n"));
    assert_string_equal(r.options[1], c->frames.option_b);
    rendering_free(&r);
    constitution_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(critique), cmocka_unit_test(revision),
                                       cmocka_unit_test(choice), cmocka_unit_test(own_frames),
                                       cmocka_unit_test(system_message), cmocka_unit_test(skill),
                                       cmocka_unit_test(debate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
