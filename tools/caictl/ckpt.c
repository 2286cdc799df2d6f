/* ckpt.c: models and resumable states on the daemon's disk: list, show, verify, pin, rm, gc;
 * and du. What stays is the daemon's to say; files are read here, where it costs the daemon
 * nothing. */
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "caictl.h"
#include "hf/hf.h"
#include <stdio.h>
#include <string.h>

static json_t *numbered(int64_t number) {
    return json_pack("{s:I}", "number", (json_int_t)number);
}

static void size_text(int64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double x = (double)bytes;
    size_t u = 0;
    for (; x >= 1000 && u + 1 < CAI_COUNT(units); u++)
        x /= 1000;
    snprintf(out, 32, u ? "%.3g %s" : "%.0f %s", x, units[u]);
}

static json_t *size_json(int64_t bytes) {
    char text[32];
    size_text(bytes, text);
    return json_string(text);
}

/* ---- list ---------------------------------------------------------------------------------- */

/* Cells for the table alone. */
static void add_cells(json_t *rows) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        json_t *refers = json_object_get(row, "refers");
        size_t n = json_array_size(refers);
        const char *state = text_of(row, "state");
        bool outside = !json_is_true(json_object_get(row, "owned"));
        json_object_set_new(row, "size", size_json(integer_of(row, "bytes")));
        json_object_set_new(row, "is", strcmp(state, "there") != 0 ? json_string(state)
                                       : json_is_true(json_object_get(row, "pinned"))
                                           ? json_string("pinned")
                                       : outside ? json_string("yours")
                                       : n       ? json_string("in use")
                                                 : json_string("free"));
        json_object_set_new(row, "by", n ? json_incref(json_array_get(refers, 0)) : json_null());
    }
}

static int run_list(const struct args *a) {
    static const struct column columns[] = {
        {"NUMBER", "number", CELL_NUMBER}, {"JOB", "job", CELL_NUMBER},
        {"ROUND", "round", CELL_NUMBER},   {"STAGE", "stage", CELL_TEXT},
        {"KIND", "kind", CELL_TEXT},       {"K", "k", CELL_NUMBER},
        {"STEP", "step", CELL_NUMBER},     {"SIZE", "size", CELL_TEXT},
        {"IS", "is", CELL_TEXT},           {"BECAUSE", "by", CELL_TEXT}};
    json_t *o = json_pack("{s:b}", "all", args_has(a, "all")), *rows;
    int64_t id;
    if (a->n && !args_number("a job's id", a->positional[0], &id)) {
        json_decref(o);
        return EXIT_USAGE;
    }
    if (a->n)
        json_object_set_new(o, "id", json_integer(id));
    if (args_has(a, "kind"))
        json_object_set_new(o, "kind", json_string(args_get(a, "kind")));
    int code = data_rows("ckpt.list", o, -1, &rows);
    if (code) {
        json_decref(rows);
        return code;
    }
    if (!globals.json)
        add_cells(rows);
    return print_reply(json_pack("{s:o}", "rows", rows), columns, CAI_COUNT(columns));
}

/* ---- show, pin, rm ---------------------------------------------------------------------------- */

static void print_member(const char *title, const json_t *v) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)))
        return;
    cell_text(&text, v, CELL_NUMBER);
    if (text.len)
        printf("%-10s %s\n", title, text.data);
}

static void print_one(const json_t *o) {
    static const char *const members[] = {"number", "job", "round", "stage", "kind", "k",
                                          "step",   "path", "hash", "state", "why",  "pinned",
                                          "note"};
    size_t i;
    json_t *who;
    for (i = 0; i < CAI_COUNT(members); i++)
        print_member(members[i], json_object_get(o, members[i]));
    char size[32];
    size_text(integer_of(o, "bytes"), size);
    printf("%-10s %s in %lld files\n", "size", size, (long long)integer_of(o, "files"));
    json_array_foreach(json_object_get(o, "refers"), i, who)
        print_member(i ? "" : "in use", who);
}

