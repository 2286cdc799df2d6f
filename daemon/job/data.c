/* data.c: reads a job's data files line by line and says what is wrong in them, so that a job
 * fails before it starts. The daemon freezes them through the same reader. What the rows are
 * used for is the stages'. */
#include "base/error.h"
#include "base/text.h"
#include "input/jsonl.h"
#include "input/similar.h"
#include "job/job.h"
#include <stdlib.h>
#include <string.h>

/* ---- what a row must have in its role ----------------------------------------------------- */

struct row {
    const struct input_record *r;
    struct input_report *report;
    size_t line;
};

static void wrong(const struct row *o, const char *key, const char *help, const char *what) {
    bool absent = !json_object_get(o->r->rest, key);
    input_report_add(o->report, o->line,
                     absent ? 1 : input_column(o->report, o->line, key), absent ? "D005" : "D006",
                     help, "%s", what);
}

static void check_human(const struct row *o) {
    if (!o->r->a)
        wrong(o, "chosen", "give \"chosen\" and \"rejected\", or \"a\", \"b\" and \"p\"",
              "missing member \"chosen\"");
}

static void check_classifier(const struct row *o) {
    const json_t *v = json_object_get(o->r->rest, "label");
    double d = json_number_value(v);
    if (!o->r->reply)
        wrong(o, "reply", "end the messages with the assistant", "missing member \"reply\"");
    if (o->r->form == FORM_COMPLETION && json_object_get(o->r->rest, "desirable"))
        wrong(o, "label", "write \"reply\" for \"completion\", and \"label\": 1 where it is harmful",
              "TRL's \"label\" of a completion says that it is good, a classifier's that it is "
              "harmful");
    else if (!v)
        wrong(o, "label", "1 is harmful, 0 is harmless", "missing member \"label\"");
    else if (!json_is_boolean(v) && (!json_is_number(v) || !(d >= 0 && d <= 1)))
        wrong(o, "label", "1 is harmful, 0 is harmless",
              "\"label\" must be true, false or a number from 0 to 1");
}

