/* Any bytes as YAML: refused with a place, or a tree within its limits whose texts are UTF-8. */
#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "input/yaml_tree.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* `whole`: without findings, so that each key is there once. */
static size_t walk(const struct yaml_node *node, int depth, bool whole) {
    char text[64];
    size_t n = 1;
    CAI_CHECK(depth <= 64 && node->line > 0 && node->column > 0);
    CAI_CHECK(yaml_describe(node, text, sizeof text)[0]);
    if (node->kind == YAML_TEXT) {
        CAI_CHECK(strlen(node->text) == node->n);
        CAI_CHECK(cai_utf8_valid(node->text, node->n) == node->n);
        return n;
    }
    for (uint32_t i = 0; i < node->n; i++) {
        if (node->kind == YAML_MAP && whole)
            CAI_CHECK(yaml_get(node, node->keys[i].text) == &node->values[i]);
        n += walk(&node->values[i], depth + 1, whole);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input_report report = {.file = "fuzz"};
    struct cai_arena arena = {0};
    const struct yaml_node *root = NULL;
    if (yaml_parse((const char *)data, size, &report, &arena, &root) == 0)
        walk(root, 0, report.errors == 0);
    else
        CAI_CHECK(report.errors > 0);
    cai_arena_free(&arena);
    input_report_free(&report);
    return 0;
}
