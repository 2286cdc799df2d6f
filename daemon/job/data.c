/* data.c: reads a job's data files line by line and says what is wrong in them, so that a job
 * fails before it starts. The daemon freezes them through the same reader. What the rows are
 * used for is the stages'. */
#include "base/error.h"
#include "input/jsonl.h"
#include "input/similar.h"
#include "job/roles.h"
#include <stdlib.h>
#include <string.h>

/* ---- one file ------------------------------------------------------------------------------ */

static size_t findings(const struct input_report *r) { return r->errors + r->warnings; }

static int read_row(enum job_data role, const json_t *row, size_t line, job_row_function *f,
                    void *c, struct input_report *report, struct job_rows *count) {
    CAI_AUTO(record) struct input_record r = {0};
    size_t before = findings(report);
    int rc = 0;
    if (input_record(row, line, report, &r) == 0)
        job_check_row(role, &r, line, report);
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

/* A group's lowest number is of a file that is trained on, if any is: those are read first. */
static void check_overlap(const struct job_spec *j, const struct seen *s, enum job_data role,
                          struct input_report *report) {
    struct input_report own = {.file = job_data_path(j, role)};
    const char *help = "take it out of one of the two files; or, where all prompts are built alike, "
                       "raise data.near";
    for (size_t i = 0; i < similar_count(s->texts); i++) {
        size_t other = similar_of(s->texts, i);
        if (s->at[i].role != role || job_data_use(s->at[other].role) != USE_LEARNED)
            continue;
        input_report_add(&own, s->at[i].line, 1, "D011", own.errors ? NULL : help,
                         "the prompt is nearly that of %s:%zu, which is trained on (similarity "
                         "%.2f)",
                         job_data_path(j, s->at[other].role), s->at[other].line,
                         similar_jaccard(s->texts, i, other));
    }
    input_report_merge(report, &own);
}

/* ---- who checks the graders ------------------------------------------------------------------ */

/* People's verdicts by what they are about; [1]: it fails, [0]: it does not. */
struct verdicts {
    size_t n[JOB_GRADED_KINDS][2];
};

static int count_verdict(void *c, size_t line, const struct input_record *r) {
    struct verdicts *v = c;
    int kind = job_graded_kind(r->rest);
    const json_t *label = json_object_get(r->rest, "label");
    bool fails = json_is_true(label) || json_number_value(label) >= 0.5;
    (void)line;
    if (kind >= 0)
        v->n[kind][fails]++;
    return 0;
}

/* With a tolerance the job halts where nobody has checked a grader: better said before it runs. */
static void check_tolerance(const struct job_spec *j, const struct verdicts *v,
                            struct input_report *report) {
    CAI_AUTO(buf) struct cai_buf none = {0};
    bool halts = j->guards.tolerance > 0 && j->guards.alpha > 0 && j->evaluate.enabled;
    for (int i = 0; i < JOB_GRADED_KINDS; i++)
        if (v->n[i][0] == 0 || v->n[i][1] == 0)
            if (i > 0 || j->human.checks == 0)
                cai_buf_printf(&none, "%s%s", none.len ? ", " : "", job_graded_kinds[i]);
    if (!halts || none.len == 0 || j->human.grades > 0)
        return;
    struct job_place at = job_place_of(j, "guards.tolerance");
    input_report_add(report, at.line, at.column, "W206",
                     "give data.graded 60 verdicts of each kind or more, half of them on failures "
                     "({\"prompt\", \"reply\", \"label\", \"of\": \"refusal\"}), or set human.grades: 60 and "
                     "judge with 'caictl review next'",
                     "guards.tolerance will halt the job: nobody checks its graders of %s",
                     none.data);
}

int job_check_data(const struct job_spec *j, struct input_report *report,
                   size_t ret_rows[JOB_DATA_FILES]) {
    size_t errors = report->errors;
    struct seen seen = {.texts = similar_new(j->data.near)};
    struct verdicts verdicts = {0};
    bool held_out = j->data.evaluate || j->data.probes;
    /* Held-out files last: a group of like prompts is known by the first of them. */
    for (int k = 0; k < 2 * JOB_DATA_FILES; k++) {
        enum job_data role = (enum job_data)(k % JOB_DATA_FILES);
        enum data_use use = job_data_use(role);
        if ((use == USE_HELD_OUT) != (k >= JOB_DATA_FILES))
            continue;
        const char *path = job_data_path(j, role);
        struct input_report own = {.file = path};
        struct job_rows n = {0};
        bool split = held_out && use != USE_APART;
        seen.role = role;
        bool ours = path && !job_stored_name(path); /* the daemon reads those */
        if (ours && role == JOB_DATA_GRADED)
            job_read_data(role, path, j->data.skip, &own, count_verdict, &verdicts, &n);
        else if (ours)
            job_read_data(role, path, j->data.skip, &own, split ? see : NULL, &seen, &n);
        input_report_merge(report, &own);
        if (ret_rows)
            ret_rows[role] = n.good;
    }
    if (held_out && report->errors == errors) {
        similar_group(seen.texts);
        check_overlap(j, &seen, JOB_DATA_EVALUATE, report);
        check_overlap(j, &seen, JOB_DATA_PROBES, report);
    }
    if (!j->data.graded || !job_stored_name(j->data.graded))
        check_tolerance(j, &verdicts, report);
    similar_free(seen.texts);
    free(seen.at);
    cai_error_clear();
    return report->errors > errors ? input_report_status(report) : 0;
}
