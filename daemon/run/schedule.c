/* schedule.c: which idle worker gets which task. Whose turn it is says share.h; within a job,
 * tasks come in their natural order. A gang is granted whole or not at all, and idle workers are
 * kept for the first one that waits, so that two never hold parts of each other's. Nothing
 * decided here reaches a result: who computes a task and when is not part of it. */
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
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
        if (!worker_of_class(w, j->numeric_class))
            continue;
        n++;
        *ret_large += worker_large(r, w, j);
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
        CAI_TRY(CAI_FAILPOINT("class.pin.before"));
        CAI_TRY(store_job_pin_class(r->store, j->id, w->numeric_class));
        CAI_TRY(CAI_FAILPOINT("class.pin.after"));
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

/* Idle workers stay for the gang when with them it needs to wait for short tasks alone; for the
 * end of other training they would wait too long. */
static void keep_for(struct run *r, const struct job_run *j, uint32_t world) {
    uint32_t soon = 0, kept = 0;
    for (const struct worker *w = r->workers; w; w = w->next)
        soon += worker_fits(r, w, j->numeric_class, j) ||
                (w->lease && !w->lease->gang && worker_of_class(w, j->numeric_class) &&
                 worker_large(r, w, j));
    for (struct worker *w = r->workers; w && soon >= world && kept < world; w = w->next) {
        if (!worker_fits(r, w, j->numeric_class, j))
            continue;
        w->kept_for = j->id;
        kept++;
    }
}

/* One task of the job's, the first that can be had. Returns 1 when one was granted, 0, or a
 * code. */
static int grant_next(struct run *r, struct job_run *j) {
    int rc = count_idle(r, j, false) ? pin(r, j) : 0;
    for (size_t i = 0; i < j->n_queue && rc >= 0; i++) {
        const struct queued *q = &j->queue[i];
        if (lease_active(r, q->id) || must_wait(j, q->id))
            continue;
        uint32_t world = q->gang ? (uint32_t)j->spec->workers : 1;
        if (count_idle(r, j, true) >= world && (!q->gang || gang_alike(r, j, world))) {
            rc = q->gang ? lease_gang(r, j, q->id, world)
                         : lease_single(r, j, q->id, first_idle(r, j));
            return rc < 0 ? rc : 1;
        }
        j->wants = world;
        if (q->gang)
            keep_for(r, j, world);
        return 0;
    }
    return rc < 0 ? rc : 0;
}

/* The job's turn: it starts, goes on, is given one task; or is passed over from now on. */
static void serve(struct run *r, struct job_run *j) {
    int64_t id = j->id;
    int rc = j->state == JOB_PENDING ? job_need(r, j) : 0;
    if (rc == 0)
        rc = admit(r, j);
    if (rc == 0 && j->state == JOB_PENDING)
        rc = job_start(r, j);
    if (rc == 0 && j->stale)
        job_advance(r, j);
    j = job_find(r, id); /* it may have ended */
    if (!j)
        return;
    j->passed = true;
    if (rc == 0 && (j->state != JOB_RUNNING || j->full))
        return;
    if (rc == 0)
        rc = grant_next(r, j);
    if (rc < 0)
        job_trouble(r, j, rc);
    else if (rc > 0)
        j->passed = false;
}

/* Whose turn it is, of those that can be served now; NULL: nobody's. */
static struct job_run *next_turn(struct run *r) {
    struct job_run *best = NULL;
    struct share_turn first = {0};
    bool running = false, idle = count_idle(r, NULL, false) > 0;
    for (struct job_run *j = r->jobs; j; j = j->next)
        running = running || j->state == JOB_RUNNING;
    for (struct job_run *j = r->jobs; j; j = j->next) {
        bool starts = j->state == JOB_PENDING && (!running || idle);
        bool goes_on = j->state == JOB_RUNNING && !j->full;
        if (j->passed || (!starts && !goes_on))
            continue;
        struct share_turn turn = turn_of(r, j);
        if (best && !share_before(&turn, &first))
            continue;
        best = j;
        first = turn;
    }
    return best;
}

void schedule(struct run *r) {
    r->dirty = false;
    if (r->draining)
        return;
    for (struct worker *w = r->workers; w; w = w->next)
        w->kept_for = 0;
    r->o.front->schedule(r);
    for (struct job_run *j = r->jobs; j; j = j->next) {
        j->passed = false;
        j->wants = j->state == JOB_PENDING;
    }
    turns_hold(r);
    for (struct job_run *j; (j = next_turn(r));) {
        j->wants = 0;
        serve(r, j);
        turns_hold(r);
    }
    turns_give_way(r);
    for (struct job_run *j = r->jobs; j; j = j->next)
        if (j->state == JOB_RUNNING && !j->full)
            explain(r, j);
}
