/* render_probe: a constitution's renderings behind JSON Lines, for styles.py.
 *     render_probe CONSTITUTION < requests > answers
 * First the canonical form, then for each
 * {"op":"critique"|"revision"|"choice","principle":ID,"turns":[{"role","content"}],
 *  "critique"?,"a"?,"b"?} → {"messages":[{"role","content"}],"prefix"}. Not installed. */
#include "base/buf.h"
#include "base/check.h"
#include "constitution/render.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *text(const json_t *q, const char *key) {
    return json_string_value(json_object_get(q, key));
}

static void answer(const struct constitution *c, const json_t *q) {
    const json_t *list = json_object_get(q, "turns"), *v;
    const struct principle *p = constitution_find(c, text(q, "principle"));
    size_t n = json_array_size(list), i;
    CAI_AUTO(mem) struct turn *turns = cai_alloc((n + 1) * sizeof *turns);
    struct rendering r = {0};
    json_array_foreach((json_t *)list, i, v)
        turns[i] = (struct turn){text(v, "role"), text(v, "content")};
    CAI_CHECK(p && n);
    if (strcmp(text(q, "op"), "critique") == 0)
        render_critique(c, p, turns, n, &r);
    else if (strcmp(text(q, "op"), "revision") == 0)
        render_revision(c, p, turns, n, text(q, "critique"), &r);
    else
        render_choice(c, p, turns, n, text(q, "a"), text(q, "b"), &r);
    json_auto_t *out = json_array();
    for (i = 0; i < r.n; i++)
        json_array_append_new(out, json_pack("{s:s, s:s}", "role", r.messages[i].role, "content",
                                             r.messages[i].text));
    json_auto_t *whole = json_pack("{s:O, s:s}", "messages", out, "prefix", r.prefix);
    json_dumpf(whole, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    rendering_free(&r);
}

int main(int argc, char **argv) {
    struct input_report report = {0};
    struct constitution *c;
    CAI_AUTO(buf) struct cai_buf canonical = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    if (argc != 2 || constitution_load(argv[1], &report, &c) < 0) {
        fprintf(stderr, "%s", report.text.data ? report.text.data : "render_probe CONSTITUTION\n");
        return 2;
    }
    constitution_canonical(c, &canonical);
    printf("%s\n", canonical.data);
    fflush(stdout);
    while ((len = getline(&line, &cap, stdin)) > 0) {
        json_auto_t *q = json_loadb(line, (size_t)len, 0, NULL);
        answer(c, q);
    }
    free(line);
    constitution_free(c);
    input_report_free(&report);
    return 0;
}