static int run_show(const struct args *a) {
    json_t *reply;
    int64_t number;
    if (!args_number("a model's number", a->positional[0], &number))
        return EXIT_USAGE;
    int code = client_call("ckpt.show", numbered(number), false, &reply);
    if (code)
        return code;
    if (globals.json)
        print_json(reply);
    else
        print_one(reply);
    json_decref(reply);
    return EXIT_OK;
}

static void tell(const json_t *reply, const char *done) {
    char size[32];
    size_text(integer_of(reply, "bytes"), size);
    if (globals.json)
        print_line_json(reply);
    else if (!globals.quiet)
        printf("%lld %s: %s, %s\n", (long long)integer_of(reply, "number"), done,
               text_of(reply, "path"), size);
}

/* One verb on each of several numbers; the first failure's exit code. */
static int each(const struct args *a, const char *verb, const json_t *more, const char *done) {
    int first = EXIT_OK;
    for (size_t i = 0; i < a->n; i++) {
        json_t *reply;
        int64_t number;
        if (!args_number("a model's number", a->positional[i], &number))
            return EXIT_USAGE;
        json_t *o = numbered(number);
        json_object_update(o, (json_t *)(uintptr_t)more);
        int code = client_call(verb, o, true, &reply);
        first = first ? first : code;
        if (code)
            continue;
        tell(reply, done);
        json_decref(reply);
    }
    return first;
}

static int run_pin(const struct args *a) {
    const char *note = args_get(a, "message");
    json_auto_t *more = json_pack("{s:b, s:s}", "pinned", 1, "note", note ? note : "");
    return each(a, "ckpt.pin", more, "is pinned");
}

static int run_unpin(const struct args *a) {
    json_auto_t *more = json_pack("{s:b}", "pinned", 0);
    return each(a, "ckpt.pin", more, "is no longer pinned");
}

static int run_rm(const struct args *a) {
    json_auto_t *more = json_pack("{s:b}", "ended", args_has(a, "ended"));
    return each(a, "ckpt.rm", more, "is removed");
}

/* ---- verify ----------------------------------------------------------------------------------- */

struct finding {
    json_t *rows;
    const json_t *model;
};

static int note_difference(void *c, const char *name, const char *what) {
    struct finding *f = c;
    json_array_append_new(f->rows, json_pack("{s:I, s:s, s:s, s:s}", "number",
                                             (json_int_t)integer_of(f->model, "number"), "path",
                                             text_of(f->model, "path"), "file", name, "differs",
                                             what));
    return 0;
}

/* A state is what its manifest says; a model also what its hash says, which covers models that
 * were given to caid, without a manifest. */
static int verify(struct finding *f) {
    const char *path = text_of(f->model, "path"), *hash = text_of(f->model, "hash");
    bool state = strcmp(text_of(f->model, "kind"), "state") == 0;
    size_t before = json_array_size(f->rows);
    char found[65];
    if (!cai_file_exists(path))
        return note_difference(f, "", "the folder is not there, or is not to be seen from here");
    int rc = hf_manifest_check(path, state ? hash : "", note_difference, f);
    if (rc < 0 && (rc != CAI_ENOTFOUND || state))
        return note_difference(f, "MANIFEST.json", cai_error_text());
    if (state || json_array_size(f->rows) > before)
        return 0;
    if (hf_model_hash(path, found) < 0)
        return note_difference(f, "", cai_error_text());
    return strcmp(found, hash) == 0
               ? 0
               : note_difference(f, "", "is not the model that was registered; no manifest says "
                                        "which file differs");
}