static void check_kind(const struct row *o) {
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    const char *kind = json_string_value(json_object_get(o->r->rest, "kind"));
    for (size_t i = 0; kind && i < CAI_COUNT(kinds); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return;
    CAI_AUTO(mem) char *what = kind ? cai_format("\"kind\" is not known: %.40s", kind)
                                    : cai_strdup("missing member \"kind\"");
    wrong(o, "kind", "it is harmful, helpful or lookalike", what);
}

static bool one_of(const char *word, const char *const *words, size_t n) {
    for (size_t i = 0; word && i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static void check_choices(const struct row *o) {
    const json_t *list = json_object_get(o->r->rest, "choices"), *v;
    const json_t *answer = json_object_get(o->r->rest, "answer");
    size_t i, n = json_array_size(list);
    bool texts = n >= 2;
    json_array_foreach(list, i, v)
        texts = texts && json_string_length(v) > 0;
    if (!texts)
        wrong(o, "choices", "give two choices or more, as texts", "\"choices\" must be texts");
    else if (!json_is_integer(answer) || json_integer_value(answer) < 0 ||
             (size_t)json_integer_value(answer) >= n)
        wrong(o, "answer", "the right choice's place, from 0", "\"answer\" must be a place in choices");
}

static void check_marker(const struct row *o) {
    if (!strstr(o->r->turns[o->r->n - 1].text, "{prompt}"))
        wrong(o, "prompt", "write {prompt} where the probe's own prompt goes",
              "a marker's last user text must hold {prompt}");
}

static void check_probe(const struct row *o) {
    static const char *const kinds[] = {"text", "choice", "answer", "marker"};
    const char *kind = json_string_value(json_object_get(o->r->rest, "kind"));
    if (!one_of(kind, kinds, CAI_COUNT(kinds)))
        wrong(o, "kind", "it is text, choice, answer or marker", "a probe's \"kind\" must be known");
    else if (strcmp(kind, "choice") == 0)
        check_choices(o);
    else if (strcmp(kind, "marker") == 0)
        check_marker(o);
    else if (!o->r->reply)
        wrong(o, "reply", "the text that is scored, or the answer that is right",
              "missing member \"reply\"");
}

static void check_graded(const struct row *o) {
    static const char *const what[] = {"harm", "refusal", "evasion"};
    const char *of = json_string_value(json_object_get(o->r->rest, "of"));
    check_classifier(o);
    if (of && !one_of(of, what, CAI_COUNT(what)))
        wrong(o, "of", "it is harm, refusal or evasion", "\"of\" is not known");
}

static void check_role(enum job_data role, const struct row *o) {
    if (role == JOB_DATA_HUMAN)
        check_human(o);
    if (role == JOB_DATA_CLASSIFIER)
        check_classifier(o);
    if (role == JOB_DATA_EVALUATE)
        check_kind(o);
    if (role == JOB_DATA_PROBES)
        check_probe(o);
    if (role == JOB_DATA_GRADED)
        check_graded(o);
}

/* ---- one file ------------------------------------------------------------------------------ */

static size_t findings(const struct input_report *r) { return r->errors + r->warnings; }

static int read_row(enum job_data role, const json_t *row, size_t line, job_row_function *f,
                    void *c, struct input_report *report, struct job_rows *count) {
    CAI_AUTO(record) struct input_record r = {0};
    size_t before = findings(report);
    int rc = 0;
    if (input_record(row, line, report, &r) == 0) {
        struct row o = {&r, report, line};
        check_role(role, &o);
    }
    bool good = findings(report) == before;
    count->good += good;
    count->bad += !good;
    if (good && f)
        rc = f(c, line, &r);
    return rc;
}

static void judge(double skip, const struct job_rows *n, struct input_report *report) {
    double all = (double)(n->good + n->bad);
    report->lenient = false;
    if (findings(report) == 0 && n->good == 0)
        input_report_add(report, 0, 0, "D008", "give at least one row", "the file has no rows");
    if (n->bad && skip > 0 && (n->good == 0 || (double)n->bad > skip * all))
        input_report_add(report, 0, 0, "D010", "mend them, or raise data.skip",
                         "%zu of %.0f rows are bad, more than data.skip = %g allows", n->bad, all,
                         skip);
    else if (n->bad && skip <= 0 && n->good > n->bad)
        cai_buf_printf(&report->text,
                       "  help: to leave out the %zu bad of %.0f rows: --set data.skip=%.2g\n",
                       n->bad, all, 1.01 * (double)n->bad / all + 0.0005);
}

int job_read_data(enum job_data role, const char *path, double skip, struct input_report *report,
                  job_row_function *f, void *c, struct job_rows *ret) {
    struct jsonl *reader;
    json_t *row;
    size_t line;
    int rc = 0;
    *ret = (struct job_rows){0};
    report->lenient = skip > 0;
    CAI_TRY(jsonl_open(path, report, &reader));
    while (rc == 0 && jsonl_next(reader, &row, &line) > 0) {
        rc = read_row(role, row, line, f, c, report, ret);
        json_decref(row);
    }
    ret->bad += jsonl_bad(reader);
    jsonl_close(reader);
    if (rc)
        return rc;
    judge(skip, ret, report);
    return input_report_status(report);
}

/* ---- a job's files ---------------------------------------------------------------------------- */

const char **job_data_at(struct job_spec *j, enum job_data role) {
    const char **const at[JOB_DATA_FILES] = {&j->data.harmful, &j->data.helpful, &j->data.human,
                                             &j->data.classifier, &j->data.evaluate,
                                             &j->data.probes, &j->data.graded};
    return at[role];
}

const char *job_data_path(const struct job_spec *j, enum job_data role) {
    return *job_data_at((struct job_spec *)(uintptr_t)j, role);
}

/* Prompts of all files in one numbering, to find held-out ones that are trained on. */
struct seen {
    struct similar *texts;
    struct place {
        enum job_data role;
        size_t line;
    } *at;
    size_t cap;
    enum job_data role;
};

static int see(void *c, size_t line, const struct input_record *r) {
    struct seen *s = c;
    size_t i = similar_count(s->texts);
    if (i == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        s->at = cai_realloc(s->at, s->cap, sizeof *s->at);
    }
    s->at[i] = (struct place){s->role, line};
    similar_add_turns(s->texts, r->turns, r->n);
    return 0;
}

static bool trained_on(enum job_data role) { return role < JOB_DATA_EVALUATE; }

/* A group's lowest number is of a file that is trained on, if any is: those are read first. */
static void check_overlap(const struct job_spec *j, const struct seen *s, enum job_data role,
                          struct input_report *report) {
    struct input_report own = {.file = job_data_path(j, role)};
    const char *help = "take it out of one of the two files; or, where all prompts are built alike, "
                       "raise data.near";
    for (size_t i = 0; i < similar_count(s->texts); i++) {
        size_t other = similar_of(s->texts, i);
        if (s->at[i].role != role || !trained_on(s->at[other].role))
            continue;
        input_report_add(&own, s->at[i].line, 1, "D011", own.errors ? NULL : help,
                         "the prompt is nearly that of %s:%zu, which is trained on (similarity "
                         "%.2f)",
                         job_data_path(j, s->at[other].role), s->at[other].line,
                         similar_jaccard(s->texts, i, other));
    }
    input_report_merge(report, &own);
}

int job_check_data(const struct job_spec *j, struct input_report *report, size_t ret_rows[JOB_DATA_FILES]) {
    size_t errors = report->errors;
    struct seen seen = {.texts = similar_new(j->data.near)};
    bool held_out = j->data.evaluate || j->data.probes;
    for (int k = 0; k < JOB_DATA_FILES; k++) {
        const char *path = job_data_path(j, (enum job_data)k);
        struct input_report own = {.file = path};
        struct job_rows n = {0};
        seen.role = (enum job_data)k;
        if (path && !job_stored_name(path)) /* that the daemon reads */
            job_read_data(seen.role, path, j->data.skip, &own, held_out ? see : NULL, &seen,
                          &n);
        input_report_merge(report, &own);
        if (ret_rows)
            ret_rows[k] = n.good;
    }
    if (held_out && report->errors == errors) {
        similar_group(seen.texts);
        check_overlap(j, &seen, JOB_DATA_EVALUATE, report);
        check_overlap(j, &seen, JOB_DATA_PROBES, report);
    }
    similar_free(seen.texts);
    free(seen.at);
    cai_error_clear();
    return report->errors > errors ? input_report_status(report) : 0;
}
