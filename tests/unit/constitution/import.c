/* import: the two published shapes become YAML that passes our own check. The words here are
 * ours; the shapes are those of the published files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "constitution/constitution.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Imports `text`; NULL when it is refused (the finding is in `first`). */
static struct constitution *import(const char *format, const char *text, char first[512]) {
    char path[] = "/tmp/cai-import-XXXXXX";
    struct input_report report = {0};
    CAI_AUTO(buf) struct cai_buf yaml = {0};
    struct constitution *c = NULL;
    close(mkstemp(path));
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
    int rc = constitution_import(format, path, &report, &yaml);
    assert_int_equal(unlink(path), 0);
    memcpy(first, report.first, 512);
    assert_true(rc == 0 || (rc == CAI_EINPUT && report.errors));
    input_report_free(&report);
    if (rc < 0)
        return NULL;
    assert_int_equal(constitution_parse("imported.yaml", yaml.data, yaml.len, NULL, &report, &c),
                     0);
    assert_int_equal(report.errors, 0);
    input_report_free(&report);
    return c;
}

static void paper_pairs(void **state) {
    (void)state;
    char first[512];
    struct constitution *c = import(
        "cai-paper",
        "{\"harmful0\": {\"prompt\": [\"\\n\\nCritiqueRequest: Say what is unkind: all of "
        "it.\\n\\nCritique:\"],"
        " \"edit_request\": \"\\n\\nRevisionRequest: Make it kind.\\n\\nRevision:\"},"
        " \"Harmful 1\": {\"prompt\": [\"\\n\\nCritiqueRequest: Say what is "
        "\\\"false\\\".\\n\\nCritique:\"],"
        " \"edit_request\": \"\\n\\nRevisionRequest: Line one.\\nLine two.\\n\\nRevision:\"}}",
        first);
    assert_non_null(c);
    assert_int_equal(c->n_principles, 2);
    assert_string_equal(c->principles[0].id, "harmful0");
    assert_string_equal(c->principles[0].critique, "Say what is unkind: all of it.");
    assert_string_equal(c->principles[0].revision, "Make it kind.");
    assert_null(c->principles[0].choice);
    assert_string_equal(c->principles[0].source_ref, "harmful0");
    assert_string_equal(c->principles[1].id, "harmful-1");
    assert_string_equal(c->principles[1].critique, "Say what is \"false\".");
    assert_string_equal(c->principles[1].revision, "Line one.\nLine two.");
    constitution_free(c);
}

static void paper_choices(void **state) {
    (void)state;
    char first[512];
    struct constitution *c = import(
        "cai-paper", "[\"Which is kinder?\\n\\nOptions:\", \" Which is true? Options:\"]", first);
    assert_non_null(c);
    assert_int_equal(c->n_principles, 2);
    assert_string_equal(c->principles[0].choice, "Which is kinder?");
    assert_string_equal(c->principles[1].choice, "Which is true?");
    assert_int_equal(c->principles[1].phases, PHASE_RL);
    constitution_free(c);
}

static void hf(void **state) {
    (void)state;
    static const char chat[] =
        "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"r\"},"
        "{\"role\": \"user\", \"content\": \"cr\"}, {\"role\": \"assistant\", \"content\": \"c\"},"
        "{\"role\": \"user\", \"content\": \"rr\"}, {\"role\": \"assistant\", \"content\": \"v\"}]";
    char first[512], text[2048];
    for (int nested = 0; nested < 2; nested++) {
        snprintf(text, sizeof text,
                 "{\"constitutions\": [{\"critic\": \"C one.\", \"revision\": \"R one.\"}, "
                 "{\"critic\": \"C two.\","
                 " \"revision\": \"R two.\"}], \"system_chat\": %s%s%s}",
                 nested ? "[" : "", chat, nested ? "]" : "");
        struct constitution *c = import("hf", text, first);
        assert_non_null(c);
        assert_int_equal(c->n_principles, 2);
        assert_string_equal(c->principles[1].critique, "C two.");
        assert_int_equal(c->n_critique_examples, 1);
        assert_string_equal(c->critique_examples[0].revision_request, "rr");
        assert_string_equal(c->critique_examples[0].turns[1].text, "r");
        constitution_free(c);
    }
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *format, *text, *first;
    } bad[] = {
        {"cai-paper", "{\"a\": {\"prompt\": [\"x\"]}}", "error[C013]: the entry 'a' must be"},
        {"cai-paper", "[1]", "error[C013]: entry 1 must be text"},
        {"cai-paper", "7", "error[C001]"},
        {"cai-paper", "{\n \"a\": }", ":2:7: error[C001]"},
        {"cai-paper", "{}", "error[C012]: 'principles' is empty"},
        {"cai-paper", "[\"  Options:\"]", "error[C016]: 'choice' is empty"},
        {"hf", "{\"constitutions\": 1}", "error[C013]: 'constitutions' must be"},
        {"hf", "{\"constitutions\": [{\"critic\": \"x\"}]}",
         "error[C013]: constitutions[0] must be"},
        {"hf",
         "{\"constitutions\": [{\"critic\": \"x\", \"revision\": \"y\"}], \"system_chat\": [1]}",
         "error[C013]: 'system_chat' must be"},
    };
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        char first[512];
        assert_null(import(bad[i].format, bad[i].text, first));
        if (!strstr(first, bad[i].first))
            fail_msg("%s: %s", bad[i].text, first);
    }
}

static void written_form_reads_back(void **state) {
    (void)state;
    static const char text[] =
        "constitution: 1\nname: t\nframes: {no_flaw: \"Fine \"}\nprinciples:\n"
        "  - {id: 'yes', choice: \"a long text that is folded when it is written, with  two blanks "
        "in it: so not\"}\n"
        "  - {id: b, choice: \"# a long text that is folded when it is written and begins with a "
        "sign of YAML\"}\n"
        "  - {id: c, choice: \"- 'x': {y} a long text that is folded when it is written, and holds "
        "\\\"quotes\\\" too\","
        " weight: 0.1, phases: [rl], enabled: off, tier: 3, tags: ['no', \"a: b\"]}\n"
        "  - {id: d, critique: \"line\\n\\n  line\\ttab \", revision: ' x'}\n";
    struct input_report report = {.file = "t"};
    struct constitution *c, *again;
    CAI_AUTO(buf) struct cai_buf yaml = {0};
    assert_int_equal(constitution_parse("t", text, sizeof text - 1, NULL, &report, &c), 0);
    constitution_write_yaml(c, &yaml);
    assert_int_equal(constitution_parse("t", yaml.data, yaml.len, NULL, &report, &again), 0);
    assert_string_equal(c->revision, again->revision);
    constitution_free(c);
    constitution_free(again);
    input_report_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paper_pairs), cmocka_unit_test(paper_choices), cmocka_unit_test(hf),
        cmocka_unit_test(refused), cmocka_unit_test(written_form_reads_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
