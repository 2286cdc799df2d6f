/* leases.c: granting tasks to workers, singly or to a whole gang, and taking them back.
 * Not for what comes of them (outcomes.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "run/state.h"
#include <string.h>

struct lease *lease_find(struct run *r, uint64_t id) {
    for (struct lease *l = r->leases; l; l = l->next)
        if (l->id == id)
            return l;
    return NULL;
}

struct lease *lease_of(struct run *r, const struct worker *w, uint64_t epoch, uint64_t id) {
    struct lease *l = epoch == r->epoch ? lease_find(r, id) : NULL;
    return l && l->worker == w ? l : NULL;
}

bool lease_active(struct run *r, int64_t task) {
    for (struct lease *l = r->leases; l; l = l->next)
        if (l->task == task && (!l->revoked || l->saving))
            return true;
    return false;
}

size_t leases_of_job(struct run *r, int64_t job) {
    size_t n = 0;
    for (struct lease *l = r->leases; l; l = l->next)
        n += l->job == job && !l->revoked;
    return n;
}

static void gang_unref(struct run *r, struct gang *g) {
    if (--g->open)
        return;
    outcome_gang_ended(r, g);
    (void)CAI_FAILPOINT("gang.removed.before");
    /* The folder holds addresses of processes that have ended. */
    if (cai_dir_remove(g->rendezvous) < 0)
        cai_warn("%s", cai_error_text());
    (void)CAI_FAILPOINT("gang.removed.after");
    free(g->rendezvous);
    free(g->stage);
    free(g->phase);
    free(g);
}

void lease_end(struct run *r, struct lease *l) {
    struct lease **at = &r->leases;
    turns_lease_ends(r, l);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    if (l->worker)
        l->worker->lease = NULL;
    if (l->gang)
        gang_unref(r, l->gang);
    free(l->stage);
    free(l->phase);
    free(l);
    r->dirty = true;
}

void lease_revoke(struct run *r, struct lease *l, const char *reason) {
    lease_revoke_saved(r, l, reason, 0);
}

void lease_revoke_saved(struct run *r, struct lease *l, const char *reason, int64_t within_ms) {
    bool gives_up = l->saving && within_ms <= 0; /* it was saving, and is to stop at once */
    if (l->revoked && !gives_up)
        return;
    (void)CAI_FAILPOINT("lease.revoke.before");
    l->revoked = true;
    l->saving = within_ms > 0;
    Cai__V1__Revoke m = CAI__V1__REVOKE__INIT;
    m.lease = l->id;
    m.reason = (char *)reason;
    m.save_ms = within_ms > 0 ? (uint32_t)within_ms : 0;
    if (l->worker)
        (void)workers_send(r, &l->worker->peer, CAI__V1__FRAME__BODY_REVOKE, &m);
    r->dirty = true;
}

void gang_break(struct run *r, struct gang *g, const char *reason) {
    g->settled = true;
    for (struct lease *l = r->leases; l; l = l->next)
        if (l->gang == g)
            lease_revoke(r, l, reason);
}

void leases_revoke_job(struct run *r, int64_t job, const char *reason) {
    for (struct lease *l = r->leases; l; l = l->next) {
        if (l->job != job)
            continue;
        if (l->gang)
            l->gang->settled = true;
        lease_revoke(r, l, reason);
    }
}

/* ---- granting -------------------------------------------------------------------- */

static Cai__V1__Task *load_task(struct run *r, int64_t id) {
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task row;
    if (store_task_get(r->store, id, &payload, &row) < 0)
        return NULL;
    Cai__V1__Task *t = cai__v1__task__unpack(NULL, row.payload_len, row.payload);
    if (!t)
        cai_fail(CAI_EIO, "the stored task %lld cannot be read", (long long)id);
    else
        t->id = (uint64_t)id;
    return t;
}

static int send_grant(struct run *r, struct lease *l, const Cai__V1__Task *task,
                      Cai__V1__Gang *gang) {
    Cai__V1__Grant m = CAI__V1__GRANT__INIT;
    m.job = (uint64_t)l->job;
    m.epoch = r->epoch;
    m.lease = l->id;
    m.task = (Cai__V1__Task *)(uintptr_t)task; /* packed, not changed */
    m.gang = gang;
    int rc = workers_send(r, &l->worker->peer, CAI__V1__FRAME__BODY_GRANT, &m);
    l->worker->deaf = rc < 0;
    return rc;
}

/* Of no job: j is NULL, and nobody's share pays for it. */
static struct lease *new_lease(struct run *r, struct job_run *j, const Cai__V1__Task *t,
                               struct worker *w, struct gang *g, uint32_t rank) {
    struct lease *l = cai_alloc(sizeof *l);
    *l = (struct lease){.id = ++r->next_lease,
                        .job = j ? j->id : 0,
                        .task = j ? (int64_t)t->id : 0,
                        .rank = rank,
                        .gang = g,
                        .worker = w,
                        .stage = cai_strdup(t->stage),
                        .phase = cai_strdup(t->phase),
                        .round = t->round,
                        .since_ms = cai_now_ms(),
                        .uid = j ? j->uid : -1,
                        .counted_ms = cai_now_ms(),
                        .next = r->leases};
    r->leases = l;
    w->lease = l;
    if (g)
        g->open++;
    return l;
}

