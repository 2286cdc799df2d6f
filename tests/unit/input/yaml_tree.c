/* yaml_tree: the tree, its places, what stays text. What is refused is tested through the
 * program (tests/unit/caictl/bad_input.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "input/yaml_tree.h"
#include <string.h>

static const struct yaml_node *parse(const char *text, struct cai_arena *arena) {
    struct input_report report = {.file = "t"};
    const struct yaml_node *root = NULL;
    int rc = yaml_parse(text, strlen(text), &report, arena, &root);
    if (rc < 0)
        print_error("%s", report.text.data);
    assert_int_equal(rc, 0);
    input_report_free(&report);
    return root;
}

static void nodes(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena arena = {0};
    const struct yaml_node *root = parse("# c\nname: no\nlist:\n  - 1\n  - \"~\"\n  - ~\n  -\n"
                                         "\xC3\xA4\xC3\xB6: {b: x}\ntext: |\n  one\n  two\n",
                                         &arena);
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->n, 4);
    const struct yaml_node *name = yaml_get(root, "name");
    assert_string_equal(name->text, "no"); /* a word, not false */
    assert_int_equal(name->line, 2);
    assert_int_equal(name->column, 7);
    const struct yaml_node *list = yaml_get(root, "list");
    assert_int_equal(list->kind, YAML_LIST);
    assert_int_equal(list->n, 4);
    assert_false(yaml_is_null(&list->values[0]));
    assert_false(yaml_is_null(&list->values[1])); /* quoted */
    assert_true(yaml_is_null(&list->values[2]));
    assert_true(yaml_is_null(&list->values[3]));
    const struct yaml_node *b = yaml_get(yaml_get(root, "\xC3\xA4\xC3\xB6"), "b");
    assert_int_equal(b->line, 8);
    assert_int_equal(b->column, 9); /* characters, not bytes */
    assert_string_equal(yaml_get(root, "text")->text, "one\ntwo\n");
    assert_null(yaml_get(root, "absent"));
    assert_null(yaml_get(name, "x"));
}

static void json_is_read(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena arena = {0};
    const struct yaml_node *root =
        parse("{\"a\":\"x\\ny \\\"z\\\" \\u00e4\",\"b\":[1,{\"c\":true}],\"d\":{}}", &arena);
    assert_string_equal(yaml_get(root, "a")->text, "x\ny \"z\" \xC3\xA4");
    assert_int_equal(yaml_get(root, "b")->n, 2);
    assert_int_equal(yaml_get(root, "d")->n, 0);
}

static void depth_is_exact(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena arena = {0};
    parse("[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]", &arena);
    struct input_report report = {.file = "t"};
    const struct yaml_node *root;
    const char *deep = "[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]";
    assert_int_equal(yaml_parse(deep, strlen(deep), &report, &arena, &root), CAI_EINPUT);
    assert_non_null(strstr(report.first, "t:1:17: error[C031]"));
    input_report_free(&report);
}

static void many_findings(void **state) {
    (void)state;
    struct input_report report = {
        .file = "t.yaml", .source = "one\nt\xC3\xA4o\tthree\n", .source_len = 15};
    for (int i = 0; i < 25; i++)
        input_report_add(&report, 2, 4, i ? "C010" : "W101", i ? NULL : "a help",
                         "finding %d \x1b[31m", i);
    assert_int_equal(report.errors, 24);
    assert_int_equal(report.warnings, 1);
    assert_non_null(strstr(report.text.data, "t.yaml:2:4: warning[W101]: finding 0 \\x1B[31m\n"
                                             "     2 | t\xC3\xA4o\\tthree\n"
                                             "       |    ^\n"
                                             "  help: a help\n"));
    assert_non_null(strstr(report.text.data, "finding 19 "));
    assert_null(strstr(report.text.data, "finding 20 "));
    assert_int_equal(input_report_status(&report), CAI_EINPUT);
    assert_string_equal(cai_error_text(),
                        "t.yaml:2:4: error[C010]: finding 1 \\x1B[31m (and 23 more)");
    input_report_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nodes), cmocka_unit_test(json_is_read),
                                       cmocka_unit_test(depth_is_exact),
                                       cmocka_unit_test(many_findings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
