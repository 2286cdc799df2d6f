/* daemon.c: verbs about caid itself: ping, version, workers, doctor, metrics. */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "run/admit.h"
#include "control/pages.h"
#include "report/report.h"
#include "control/control.h"
#include <string.h>
#include <unistd.h>

static int ping(const struct request *q, json_t **ret) {
    *ret = json_pack("{s:I, s:s}", "epoch", (json_int_t)q->run->epoch, "version", CAI_VERSION);
    return 0;
}

static int64_t count_workers(const struct run *r) {
    int64_t n = 0;
    for (const struct worker *w = r->workers; w; w = w->next)
        n++;
    return n;
}

static int version(const struct request *q, json_t **ret) {
    const struct run *r = q->run;
    int64_t jobs = 0;
    for (const struct job_run *j = r->jobs; j; j = j->next)
        jobs++;
    *ret = json_pack("{s:s, s:I, s:I, s:s, s:I, s:I, s:I}", "version", CAI_VERSION, "epoch",
                     (json_int_t)r->epoch, "started_ms", (json_int_t)r->started_wall_ms,
                     "state_dir", r->o.state_dir, "pid", (json_int_t)getpid(), "workers",
                     (json_int_t)count_workers(r), "jobs", (json_int_t)jobs);
    return 0;
}

static int workers(const struct request *q, json_t **ret) {
    json_t *rows = json_array();
    int64_t now = cai_now_ms();
    for (const struct worker *w = q->run->workers; w; w = w->next) {
        const struct lease *l = w->lease;
        double age = (double)(now - w->seen_ms) / 1000;
        char late[320] = "";
        if (l && l->revoked)
            snprintf(late, sizeof late, "stopping a revoked task");
        else if (l)
            (void)late_worker(q->run, l, late, sizeof late);
        json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:s, s:f, s:s, s:s, s:I}", "name", w->name, "host",
                              w->host, "pid", (json_int_t)w->pid, "state",
                              age > 2.0 ? "silent" : l ? "busy" : "idle", "numeric_class",
                              w->numeric_class, "heartbeat_s", age, "version", w->version,
                              "reason", late, "memory",
                              (json_int_t)admit_share(q->run, w));
        if (l) {
            json_object_set_new(o, "job", json_integer(l->job));
            json_object_set_new(o, "stage", json_string(l->stage));
            json_object_set_new(o, "task", json_integer(l->task));
            if (l->gang)
                json_object_set_new(o, "rank", json_integer(l->rank));
        }
        json_array_append_new(rows, o);
    }
    *ret = json_pack("{s:o}", "rows", rows);
    return 0;
}

/* ---- doctor ---------------------------------------------------------------------- */

static void check(json_t *rows, const char *name, bool ok, const char *help, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));
static void check(json_t *rows, const char *name, bool ok, const char *help, const char *format,
                  ...) {
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    json_t *o = json_pack("{s:s, s:b, s:s}", "name", name, "ok", (int)ok, "text", text);
    if (!ok && help)
        json_object_set_new(o, "help", json_string(help));
    json_array_append_new(rows, o);
}

static void check_disk(struct run *r, json_t *rows) {
    int64_t space = cai_dir_free_bytes(r->o.state_dir);
    check(rows, "free space", space >= r->o.config.min_free_mb << 20,
          "jobs pause until there is space", "%lld MB free in %s, jobs need %lld MB",
          (long long)(space >> 20), r->o.state_dir, (long long)r->o.config.min_free_mb);
    CAI_AUTO(mem) char *probe = cai_path_join(r->o.state_dir, "doctor");
    int64_t start = cai_now_ms();
    int rc = cai_file_write_atomic(probe, "x", 1);
    int64_t took = cai_now_ms() - start;
    unlink(probe);
    check(rows, "state folder", rc == 0, "give caid a folder it may write", "%s",
          rc == 0 ? r->o.state_dir : cai_error_text());
    check(rows, "durable write", rc == 0 && took < 250,
          "the disk is slow: put the state folder on a local one", "%lld ms", (long long)took);
}

static void check_workers(struct run *r, json_t *rows) {
    int64_t n = count_workers(r);
    check(rows, "workers", n > 0, "start cai-worker, or caid with --spawn N", "%lld connected",
          (long long)n);
    const char *class = r->workers ? r->workers->numeric_class : "";
    bool equal = true;
    for (const struct worker *w = r->workers; w; w = w->next)
        equal = equal && strcmp(w->numeric_class, class) == 0;
    if (n > 1)
        check(rows, "numeric class", equal,
              "a job uses workers of one class only: give them equal threads and machines", "%s",
              equal ? class : "workers differ");
}

