/* template.c: the commented job.yaml of `caictl init`, written from the table of settings. */
#include "job/settings.h"
#include <string.h>

static const char head[] =
    "# A job for caid. `caictl job check FILE` reads it, `caictl submit FILE` starts it.\n"
    "# Every setting is here with its default; after '#': what it is, and (where the default\n"
    "# is from). Delete what you do not change. Any stage can be switched off: `sft: false`.\n"
    "# Relative paths are taken from this file's folder.\n\n";

/* Groups that differ between the previous path and this one are opened, each on a line. */
static void open_groups(struct cai_buf *out, const char *previous, const char *path) {
    size_t same = 0;
    for (size_t i = 0; path[i] && path[i] == previous[i]; i++)
        if (path[i] == '.')
            same = i + 1;
    int depth = 0;
    for (size_t i = 0; i < same; i++)
        depth += path[i] == '.';
    if (same == 0 && strchr(path, '.'))
        cai_buf_putc(out, '\n');
    for (const char *s = path + same, *dot; (dot = strchr(s, '.')); s = dot + 1, depth++)
        cai_buf_printf(out, "%*s%.*s:\n", depth * 2, "", (int)(dot - s), s);
}

static void line(struct cai_buf *out, const struct setting *s) {
    const char *path = s->field.key, *name = strrchr(path, '.');
    int depth = 0;
    for (const char *c = path; *c; c++)
        depth += *c == '.';
    name = name ? name + 1 : path;
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (s->fallback)
        cai_buf_printf(&text, "%*s%s: %s", depth * 2, "", name, s->fallback);
    else
        cai_buf_printf(&text, "%*s# %s: ./%s.jsonl", depth * 2, "", name, name);
    cai_buf_printf(out, "%-38s # %s", text.data, s->help);
    for (size_t i = 0; s->field.choices && s->field.choices[i]; i++)
        cai_buf_printf(out, "%s%s", i ? " | " : "; ", s->field.choices[i]);
    if (*s->source)
        cai_buf_printf(out, " (%s)", s->source);
    cai_buf_putc(out, '\n');
}

void job_write_template(struct cai_buf *ret) {
    const char *previous = "";
    cai_buf_puts(ret, head);
    for (size_t i = 0; i < n_settings; i++) {
        open_groups(ret, previous, settings[i].field.key);
        line(ret, &settings[i]);
        previous = settings[i].field.key;
    }
}
