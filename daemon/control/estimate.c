/* estimate.c: see estimate.h.
 *
 * waiting (for a worker) → rehearsing: first on a few prompts, to see what a second buys; then
 * again, as large as the time that is left is surely enough for, while that is larger than
 * before → finished. After 30 s of work it is finished with what is known. One estimate works at
 * a time, on one worker; others wait. What is measured is then multiplied out by stage/cost.c. */
#include "control/estimate.h"
#include "control/parts.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "hf/memory.h"
#include "job/sample.h"
#include "job/scale.h"
#include "run/admit.h"
#include "control/assets.h"
#include "control/rehearsal.h"
#include "stage/disk.h"
#include <string.h>

enum { BUDGET_MS = 30000, TRIES_MAX = 2, KEPT_MAX = 8, SMALL_ROWS = 16, LARGE_ROWS = 512 };
#define SURELY 0.8 /* of the time that is left */
enum estimate_step { ESTIMATE_WAITING, ESTIMATE_REHEARSING, ESTIMATE_FINISHED };

struct estimate {
    int64_t ticket;
    struct job_spec *job;
    struct constitution *constitution;
    struct cost_data data;
    int64_t need; /* bytes of memory of a worker that can do all of it */
    char *dir;
    enum estimate_step step;
    struct rehearsal at;
    struct cost_probe known;    /* of the last rehearsal that is over; its job is known_job */
    struct job_spec *known_job; /* NULL before the first */
    size_t size;                /* of the present one: a place in sizes[] */
    uint64_t lease; /* 0 = nobody works on it */
    Cai__V1__Task *task;
    struct cost_steps steps;
    int64_t begun_ms, granted_ms, ended_ms; /* since the first grant; 0 = not yet */
    int64_t prompts; /* of the last rehearsal that is over */
    int tries;
    char failure[512];
    json_t *answer;
    struct estimate *next; /* newest first */
};

/* From the most to the least. */
static const struct job_scale sizes[] = {
    {128, 256, 2, 0, 3, 0},   {64, 128, 2, 0, 3, 0},   {64, 128, 2, 0, 2, 0},
    {64, 128, 2, 0, 2, 128},  {64, 64, 2, 0, 2, 64},   {32, 64, 2, 0, 2, 64},
    {16, 32, 2, 0, 2, 32},    {16, 16, 1, 128, 2, 16}, {8, 16, 1, 64, 2, 16},
    {8, 8, 1, 32, 2, 8},      {4, 4, 1, 16, 1, 4}};
enum { SMALLEST = CAI_COUNT(sizes) - 1 };

static void drop_task(struct estimate *e) {
    if (e->task)
        cai__v1__task__free_unpacked(e->task, NULL);
    e->task = NULL;
    e->lease = 0;
}

static void free_estimate(struct estimate *e) {
    drop_task(e);
    rehearsal_close(&e->at);
    if (e->dir && cai_dir_remove(e->dir) < 0)
        cai_warn("%s", cai_error_text());
    free(e->dir);
    job_free(e->job);
    job_free(e->known_job);
    constitution_free(e->constitution);
    json_decref(e->answer);
    free(e);
}

void estimates_free(struct run *r) {
    while (r->front->estimates) {
        struct estimate *e = r->front->estimates;
        r->front->estimates = e->next;
        free_estimate(e);
    }
}

/* ---- starting -------------------------------------------------------------------- */

static int copy_job(const struct job_spec *j, struct job_spec **ret) {
    json_t *o = job_to_json(j);
    int rc = job_from_json(o, ret);
    json_decref(o);
    return rc;
}