static int doctor(const struct request *q, json_t **ret) {
    json_t *rows = json_array();
    check_disk(q->run, rows);
    check_workers(q->run, rows);
    char told[256];
    bool pages = pages_told(q->run, told, sizeof told);
    check(rows, "web page", pages, "set `web:` in caid.conf, or free what it names", "%s", told);
    check(rows, "clock", cai_wall_ms() > 1700000000000, "set the clock; times shown are wrong",
          "%s", cai_wall_ms() > 1700000000000 ? "plausible" : "before 2023");
    *ret = json_pack("{s:o}", "rows", rows);
    return 0;
}

/* ---- metrics --------------------------------------------------------------------- */

struct metric_page {
    struct page page;
    const char *name, *stage;
    struct graders graders;
};

static int list_metric(void *c, const struct store_metric *m) {
    struct metric_page *p = c;
    if ((p->name && strcmp(p->name, m->name) != 0) || (p->stage && strcmp(p->stage, m->stage) != 0))
        return 0;
    if (!page_wants(&p->page))
        return 0;
    json_t *o = json_pack("{s:i, s:s, s:I, s:s, s:f}", "round", (int)m->round, "stage", m->stage,
                          "step", (json_int_t)m->step, "name", m->name, "value", m->value);
    struct grader by;
    if (graders_of(&p->graders, m->stage, m->name, &by))
        json_object_update_new(o, report_grader(&by));
    return !page_add(&p->page, o);
}

/* Jobs that have not ended only: what they have to say is of their present stage. */
static void write_figures(const struct run *r, struct cai_buf *b) {
    for (size_t k = 0; k < gauges_families; k++) {
        bool named = false;
        for (const struct job_run *j = r->jobs; j; j = j->next)
            gauges_write(&j->gauges, k, (long long)j->id, j->stage ? j->stage->name : "", &named,
                          b);
    }
}

/* Prometheus text format 0.0.4; labels are bounded and carry no text of users but principles' ids. */
static int prometheus(struct run *r, json_t **ret) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    cai_buf_puts(&b, "# HELP cai_build_info The running version.\n# TYPE cai_build_info gauge\n"
                     "cai_build_info{version=\"" CAI_VERSION "\"} 1\n");
    int64_t states[JOB_CANCELLED + 1];
    CAI_TRY(store_jobs_count(r->store, states));
    cai_buf_puts(&b, "# HELP cai_jobs Jobs by state.\n# TYPE cai_jobs gauge\n");
    for (int s = 0; s <= JOB_CANCELLED; s++)
        cai_buf_printf(&b, "cai_jobs{state=\"%s\"} %lld\n", job_state_name((enum job_state)s),
                       (long long)states[s]);
    cai_buf_puts(&b, "# HELP cai_worker_heartbeat_age_seconds Since a worker was last heard.\n"
                     "# TYPE cai_worker_heartbeat_age_seconds gauge\n");
    for (struct worker *w = r->workers; w; w = w->next)
        cai_buf_printf(&b, "cai_worker_heartbeat_age_seconds{worker=\"%s\"} %.3f\n", w->name,
                       (double)(cai_now_ms() - w->seen_ms) / 1000);
    cai_buf_printf(&b,
                   "# HELP cai_state_free_bytes Free space in the state folder.\n"
                   "# TYPE cai_state_free_bytes gauge\ncai_state_free_bytes %lld\n",
                   (long long)cai_dir_free_bytes(r->o.state_dir));
    write_figures(r, &b);
    CAI_TRY(cai_buf_status(&b));
    *ret = json_pack("{s:s}", "text", b.data);
    return 0;
}

static int metrics(const struct request *q, json_t **ret) {
    if (!json_object_get(q->args, "id"))
        return prometheus(q->run, ret);
    struct store_job row;
    CAI_TRY(store_job_get(q->run->store, request_int(q, "id", 0), &row));
    store_job_free(&row);
    struct metric_page p = {.name = request_text(q, "name"), .stage = request_text(q, "stage")};
    CAI_TRY(graders_load(q->run->store, request_int(q, "id", 0), &p.graders));
    page_open(&p.page, q, 2000);
    int rc = store_metrics_each(q->run->store, request_int(q, "id", 0), list_metric, &p);
    *ret = page_close(&p.page);
    return rc < 0 ? rc : 0;
}

const struct verb daemon_verbs[] = {
    {"ping", false, "", ping},
    {"version", false, "", version},
    {"workers", false, "", workers},
    {"doctor", false, "", doctor},
    {"metrics", false, "id:i name:s stage:s after:i limit:i", metrics},
    {0},
};
