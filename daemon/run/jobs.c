/* jobs.c: the course of a job: plan, absorb, done, next stage; each step one transaction,
 * so a kill at any instant leaves a step done or not begun. Not for who works (schedule.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "run/keep.h"
#include "stage/memory.h"
#include <string.h>

enum { TURNS_MAX = 1000, RETRY_MS = 2000 };

#define ABOUT_JOB(event, j) CAI_ABOUT(event, (j)->id, (j)->stage ? (j)->stage->name : NULL)

void job_event(struct run *r, int64_t job, int level, const char *format, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    const struct job_run *j = job_find(r, job);
    const char *stage = j && j->stage ? j->stage->name : NULL;
    cai_log_about((enum cai_log_level)level, CAI_ABOUT(EVENT_JOB, job, stage), "job %lld: %s",
                  (long long)job, text);
    /* An event is for people; a full disk must not turn it into a second failure. */
    (void)store_event_add(r->store, job, level, text);
}

static void free_job(struct job_run *j) {
    free(j->name);
    free(j->accepted);
    free(j->numeric_class);
    free(j->revision);
    free(j->work_dir);
    job_free(j->spec);
    free(j->memory);
    constitution_free(j->constitution);
    free(j->queue);
    free(j->setbacks);
    gauges_clear(&j->gauges);
    free(j);
}

void job_drop(struct run *r, struct job_run *j) {
    job_list_remove(r, j);
    free_job(j);
}

void jobs_free(struct run *r) {
    while (r->jobs)
        job_drop(r, r->jobs);
    job_list_free(r);
}

void job_context(struct run *r, const struct job_run *j, struct stage_context *ret) {
    *ret = (struct stage_context){.store = r->store,
                                  .job_id = j->id,
                                  .job = j->spec,
                                  .constitution = j->constitution,
                                  .round = j->round,
                                  .stage = j->stage ? j->stage->name : "",
                                  .work_dir = j->work_dir,
                                  .accepted = j->accepted};
}

/* ---- into memory ----------------------------------------------------------------- */

static int load_pinned(struct run *r, const struct store_job *row, struct job_run *j) {
    json_error_t error;
    job_free(j->spec); /* of a try that failed half-way */
    j->spec = NULL;
    json_t *spec = json_loads(row->spec, 0, &error);
    if (!spec)
        return cai_fail(CAI_EIO, "job %lld: its stored file cannot be read", (long long)row->id);
    int rc = job_from_json(spec, &j->spec);
    json_decref(spec);
    CAI_TRY(rc);
    CAI_TRY(cai_dir_make(j->work_dir));
    j->memory = cai_alloc(sizeof *j->memory);
    if (memory_plan(j->spec, j->memory) < 0) { /* whoever needs the folder says what is wrong */
        free(j->memory);
        j->memory = NULL;
    }
    CAI_AUTO(mem) char *revision = NULL;
    CAI_AUTO(mem) char *canonical = NULL;
    CAI_TRY(store_constitution_get(r->store, row->constitution, &revision, &canonical));
    struct input_report report = {.file = "constitution"};
    rc = constitution_parse("constitution", canonical, strlen(canonical), NULL, &report,
                            &j->constitution);
    input_report_free(&report);
    return rc;
}

static struct job_run *job_of_row(struct run *r, const struct store_job *row) {
    struct job_run *j = cai_alloc(sizeof *j);
    bool paused = row->state == JOB_SUSPENDED && !*row->stopped_by; /* for want of space */
    *j = (struct job_run){.id = row->id,
                          .uid = row->uid,
                          .priority = row->priority,
                          .name = cai_strdup(row->name),
                          .accepted = cai_strdup(row->accepted),
                          .numeric_class = cai_strdup(row->numeric_class),
                          .revision = cai_strdup(row->constitution),
                          .work_dir = cai_format("%s/jobs/%lld", r->o.state_dir,
                                                 (long long)row->id),
                          .state = paused ? JOB_RUNNING : row->state,
                          .round = row->round,
                          .stage = *row->stage ? stage_find(row->stage) : NULL,
                          .planned = row->planned,
                          .stale = true};
    progress_restart(r, j);
    return j;
}

