/* default: the constitution that caid ships is what the README says of it. Its path is the
 * first argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "constitution/render.h"
#include <string.h>

static const char *path;

static void shipped(void **state) {
    (void)state;
    struct input_report report = {0};
    struct constitution *c = NULL, *again = NULL;
    if (constitution_load(path, &report, &c) < 0)
        fail_msg("%s", report.text.data);
    assert_int_equal(report.warnings, 0);
    assert_true(c->n_principles >= 16);
    assert_int_equal(constitution_serves(c, PHASE_SFT | PHASE_RL, &report), 0);
    size_t no_flaw = 0, a = 0;
    for (size_t i = 0; i < c->n_critique_examples; i++) {
        const struct critique_example *e = &c->critique_examples[i];
        bool says = strncmp(e->critique, c->frames.no_flaw, strlen(c->frames.no_flaw)) == 0;
        assert_int_equal(e->no_flaw, says); /* as the frame asks of the model */
        no_flaw += e->no_flaw;
    }
    for (size_t i = 0; i < c->n_choice_examples; i++) {
        a += c->choice_examples[i].answer == 'A';
        /* reasons weigh both replies before one is named */
        const char *why = c->choice_examples[i].reasoning;
        assert_true(why && strstr(why, "(A)") && strstr(why, "(B)"));
    }
    assert_true(c->n_critique_examples >= 5 && no_flaw >= 1);
    assert_true(c->n_choice_examples >= 6 && 2 * a == c->n_choice_examples);
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct principle *p = &c->principles[i];
        assert_true(p->title && p->critique && p->revision && p->choice && p->rationale &&
                    p->n_tags);
    }
    CAI_AUTO(buf) struct cai_buf yaml = {0};
    constitution_write_yaml(c, &yaml);
    assert_int_equal(constitution_parse("again", yaml.data, yaml.len, NULL, &report, &again), 0);
    assert_string_equal(again->revision, c->revision);
    constitution_free(again);
    constitution_free(c);
    input_report_free(&report);
}

int main(int argc, char **argv) {
    path = argc > 1 ? argv[1] : "constitution/default.yaml";
    const struct CMUnitTest tests[] = {cmocka_unit_test(shipped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
