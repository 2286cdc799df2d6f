/* manual.c: the settings of job(5), written from the table of settings as scdoc. Not for the
 * template of `caictl init` (template.c). */
#include "job/settings.h"
#include <string.h>

static const char *kind_of(const struct setting *s) {
    static const char *const roles[] = {"Text", "Folder or word", "File", "Name or file"};
    switch (s->field.type) {
    case SCHEMA_INT: return "Whole number";
    case SCHEMA_NUMBER: return "Number";
    case SCHEMA_BOOL: return "True or false";
    case SCHEMA_CHOICE: return "One of";
    default: return roles[s->role];
    }
}

/* scdoc reads these as marks. */
static void put_plain(struct cai_buf *out, const char *text) {
    for (; *text; text++) {
        if (strchr("\\*_`#[]|<>", *text))
            cai_buf_putc(out, '\\');
        cai_buf_putc(out, *text);
    }
}

static void put_range(struct cai_buf *out, const struct schema_field *f) {
    if (f->min != f->max)
        cai_buf_printf(out, " from %.9g to %.9g", f->min, f->max);
    for (size_t i = 0; f->choices && f->choices[i]; i++) {
        cai_buf_puts(out, i ? ", " : " ");
        put_plain(out, f->choices[i]);
    }
}

/* A group is all that stands before the last dot but at most two words: "stages.sft". */
static size_t group_length(const char *path) {
    const char *dot = strchr(path, '.');
    if (!dot)
        return 0;
    const char *second = strncmp(path, "stages.", 7) == 0 ? strchr(dot + 1, '.') : NULL;
    return (size_t)((second ? second : dot) - path);
}

void job_write_manual(struct cai_buf *ret) {
    const char *group = "";
    size_t length = 0;
    for (size_t i = 0; i < n_settings; i++) {
        const struct setting *s = &settings[i];
        size_t n = group_length(s->field.key);
        if (n != length || strncmp(s->field.key, group, n) != 0)
            cai_buf_printf(ret, "## %.*s\n\n", (int)n, s->field.key);
        group = s->field.key;
        length = n;
        cai_buf_putc(ret, '*');
        put_plain(ret, s->field.key);
        cai_buf_puts(ret, s->fallback ? "*: " : "*");
        put_plain(ret, s->fallback ? s->fallback : "");
        cai_buf_puts(ret, "\n\t");
        put_plain(ret, s->help);
        cai_buf_printf(ret, ". %s", kind_of(s));
        put_range(ret, &s->field);
        cai_buf_puts(ret, s->field.required ? "; required" : "");
        if (*s->source) {
            cai_buf_puts(ret, ". Default from: ");
            put_plain(ret, s->source);
        }
        cai_buf_puts(ret, ".\n\n");
    }
}