int lease_single(struct run *r, struct job_run *j, int64_t task, struct worker *w) {
    Cai__V1__Task *t = load_task(r, task);
    if (!t)
        return cai_error_code();
    struct lease *l = new_lease(r, j, t, w, NULL, 0);
    Cai__V1__Gang gang = CAI__V1__GANG__INIT;
    gang.world = 1;
    (void)CAI_FAILPOINT("lease.grant.before");
    int rc = send_grant(r, l, t, &gang);
    (void)CAI_FAILPOINT("lease.grant.after");
    cai__v1__task__free_unpacked(t, NULL);
    /* A worker that cannot be reached is found by its heartbeat; the task stays open. */
    if (rc < 0)
        lease_end(r, l);
    return 0;
}

uint64_t lease_apart(struct run *r, const Cai__V1__Task *t, struct worker *w) {
    struct lease *l = new_lease(r, NULL, t, w, NULL, 0);
    Cai__V1__Gang gang = CAI__V1__GANG__INIT;
    gang.world = 1;
    gang.backend = (char *)"single";
    if (send_grant(r, l, t, &gang) == 0)
        return l->id;
    lease_end(r, l);
    return 0;
}

/* ---- gangs ----------------------------------------------------------------------- */

struct resume {
    int64_t task;
    uint64_t step;
    char *path, *hash;
};

/* The newest committed checkpoint of the task whose manifest still has the committed hash. */
static int consider(void *c, const struct store_model *m) {
    struct resume *best = c;
    if (strcmp(m->kind, "checkpoint") != 0 || (int64_t)m->k != best->task ||
        (best->path && m->step < best->step))
        return 0;
    CAI_AUTO(mem) char *manifest = cai_path_join(m->path, "MANIFEST.json");
    char hash[CAI_SHA256_HEX];
    if (!cai_file_exists(m->path))
        return 0; /* an older one, which the trainer has removed */
    if (cai_file_sha256(manifest, hash) < 0 || strcmp(hash, m->hash) != 0) {
        cai_warn("checkpoint %s is not what was committed and is passed over", m->path);
        return 0;
    }
    free(best->path);
    free(best->hash);
    best->path = cai_strdup(m->path);
    best->hash = cai_strdup(m->hash);
    best->step = m->step;
    return 0;
}

static struct gang *new_gang(struct run *r, struct job_run *j, const Cai__V1__Task *t,
                             uint32_t world) {
    struct gang *g = cai_alloc(sizeof *g);
    *g = (struct gang){.job = j->id, .task = (int64_t)t->id, .world = world, .open = 1,
                       .stage = cai_strdup(t->stage), .phase = cai_strdup(t->phase)};
    j->lost[0] = '\0';
    /* A fresh name for each attempt: addresses of an earlier one must never be met. */
    g->rendezvous = cai_format("%s/gangs/%llu-%llu", r->o.state_dir, (unsigned long long)r->epoch,
                               (unsigned long long)r->next_lease + 1);
    return g;
}

/* Workers of two versions need not compute the same: the ranks of a gang are of one. Rank 0's
 * decides, which is the first that enough others share. */
static const char *version_of_gang(const struct run *r, const struct job_run *j, uint32_t world) {
    for (const struct worker *w = r->workers; w; w = w->next)
        if (worker_fits(r, w, j->numeric_class, j) && workers_alike(r, j, w->version) >= world)
            return w->version;
    return NULL;
}

static void grant_ranks(struct run *r, struct job_run *j, Cai__V1__Task *t, struct gang *g,
                        const struct resume *from) {
    uint32_t rank = 0;
    const char *version = version_of_gang(r, j, g->world);
    for (struct worker *w = r->workers; w && rank < g->world; w = w->next) {
        if (!version || !worker_fits(r, w, j->numeric_class, j) ||
            strcmp(w->version, version) != 0)
            continue;
        struct lease *l = new_lease(r, j, t, w, g, rank);
        Cai__V1__Gang m = CAI__V1__GANG__INIT;
        m.world = g->world;
        m.rank = rank++;
        bool cuda = strncmp(j->numeric_class, "cuda", 4) == 0;
        m.backend = (char *)(g->world == 1 ? "single" : cuda ? "nccl" : "gloo");
        m.rendezvous = g->rendezvous;
        m.interface = r->o.config.interface;
        m.resume = from->path ? from->path : (char *)"";
        m.resume_hash = from->hash ? from->hash : (char *)"";
        (void)CAI_FAILPOINT("gang.rank.before");
        if (send_grant(r, l, t, &m) < 0) {
            lease_end(r, l);
            gang_break(r, g, "a rank could not be reached");
            return;
        }
    }
}

int lease_gang(struct run *r, struct job_run *j, int64_t task, uint32_t world) {
    Cai__V1__Task *t = load_task(r, task);
    if (!t)
        return cai_error_code();
    struct resume from = {.task = task};
    struct gang *g = new_gang(r, j, t, world);
    int rc = store_models_each(r->store, j->id, consider, &from);
    if (rc == 0)
        rc = CAI_FAILPOINT("gang.folder.before");
    if (rc == 0)
        rc = cai_dir_make(g->rendezvous);
    if (rc == 0)
        rc = CAI_FAILPOINT("gang.folder.after");
    if (rc == 0) {
        job_event(r, j->id, CAI_LOG_INFO, "%s %s: %u rank%s%s%s", t->stage, t->phase, world,
                  world == 1 ? "" : "s", from.path ? ", on from " : "", from.path ? from.path : "");
        grant_ranks(r, j, t, g, &from);
        (void)CAI_FAILPOINT("gang.granted.after");
    }
    gang_unref(r, g);
    free(from.path);
    free(from.hash);
    cai__v1__task__free_unpacked(t, NULL);
    return rc;
}
