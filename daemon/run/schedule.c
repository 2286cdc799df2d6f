/* schedule.c: which idle worker gets which task. Jobs in order of submission; within a job,
 * tasks in their natural order. Nothing decided here reaches a result: who computes a task
 * and when is not part of it. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "run/admit.h"
#include <string.h>

struct setback *setback_of(struct job_run *j, int64_t task) {
    for (size_t i = 0; i < j->n_setbacks; i++)
        if (j->setbacks[i].task == task)
            return &j->setbacks[i];
    j->setbacks = cai_realloc(j->setbacks, j->n_setbacks + 1, sizeof *j->setbacks);
    j->setbacks[j->n_setbacks] = (struct setback){.task = task};
    return &j->setbacks[j->n_setbacks++];
}

static bool must_wait(const struct job_run *j, int64_t task) {
    for (size_t i = 0; i < j->n_setbacks; i++)
        if (j->setbacks[i].task == task)
            return cai_now_ms() < j->setbacks[i].not_before_ms;
    return false;
}

/* Idle workers: of the job's class, or of any (pinned = false); NULL: for any job. */
static uint32_t count_idle(const struct run *r, const struct job_run *j, bool pinned) {
    uint32_t n = 0;
    for (const struct worker *w = r->workers; w; w = w->next)
        n += worker_fits(r, w, pinned ? j->numeric_class : "", j);
    return n;
}

/* Ranks are of one version: whether enough idle workers are. */
static bool gang_alike(const struct run *r, const struct job_run *j, uint32_t world) {
    for (const struct worker *w = r->workers; w; w = w->next)
        if (workers_alike(r, j, w->version) >= world)
            return true;
    return false;
}

/* Workers of the job's class, busy or not; and those of them that are large enough. */
static uint32_t count_class(const struct run *r, const struct job_run *j, uint32_t *ret_large) {
    uint32_t n = 0;
    *ret_large = 0;
    for (const struct worker *w = r->workers; w; w = w->next) {
        if (*j->numeric_class && strcmp(w->numeric_class, j->numeric_class) != 0)
            continue;
        n++;
        *ret_large += !j->memory ||
                      admit_fits(r, w, j->memory->phases[j->memory->peak].bytes);
    }
    return n;
}

/* Before a job's first task; what comes later, waits. */
static int admit(const struct run *r, const struct job_run *j) {
    return *j->numeric_class || !j->memory ? 0 : admit_check(r, j->spec, j->memory);
}

/* The first lease of a job pins what its bits depend on. */
static int pin(struct run *r, struct job_run *j) {
    if (*j->numeric_class)
        return 0;
    for (struct worker *w = r->workers; w; w = w->next) {
        if (!worker_fits(r, w, "", j))
            continue;
        CAI_TRY(store_job_pin_class(r->store, j->id, w->numeric_class));
        free(j->numeric_class);
        j->numeric_class = cai_strdup(w->numeric_class);
        job_event(r, j->id, CAI_LOG_INFO, "numeric class %s", w->numeric_class);
        return 0;
    }
    return 0;
}

static struct worker *first_idle(struct run *r, const struct job_run *j) {
    for (struct worker *w = r->workers; w; w = w->next)
        if (worker_fits(r, w, j->numeric_class, j))
            return w;
    return NULL;
}

/* 1 granted (or not needed now), 0 no worker for it, or a code. */
static int grant(struct run *r, struct job_run *j, const struct queued *q) {
    if (lease_active(r, q->id) || must_wait(j, q->id))
        return 1;
    uint32_t world = q->gang ? (uint32_t)j->spec->workers : 1;
    if (count_idle(r, j, true) < world || (q->gang && !gang_alike(r, j, world)))
        return 0;
    int rc = q->gang ? lease_gang(r, j, q->id, world)
                     : lease_single(r, j, q->id, first_idle(r, j));
    return rc < 0 ? rc : 1;
}

static void explain(struct run *r, struct job_run *j) {
    j->waits[0] = '\0';
    if (leases_of_job(r, j->id) > 0 || j->n_queue == 0)
        return;
    uint32_t large, here = count_class(r, j, &large);
    uint32_t world = j->queue[0].gang ? (uint32_t)j->spec->workers : 1;
    if (!r->workers)
        snprintf(j->waits, sizeof j->waits, "no worker is connected");
    else if (here == 0)
        snprintf(j->waits, sizeof j->waits,
                 "no worker of the job's numeric class (%.200s) is connected; results of another "
                 "would differ in bits",
                 j->numeric_class);
    else if (large < world && here >= world)
        snprintf(j->waits, sizeof j->waits,
                 "needs %u worker%s with %.1f GB of memory; %u of %u have so much", world,
                 world == 1 ? "" : "s",
                 (double)j->memory->phases[j->memory->peak].bytes / 1e9, large, here);
    else if (here < world)
        snprintf(j->waits, sizeof j->waits, "needs %u workers together; %u connected", world, here);
    else if (j->queue[0].gang && count_idle(r, j, true) >= world && !gang_alike(r, j, world))
        snprintf(j->waits, sizeof j->waits,
                 "needs %u workers of one version together; upgrade those of another", world);
    else
        snprintf(j->waits, sizeof j->waits, "waits for workers that are busy or to try again");
    size_t len = strlen(j->waits);
    if (*j->lost)
        snprintf(j->waits + len, sizeof j->waits - len, "; %s", j->lost);
}

/* False when idle workers are to be kept for this job's gang. */
static bool serve(struct run *r, struct job_run *j) {
    int64_t id = j->id;
    if (j->stale)
        job_advance(r, j);
    j = job_find(r, id); /* it may have ended */
    if (!j || j->state != JOB_RUNNING || j->full)
        return true;
    if (admit(r, j) < 0) {
        job_trouble(r, j, CAI_ELIMIT);
        return true;
    }
    bool leave_rest = true;
    int rc = count_idle(r, j, false) ? pin(r, j) : 0;
    for (size_t i = 0; i < j->n_queue && rc >= 0; i++) {
        rc = grant(r, j, &j->queue[i]);
        if (rc == 0) {
            leave_rest = !j->queue[i].gang;
            break;
        }
    }
    if (rc < 0) {
        job_trouble(r, j, rc);
        return true;
    }
    explain(r, j);
    return leave_rest;
}

void schedule(struct run *r) {
    r->dirty = false;
    if (r->draining)
        return;
    trials_schedule(r);
    bool running = false;
    for (struct job_run *j = r->jobs, *next; j; j = next) {
        next = j->next;
        if (j->state == JOB_PENDING && (!running || count_idle(r, NULL, false) > 0)) {
            int rc = job_need(r, j);
            if (rc == 0)
                rc = admit(r, j);
            if (rc == 0)
                rc = job_start(r, j);
            if (rc < 0) {
                job_trouble(r, j, rc);
                continue;
            }
        }
        if (j->state != JOB_RUNNING)
            continue;
        if (j->full) {
            running = true;
            continue;
        }
        running = true;
        if (!serve(r, j))
            return;
    }
}
