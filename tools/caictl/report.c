/* report.c: a job's report as tables on the terminal and as HTML, with the verdicts of an
 * outside judge added. What a report says is the daemon's; rates of a judge are counted here,
 * because the daemon must not see them. */
#include "base/error.h"
#include "caictl.h"
#include "input/jsonl.h"
#include "report_html.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 24 };

/* ---- verdicts of a judge --------------------------------------------------------------------- */

struct judged {
    json_t *replies;  /* id → {"round", "set"} */
    json_t *counts;   /* set → round → {"n", name → count} */
    json_t *names;    /* verdicts in the order first seen */
    size_t unknown, unjudged;
};

static int keep_reply(void *c, const json_t *row) {
    struct judged *j = c;
    json_t *o = json_pack("{s:I, s:s}", "round", (json_int_t)integer_of(row, "round"), "set",
                          *text_of(row, "set") ? text_of(row, "set") : "all");
    json_object_set_new(j->replies, text_of(row, "id"), o);
    return 0;
}

static json_t *child(json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);
    if (!v) {
        v = json_object();
        json_object_set_new(o, key, v);
    }
    return v;
}

static void add_to(json_t *o, const char *key, int by) {
    json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + by));
}

static void learn_name(struct judged *j, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach(j->names, i, v)
        if (strcmp(json_string_value(v), name) == 0)
            return;
    if (json_array_size(j->names) < NAMES_MAX)
        json_array_append_new(j->names, json_string(name));
}

/* Every true or false of a line is a verdict; "known": false means the judge has no opinion. */
static void count_row(struct judged *j, const json_t *row) {
    const json_t *reply = json_object_get(j->replies, text_of(row, "id"));
    const json_t *verdicts = json_object_get(row, "verdicts");
    const char *name;
    json_t *v;
    char round[32];
    if (!reply) {
        j->unknown++;
        return;
    }
    if (json_is_false(json_object_get(row, "known"))) {
        j->unjudged++;
        return;
    }
    snprintf(round, sizeof round, "%lld", (long long)integer_of(reply, "round"));
    json_t *cell = child(child(j->counts, text_of(reply, "set")), round);
    add_to(cell, " n", 1); /* a blank: no verdict's name */
    json_object_foreach((json_t *)(json_is_object(verdicts) ? verdicts : row), name, v) {
        if (!json_is_boolean(v) || strcmp(name, "known") == 0)
            continue;
        learn_name(j, name);
        add_to(cell, name, json_is_true(v));
    }
}

/* Wilson's interval, 95 % (Wilson 1927). */
static json_t *wilson(double hits, double n) {
    const double z = 1.959963984540054, p = n > 0 ? hits / n : 0, d = 1 + z * z / n;
    double middle = (p + z * z / (2 * n)) / d, half = z / d * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return json_pack("{s:f, s:f, s:f, s:I}", "value", p, "low", fmax(0, middle - half), "high",
                     fmin(1, middle + half), "n", (json_int_t)n);
}

static json_t *judged_row(const struct judged *j, long long round, long long rounds, const json_t *cell) {
    char label[48];
    double n = number_of(cell, " n", 0);
    size_t i;
    json_t *name;
    snprintf(label, sizeof label, round > rounds ? "after PPO" : round ? "round %lld" : "start", round);
    json_t *row = json_pack("{s:s, s:I}", "checkpoint", label, "n", (json_int_t)n);
    json_array_foreach(j->names, i, name) {
        const char *key = json_string_value(name);
        json_object_set_new(row, key, wilson(number_of(cell, key, 0), n));
    }
    return row;
}

static json_t *judged_columns(const struct judged *j) {
    json_t *columns = json_pack("[{s:s,s:s,s:s},{s:s,s:s,s:s}]", "key", "checkpoint", "title",
                                "checkpoint", "kind", "text", "key", "n", "title", "replies", "kind",
                                "count"), *name;
    size_t i;
    json_array_foreach(j->names, i, name)
        json_array_append_new(columns, json_pack("{s:O, s:O, s:s}", "key", name, "title", name, "kind",
                                                 "interval"));
    return columns;
}