static int count_data(struct estimate *e) {
    struct job_sample s;
    for (int k = 0; k < JOB_DATA_FILES; k++) {
        const char *path = job_data_path(e->job, (enum job_data)k);
        if (!path)
            continue;
        CAI_TRY(job_sample_data((enum job_data)k, path, e->job->data.skip, 0, 0, NULL, &s));
        double rows = (double)s.rows;
        switch ((enum job_data)k) {
        case JOB_DATA_HARMFUL: e->data.harmful = rows; break;
        case JOB_DATA_HELPFUL: e->data.helpful = rows; break;
        case JOB_DATA_HUMAN: e->data.human = rows; break;
        case JOB_DATA_CLASSIFIER: e->data.classifier = rows; break;
        case JOB_DATA_QUESTIONS: e->data.questions = rows; break;
        case JOB_DATA_CRITIQUES: e->data.critiques = rows; break;
        case JOB_DATA_PROBES: e->data.probes = rows; break;
        case JOB_DATA_GRADED: e->data.graded = rows; break;
        case JOB_DATA_EVALUATE:
            for (size_t i = 0; i < 3; i++)
                e->data.evaluate[i] = (double)s.kinds[i];
            break;
        default: break; /* canaries: as many as audit's settings say */
        }
    }
    return 0;
}

static int fill(const struct request *q, struct estimate *e) {
    struct memory_plan plan;
    CAI_TRY(job_from_json(json_object_get(q->args, "spec"), &e->job));
    json_t *uses = json_array();
    int rc = assets_resolve(q->run, e->job, uses);
    json_decref(uses);
    CAI_TRY(rc);
    CAI_TRY(assets_readable(e->job));
    CAI_TRY(control_check_job(e->job));
    CAI_TRY(memory_plan(e->job, &plan));
    CAI_TRY(admit_check(q->run, e->job, &plan));
    e->need = plan.phases[plan.peak].bytes;
    CAI_TRY(request_constitution(q, e->job->constitution, &e->constitution));
    CAI_TRY(count_data(e));
    return admit_disk(q->run, e->job, NULL);
}

/* The oldest finished one makes room. */
static int make_room(struct run *r) {
    size_t n = 0;
    struct estimate **oldest = NULL;
    for (struct estimate **at = &r->front->estimates; *at; at = &(*at)->next, n++)
        if ((*at)->step == ESTIMATE_FINISHED)
            oldest = at;
    if (n < KEPT_MAX)
        return 0;
    if (!oldest)
        return cai_fail(CAI_ESTATE, "%d dry runs wait already; try again in a minute", KEPT_MAX);
    struct estimate *gone = *oldest;
    *oldest = gone->next;
    free_estimate(gone);
    return 0;
}

int estimate_start(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    CAI_TRY(make_room(r));
    struct estimate *e = cai_alloc(sizeof *e);
    int rc = fill(q, e);
    if (rc < 0) {
        free_estimate(e);
        return rc;
    }
    e->ticket = (int64_t)++r->next_lease;
    e->dir = cai_format("%s/estimates/%lld", r->o.state_dir, (long long)e->ticket);
    e->next = r->front->estimates;
    r->front->estimates = e;
    r->dirty = true;
    *ret = json_pack("{s:I}", "ticket", (json_int_t)e->ticket);
    return 0;
}

/* ---- rehearsals ------------------------------------------------------------------ */

static int begin(struct estimate *e) {
    struct job_spec *j = NULL;
    const struct job_scale *scale = &sizes[e->size];
    size_t rows = e->size == SMALLEST ? SMALL_ROWS : LARGE_ROWS;
    CAI_AUTO(mem) char *dir = cai_format("%s/%zu", e->dir, e->size);
    CAI_AUTO(mem) char *data = cai_path_join(dir, "data");
    CAI_TRY(copy_job(e->job, &j));
    j->workers = 1;
    job_scale(j, scale);
    j->sft.checkpoint_every = j->prefer.checkpoint_every = j->ppo.checkpoint_every = 0;
    j->keep.fault_every = 0;
    j->data.near = 1; /* alike or not, nothing is kept of it */
    int rc = job_sample_all(j, rows, data);
    if (rc < 0) {
        job_free(j);
        return rc;
    }
    return rehearsal_open(dir, j, rows, e->constitution, &e->at);
}

