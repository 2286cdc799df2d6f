/* turns.c: shares of the people whose jobs are here: what their leases take, and when training
 * gives way to another person. The arithmetic is share.c's.
 *
 * A lease's time is counted every few seconds and at its end. So a caid that is killed forgets
 * at most a few seconds of it, which is nobody's work. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "run/admit.h"
#include "run/people.h"
#include "store/assets.h"
#include <string.h>

static int load_one(void *c, int64_t uid, double seconds, int64_t wall_ms) {
    struct share *x = share_of(c, uid);
    x->seconds = seconds;
    x->wall_ms = wall_ms;
    return 0;
}

int turns_load(struct run *r) {
    r->shares.half_life_ms = r->o.config.half_life_min * 60000;
    return store_shares_each(r->store, load_one, &r->shares);
}

static void count(struct run *r, const struct lease *l) {
    double seconds = (double)(cai_now_ms() - l->counted_ms) / 1000;
    if (l->uid != -1 && seconds > 0)
        share_add(&r->shares, share_of(&r->shares, l->uid), seconds, cai_wall_ms());
}

void turns_lease_ends(struct run *r, const struct lease *l) { count(r, l); }

static bool any_changed(const struct run *r) {
    for (size_t i = 0; i < r->shares.n; i++)
        if (r->shares.all[i].changed)
            return true;
    return false;
}

static int write_all(struct run *r) {
    CAI_TRY(store_begin(r->store));
    int rc = 0;
    for (size_t i = 0; i < r->shares.n && rc == 0; i++) {
        const struct share *x = &r->shares.all[i];
        if (x->changed)
            rc = store_share_set(r->store, x->uid, x->seconds, x->wall_ms);
    }
    return store_end(r->store, rc);
}

void turns_count(struct run *r) {
    if (!r->store)
        return;
    r->shares.half_life_ms = r->o.config.half_life_min * 60000;
    for (struct lease *l = r->leases; l; l = l->next) {
        count(r, l);
        l->counted_ms = cai_now_ms();
    }
    /* With a full disk memory knows, and it is written down when there is space. */
    if (!any_changed(r) || write_all(r) < 0)
        return;
    for (size_t i = 0; i < r->shares.n; i++)
        r->shares.all[i].changed = false;
}

/* A lease weighs a second from its beginning, so that people with equal time take turns when
 * several workers are idle at once. */
void turns_hold(struct run *r) {
    for (size_t i = 0; i < r->shares.n; i++)
        r->shares.all[i].held = 0;
    for (const struct lease *l = r->leases; l; l = l->next) {
        double seconds = (double)(cai_now_ms() - l->counted_ms) / 1000;
        if (l->uid != -1)
            share_of(&r->shares, l->uid)->held += seconds > 1 ? seconds : 1;
    }
}

static double used_by(struct run *r, int64_t uid) {
    return share_used(&r->shares, share_of(&r->shares, uid), cai_wall_ms());
}

struct share_turn turn_of(struct run *r, const struct job_run *j) {
    return (struct share_turn){used_by(r, j->uid), j->uid, j->priority, j->id};
}

/* ---- giving way ------------------------------------------------------------------ */

/* Whether the job could have what it wants when this gang left: with the workers that are idle,
 * and those whose short tasks end soon. */
static bool would_help(const struct run *r, const struct gang *g, const struct job_run *j) {
    uint32_t n = 0;
    for (const struct worker *w = r->workers; w; w = w->next) {
        bool fits = worker_of_class(w, j->numeric_class) && worker_large(r, w, j);
        n += fits && (!w->lease || !w->lease->gang || w->lease->gang == g);
    }
    return n >= j->wants;
}

/* Rank 0 of the training that is to leave for j: of whoever has used most, and more than j's
 * owner; that runs as long as the configuration lets it, and has done a step. */
static struct lease *who_leaves(struct run *r, const struct job_run *j) {
    struct lease *found = NULL;
    double most = used_by(r, j->uid);
    for (struct lease *l = r->leases; l; l = l->next) {
        bool trains = l->gang && l->rank == 0 && !l->revoked && l->total > 0;
        if (!trains || l->uid == j->uid || used_by(r, l->uid) <= most ||
            cai_now_ms() - l->since_ms < r->o.config.slice_s * 1000 ||
            !would_help(r, l->gang, j))
            continue;
        found = l;
        most = used_by(r, l->uid);
    }
    return found;
}

static bool somebody_leaves(const struct run *r) {
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->saving)
            return true;
    return false;
}

/* Short tasks end by themselves and are waited for; only what keeps workers longer leaves. */
static bool waits_long(const struct run *r, const struct job_run *j) {
    struct gang none = {0};
    return j->wants > 0 && !would_help(r, &none, j);
}

static void leave(struct run *r, const struct lease *l, const struct job_run *j) {
    char name[PERSON_MAX];
    const struct gang *g = l->gang;
    job_event(r, l->job, CAI_LOG_INFO,
              "%s %s saves its state and gives way to job %lld of %s, who has used less", l->stage,
              l->phase, (long long)j->id, person_name(j->uid, name));
    for (struct lease *x = r->leases; x; x = x->next)
        if (x->gang == g)
            lease_revoke_saved(r, x, "another person's turn", SAVE_MS);
}

void turns_give_way(struct run *r) {
    struct job_run *first = NULL;
    struct lease *leaves = NULL;
    if (r->o.config.slice_s == 0 || somebody_leaves(r))
        return;
    for (struct job_run *j = r->jobs; j; j = j->next) {
        bool waits = (j->state == JOB_PENDING || (j->state == JOB_RUNNING && !j->full)) &&
                     waits_long(r, j);
        struct lease *l = waits ? who_leaves(r, j) : NULL;
        if (!l)
            continue;
        struct share_turn a = turn_of(r, j), b = first ? turn_of(r, first) : a;
        if (!first || share_before(&a, &b)) {
            first = j;
            leaves = l;
        }
    }
    if (first)
        leave(r, leaves, first);
}
