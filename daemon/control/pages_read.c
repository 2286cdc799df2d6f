/* pages_read.c: what the dashboard shows: the jobs that somebody would look at, and curves in small
 * parts. Not for the report (report/report.c). */
#include "base/clock.h"
#include "base/error.h"
#include "control/pages.h"
#include "report/report.h"
#include "control/control.h"
#include <string.h>

enum { JOBS_SHOWN = 24, RECENT_MS = 7 * 86400 * 1000, POINTS_MAX = 500, TALKS_SHOWN = 4 };

/* ---- jobs -------------------------------------------------------------------------------------------- */

/* The last of them by id, in a ring. */
struct newest {
    int64_t ids[JOBS_SHOWN];
    size_t n;
};

static int note_job(void *c, const struct store_job *row) {
    struct newest *l = c;
    l->ids[l->n++ % JOBS_SHOWN] = row->id;
    return 0;
}

int pages_jobs(struct run *r, json_t **ret) {
    struct newest l = {0};
    CAI_TRY(store_jobs_page(r->store, 0, cai_wall_ms() - RECENT_MS, note_job, &l));
    json_t *rows = json_array();
    for (size_t i = 0; i < l.n && i < JOBS_SHOWN; i++) {
        struct store_job row;
        int rc = store_job_get(r->store, l.ids[(l.n - 1 - i) % JOBS_SHOWN], &row);
        if (rc < 0) {
            json_decref(rows);
            return rc;
        }
        json_array_append_new(rows, progress_json(r, &row));
        store_job_free(&row);
    }
    *ret = json_pack("{s:o}", "rows", rows);
    return 0;
}

/* ---- the report --------------------------------------------------------------------------------------- */

int pages_report(struct run *r, const struct channel_peer *who, const json_t *args, json_t **ret) {
    json_t *report = NULL;
    CAI_TRY(control_ask(r, who, "report", args, &report));
    json_t *series = json_object_get(report, "series"), *talks = json_object_get(report, "transcripts");
    for (size_t i = json_array_size(series); i-- > 0;)
        if (!json_object_get(json_array_get(series, i), "place"))
            json_array_remove(series, i);
    while (json_array_size(talks) > TALKS_SHOWN)
        json_array_remove(talks, json_array_size(talks) - 1);
    *ret = report;
    return 0;
}

/* ---- curves ------------------------------------------------------------------------------------------- */

static const char *const drawn[] = {"reward", "kl", "entropy", "length", "accuracy", "loss"};

struct curves {
    const struct store_job *job;
    int64_t after;
    json_t *points[CAI_COUNT(drawn)]; /* [[step, value], …] */
};

static int note_point(void *c, const struct store_metric *m) {
    struct curves *f = c;
    if (m->round != f->job->round || (int64_t)m->step <= f->after || strcmp(m->stage, f->job->stage) != 0)
        return 0;
    for (size_t i = 0; i < CAI_COUNT(drawn); i++)
        if (strcmp(m->name, drawn[i]) == 0)
            json_array_append_new(f->points[i], json_pack("[I, f]", (json_int_t)m->step, m->value));
    return 0;
}

/* At most POINTS_MAX of them, evenly, the last one always; takes the list. */
static json_t *thinned(json_t *points) {
    size_t n = json_array_size(points), stride = (n + POINTS_MAX - 1) / POINTS_MAX;
    if (stride < 2)
        return points;
    json_t *few = json_array();
    for (size_t i = 0; i < n; i++)
        if (i % stride == 0 || i + 1 == n)
            json_array_append(few, json_array_get(points, i));
    json_decref(points);
    return few;
}

/* The title of a curve that is not one of reinforcement learning's. */
static const char *title_of(const char *name) {
    return strcmp(name, "loss") == 0 ? "Training loss" : strcmp(name, "accuracy") == 0 ? "Decided rightly" : name;
}

static json_t *series_of(const struct store_job *job, struct curves *f) {
    json_t *list = json_array();
    for (size_t i = 0; i < CAI_COUNT(drawn); i++) {
        json_t *points = thinned(f->points[i]);
        if (json_array_size(points))
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:O}", "name", drawn[i], "title",
                                                  title_of(drawn[i]), "stage", job->stage, "x", "step",
                                                  "points", points));
        json_decref(points);
    }
    return list;
}

static void explain(const struct store_job *job, json_t *series) {
    json_t *given = json_loads(job->spec, 0, NULL);
    struct job_spec *spec = NULL;
    if (given && strcmp(job->stage, "ppo") == 0 && job_from_json(given, &spec) == 0)
        report_curves(spec, series);
    job_free(spec);
    json_decref(given);
}

int pages_curves(struct run *r, int64_t job, int64_t after, json_t **ret) {
    struct store_job row;
    CAI_TRY(store_job_get(r->store, job, &row));
    struct curves f = {.job = &row, .after = after};
    for (size_t i = 0; i < CAI_COUNT(drawn); i++)
        f.points[i] = json_array();
    int rc = store_metrics_each(r->store, job, note_point, &f);
    json_t *series = series_of(&row, &f);
    explain(&row, series);
    *ret = json_pack("{s:i, s:s, s:o}", "round", (int)row.round, "stage", row.stage, "series", series);
    store_job_free(&row);
    return rc < 0 ? rc : 0;
}