/* Whether there is a larger one that ends in time, by what is known; e->size is then the largest
 * of these. */
static bool choose(struct estimate *e, double seconds) {
    struct cost_data data = cost_data_drawn(&e->data, LARGE_ROWS);
    for (size_t i = 0; i < e->size; i++) {
        struct cost_estimate guess;
        struct job_spec *j = NULL;
        if (copy_job(e->job, &j) < 0)
            return false;
        j->workers = 1;
        job_scale(j, &sizes[i]);
        cost_estimate(j, &data, &e->known, 1, &guess);
        job_free(j);
        if (guess.seconds > seconds)
            continue;
        e->size = i;
        return true;
    }
    return false;
}

/* ---- the end --------------------------------------------------------------------- */

static uint32_t count_workers(const struct run *r, const char *numeric_class) {
    uint32_t n = 0;
    for (const struct worker *w = r->workers; w; w = w->next)
        n += !numeric_class || strcmp(w->numeric_class, numeric_class) == 0;
    return n ? n : 1;
}

static json_t *row_json(const struct cost_row *row) {
    return json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:b}", "stage", row->stage,
                     "round", (int)row->round, "seconds", row->seconds, "low", row->low, "high",
                     row->high, "generated", row->generated, "read", row->read, "trained",
                     row->trained, "memory", (json_int_t)row->memory, "disk",
                     (json_int_t)row->disk, "guessed", (int)row->guessed);
}

static json_t *assumptions(const struct estimate *e, uint32_t workers, bool whole) {
    json_t *list = json_array();
    json_array_append_new(list, json_sprintf(
        "measured on %lld of the job's prompts, on one worker, in %.0f s", (long long)e->prompts,
        (double)(e->ended_ms - e->begun_ms) / 1000));
    json_array_append_new(list, json_sprintf(
        "%u worker%s generate%s and score%s as now, with nothing else to do", workers,
        workers == 1 ? "" : "s", workers == 1 ? "s" : "", workers == 1 ? "s" : ""));
    if (e->job->workers > 1)
        json_array_append_new(list, json_sprintf("%lld ranks train in parallel, their sums cost a "
                                                 "tenth", (long long)e->job->workers));
    json_array_append_new(list, json_string("replies, flaws and ties as the start model has them: "
                                            "what training changes is within the error bars"));
    if (!whole)
        json_array_append_new(list, json_string("some work was not reached in that time: it is "
                                                "taken from work like it, to a factor of three"));
    return list;
}

/* Whether the plan's phase says what the stage holds. */
static bool plans(const char *phase, const char *stage, bool trains) {
    return strcmp(phase, stage) == 0 ||
           (!trains && strcmp(phase, "generate") == 0) ||
           (strcmp(phase, "red team") == 0 && strcmp(stage, "red_team") == 0);
}

/* A stage in which something was not measured holds at least what config.json says, beside the
 * program itself. */
static void plan_memory(const struct estimate *e, struct cost_estimate *c) {
    struct memory_plan plan;
    if (memory_plan(e->job, &plan) < 0) {
        cai_error_clear();
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct cost_row *row = &c->rows[i];
        const char *stage = row->stage;
        bool trains = strcmp(stage, "sft") == 0 || strcmp(stage, "prefer") == 0 ||
                      strcmp(stage, "ppo") == 0;
        bool asked = row->memory == 0 || (row->guessed && trains);
        for (size_t k = 0; k < plan.n; k++) {
            int64_t bytes = e->known.rest + plan.phases[k].bytes;
            if (asked && plans(plan.phases[k].name, stage, trains) && bytes > row->memory)
                row->memory = bytes;
        }
        c->memory = row->memory > c->memory ? row->memory : c->memory;
    }
}

