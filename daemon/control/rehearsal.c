/* rehearsal.c: see rehearsal.h.
 *
 * opened → a stage planned → its tasks, one at a time → concluded → the next stage … → over.
 * A stage that cannot go on (so few prompts may leave nothing to learn from) is left out, and the
 * notes are then not whole. */
#include "control/rehearsal.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include <string.h>

enum { TURNS_MAX = 200 };

static void context_of(const struct rehearsal *h, struct stage_context *ret) {
    *ret = (struct stage_context){.store = h->store, .job_id = 1, .job = h->spec,
                                  .constitution = h->constitution, .round = h->round,
                                  .stage = h->stage ? h->stage->name : "",
                                  .work_dir = h->work_dir,
                                  .accepted = "revise audit-1 overseer label prefer guard-1"};
}

static int fill(struct rehearsal *h) {
    CAI_AUTO(buf) struct cai_buf canonical = {0};
    CAI_AUTO(mem) char *path = cai_path_join(h->dir, "caid.db");
    const struct constitution *c = h->constitution;
    int64_t id;
    CAI_TRY(cai_dir_make(h->work_dir));
    CAI_TRY(store_open(path, &h->store));
    constitution_canonical(c, &canonical);
    CAI_TRY(cai_buf_status(&canonical));
    json_t *full = job_to_json(h->spec);
    CAI_AUTO(mem) char *text = json_dumps(full, JSON_SORT_KEYS);
    json_decref(full);
    CAI_TRY(store_begin(h->store));
    int rc = store_constitution_add(h->store, c->name, c->revision, canonical.data, "");
    if (rc == 0)
        rc = store_job_add(h->store, h->spec->name, text, c->revision, -1, "", &id);
    return store_end(h->store, rc);
}

int rehearsal_open(const char *dir, struct job_spec *spec, size_t drawn,
                   const struct constitution *c, struct rehearsal *ret) {
    *ret = (struct rehearsal){.dir = cai_strdup(dir), .work_dir = cai_path_join(dir, "job"),
                              .spec = spec, .constitution = c,
                              .probe = {.job = spec, .whole = true, .drawn = (double)drawn}};
    return fill(ret);
}

void rehearsal_close(struct rehearsal *h) {
    store_close(h->store);
    if (h->dir && cai_dir_remove(h->dir) < 0)
        cai_warn("%s", cai_error_text());
    free(h->dir);
    free(h->work_dir);
    job_free(h->spec);
    *h = (struct rehearsal){0};
}

/* ---- figures that the arithmetic asks for ------------------------------------------------ */
static double metric(const struct rehearsal *h, const char *stage, const char *name) {
    double value = 0;
    if (store_metric_get(h->store, 1, h->round, stage, 0, name, &value) < 0)
        cai_error_clear();
    return value;
}

static void note_stage(struct rehearsal *h) {
    const char *stage = h->stage->name;
    struct cost_probe *p = &h->probe;
    if (strcmp(stage, "red_team") == 0)
        p->failing = metric(h, stage, "failure_rate");
    if (strcmp(stage, "consist") == 0)
        p->taught_rows = metric(h, stage, "taught_ways") *
                         __builtin_popcount(job_formats(h->spec->consist.formats));
    if (strcmp(stage, "sft") == 0) {
        p->sft_rows = metric(h, stage, "rows_revisions") + metric(h, stage, "rows_kept");
        p->helpful_rows = metric(h, stage, "rows_helpful");
        p->consist_rows = metric(h, stage, "rows_consist");
    }
    if (strcmp(stage, "label") == 0)
        p->pairs = metric(h, stage, "pairs");
}

/* ---- the course -------------------------------------------------------------------------- */
static void enter(struct rehearsal *h) {
    h->stage = stage_after(h->spec, h->round, h->stage ? h->stage->name : NULL, &h->round);
    h->planned = false;
    h->over = !h->stage;
}

static int turn(struct rehearsal *h, struct stage_verdict *ret) {
    struct stage_context c;
    context_of(h, &c);
    return h->planned ? h->stage->done(&c, ret) : h->stage->plan(&c);
}

/* One step of the present stage, in a transaction. */
static int step(struct rehearsal *h) {
    struct stage_verdict v = {0};
    CAI_TRY(store_begin(h->store));
    int64_t begun_ms = cai_now_ms();
    int rc = turn(h, &v);
    rc = store_end(h->store, rc);
    cost_note_turn(&h->probe, h->stage->name, h->round, (double)(cai_now_ms() - begun_ms) / 1000);
    if (rc < 0) {
        cai_info("a rehearsal leaves %s out: %s", h->stage->name, cai_error_text());
        cai_error_clear();
        h->probe.whole = false;
        enter(h);
        return 0;
    }
    if (!h->planned) {
        h->planned = true;
    } else if (v.next != STAGE_MORE) { /* gates let pass: what would wait goes on */
        note_stage(h);
        enter(h);
    }
    return 0;
}

static int first_open(void *c, int64_t id, bool gang, uint32_t failures) {
    int64_t *first = c;
    (void)gang;
    (void)failures;
    *first = id;
    return 1;
}

static int load(struct rehearsal *h, int64_t id, Cai__V1__Task **ret) {
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task row;
    CAI_TRY(store_task_get(h->store, id, &payload, &row));
    *ret = cai__v1__task__unpack(NULL, row.payload_len, row.payload);
    if (!*ret)
        return cai_fail(CAI_EIO, "a rehearsed task cannot be read");
    (*ret)->id = (uint64_t)id;
    (*ret)->job = 0; /* of no job that anybody knows */
    return 0;
}

int rehearsal_next(struct rehearsal *h, Cai__V1__Task **ret) {
    *ret = NULL;
    if (!h->stage && !h->over)
        enter(h);
    for (int i = 0; i < TURNS_MAX && !h->over; i++) {
        int64_t id = 0;
        int rc = h->planned ? store_tasks_queue(h->store, 1, first_open, &id) : 0;
        if (rc < 0)
            return rc;
        if (id)
            return load(h, id, ret);
        CAI_TRY(step(h));
    }
    return h->over ? 0 : cai_fail(CAI_EINTERNAL, "a rehearsed stage adds no work and does not end");
}

/* ---- results ----------------------------------------------------------------------------- */
int rehearsal_absorb(struct rehearsal *h, const Cai__V1__Task *task, Cai__V1__Result *result,
                     int64_t begun_ms, const struct cost_steps *steps) {
    struct stage_context c;
    context_of(h, &c);
    Cai__V1__Task *own = (Cai__V1__Task *)(uintptr_t)task;
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task row;
    CAI_TRY(store_task_get(h->store, (int64_t)task->id, &payload, &row));
    stage_task_unmask(own, &row);
    CAI_TRY(store_begin(h->store));
    own->job = 1;
    int rc = store_task_done(h->store, (int64_t)task->id, "", result->seconds, result->tokens);
    if (rc == 0)
        rc = h->stage->absorb(&c, task, result);
    CAI_TRY(store_end(h->store, rc));
    cost_note(&h->probe, task, result, (double)(cai_now_ms() - begun_ms) / 1000, steps);
    int64_t files;
    return task->work_case == CAI__V1__TASK__WORK_TRAIN
               ? cai_dir_size(task->train->output, &h->probe.seen[h->probe.n - 1].disk, &files)
               : 0;
}
