/* report.c: findings rendered for people: place, code, source line, caret, help. It knows
 * nothing of YAML or JSON; readers give it lines and columns. */
#include "input/report.h"
#include "input/place.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { QUOTE_MAX = 100, CONTEXT = 40 };

/* The text of line `line` (from 1) without its end; false when the source has no such line. */
static bool source_line(const struct input_report *r, size_t line, const char **ret, size_t *len) {
    if (r->row && line && line == r->row_line) {
        *ret = r->row;
        *len = r->row_len;
        return true;
    }
    if (!r->source || line == 0)
        return false;
    const char *at = r->source, *end = at + r->source_len;
    for (size_t n = 1; n < line; n++) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        if (!nl)
            return false;
        at = nl + 1;
    }
    const char *nl = memchr(at, '\n', (size_t)(end - at));
    *ret = at;
    *len = nl ? (size_t)(nl - at) : (size_t)(end - at);
    if (*len && at[*len - 1] == '\r')
        --*len;
    return true;
}

static bool starts_character(char c) {
    return ((unsigned char)c & 0xC0) != 0x80;
}

/* Byte offset of character `column` (from 1) in s, at most len. */
static size_t byte_of_column(const char *s, size_t len, size_t column) {
    size_t at = 0;
    for (size_t c = 1; c < column && at < len; c++)
        for (at++; at < len && !starts_character(s[at]); at++) {
        }
    return at;
}

static size_t characters(const char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += starts_character(s[i]);
    return n;
}

static void quote(struct input_report *r, size_t line, size_t column) {
    const char *s;
    size_t len;
    if (!source_line(r, line, &s, &len))
        return;
    size_t mark = byte_of_column(s, len, column);
    size_t from = mark > CONTEXT + 20 ? mark - CONTEXT : 0;
    while (from && from < len && !starts_character(s[from]))
        from--;
    size_t to = len - from > QUOTE_MAX ? from + QUOTE_MAX : len;
    while (to > from && to < len && !starts_character(s[to]))
        to--; /* a line that is no UTF-8 may have no such place */
    CAI_AUTO(buf) struct cai_buf before = {0};
    cai_text_printable(&before, s + from, mark > from ? mark - from : 0, false);
    cai_buf_printf(&r->text, "%6zu | %s", line, from ? "…" : "");
    cai_text_printable(&r->text, s + from, to - from, false);
    cai_buf_printf(&r->text, "%s\n       | ", to < len ? "…" : "");
    size_t spaces = characters(before.data ? before.data : "", before.len) + (from ? 1 : 0);
    for (size_t i = 0; i < spaces; i++)
        cai_buf_putc(&r->text, ' ');
    cai_buf_puts(&r->text, "^\n");
}

size_t input_column(const struct input_report *r, size_t line, const char *path) {
    if (!r->row || line != r->row_line)
        return 1;
    return 1 + characters(r->row, input_place(r->row, r->row_len, path));
}

void input_report_add(struct input_report *r, size_t line, size_t column, const char *code,
                      const char *help, const char *format, ...) {
    char raw[1024], place[64] = "";
    va_list ap;
    va_start(ap, format);
    vsnprintf(raw, sizeof raw, format, ap);
    va_end(ap);
    CAI_AUTO(buf) struct cai_buf what = {0};
    cai_text_printable(&what, raw, strlen(raw), false);
    bool row = line && code[0] == 'D' && strcmp(code, "D009") != 0;
    bool warning = code[0] == 'W' || (row && r->lenient);
    size_t shown = r->errors + r->warnings;
    if (warning)
        r->warnings++;
    else
        r->errors++;
    if (line)
        snprintf(place, sizeof place, ":%zu:%zu", line, column);
    const char *file = r->file ? r->file : "input";
    if (!warning && r->errors == 1)
        snprintf(r->first, sizeof r->first, "%s%s: error[%s]: %s", file, place, code, what.data);
    if (shown >= INPUT_REPORT_SHOWN)
        return;
    cai_buf_printf(&r->text, "%s%s: %s[%s]: %s\n", file, place, warning ? "warning" : "error", code,
                   what.data);
    quote(r, line, column);
    if (help)
        cai_buf_printf(&r->text, "  help: %s\n", help);
}

int input_report_status(const struct input_report *r) {
    if (r->errors == 0)
        return CAI_OK;
    if (r->errors == 1)
        return cai_fail(CAI_EINPUT, "%s", r->first);
    return cai_fail(CAI_EINPUT, "%s (and %zu more)", r->first, r->errors - 1);
}

void input_report_merge(struct input_report *to, struct input_report *from) {
    if (to->errors == 0 && from->errors)
        memcpy(to->first, from->first, sizeof to->first);
    to->errors += from->errors;
    to->warnings += from->warnings;
    cai_buf_append(&to->text, from->text.data ? from->text.data : "", from->text.len);
    input_report_free(from);
}

int input_file(const char *path, size_t max, struct input_report *report, struct cai_buf *ret) {
    int rc = cai_file_read(path, max, ret);
    if (rc == 0)
        return 0;
    if (rc == CAI_ELIMIT)
        input_report_add(report, 0, 0, "C004", "split it, or remove what is not needed",
                         "the file is larger than %zu bytes", max);
    else
        input_report_add(report, 0, 0, "C006", "look at the path and its permissions",
                         "cannot be read: %s", cai_error_text());
    return input_report_status(report);
}

void input_report_free(struct input_report *r) {
    cai_buf_free(&r->text);
    *r = (struct input_report){0};
}
