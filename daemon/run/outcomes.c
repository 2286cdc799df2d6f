/* outcomes.c: what comes of a lease: reports, a result, a failure, a lost worker. Results
 * of another epoch, of a revoked lease or from the wrong worker are refused: the task is
 * open in the store and is done again, with the same bits. */
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "run/state.h"
#include <math.h>
#include <string.h>

/* ---- reports --------------------------------------------------------------------- */

/* Rollouts shown to people. After a restart from a checkpoint the same ones come again. */
static int keep_sample(struct run *r, const struct lease *l, const Cai__V1__Sample *s, uint32_t k) {
    const Cai__V1__Conversation *c = s->conversation;
    if (!c || c->n_messages == 0)
        return 0;
    int rc = store_example_get(r->store, l->job, l->round, l->stage, s->step, "rollout", k, NULL,
                               NULL);
    if (rc != CAI_ENOTFOUND)
        return rc;
    json_t *messages = json_array();
    for (size_t i = 0; i + 1 < c->n_messages; i++)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", c->messages[i]->role,
                                                  "content", c->messages[i]->text));
    json_t *detail = json_pack("{s:f, s:f, s:o}", "reward", isfinite(s->reward) ? s->reward : 0.0,
                               "kl", isfinite(s->kl) ? s->kl : 0.0, "messages", messages);
    char *text = json_dumps(detail, JSON_SORT_KEYS);
    struct store_example e = {.job = l->job, .round = l->round, .stage = l->stage,
                              .item = s->step, .k = k, .kind = "rollout",
                              .text = c->messages[c->n_messages - 1]->text, .detail = text};
    rc = store_example_add(r->store, &e);
    free(text);
    json_decref(detail);
    return rc;
}

static int keep_checkpoint(struct run *r, const struct lease *l, const Cai__V1__Report *m) {
    struct store_model c = {.job = l->job, .round = l->round, .stage = l->stage,
                            .kind = "checkpoint", .k = (uint32_t)l->task, .step = m->step,
                            .path = m->checkpoint, .hash = m->checkpoint_hash};
    return store_model_add(r->store, &c);
}

static int keep_report(struct run *r, struct job_run *j, const struct lease *l,
                       const Cai__V1__Report *m) {
    CAI_TRY(store_begin(r->store));
    int rc = 0;
    for (size_t i = 0; i < m->n_metrics && rc == 0; i++) {
        const Cai__V1__Metric *x = m->metrics[i];
        if (!isfinite(x->value))
            continue; /* the worker refuses NaN itself; a figure is only for people */
        rc = store_metric_add(r->store, l->job, l->round, l->stage, x->step, x->name, x->value);
        gauges_note(&j->gauges, x->name, x->value);
    }
    for (size_t i = 0; i < m->n_samples && rc == 0; i++)
        rc = keep_sample(r, l, m->samples[i], (uint32_t)i);
    if (rc == 0 && *m->checkpoint)
        rc = keep_checkpoint(r, l, m);
    if (rc == 0)
        rc = CAI_FAILPOINT("report.keep.before");
    rc = store_end(r->store, rc);
    if (rc == 0)
        (void)CAI_FAILPOINT("report.keep.after");
    return rc;
}

static void note_progress(struct run *r, struct job_run *j, struct lease *l, const Cai__V1__Report *m) {
    struct setback *s = setback_of(j, l->task);
    if (s && (*m->checkpoint || m->done > l->done))
        s->deaths = 0;
    if (m->total) { /* a checkpoint's report says nothing of progress */
        if (l->gang && m->done > l->done)
            late_steps(r, l->gang, m->done - l->done);
        l->done = m->done;
        l->total = m->total;
    }
}

/* A rank 0 that is to save and leave does so by a report, and what is under way when caid stops is
 * kept; but not the word of an attempt that was broken: another may have ended the task since. */
static bool may_report(const struct run *r, const struct lease *l) {
    bool broken = l->gang && l->gang->settled;
    return !l->revoked || (!broken && (l->saving || r->draining));
}

