/* report.c: a job's report as tables on the terminal and as HTML. What it says is the
 * daemon's; an outside judge's rates are added by judged.c. */
#include "base/error.h"
#include "caictl.h"
#include "graders.h"
#include "judged.h"
#include "plot.h"
#include "report_html.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int keep_reply(void *c, const json_t *row) {
    judged_reply(c, row);
    return 0;
}

static int keep_grade(void *c, const json_t *row) {
    judged_grade(c, row);
    return 0;
}

static json_t *what(int64_t id, const char *name) {
    return json_pack("{s:I, s:s}", "id", (json_int_t)id, "what", name);
}

static int add_judged(json_t *report, int64_t id, const char *path) {
    struct judged *j = judged_new();
    struct input_report findings = {.file = path};
    int code = data_pages("export", what(id, "replies"), -1, keep_reply, j);
    if (code == 0)
        code = data_pages("export", what(id, "grades"), -1, keep_grade, j);
    if (code == 0) {
        judged_read(j, path, &findings);
        code = show_findings(&findings);
    }
    if (code == 0 && !judged_tables(j, report, path))
        code = complain(EXIT_INPUT, "%s judges no reply of job %lld", path, (long long)id);
    judged_free(j);
    return code;
}

/* ---- printing -----------------------------------------------------------------------------------
 */

static enum cell kind_of(const char *name) {
    static const struct {
        const char *name;
        enum cell kind;
    } kinds[] = {{"number", CELL_NUMBER},
                 {"share", CELL_SHARE},
                 {"interval", CELL_INTERVAL},
                 {"count", CELL_COUNT}};
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].kind;
    return CELL_TEXT;
}

enum { PLOTS = 6 }; /* printed; the HTML page has the others too */
enum { TURNED_MAX = 8 }; /* rows that stand side by side */
static const char *const places[TURNED_MAX] = {"0", "1", "2", "3", "4", "5", "6", "7"};

/* A figure of a table as text; `brief`: without its interval. */
static json_t *figure_text(const json_t *cell, enum cell kind, bool brief) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (brief && json_is_object(cell))
        cell_text(&text, json_object_get(cell, "value"), CELL_SHARE);
    else
        cell_text(&text, cell, kind);
    return json_string(text.data ? text.data : "");
}

/* The table with its columns as lines: a rate and what became of it. */
static json_t *turned_rows(const json_t *table, bool brief) {
    json_t *lines = json_array(), *row, *column;
    size_t i, k;
    json_array_foreach(json_object_get(table, "columns"), i, column) {
        json_t *line = json_pack("{s:s}", "title", text_of(column, "title"));
        json_array_foreach(json_object_get(table, "rows"), k, row) {
            json_object_set_new(line, places[k],
                                figure_text(json_object_get(row, text_of(column, "key")),
                                            kind_of(text_of(column, "kind")), brief));
        }
        if (i > 0)
            json_array_append(lines, line);
        json_decref(line);
    }
    return lines;
}

/* Characters of the widest line, as print_rows sets them: two between columns. */
static size_t turned_width(const json_t *lines) {
    size_t widths[TURNED_MAX + 1] = {0}, sum = 0, i;
    json_t *line, *cell;
    const char *key;
    json_array_foreach(lines, i, line) {
        json_object_foreach(line, key, cell) {
            size_t at = *key == 't' ? 0 : 1 + (size_t)atoi(key);
            size_t n = json_string_length(cell);
            widths[at] = n > widths[at] ? n : widths[at];
        }
    }
    for (size_t at = 0; at < CAI_COUNT(widths); at++)
        sum += widths[at] ? widths[at] + 2 : 0;
    return sum;
}

static void print_turned(const json_t *table) {
    const json_t *first = json_array_get(json_object_get(table, "columns"), 0);
    const json_t *rows = json_object_get(table, "rows");
    struct column columns[TURNED_MAX + 1] = {{text_of(first, "title"), "title", CELL_TEXT}};
    size_t n = json_array_size(rows), screen = (size_t)terminal_width(1);
    json_t *lines = turned_rows(table, false);
    bool brief = screen && turned_width(lines) > screen;
    if (brief) {
        json_decref(lines);
        lines = turned_rows(table, true);
    }
    for (size_t i = 0; i < n; i++)
        columns[i + 1] = (struct column){text_of(json_array_get(rows, i), text_of(first, "key")),
                                         places[i], CELL_NUMBER};
    print_rows(lines, columns, n + 1);
    json_decref(lines);
    if (brief)
        puts("Intervals: in a wider terminal, or with -o json.");
}

