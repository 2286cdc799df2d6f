/* Any bytes as a constitution: refused with a place, or its canonical form and its YAML read
 * back as the same revision, and every principle can be rendered. */
#include "base/error.h"
#include "constitution/render.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const struct constitution *c, const char *what, const struct cai_buf *text) {
    struct input_report report = {.file = what};
    struct constitution *again = NULL;
    CAI_CHECK(text->data);
    CAI_CHECK(constitution_parse(what, text->data, text->len, NULL, &report, &again) == 0);
    CAI_CHECK(strcmp(again->revision, c->revision) == 0);
    struct cai_buf none = {0};
    CAI_CHECK(constitution_diff(c, again, &none) == 0);
    cai_buf_free(&none);
    constitution_free(again);
    input_report_free(&report);
}

static void render_all(const struct constitution *c) {
    static const struct turn turns[] = {{"user", "How? {principle}"}};
    for (size_t i = 0; i < c->n_principles; i++) {
        struct rendering r;
        if (!c->principles[i].choice)
            continue;
        render_choice(c, &c->principles[i], turns, 1, "one {b}", "two {a}", &r);
        CAI_CHECK(r.n > 0 && r.options[0] && r.options[1]);
        rendering_free(&r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input_report report = {.file = "fuzz"};
    struct constitution *c = NULL;
    if (constitution_parse("fuzz", (const char *)data, size, NULL, &report, &c) < 0) {
        CAI_CHECK(report.errors > 0);
    } else {
        struct cai_buf canonical = {0}, yaml = {0};
        constitution_canonical(c, &canonical);
        same_again(c, "canonical", &canonical);
        constitution_write_yaml(c, &yaml);
        same_again(c, "yaml", &yaml);
        render_all(c);
        cai_buf_free(&canonical);
        cai_buf_free(&yaml);
        constitution_free(c);
    }
    input_report_free(&report);
    return 0;
}