int job_need(struct run *r, struct job_run *j) {
    struct store_job row;
    if (j->spec && j->constitution)
        return 0;
    CAI_TRY(store_job_get(r->store, j->id, &row));
    int rc = load_pinned(r, &row, j);
    store_job_free(&row);
    return rc;
}

static int take_row(struct run *r, const struct store_job *row) {
    struct job_run *j = job_of_row(r, row);
    /* Of jobs that wait their turn there may be thousands: job_need loads them. */
    bool waits = row->state == JOB_PENDING || row->state == JOB_HELD;
    int rc = waits ? 0 : load_pinned(r, row, j);
    if (rc == 0 && *row->stage && !j->stage)
        rc = cai_fail(CAI_EINPUT, "stage '%s' is unknown to this caid", row->stage);
    if (rc < 0) {
        free_job(j);
        return rc;
    }
    job_list_add(r, j);
    return 0;
}

int job_take(struct run *r, int64_t id) {
    struct store_job row;
    CAI_TRY(store_job_get(r->store, id, &row));
    int rc = take_row(r, &row);
    store_job_free(&row);
    return rc;
}

static bool is_over(enum job_state s) {
    return s == JOB_COMPLETED || s == JOB_FAILED || s == JOB_CANCELLED;
}

static int load_one(void *c, const struct store_job *row) {
    struct run *r = c;
    (void)CAI_FAILPOINT("job.load.before");
    if (is_over(row->state))
        return 0;
    int rc = take_row(r, row);
    /* One unreadable job must not keep the others from running. */
    if (rc < 0)
        cai_error("job %lld is left aside: %s", (long long)row->id, cai_error_text());
    return 0;
}

int jobs_load(struct run *r) {
    CAI_TRY(store_jobs_active(r->store, load_one, r));
    return CAI_FAILPOINT("job.load.after");
}

/* ---- ends and pauses ------------------------------------------------------------- */

static int commit_state(struct run *r, struct job_run *j, enum job_state state, const char *reason,
                        const char *gate, int level, const char *event) {
    CAI_TRY(store_begin(r->store));
    int rc = store_job_set_state(r->store, j->id, state, reason, gate);
    if (rc == 0 && event)
        rc = store_event_add(r->store, j->id, level, event);
    if (rc == 0)
        rc = CAI_FAILPOINT("job.state.before");
    rc = store_end(r->store, rc);
    if (rc == 0)
        (void)CAI_FAILPOINT("job.state.after");
    return rc;
}

void job_suspend(struct run *r, struct job_run *j, const char *reason) {
    char copy[sizeof j->waits]; /* `reason` may be the thread's error message */
    snprintf(copy, sizeof copy, "%s", reason);
    bool news = !j->full;
    j->full = true;
    j->retry_ms = cai_now_ms() + RETRY_MS;
    memcpy(j->waits, copy, sizeof copy);
    leases_revoke_job(r, j->id, "the job pauses");
    if (!news)
        return;
    cai_log_about(CAI_LOG_ERROR, ABOUT_JOB(EVENT_JOB_PAUSED, j), "job %lld pauses: %s",
                  (long long)j->id, copy);
    /* With a full disk the store cannot be told; memory knows, and a restart asks again. */
    (void)commit_state(r, j, JOB_SUSPENDED, copy, "", CAI_LOG_ERROR, copy);
}

static int commit_pause(struct run *r, struct job_run *j, enum job_state state, const char *by,
                        const char *reason, const char *event) {
    CAI_TRY(store_begin(r->store));
    int rc = store_job_set_state(r->store, j->id, state, reason, "");
    if (rc == 0)
        rc = store_job_set_stopped(r->store, j->id, by);
    if (rc == 0)
        rc = store_event_add(r->store, j->id, CAI_LOG_INFO, event);
    return store_end(r->store, rc);
}

int job_pause(struct run *r, struct job_run *j, const char *by) {
    CAI_AUTO(mem) char *reason = cai_format("suspended by %s: 'caictl resume %lld' lets it go on",
                                            by, (long long)j->id);
    CAI_AUTO(mem) char *event = cai_format("suspended by %s", by);
    CAI_TRY(commit_pause(r, j, JOB_SUSPENDED, by, reason, event));
    j->state = JOB_SUSPENDED;
    j->full = false;
    j->waits[0] = '\0';
    for (struct lease *l = r->leases; l; l = l->next)
        if (l->job == j->id && l->gang)
            lease_revoke_saved(r, l, "the job is suspended", SAVE_MS);
    r->dirty = true;
    return 0;
}