void outcome_report(struct run *r, struct worker *w, const Cai__V1__Report *m) {
    if (r->o.front->report(r, w, m))
        return;
    struct lease *l = lease_of(r, w, m->epoch, m->lease);
    struct job_run *j = l ? job_find(r, l->job) : NULL;
    if (!j || l->missed || !may_report(r, l))
        return;
    note_progress(r, j, l, m);
    bool keep = m->n_metrics || m->n_samples || *m->checkpoint;
    int rc = keep ? keep_report(r, j, l, m) : 0;
    if (rc < 0) {
        l->missed = true;
        job_trouble(r, j, rc);
        return;
    }
    Cai__V1__ReportAck ack = CAI__V1__REPORT_ACK__INIT;
    ack.lease = m->lease;
    ack.seq = m->seq;
    (void)workers_send(r, &w->peer, CAI__V1__FRAME__BODY_REPORT_ACK, &ack);
    (void)CAI_FAILPOINT("report.acknowledged.after");
}

/* ---- results --------------------------------------------------------------------- */

static void settle(struct run *r, struct lease *l, Cai__V1__Result *result) {
    struct job_run *j = job_find(r, l->job);
    /* What was under way when a person suspended the job is a result like any other. */
    bool going = j && (j->state == JOB_RUNNING || j->state == JOB_SUSPENDED);
    if ((l->revoked && !l->saving) || !going)
        return;
    if (l->gang && (l->gang->settled || l->rank != 0))
        return;
    if (l->gang)
        l->gang->settled = true;
    if (!result) {
        cai_fail(CAI_EPROTO, "%s %s: the worker sent no result", l->stage, l->phase);
        job_trouble(r, j, CAI_EPROTO);
        return;
    }
    (void)CAI_FAILPOINT("result.absorbed.before");
    int rc = job_absorb(r, j, l->task, result);
    (void)CAI_FAILPOINT("result.absorbed.after");
    if (rc < 0)
        job_trouble(r, j, rc);
}

void outcome_done(struct run *r, struct worker *w, const Cai__V1__Done *m) {
    if (r->o.front->outcome(r, w, m, NULL))
        return;
    struct lease *l = lease_of(r, w, m->epoch, m->lease);
    if (l) {
        settle(r, l, m->result);
        lease_end(r, l);
    }
    Cai__V1__DoneAck ack = CAI__V1__DONE_ACK__INIT;
    ack.lease = m->lease;
    (void)workers_send(r, &w->peer, CAI__V1__FRAME__BODY_DONE_ACK, &ack);
    (void)CAI_FAILPOINT("result.acknowledged.after");
}

/* ---- failures -------------------------------------------------------------------- */

/* The same inputs would fail the same way. */
static bool is_final(int code) { return code == CAI_ENUMERIC || code == CAI_EINPUT; }

struct attempt {
    int64_t task;
    const char *stage, *phase;
};

static void retry_later(struct run *r, struct job_run *j, struct attempt a, int code,
                        const char *text) {
    uint32_t failures = 0;
    (void)CAI_FAILPOINT("failure.count.before");
    int rc = store_task_failed(r->store, a.task, &failures);
    (void)CAI_FAILPOINT("failure.count.after");
    if (rc < 0) {
        job_trouble(r, j, rc);
        return;
    }
    job_event(r, j->id, CAI_LOG_WARN, "%s %s failed (%s), attempt %u of %d: %s", a.stage, a.phase,
              cai_code_name(code), failures, FAILURES_MAX, text);
    if (failures >= FAILURES_MAX) {
        char reason[512];
        snprintf(reason, sizeof reason, "%s %s failed %u times: %.380s", a.stage, a.phase,
                 failures, text);
        job_end(r, j, JOB_FAILED, reason);
        return;
    }
    setback_of(j, a.task)->not_before_ms = cai_now_ms() + 1000 * (int64_t)failures;
}

/* A worker that still ends something else: the task goes to another one, or comes back. */
static void on_refusal(struct run *r, struct lease *l) {
    struct job_run *j = job_find(r, l->job);
    if (l->revoked || !j || (l->gang && l->gang->settled))
        return;
    if (l->gang)
        gang_break(r, l->gang, "another rank's worker is busy or leaves");
    setback_of(j, l->task)->not_before_ms = cai_now_ms() + HEARTBEAT_MS;
}

/* Trouble with other ranks: whose fault it is shows when the last of them has ended. */
static bool blames_others(const struct lease *l, int code) {
    return l->gang && l->gang->world > 1 && (code == CAI_EIO || code == CAI_ETIMEOUT);
}