static void answer(struct run *r, struct estimate *e) {
    struct cost_estimate c;
    struct memory_plan memory;
    json_t *rows = json_array(), *disk = NULL;
    uint32_t workers = count_workers(r, NULL);
    cost_estimate(e->job, &e->data, &e->known, workers, &c);
    plan_memory(e, &c);
    for (size_t i = 0; i < c.n; i++)
        json_array_append_new(rows, row_json(&c.rows[i]));
    (void)admit_disk(r, e->job, &disk);
    if (memory_plan(e->job, &memory) < 0)
        memory = (struct memory_plan){0};
    e->answer = json_pack(
        "{s:o, s:{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I}, s:o, s:o, s:o}", "rows", rows, "total",
        "seconds", c.seconds, "low", c.low, "high", c.high, "generated", c.generated, "read",
        c.read, "trained", c.trained, "memory", (json_int_t)c.memory, "disk", (json_int_t)c.disk,
        "assumptions", assumptions(e, workers, e->known.whole), "memory",
        memory.n ? admit_json(r, &memory) : json_null(), "disk", disk ? disk : json_null());
    CAI_CHECK(e->answer);
}

static void finish(struct run *r, struct estimate *e, const char *failure) {
    e->ended_ms = cai_now_ms();
    if (failure)
        snprintf(e->failure, sizeof e->failure, "%s", failure);
    else
        answer(r, e);
    drop_task(e);
    rehearsal_close(&e->at);
    if (cai_dir_remove(e->dir) < 0)
        cai_warn("%s", cai_error_text());
    e->step = ESTIMATE_FINISHED;
    r->dirty = true;
}

/* ---- the course ------------------------------------------------------------------ */

/* What the present rehearsal saw, with what the one before it did, is what is known. */
static int keep(struct estimate *e) {
    struct job_spec *j;
    CAI_TRY(copy_job(e->at.spec, &j));
    if (e->known_job)
        cost_note_smaller(&e->at.probe, &e->known);
    e->known = e->at.probe;
    e->known.job = j;
    job_free(e->known_job);
    e->known_job = j;
    e->prompts = sizes[e->size].prompts;
    rehearsal_close(&e->at);
    return 0;
}

/* The present rehearsal is over. */
static int go_on(struct run *r, struct estimate *e) {
    double left = (double)(BUDGET_MS - (cai_now_ms() - e->begun_ms)) / 1000;
    CAI_TRY(keep(e));
    if (choose(e, SURELY * left))
        return begin(e);
    finish(r, e, NULL);
    return 0;
}

static void send_task(struct run *r, struct estimate *e, struct worker *w) {
    e->granted_ms = cai_now_ms();
    e->begun_ms = e->begun_ms ? e->begun_ms : e->granted_ms;
    e->steps = (struct cost_steps){0};
    e->lease = lease_apart(r, e->task, w);
}

/* The next task, over the borders of rehearsals; none when it is finished. */
static int next_task(struct run *r, struct estimate *e) {
    while (!e->task && e->step != ESTIMATE_FINISHED) {
        CAI_TRY(rehearsal_next(&e->at, &e->task));
        if (e->task)
            break;
        CAI_TRY(go_on(r, e));
    }
    return 0;
}

static int work(struct run *r, struct estimate *e, struct worker *w) {
    if (e->step == ESTIMATE_WAITING) {
        e->step = ESTIMATE_REHEARSING;
        e->size = SMALLEST;
        CAI_TRY(begin(e));
    }
    CAI_TRY(next_task(r, e));
    if (e->task)
        send_task(r, e, w);
    return 0;
}

void estimates_schedule(struct run *r) {
    struct estimate *oldest = NULL;
    for (struct estimate *e = r->front->estimates; e; e = e->next)
        oldest = e->step != ESTIMATE_FINISHED ? e : oldest;
    if (!oldest || oldest->lease)
        return;
    struct worker *w = r->workers;
    while (w && !(worker_fits(r, w, "", NULL) && admit_fits(r, w, oldest->need)))
        w = w->next;
    if (w && work(r, oldest, w) < 0)
        finish(r, oldest, cai_error_text());
}