int job_unpause(struct run *r, struct job_run *j, const char *event) {
    CAI_TRY(commit_pause(r, j, JOB_RUNNING, "", "", event));
    j->state = JOB_RUNNING;
    j->stale = true;
    r->dirty = true;
    return 0;
}

void job_end(struct run *r, struct job_run *j, enum job_state state, const char *reason) {
    char copy[512];
    snprintf(copy, sizeof copy, "%s", reason);
    int level = state == JOB_FAILED ? CAI_LOG_ERROR : CAI_LOG_INFO;
    char event[600];
    snprintf(event, sizeof event, "%s%s%s", job_state_name(state), *copy ? ": " : "", copy);
    int rc = commit_state(r, j, state, copy, "", level, event);
    if (rc < 0) {
        /* It comes back to this point by itself when it can be written. */
        job_suspend(r, j, cai_error_text());
        return;
    }
    cai_log_about((enum cai_log_level)level, ABOUT_JOB(EVENT_JOB_ENDED, j), "job %lld: %s",
                  (long long)j->id, event);
    leases_revoke_job(r, j->id, "the job ended");
    int64_t id = j->id;
    job_drop(r, j);
    if (state == JOB_COMPLETED)
        keep_after_stage(r, id);
    r->dirty = true;
}

void job_trouble(struct run *r, struct job_run *j, int code) {
    char text[512];
    snprintf(text, sizeof text, "%s", cai_error_text());
    if (code == CAI_ENOSPC)
        job_suspend(r, j, text);
    else
        job_end(r, j, JOB_FAILED, text);
}

static void try_again(struct run *r, struct job_run *j) {
    j->retry_ms = cai_now_ms() + RETRY_MS;
    if (commit_state(r, j, JOB_RUNNING, "", "", CAI_LOG_INFO, "there is space again: goes on") < 0)
        return;
    cai_log_about(CAI_LOG_INFO, ABOUT_JOB(EVENT_JOB, j), "job %lld goes on: there is space again",
                  (long long)j->id);
    j->state = JOB_RUNNING;
    j->full = false;
    j->waits[0] = '\0';
    j->stale = true;
    r->dirty = true;
}

void jobs_disk(struct run *r) {
    int64_t free_bytes = cai_dir_free_bytes(r->o.state_dir);
    bool low = free_bytes >= 0 && free_bytes < r->o.config.min_free_mb * 1048576;
    for (struct job_run *j = r->jobs, *next; j; j = next) {
        next = j->next;
        if (low && j->state == JOB_RUNNING && !j->full) {
            char reason[256];
            snprintf(reason, sizeof reason,
                     "the disk is full: %lld MB free in %s, %lld needed; goes on by itself when "
                     "there is space",
                     (long long)(free_bytes >> 20), r->o.state_dir,
                     (long long)r->o.config.min_free_mb);
            job_suspend(r, j, reason);
        } else if (!low && j->full && cai_now_ms() >= j->retry_ms) {
            try_again(r, j);
        }
    }
}

/* ---- the course ------------------------------------------------------------------ */

int job_start(struct run *r, struct job_run *j) {
    CAI_TRY(commit_state(r, j, JOB_RUNNING, "", "", CAI_LOG_INFO, "starts"));
    j->state = JOB_RUNNING;
    j->stale = true;
    return 0;
}

static int add_queued(void *c, int64_t id, bool gang, uint32_t failures) {
    struct job_run *j = c;
    (void)failures;
    if (j->n_queue == j->cap_queue) {
        j->cap_queue = j->cap_queue ? 2 * j->cap_queue : 64;
        j->queue = cai_realloc(j->queue, j->cap_queue, sizeof *j->queue);
    }
    j->queue[j->n_queue++] = (struct queued){id, gang};
    return 0;
}

static int refresh(struct run *r, struct job_run *j) {
    j->n_queue = 0;
    CAI_TRY(store_tasks_queue(r->store, j->id, add_queued, j));
    j->stale = false;
    return 0;
}