static void accuse(struct run *r, struct lease *l, int code, const char *text) {
    l->gang->failed = code;
    snprintf(l->gang->why, sizeof l->gang->why, "%s", text);
    gang_break(r, l->gang, "another rank failed");
}

static void on_failure(struct run *r, struct lease *l, int code, const char *text) {
    struct job_run *j = job_find(r, l->job);
    if (l->revoked || !j || (l->gang && l->gang->settled))
        return;
    char behind[320] = "", full[512], reason[512];
    bool waited = l->gang && code == CAI_ETIMEOUT && late_behind(r, l->gang, behind, sizeof behind);
    snprintf(full, sizeof full, "%.180s%s%s", text, waited ? "; " : "", behind);
    text = waited ? full : text;
    if (blames_others(l, code)) {
        accuse(r, l, code, text);
        return;
    }
    if (l->gang)
        gang_break(r, l->gang, "another rank failed");
    snprintf(reason, sizeof reason, "%s %s on %s: %.400s", l->stage, l->phase,
             l->worker ? l->worker->name : "?", text);
    if (code == CAI_ENOSPC)
        job_suspend(r, j, reason);
    else if (is_final(code))
        job_end(r, j, JOB_FAILED, reason);
    else
        retry_later(r, j, (struct attempt){l->task, l->stage, l->phase}, code, text);
}

void outcome_failed(struct run *r, struct worker *w, const Cai__V1__Failed *m) {
    if (r->o.front->outcome(r, w, NULL, m))
        return;
    struct lease *l = lease_of(r, w, m->epoch, m->lease);
    if (!l)
        return;
    if (m->refused)
        on_refusal(r, l);
    else
        on_failure(r, l, m->code < 0 ? m->code : CAI_EINTERNAL, m->text);
    lease_end(r, l);
}

/* "rank 1 (worker worker-1, pid 42) is gone (silent for 3 s), in collective 57 for 3.4 s" */
static void say_lost(const struct lease *l, const struct worker *w, const char *why, char *out,
                     size_t size) {
    size_t n = 0;
    if (l->gang)
        n = (size_t)snprintf(out, size, "rank %u (worker %.64s, pid %u) is gone (%s)", l->rank,
                             w->name, w->pid, why);
    else
        n = (size_t)snprintf(out, size, "worker %.64s (pid %u) is gone (%s)", w->name, w->pid, why);
    if (l->gang && l->counted && n < size)
        snprintf(out + n, size - n, ", %s collective %llu for %.1f s", l->inside ? "in" : "after",
                 (unsigned long long)l->collective,
                 (double)(cai_now_ms() - l->collective_ms) / 1000);
}

static void count_death(struct run *r, struct job_run *j, const struct lease *l,
                        const struct worker *w, const char *why) {
    struct setback *s = setback_of(j, l->task);
    bool accused = l->gang && l->gang->failed;
    say_lost(l, w, why, j->lost, sizeof j->lost);
    job_event(r, j->id, CAI_LOG_WARN, "%s %s: %s%s%s; it is done again", l->stage, l->phase,
              j->lost, accused ? "; another rank: " : "", accused ? l->gang->why : "");
    if (++s->deaths < DEATHS_MAX)
        return;
    char reason[256];
    snprintf(reason, sizeof reason,
             "%s %s lost its worker %u times in a row (%s): see the worker's log, "
             "perhaps memory is short",
             l->stage, l->phase, s->deaths, why);
    job_end(r, j, JOB_FAILED, reason);
}

void outcome_lost(struct run *r, struct lease *l, const struct worker *w, const char *why) {
    struct job_run *j = job_find(r, l->job);
    struct gang *g = l->gang;
    /* Of a gang that broke because of this rank, only the first loss is told. */
    bool open = g && g->failed ? !g->lost : !l->revoked && !(g && g->settled);
    bool counts = j && open && j->state == JOB_RUNNING && !r->draining;
    if (g)
        g->lost = true;
    if (counts && g)
        gang_break(r, g, "another rank's worker is gone");
    if (counts)
        count_death(r, j, l, w, why);
    lease_end(r, l);
}

void outcome_gang_ended(struct run *r, const struct gang *g) {
    struct job_run *j = job_find(r, g->job);
    if (!j || !g->failed || g->lost || r->draining || j->state != JOB_RUNNING)
        return;
    retry_later(r, j, (struct attempt){g->task, g->stage, g->phase}, g->failed, g->why);
}