/* One table per set of prompts, a row per checkpoint. */
static void add_tables(const struct judged *j, json_t *report, const char *file) {
    const char *set;
    json_t *by_round, *tables = json_object_get(report, "tables");
    long long rounds = (long long)integer_of(json_object_get(report, "job"), "rounds");
    char text[200], key[32];
    json_object_foreach(j->counts, set, by_round) {
        json_t *rows = json_array(), *cell;
        for (long long r = 0; r <= rounds + 1; r++) {
            snprintf(key, sizeof key, "%lld", r);
            if ((cell = json_object_get(by_round, key)))
                json_array_append_new(rows, judged_row(j, r, rounds, cell));
        }
        json_t *table = json_pack("{s:o, s:o}", "columns", judged_columns(j), "rows", rows);
        snprintf(text, sizeof text, "judged_%.60s", set);
        json_object_set_new(table, "name", json_string(text));
        snprintf(text, sizeof text, "Judged from outside: %.60s prompts", set);
        json_object_set_new(table, "title", json_string(text));
        snprintf(text, sizeof text, "verdicts from %.120s; 95 %% intervals (Wilson)", file);
        json_object_set_new(table, "note", json_string(text));
        json_array_append_new(tables, table);
    }
}

static int read_judged(struct judged *j, const char *path) {
    struct input_report findings = {.file = path};
    struct jsonl *reader;
    json_t *row;
    size_t line;
    if (jsonl_open(path, &findings, &reader) == 0) {
        while (jsonl_next(reader, &row, &line) > 0) {
            if (!json_is_string(json_object_get(row, "id")))
                input_report_add(&findings, line, 1, "D005", "judges keep the id of the exported reply",
                                 "missing member \"id\"");
            else
                count_row(j, row);
            json_decref(row);
        }
        if (jsonl_rows(reader) == 0)
            input_report_add(&findings, 0, 0, "D008", NULL, "the file has no rows");
        jsonl_close(reader);
    }
    return show_findings(&findings);
}

static int add_judged(json_t *report, int64_t id, const char *path) {
    struct judged j = {json_object(), json_object(), json_array(), 0, 0};
    int code = data_pages("export", json_pack("{s:I, s:s}", "id", (json_int_t)id, "what", "replies"), -1,
                          keep_reply, &j);
    if (code == 0)
        code = read_judged(&j, path);
    if (code == 0 && json_object_size(j.counts) == 0)
        code = complain(EXIT_INPUT, "%s judges no reply of job %lld", path, (long long)id);
    if (code == 0)
        add_tables(&j, report, path);
    if (code == 0 && j.unknown + j.unjudged)
        say("%zu lines judge replies of another job; for %zu replies the judge had no opinion\n", j.unknown,
            j.unjudged);
    json_decref(j.replies);
    json_decref(j.counts);
    json_decref(j.names);
    return code;
}

/* ---- printing ----------------------------------------------------------------------------------- */

static enum cell kind_of(const char *name) {
    static const struct {
        const char *name;
        enum cell kind;
    } kinds[] = {{"number", CELL_NUMBER}, {"share", CELL_SHARE}, {"interval", CELL_INTERVAL},
                 {"count", CELL_COUNT}};
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].kind;
    return CELL_TEXT;
}

static void print_table(const json_t *table) {
    struct column columns[32];
    const json_t *list = json_object_get(table, "columns");
    size_t n = json_array_size(list) < CAI_COUNT(columns) ? json_array_size(list) : CAI_COUNT(columns);
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(list, i);
        columns[i] = (struct column){text_of(c, "title"), text_of(c, "key"), kind_of(text_of(c, "kind"))};
    }
    putchar('\n');
    print_text(text_of(table, "title"));
    putchar('\n');
    print_rows(json_object_get(table, "rows"), columns, n);
    if (*text_of(table, "note")) {
        print_text(text_of(table, "note"));
        putchar('\n');
    }
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
        print_text(text_of(v, "text"));
        putchar('\n');
    }
}

static void print_report(const json_t *report) {
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(report, "headline"), i, v) {
        print_text(json_is_string(v) ? json_string_value(v) : "");
        putchar('\n');
    }
    json_array_foreach(json_object_get(report, "tables"), i, v)
        print_table(v);
    json_array_foreach(json_object_get(report, "transcripts"), i, v)
        if (i < 4)
            print_transcript(v);
    json_array_foreach(json_object_get(report, "warnings"), i, v) {
        fputs("warning: ", stdout);
        print_text(json_is_string(v) ? json_string_value(v) : "");
        putchar('\n');
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