/* Goes to a stage that is not planned yet, inside the caller's transaction. */
static int enter(struct run *r, struct job_run *j, uint32_t round, const struct stage *stage) {
    CAI_TRY(store_job_set_stage(r->store, j->id, round, stage->name, false));
    j->round = round;
    j->stage = stage;
    j->planned = false;
    return 0;
}

static int plan(struct run *r, struct job_run *j) {
    if (!j->stage) {
        uint32_t round = 0;
        const struct stage *first = stage_after(j->spec, 0, NULL, &round);
        if (!first)
            return cai_fail(CAI_EINPUT, "every stage of the job is switched off");
        CAI_TRY(enter(r, j, round, first));
    }
    struct stage_context c;
    job_context(r, j, &c);
    CAI_TRY(CAI_FAILPOINT("job.plan.before"));
    CAI_TRY(j->stage->plan(&c));
    CAI_TRY(CAI_FAILPOINT("job.plan.after"));
    CAI_TRY(store_job_set_stage(r->store, j->id, j->round, j->stage->name, true));
    char text[128];
    if (j->round > j->spec->rounds)
        snprintf(text, sizeof text, "after the rounds: %s", j->stage->title);
    else
        snprintf(text, sizeof text, "round %u: %s", j->round, j->stage->title);
    return store_event_add(r->store, j->id, CAI_LOG_INFO, text);
}

enum course { TURN_AGAIN = 1, TURN_WAIT, TURN_END };

/* Asks done() and acts on it, inside the caller's transaction. Returns an enum course or a
 * code. */
static int conclude(struct run *r, struct job_run *j, struct stage_verdict *v) {
    struct stage_context c;
    job_context(r, j, &c);
    CAI_TRY(j->stage->done(&c, v));
    if (v->next == STAGE_MORE)
        return TURN_AGAIN;
    if (v->next == STAGE_WAIT) {
        CAI_TRY(store_job_set_state(r->store, j->id, JOB_WAITING_REVIEW, v->reason, v->gate));
        CAI_TRY(store_event_add(r->store, j->id, CAI_LOG_WARN, v->reason));
        return TURN_WAIT;
    }
    uint32_t round = 0;
    const struct stage *next = stage_after(j->spec, j->round, j->stage->name, &round);
    if (!next)
        return TURN_END;
    CAI_TRY(enter(r, j, round, next));
    CAI_TRY(CAI_FAILPOINT("job.stage.entered"));
    return TURN_AGAIN;
}

/* One transaction of the course. */
static int turn(struct run *r, struct job_run *j) {
    struct job_run before = *j;
    struct stage_verdict v = {0};
    CAI_TRY(store_begin(r->store));
    int rc = j->planned ? conclude(r, j, &v) : plan(r, j);
    int result = rc;
    if (rc >= 0)
        rc = CAI_FAILPOINT("job.turn.before");
    rc = store_end(r->store, rc);
    if (rc < 0) {
        j->round = before.round;
        j->stage = before.stage;
        j->planned = before.planned;
        return rc;
    }
    (void)CAI_FAILPOINT("job.turn.after");
    if (!before.planned)
        j->planned = true;
    if (before.stage != j->stage || before.round != j->round) {
        progress_restart(r, j);
        keep_after_stage(r, j->id);
    }
    j->stale = true;
    if (result == TURN_WAIT) {
        j->state = JOB_WAITING_REVIEW;
        cai_log_about(CAI_LOG_WARN, ABOUT_JOB(EVENT_JOB_WAITS, j),
                      "job %lld waits for a person: %s", (long long)j->id, v.reason);
    }
    return before.planned ? result : TURN_AGAIN;
}

void job_advance(struct run *r, struct job_run *j) {
    int rc = 0;
    for (int empty = 0; empty < TURNS_MAX; empty++) {
        if ((rc = j->stale ? refresh(r, j) : 0) < 0)
            break;
        /* A stage that is planned and has open tasks has nothing to conclude. */
        if (j->planned && j->n_queue > 0)
            return;
        rc = turn(r, j);
        if (rc == TURN_END) {
            job_end(r, j, JOB_COMPLETED, "");
            return;
        }
        if (rc < 0 || rc == TURN_WAIT)
            break;
    }
    if (rc >= 0 && rc != TURN_WAIT)
        rc = cai_fail(CAI_EINTERNAL, "stage %s adds no work and does not end", j->stage->name);
    if (rc < 0)
        job_trouble(r, j, rc);
}

