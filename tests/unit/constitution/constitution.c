/* constitution: reading, defaults, the canonical form and its revision, differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "constitution/constitution.h"
#include "sample.h"
#include <stdlib.h>
#include <string.h>

static struct constitution *parse(const char *text) {
    struct input_report report = {.file = "c.yaml"};
    struct constitution *c = NULL;
    int rc = constitution_parse("c.yaml", text, strlen(text), NULL, &report, &c);
    if (rc < 0)
        print_error("%s", report.text.data);
    input_report_free(&report);
    assert_int_equal(rc, 0);
    return c;
}

/* A copy of the sample with one text replaced. */
static struct constitution *changed(const char *from, const char *to) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    const char *at = strstr(sample, from);
    assert_non_null(at);
    cai_buf_append(&b, sample, (size_t)(at - sample));
    cai_buf_puts(&b, to);
    cai_buf_puts(&b, at + strlen(from));
    return parse(b.data);
}

static void fields(void **state) {
    (void)state;
    struct constitution *c = parse(sample);
    assert_string_equal(c->name, "house-rules");
    assert_int_equal(c->revisions, 2);
    assert_int_equal(c->per_comparison, 1);
    assert_int_equal(c->n_principles, 2);
    const struct principle *p = constitution_find(c, "no-lies");
    assert_true(p->weight == 0.5);
    assert_string_equal(p->choice, "Which reply is more honest?"); /* block's line end is cut */
    assert_int_equal(p->phases, PHASE_SFT | PHASE_RL);
    assert_int_equal(p->source_votes, 3);
    assert_int_equal(p->n_tags, 2);
    p = constitution_find(c, "no-harm");
    assert_int_equal(p->phases, PHASE_SFT);
    assert_true(p->enabled && p->weight == 1.0 && p->tier == 1 && p->source_votes == -1);
    assert_null(constitution_find(c, "absent"));
    assert_int_equal(c->n_critique_examples, 2);
    assert_true(c->critique_examples[1].no_flaw);
    assert_null(c->critique_examples[1].revision);
    assert_int_equal(c->choice_examples[0].answer, 'B');
    constitution_free(c);
}

static void canonical_reads_back(void **state) {
    (void)state;
    struct constitution *c = parse(sample);
    CAI_AUTO(buf) struct cai_buf text = {0};
    constitution_canonical(c, &text);
    struct constitution *again = parse(text.data);
    assert_string_equal(again->revision, c->revision);
    CAI_AUTO(buf) struct cai_buf diff = {0};
    assert_int_equal(constitution_diff(c, again, &diff), 0);
    constitution_free(c);
    constitution_free(again);
}

static void revision_is_of_the_content(void **state) {
    (void)state;
    struct constitution *c = parse(sample);
    static const struct {
        const char *from, *to;
        int same;
    } cases[] = {
        {"# a comment\n", "", 1},
        {"name: house-rules\nlicense: CC0-1.0\n", "license: \"CC0-1.0\"\nname: 'house-rules'\n", 1},
        {"    weight: 0.5\n", "    weight: 5e-1\n    tier: 1\n    enabled: on\n", 1},
        {"    choice: |\n      Which reply is more honest?\n",
         "    choice: Which reply is more honest?\n", 1},
        {"untrue.\n    revision: Make", "false.\n    revision: Make", 0},
        {"weight: 0.5", "weight: 0.6", 0},
        {"revisions: 2", "revisions: 3", 0},
        {"answer: B", "answer: A", 0},
        {"critique_examples:", "frames: {no_flaw: Fine}\ncritique_examples:", 0},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct constitution *d = changed(cases[i].from, cases[i].to);
        CAI_AUTO(buf) struct cai_buf diff = {0};
        assert_int_equal(strcmp(c->revision, d->revision) == 0, cases[i].same);
        assert_int_equal(constitution_diff(c, d, &diff) == 0, cases[i].same);
        constitution_free(d);
    }
    constitution_free(c);
}

static void unicode_is_normalised(void **state) {
    (void)state;
    struct constitution *a = changed("Remove the harm.", "Caf\xC3\xA9 \xF0\x9F\x98\x80"),
                        *b = changed("Remove the harm.", "Cafe\xCC\x81 \xF0\x9F\x98\x80"),
                        *d = changed("Remove the harm.", "\"Caf\\u00e9 \\U0001F600\"");
    assert_string_equal(a->revision, b->revision);
    assert_string_equal(a->revision, d->revision);
    CAI_AUTO(buf) struct cai_buf text = {0};
    constitution_canonical(a, &text);
    struct constitution *again = parse(text.data);
    assert_string_equal(a->revision, again->revision);
    constitution_free(a);
    constitution_free(b);
    constitution_free(d);
    constitution_free(again);
}

static void differences(void **state) {
    (void)state;
    struct constitution *a = parse(sample), *b = changed("id: no-harm", "id: kind");
    CAI_AUTO(buf) struct cai_buf text = {0};
    assert_int_equal(constitution_diff(a, b, &text), 2);
    assert_string_equal(text.data, "- principle 'no-harm'\n+ principle 'kind'\n");
    constitution_free(b);
    b = changed("weight: 0.5", "weight: 2");
    cai_buf_clear(&text);
    assert_int_equal(constitution_diff(a, b, &text), 1);
    assert_string_equal(text.data, "~ principle 'no-lies'\n  - weight: 0.5\n  + weight: 2\n");
    constitution_free(a);
    constitution_free(b);
}

static void serves(void **state) {
    (void)state;
    struct constitution *c = parse(sample);
    struct input_report report = {.file = "c.yaml"};
    assert_int_equal(constitution_serves(c, PHASE_SFT | PHASE_RL, &report), 0);
    constitution_free(c);
    c = changed("weight: 0.5", "enabled: no");
    assert_int_equal(constitution_serves(c, PHASE_SFT, &report), 0);
    assert_int_equal(constitution_serves(c, PHASE_RL, &report), CAI_EINPUT);
    assert_non_null(strstr(report.first, "error[C022]"));
    constitution_free(c);
    input_report_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields),
                                       cmocka_unit_test(canonical_reads_back),
                                       cmocka_unit_test(revision_is_of_the_content),
                                       cmocka_unit_test(unicode_is_normalised),
                                       cmocka_unit_test(differences),
                                       cmocka_unit_test(serves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