static int verify_rows(const json_t *models) {
    static const struct column columns[] = {{"NUMBER", "number", CELL_NUMBER},
                                            {"FILE", "file", CELL_TEXT},
                                            {"DIFFERS", "differs", CELL_TEXT},
                                            {"PATH", "path", CELL_TEXT}};
    struct finding f = {.rows = json_array()};
    size_t i, n = json_array_size(models);
    json_array_foreach((json_t *)(uintptr_t)models, i, f.model) {
        if (verify(&f) < 0)
            break;
    }
    bool good = json_array_size(f.rows) == 0;
    if (good)
        say("%zu verified: every file is as it was written\n", n);
    if (!good || globals.json)
        print_reply(json_pack("{s:O, s:I}", "rows", f.rows, "verified", (json_int_t)n), columns,
                    CAI_COUNT(columns));
    json_decref(f.rows);
    return good ? EXIT_OK : EXIT_NEGATIVE;
}

static int run_verify(const struct args *a) {
    json_t *models = NULL, *reply;
    int code = a->n ? 0 : data_rows("ckpt.list", json_object(), -1, &models);
    models = models ? models : json_array();
    for (size_t i = 0; i < a->n && code == 0; i++) {
        int64_t number;
        if (!args_number("a model's number", a->positional[i], &number))
            code = EXIT_USAGE;
        else if ((code = client_call("ckpt.show", numbered(number), false, &reply)) == 0)
            json_array_append_new(models, reply);
    }
    if (code == 0)
        code = verify_rows(models);
    json_decref(models);
    return code;
}

/* ---- gc ------------------------------------------------------------------------------------------ */

static int run_gc(const struct args *a) {
    static const struct column columns[] = {
        {"NUMBER", "number", CELL_NUMBER}, {"JOB", "job", CELL_NUMBER},
        {"ROUND", "round", CELL_NUMBER},   {"STAGE", "stage", CELL_TEXT},
        {"KIND", "kind", CELL_TEXT},       {"SIZE", "size", CELL_TEXT},
        {"PATH", "path", CELL_TEXT}};
    int64_t keep = 0, bytes = 0;
    bool dry = args_has(a, "dry-run");
    if (args_has(a, "keep") && (!args_number("--keep", args_get(a, "keep"), &keep) || keep < 1))
        return keep < 1 ? complain(EXIT_USAGE, "--keep takes a number from 1") : EXIT_USAGE;
    json_t *rows = json_array(), *next = json_integer(0);
    while (next && !json_is_null(next)) {
        json_t *reply;
        int code = client_call("ckpt.gc", json_pack("{s:b, s:I, s:o}", "dry_run", (int)dry, "keep",
                                                    (json_int_t)keep, "after", next), true, &reply);
        if (code) {
            json_decref(rows);
            return code;
        }
        json_array_extend(rows, json_object_get(reply, "rows"));
        bytes += integer_of(reply, "bytes");
        next = json_incref(json_object_get(reply, "next"));
        json_decref(reply);
    }
    char size[32];
    size_text(bytes, size);
    size_t n = json_array_size(rows);
    say("%s %s in %zu folder%s and files\n", dry ? "Would free" : "Freed", size, n, n == 1 ? "" : "s");
    if (!globals.json) {
        size_t i;
        json_t *row;
        json_array_foreach(rows, i, row)
            json_object_set_new(row, "size", size_json(integer_of(row, "bytes")));
    }
    if (!n && !globals.json) {
        json_decref(rows);
        return EXIT_OK;
    }
    return print_reply(json_pack("{s:o, s:I, s:b}", "rows", rows, "bytes", (json_int_t)bytes,
                                 "dry_run", (int)dry), columns, CAI_COUNT(columns));
}

/* ---- du -------------------------------------------------------------------------------------------- */

static void total(json_t *rows, int64_t *ret_bytes, int64_t *ret_free) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        *ret_bytes += integer_of(row, "bytes");
        *ret_free += integer_of(row, "free");
        if (globals.json)
            continue;
        json_object_set_new(row, "size", size_json(integer_of(row, "bytes")));
        json_object_set_new(row, "gc", integer_of(row, "free") ? size_json(integer_of(row, "free"))
                                                               : json_null());
        if (!integer_of(row, "job"))
            json_object_set_new(row, "job", json_null());
    }
}