/* ---- results --------------------------------------------------------------------- */

/* What a result is, without what may differ between equal runs: times, places, figures. */
static void result_hash(Cai__V1__Result *x, char ret[CAI_SHA256_HEX]) {
    Cai__V1__Result copy = *x;
    copy.job = copy.id = 0;
    copy.seconds = copy.saving_seconds = 0;
    copy.memory = copy.saves = 0;
    copy.held = NULL;
    copy.trained = NULL;
    size_t len = cai__v1__result__get_packed_size(&copy);
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_AUTO(mem) uint8_t *packed = cai_alloc(len + 1);
    cai__v1__result__pack(&copy, packed);
    cai_buf_append(&b, packed, len);
    for (size_t i = 0; x->trained && i < x->trained->n_outputs; i++)
        cai_buf_printf(&b, "\noutput %s", x->trained->outputs[i]->hash);
    if (x->trained)
        cai_buf_printf(&b, "\nsteps %llu %s", (unsigned long long)x->trained->steps,
                       x->trained->stopped);
    cai_sha256(b.data ? b.data : "", b.len, ret);
}

static int absorb(struct run *r, struct job_run *j, int64_t id, const Cai__V1__Task *task,
                  Cai__V1__Result *result) {
    const struct stage *stage = stage_find(task->stage);
    if (!stage)
        return cai_fail(CAI_EINTERNAL, "no stage '%s'", task->stage);
    struct stage_context c;
    job_context(r, j, &c);
    c.round = task->round;
    c.stage = stage->name;
    CAI_TRY(store_begin(r->store));
    char hash[CAI_SHA256_HEX];
    result_hash(result, hash);
    int rc = CAI_FAILPOINT("job.absorb.begin");
    if (rc == 0)
        rc = store_task_done(r->store, id, hash, result->seconds, result->tokens);
    if (rc == 0)
        rc = store_task_held(r->store, id, (int64_t)result->memory);
    if (rc == 0)
        rc = CAI_FAILPOINT("job.ledger.after");
    if (rc == 0)
        rc = stage->absorb(&c, task, result);
    if (rc == 0 && task->work_case == CAI__V1__TASK__WORK_TRAIN)
        rc = store_models_prune(r->store, j->id, task->round, task->stage, "checkpoint");
    if (rc == 0 && task->work_case == CAI__V1__TASK__WORK_TRAIN && *task->train->checkpoints)
        rc = keep_mark_states(r, j->id, task->train->checkpoints);
    if (rc == 0)
        rc = CAI_FAILPOINT("job.absorb.before");
    rc = store_end(r->store, rc);
    if (rc == 0)
        (void)CAI_FAILPOINT("job.absorb.after");
    return rc;
}

int job_absorb(struct run *r, struct job_run *j, int64_t id, Cai__V1__Result *result) {
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task row;
    CAI_TRY(store_task_get(r->store, id, &payload, &row));
    Cai__V1__Task *task = cai__v1__task__unpack(NULL, row.payload_len, row.payload);
    if (!task)
        return cai_fail(CAI_EIO, "the stored task %lld cannot be read", (long long)id);
    task->id = (uint64_t)id;
    stage_task_unmask(task, &row);
    int rc = absorb(r, j, id, task, result);
    if (rc == 0 && result->saves)
        job_event(r, j->id, CAI_LOG_INFO, "%s %s: %u states saved in %.2f s, %.1f %% of %.1f s",
                  task->stage, task->phase, result->saves, result->saving_seconds,
                  result->seconds > 0 ? 100 * result->saving_seconds / result->seconds : 0,
                  result->seconds);
    j->stale = true;
    r->dirty = true;
    /* Resumable state is of no use once the result is durable. */
    if (rc == 0 && task->work_case == CAI__V1__TASK__WORK_TRAIN && *task->train->checkpoints) {
        (void)CAI_FAILPOINT("job.resumable.before");
        keep_clear_states(r, task->train->checkpoints);
        (void)CAI_FAILPOINT("job.resumable.after");
    }
    cai__v1__task__free_unpacked(task, NULL);
    return rc;
}