static bool is_turned(const json_t *table) {
    const json_t *columns = json_object_get(table, "columns");
    size_t i, n = json_array_size(json_object_get(table, "rows"));
    json_t *c;
    if (n > TURNED_MAX || n >= json_array_size(columns))
        return false;
    json_array_foreach(columns, i, c) {
        if (strcmp(text_of(c, "kind"), "interval") == 0)
            return true;
    }
    return false;
}

static void print_straight(const json_t *table) {
    struct column columns[32];
    const json_t *list = json_object_get(table, "columns");
    size_t n =
        json_array_size(list) < CAI_COUNT(columns) ? json_array_size(list) : CAI_COUNT(columns);
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(list, i);
        columns[i] =
            (struct column){text_of(c, "title"), text_of(c, "key"), kind_of(text_of(c, "kind"))};
    }
    print_rows(json_object_get(table, "rows"), columns, n);
}

static void print_table(const json_t *table) {
    putchar('\n');
    print_text(text_of(table, "title"));
    putchar('\n');
    if (is_turned(table))
        print_turned(table);
    else
        print_straight(table);
    if (*text_of(table, "note")) {
        print_prose(text_of(table, "note"));
    }
}

/* Without the blanks that a model put before its first word. */
static void print_reply_text(const char *text) {
    print_text(text + strspn(text, " \t\r\n"));
    putchar('\n');
}

static void print_transcript(const json_t *t) {
    size_t i;
    json_t *v;
    printf("\n-- %s, item %lld\n", text_of(t, "set"), (long long)integer_of(t, "item"));
    json_array_foreach(json_object_get(t, "messages"), i, v) {
        printf("%s: ", strcmp(text_of(v, "role"), "user") == 0 ? "Human" : "Assistant");
        print_text(text_of(v, "content"));
        putchar('\n');
    }
    json_array_foreach(json_object_get(t, "replies"), i, v) {
        printf("   [");
        print_text(text_of(v, "checkpoint"));
        printf("] ");
        print_reply_text(text_of(v, "text"));
    }
}

/* The curves that a person looks at first, in their order. */
static void print_curves(const json_t *report) {
    const json_t *list = json_object_get(report, "series");
    size_t i;
    json_t *s;
    for (int64_t place = 1; place <= PLOTS; place++) {
        json_array_foreach(list, i, s) {
            if (integer_of(s, "place") == place)
                plot_print(s);
        }
    }
}

static void print_report(const json_t *report) {
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(report, "headline"), i, v) {
        print_prose(json_is_string(v) ? json_string_value(v) : "");
    }
    json_array_foreach(json_object_get(report, "tables"), i, v) print_table(v);
    json_array_foreach(json_object_get(report, "transcripts"), i, v) if (i < 4) print_transcript(v);
    print_curves(report);
    json_array_foreach(json_object_get(report, "warnings"), i, v) {
        CAI_AUTO(mem) char *line =
            cai_format("warning: %s", json_is_string(v) ? json_string_value(v) : "");
        print_prose(line);
    }
}

int run_report(const struct args *a) {
    const char *judged = args_get(a, "judged"), *html = args_get(a, "html");
    json_t *report;
    int64_t id;
    if (!args_number("a job's id", a->positional[0], &id))
        return EXIT_USAGE;
    int code = client_call("report", json_pack("{s:I}", "id", (json_int_t)id), false, &report);
    if (code)
        return code;
    if (judged)
        code = add_judged(report, id, judged);
    if (code == 0)
        graders_note(report);
    if (code == 0 && globals.json)
        print_json(report);
    else if (code == 0)
        print_report(report);
    if (code == 0 && html) {
        if (report_html(report, html) < 0)
            code = complain(EXIT_INPUT, "%s", cai_error_text());
        else
            say("\nWrote %s\n", html);
    }
    json_decref(report);
    return code;
}
