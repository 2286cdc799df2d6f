/* export.c: what a job made, as JSON Lines in one form or another, or as folders of models. */
#include "export.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "convert.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MAX = 64 };

static const char *const kinds[] = {"pairs",  "labels", "sft",      "rollouts", "replies", "grades",
                                    "examples", "red_team", "attempts", "metrics", "model", "pm"};

struct rows {
    bool convert;
    enum record_style style;
    struct cai_buf text; /* when it goes to a file */
    bool to_file;
    size_t n, seen;
    struct input_report left_out; /* rows that the form cannot say */
};

static json_t *converted(const struct rows *o, const json_t *row) {
    struct input_report report = {.file = "row"};
    struct input_record r;
    json_t *out = NULL;
    if (input_record(row, o->seen, &report, &r) == 0) {
        if (r.a && o->style == STYLE_MESSAGES) {
            r.reply = r.p < 0.5 ? r.b : r.a;
            r.a = r.b = NULL;
        }
        out = record_write(&r, o->style);
        input_record_free(&r);
    } else {
        cai_fail(CAI_EINPUT, "%s", report.first);
    }
    input_report_free(&report);
    return out;
}

static int take_row(void *c, const json_t *row) {
    struct rows *o = c;
    o->seen++;
    json_t *out = o->convert ? converted(o, row) : json_incref((json_t *)row);
    if (!out) {
        input_report_add(&o->left_out, o->seen, 1, "W301", NULL, "left out: as %s, %s",
                         record_style_name(o->style), cai_error_text());
        return 0;
    }
    o->n++;
    if (o->to_file) {
        CAI_AUTO(mem) char *line = json_dumps(out, JSON_COMPACT);
        cai_buf_printf(&o->text, "%s\n", line);
    } else {
        print_line_json(out);
    }
    json_decref(out);
    return 0;
}

static int export_rows(const struct args *a, const char *what, json_t *arguments) {
    const char *form = args_get(a, "form"), *out = args_get(a, "out");
    struct rows o = {.convert = form != NULL, .to_file = out != NULL, .left_out = {.file = what}};
    bool texts = strcmp(what, "pairs") == 0 || strcmp(what, "sft") == 0 ||
                 strcmp(what, "rollouts") == 0 || strcmp(what, "replies") == 0;
    o.text.max = (size_t)16 << 30;
    if (form && (!texts || !convert_style(form, &o.style))) {
        json_decref(arguments);
        return texts ? EXIT_USAGE
                     : complain(EXIT_USAGE, "--form is for pairs, sft, rollouts and replies; '%s' "
                                            "has one form", what);
    }
    int code = data_pages("export", arguments, -1, take_row, &o);
    size_t left_out = o.left_out.warnings;
    fflush(stdout);
    show_findings(&o.left_out);
    if (left_out)
        say("Left out %zu of %zu rows, which the form cannot say\n", left_out, o.seen);
    if (code == 0 && out && convert_file(out, &o.text) < 0)
        code = complain(EXIT_DAEMON, "%s", cai_error_text());
    if (code == 0 && out)
        say("%s: %zu row%s\n", out, o.n, o.n == 1 ? "" : "s");
    cai_buf_free(&o.text);
    return code;
}

static int print_model(const json_t *m) {
    json_t *row = json_copy((json_t *)m);
    print_line_json(row);
    json_decref(row);
    return 0;
}

static int export_models(const struct args *a, const char *what, int64_t id, int64_t round) {
    const char *out = args_get(a, "out"), *kind = strcmp(what, "pm") == 0 ? "pm" : "policy";
    const json_t *found[MEMBERS_MAX];
    bool merge = args_has(a, "merge");
    json_t *show;
    if (merge && !out)
        return complain(EXIT_USAGE, "--merge belongs to 'export ID model --out FOLDER'");
    int code = client_call("show", json_pack("{s:I}", "id", (json_int_t)id), false, &show);
    if (code)
        return code;
    size_t n = folder_find(show, kind, round, found, MEMBERS_MAX);
    if (n == 0)
        code = complain(EXIT_NOT_FOUND, "job %lld has no %s%s yet; `caictl show %lld` lists what it "
                                        "has", (long long)id,
                        strcmp(kind, "pm") == 0 ? "preference model" : "model",
                        round >= 0 ? " of that round" : "", (long long)id);
    for (size_t i = 0; i < n && code == 0; i++) {
        CAI_AUTO(mem) char *to = !out     ? NULL
                                 : n == 1 ? cai_strdup(out)
                                          : cai_format("%s/member-%zu", out, i + 1);
        code = to ? folder_write(show, found[i], merge, to) : print_model(found[i]);
    }
    json_decref(show);
    return code;
}

int run_export(const struct args *a) {
    const char *what = a->positional[1];
    int64_t id, round = -1;
    bool found = false;
    for (size_t i = 0; i < CAI_COUNT(kinds); i++)
        found = found || strcmp(kinds[i], what) == 0;
    if (!found) {
        const char *near = cai_text_nearest(what, kinds, CAI_COUNT(kinds));
        return complain(EXIT_USAGE, "cannot export '%s'%s%s%s", what,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    if (!args_number("a job's id", a->positional[0], &id) ||
        (args_has(a, "round") && !args_number("round", args_get(a, "round"), &round)))
        return EXIT_USAGE;
    if (strcmp(what, "model") == 0 || strcmp(what, "pm") == 0)
        return export_models(a, what, id, round);
    if (args_has(a, "merge"))
        return complain(EXIT_USAGE, "--merge belongs to 'export ID model --out FOLDER'");
    if (round >= 0)
        return complain(EXIT_USAGE, "--round chooses a model; rows carry their round");
    return export_rows(a, what, json_pack("{s:I, s:s}", "id", (json_int_t)id, "what", what));
}