static int run_du(const struct args *a) {
    static const struct column columns[] = {
        {"JOB", "job", CELL_NUMBER},     {"STAGE", "stage", CELL_TEXT}, {"KIND", "kind", CELL_TEXT},
        {"FILES", "files", CELL_NUMBER}, {"SIZE", "size", CELL_TEXT},   {"GC FREES", "gc", CELL_TEXT}};
    json_t *rows = json_array(), *next = json_integer(0), *reply;
    int64_t bytes = 0, freed = 0, disk = 0;
    (void)a;
    while (next && !json_is_null(next)) {
        int code = client_call("du", json_pack("{s:o}", "after", next), false, &reply);
        if (code) {
            json_decref(rows);
            return code;
        }
        json_array_extend(rows, json_object_get(reply, "rows"));
        disk = integer_of(reply, "disk_free");
        next = json_incref(json_object_get(reply, "next"));
        json_decref(reply);
    }
    total(rows, &bytes, &freed);
    char all[32], gc[32], left[32];
    size_text(bytes, all);
    size_text(freed, gc);
    size_text(disk, left);
    say("%s in all; gc would free %s; %s free on the disk\n", all, gc, left);
    return print_reply(json_pack("{s:o, s:I, s:I, s:I}", "rows", rows, "bytes", (json_int_t)bytes,
                                 "free", (json_int_t)freed, "disk_free", (json_int_t)disk),
                       columns, CAI_COUNT(columns));
}

const struct command ckpt_commands[] = {
    {"ckpt list", "[JOB] [-a | --all] [--kind KIND]", "all kind", 0, 1, run_list,
     "List models and resumable states, and who needs each",
     "  caictl ckpt list\n  caictl ckpt list 3 --kind policy\n",
     "  -a, --all    also those that were removed\n"
     "  --kind KIND  policy, pm, classifier, overseer, or state: what a training goes on from\n"},
    {"ckpt show", "NUMBER", "", 1, 1, run_show, "All about one of them, and all who refer to it",
     "  caictl ckpt show 7\n", NULL},
    {"ckpt verify", "[NUMBER…]", "", 0, ARGS_MAX, run_verify,
     "Hash every file again and name what differs from its manifest",
     "  caictl ckpt verify\n  caictl ckpt verify 7 8\n",
     "Reads the folders itself: run it where they can be seen. Exit code 1: something differs.\n"},
    {"ckpt pin", "NUMBER… [-m TEXT]", "message", 1, ARGS_MAX, run_pin,
     "Keep a model or state, whatever else says",
     "  caictl ckpt pin 7 -m 'figures of the paper'\n", "  -m, --message TEXT  why\n"},
    {"ckpt unpin", "NUMBER…", "", 1, ARGS_MAX, run_unpin, "Take a pin away",
     "  caictl ckpt unpin 7\n", NULL},
    {"ckpt rm", "NUMBER… [--ended]", "ended", 1, ARGS_MAX, run_rm,
     "Remove models or states that nothing needs", "  caictl ckpt rm 7 8\n",
     "  --ended  also what only jobs that are over refer to: the last model of a COMPLETED one,\n"
     "           or what a FAILED or CANCELLED one would go on with; it is then not requeued\n"},
    {"ckpt gc", "[--dry-run] [--keep N]", "dry-run keep", 0, 0, run_gc,
     "Remove what nothing refers to: models beyond keep:, orphans, unused data",
     "  caictl ckpt gc --dry-run\n  caictl ckpt gc --keep 1\n",
     "  --dry-run  list it and remove nothing\n"
     "  --keep N   of finished jobs the newest N rounds stay, instead of what their keep: says\n\n"
     "Never what is pinned, what a job that is not over may need, what a job begins with, or the\n"
     "last models of a finished one.\n"},
    {"du", "", "", 0, 0, run_du, "Disk by job, stage and kind, and what gc would free",
     "  caictl du\n", NULL},
    {0}};
