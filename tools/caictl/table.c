/* table.c: output: tables, JSON, safe text. What a person wrote or a model generated passes
 * through cai_text_printable before it reaches a terminal. */
#include "caictl.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int terminal_width(int fd) {
    struct winsize size = {0};
    if (!isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

int terminal_height(int fd) {
    struct winsize size = {0};
    if (!isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row ? size.ws_row : 24;
}

static void number_text(struct cai_buf *out, const json_t *v) {
    if (json_is_integer(v))
        cai_buf_printf(out, "%lld", (long long)json_integer_value(v));
    else
        cai_buf_printf(out, "%.4g", json_number_value(v));
}

static void interval_text(struct cai_buf *out, const json_t *v) {
    cai_buf_printf(out, "%.1f %% (%.1f to %.1f)", 100 * number_of(v, "value", 0),
                   100 * number_of(v, "low", 0), 100 * number_of(v, "high", 0));
}

static void formatted(struct cai_buf *out, const json_t *v, enum cell kind) {
    char text[64] = "";
    double d = json_number_value(v);
    switch (kind) {
    case CELL_COUNT:
        cai_text_count(text, sizeof text, (int64_t)d);
        break;
    case CELL_SHARE:
        snprintf(text, sizeof text, "%.1f %%", 100 * d);
        break;
    case CELL_SECONDS:
        cai_text_duration(text, sizeof text, d);
        break;
    case CELL_TIME:
        cai_wall_iso((int64_t)d, text);
        break;
    default:
        number_text(out, v);
        return;
    }
    cai_buf_puts(out, text);
}

static void list_text(struct cai_buf *out, const json_t *list) {
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        cai_buf_puts(out, i ? ", " : "");
        cell_text(out, v, CELL_TEXT);
    }
}

void cell_text(struct cai_buf *out, const json_t *v, enum cell kind) {
    if (!v || json_is_null(v))
        cai_buf_puts(out, "-");
    else if (json_is_string(v))
        cai_text_printable(out, json_string_value(v), json_string_length(v), false);
    else if (json_is_boolean(v))
        cai_buf_puts(out, json_is_true(v) ? "yes" : "no");
    else if (json_is_array(v))
        list_text(out, v);
    else if (json_is_object(v) && kind == CELL_INTERVAL)
        interval_text(out, v);
    else if (json_is_number(v))
        formatted(out, v, kind);
    else
        cai_buf_puts(out, "…");
}

static size_t width_of(const char *s) {
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

/* Prints at most `room` characters of s; room 0 = all. */
static void put_cut(const char *s, size_t room) {
    size_t width = width_of(s), n = 0, bytes = 0;
    if (room == 0 || width <= room) {
        fputs(s, stdout);
        return;
    }
    while (s[bytes] && (n < room - 1 || ((unsigned char)s[bytes] & 0xC0) == 0x80)) {
        n += ((unsigned char)s[bytes] & 0xC0) != 0x80;
        if (n == room)
            break;
        bytes++;
    }
    printf("%.*s…", (int)bytes, s);
}

static bool right(enum cell kind) {
    return kind != CELL_TEXT && kind != CELL_TIME && kind != CELL_BOOL;
}

static void put_row(char *const *cells, const struct column *columns, const size_t *widths,
                    size_t n) {
    size_t screen = (size_t)terminal_width(STDOUT_FILENO), used = 0;
    for (size_t c = 0; c < n; c++) {
        size_t width = width_of(cells[c]), pad = widths[c] > width ? widths[c] - width : 0;
        bool last = c + 1 == n;
        if (screen && used + 3 >= screen)
            break;
        if (right(columns[c].kind))
            printf("%*s", (int)pad, "");
        size_t room = screen ? screen - used : 0;
        put_cut(cells[c], room);
        if (!last)
            printf("%*s", (int)(right(columns[c].kind) ? 2 : pad + 2), "");
        used += widths[c] + 2;
    }
    putchar('\n');
}

void print_rows(const json_t *rows, const struct column *columns, size_t n) {
    size_t count = json_array_size(rows), lines = count + 1, widths[32] = {0};
    CAI_CHECK(n <= CAI_COUNT(widths));
    char **cells = cai_realloc(NULL, lines * n, sizeof *cells);
    for (size_t r = 0; r < lines; r++)
        for (size_t c = 0; c < n; c++) {
            struct cai_buf text = {0};
            if (r == 0)
                cai_buf_puts(&text, columns[c].title);
            else
                cell_text(&text, json_object_get(json_array_get(rows, r - 1), columns[c].key),
                          columns[c].kind);
            cells[r * n + c] = cai_buf_detach(&text);
            size_t width = width_of(cells[r * n + c]);
            if (width > widths[c])
                widths[c] = width;
        }
    for (size_t r = globals.no_headers; r < lines; r++)
        put_row(cells + r * n, columns, widths, n);
    for (size_t i = 0; i < lines * n; i++)
        free(cells[i]);
    free(cells);
}

static size_t json_flags(void) {
    return isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0; /* no control characters there */
}

void print_json(const json_t *o) {
    json_dumpf(o, stdout, json_flags() | JSON_INDENT(2));
    putchar('\n');
}

void print_line_json(const json_t *o) {
    json_dumpf(o, stdout, json_flags() | JSON_COMPACT);
    putchar('\n');
}

void print_text(const char *text) {
    CAI_AUTO(buf) struct cai_buf out = {0};
    cai_text_printable(&out, text, strlen(text), true);
    fputs(out.data ? out.data : "", stdout);
}

/* Lines of at most `width` characters, ended between words where they can be. */
static void put_folded(const char *s, size_t width) {
    for (size_t column = 0; *s;) {
        size_t len = strcspn(s, " \n"), cells = 0;
        for (size_t i = 0; i < len; i++)
            cells += ((unsigned char)s[i] & 0xC0) != 0x80;
        bool full = column && column + 1 + cells > width;
        if (column)
            putchar(full ? '\n' : ' ');
        column = full || !column ? cells : column + 1 + cells;
        fwrite(s, 1, len, stdout);
        s += len;
        if (*s == '\n') {
            putchar('\n');
            column = 0;
        }
        s += *s != '\0';
    }
}

void print_prose(const char *text) {
    CAI_AUTO(buf) struct cai_buf out = {0};
    int width = terminal_width(STDOUT_FILENO);
    cai_text_printable(&out, text, strlen(text), true);
    if (width && out.data)
        put_folded(out.data, (size_t)width);
    else
        fputs(out.data ? out.data : "", stdout);
    putchar('\n');
}

int print_reply(json_t *reply, const struct column *columns, size_t n) {
    if (globals.json)
        print_json(reply);
    else
        print_rows(json_object_get(reply, "rows"), columns, n);
    json_decref(reply);
    return EXIT_OK;
}

void say(const char *format, ...) {
    va_list ap;
    if (globals.quiet)
        return;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
}

int complain(int exit_code, const char *format, ...) {
    va_list ap;
    fputs("caictl: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    return exit_code;
}

int show_findings(struct input_report *report) {
    size_t all = report->errors + report->warnings;
    int code = report->errors ? EXIT_INPUT : EXIT_OK;
    if (report->text.len && (report->errors || !globals.quiet))
        fputs(report->text.data, stderr);
    if (report->errors)
        fprintf(stderr, "%zu error%s, %zu warning%s%s\n", report->errors,
                report->errors == 1 ? "" : "s", report->warnings, report->warnings == 1 ? "" : "s",
                all > INPUT_REPORT_SHOWN ? "; the first 20 are shown" : "");
    input_report_free(report);
    return code;
}