void estimates_beat(struct run *r) {
    for (struct estimate *e = r->front->estimates; e; e = e->next) {
        if (e->step == ESTIMATE_FINISHED || !e->begun_ms ||
            cai_now_ms() - e->begun_ms < BUDGET_MS)
            continue;
        struct lease *l = e->lease ? lease_find(r, e->lease) : NULL;
        if (l)
            lease_revoke(r, l, "the dry run's time is over");
        e->at.probe.whole = false;
        bool kept = keep(e) == 0;
        finish(r, e, kept ? NULL : cai_error_text());
    }
}

/* ---- what the worker says -------------------------------------------------------- */

static struct estimate *estimate_of(struct run *r, const struct lease *l) {
    for (struct estimate *e = r->front->estimates; e && l; e = e->next)
        if (e->lease == l->id)
            return e;
    return NULL;
}

static void give_back(struct run *r, struct estimate *e, const char *why) {
    e->lease = 0; /* the task stays: the next worker begins it again */
    if (++e->tries >= TRIES_MAX)
        finish(r, e, why);
}

bool estimate_report(struct run *r, struct worker *w, const Cai__V1__Report *m) {
    struct estimate *e = estimate_of(r, lease_of(r, w, m->epoch, m->lease));
    if (!e)
        return false;
    if (m->n_metrics) { /* of a step */
        e->steps.done = m->done;
        if (e->steps.n < COST_STEPS_MAX)
            e->steps.at[e->steps.n++] = (double)(cai_now_ms() - e->granted_ms) / 1000;
    }
    Cai__V1__ReportAck ack = CAI__V1__REPORT_ACK__INIT;
    ack.lease = m->lease;
    ack.seq = m->seq;
    (void)workers_send(r, &w->peer, CAI__V1__FRAME__BODY_REPORT_ACK, &ack);
    return true;
}

bool estimate_outcome(struct run *r, struct worker *w, const Cai__V1__Done *done,
                      const Cai__V1__Failed *failed) {
    uint64_t epoch = done ? done->epoch : failed->epoch, id = done ? done->lease : failed->lease;
    struct lease *l = lease_of(r, w, epoch, id);
    struct estimate *e = estimate_of(r, l);
    if (!e)
        return false;
    if (done && done->result) {
        int rc = rehearsal_absorb(&e->at, e->task, done->result, e->granted_ms, &e->steps);
        drop_task(e);
        e->tries = 0;
        if (rc < 0)
            finish(r, e, cai_error_text());
    } else {
        give_back(r, e, failed ? failed->text : "the worker sent no result");
    }
    lease_end(r, l);
    return true;
}

void estimates_lost(struct run *r, struct worker *w) {
    struct estimate *e = estimate_of(r, w->lease);
    if (e)
        give_back(r, e, "its worker was lost");
}

/* ---- showing --------------------------------------------------------------------- */

int estimate_show(const struct request *q, json_t **ret) {
    static const char *const steps[] = {"waiting for a worker", "measuring", ""};
    int64_t ticket = request_int(q, "ticket", 0);
    struct estimate *e = q->run->front->estimates;
    while (e && e->ticket != ticket)
        e = e->next;
    if (!e)
        return cai_fail(CAI_ENOTFOUND, "there is no dry run %lld; caid forgets them at a restart",
                        (long long)ticket);
    if (*e->failure)
        return cai_fail(CAI_ESTATE, "the dry run could not be measured: %s", e->failure);
    const char *stage = e->at.stage ? e->at.stage->title : "";
    *ret = json_pack("{s:b, s:s, s:s, s:O?}", "pending", (int)(e->step != ESTIMATE_FINISHED),
                     "doing", steps[e->step], "stage", stage, "estimate", e->answer);
    return 0;
}

const struct verb estimate_verbs[] = {
    {"estimate", true, "spec:o! canonical:s source:s", estimate_start},
    {"estimated", false, "ticket:i!", estimate_show},
    {0},
};
