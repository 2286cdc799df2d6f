/* late.c: which rank of a gang the others wait for. Every pong of a worker says how many
 * collectives its task has entered and whether it is inside one; a rank with fewer than one
 * that waits inside is behind. It is late when that lasts longer than three steps of its gang
 * (the longest of the last ones, which is their 99th percentile), counted from when it began, of
 * which a heartbeat tells a second later at most. Not for ending a gang: the collectives have a deadline of
 * their own (shim/comm.h), and a silent worker is found by its heartbeat (workers.c). */
#include "base/clock.h"
#include "base/log.h"
#include "run/state.h"
#include <stdio.h>

void late_note(struct worker *w, const Cai__V1__Pong *m) {
    struct lease *l = w->lease;
    if (!l || m->lease != l->id)
        return;
    if (!l->counted || l->collective != m->collective || l->inside != m->inside)
        l->collective_ms = cai_now_ms();
    l->counted = true;
    l->collective = m->collective;
    l->inside = m->inside;
}

struct wait {
    const struct lease *behind, *waiting; /* NULL: nobody waits */
    double seconds;
};

static struct wait look(const struct run *r, const struct gang *g) {
    struct wait w = {0};
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->gang == g && l->counted && l->inside &&
            (!w.waiting || l->collective > w.waiting->collective ||
             (l->collective == w.waiting->collective && l->rank < w.waiting->rank)))
            w.waiting = l;
    for (const struct lease *l = r->leases; w.waiting && l; l = l->next)
        if (l->gang == g && l->counted && l->collective < w.waiting->collective &&
            (!w.behind || l->collective < w.behind->collective ||
             (l->collective == w.behind->collective && l->rank < w.behind->rank)))
            w.behind = l;
    if (!w.behind)
        return (struct wait){0};
    w.seconds = (double)(cai_now_ms() - w.waiting->collective_ms) / 1000;
    return w;
}

static const char *name_of(const struct lease *l) { return l->worker ? l->worker->name : "?"; }

static void describe(const struct wait *w, char *out, size_t size) {
    snprintf(out, size,
             "rank %u (worker %.64s) is behind: it has entered %llu collectives, rank %u (worker "
             "%.64s) has waited %.0f s in number %llu",
             w->behind->rank, name_of(w->behind), (unsigned long long)w->behind->collective,
             w->waiting->rank, name_of(w->waiting), w->seconds,
             (unsigned long long)w->waiting->collective);
}

bool late_behind(const struct run *r, const struct gang *g, char *out, size_t size) {
    struct wait w = look(r, g);
    if (w.behind)
        describe(&w, out, size);
    return w.behind != NULL;
}

void late_step(struct gang *g, uint64_t steps) {
    int64_t now = cai_now_ms();
    if (g->stepped_ms && steps > 0)
        g->step_ms[g->n_steps++ % GANG_STEPS] = (now - g->stepped_ms) / (int64_t)steps;
    g->stepped_ms = now;
}

static double patience(const struct run *r, const struct gang *g) {
    int64_t most = 1000 * r->o.config.late_s, usual = 0;
    uint32_t n = g->n_steps < GANG_STEPS ? g->n_steps : GANG_STEPS;
    for (uint32_t i = 0; i < n; i++)
        usual = g->step_ms[i] > usual ? g->step_ms[i] : usual;
    int64_t wait = 3 * usual - HEARTBEAT_MS;
    wait = wait < LATE_MIN_MS ? LATE_MIN_MS : wait;
    return (double)(n < GANG_STEPS_MIN || wait > most ? most : wait) / 1000;
}

static bool is_late(const struct run *r, const struct gang *g, struct wait *ret) {
    *ret = look(r, g);
    return ret->behind && !g->settled && ret->seconds >= patience(r, g);
}

bool late_job(const struct run *r, int64_t job, char *out, size_t size) {
    struct wait w;
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->job == job && l->gang && !l->revoked && is_late(r, l->gang, &w)) {
            describe(&w, out, size);
            return true;
        }
    return false;
}

bool late_worker(const struct run *r, const struct lease *l, char *out, size_t size) {
    struct wait w;
    if (!l->gang || !is_late(r, l->gang, &w))
        return false;
    if (l == w.behind)
        describe(&w, out, size);
    else if (l->inside && l->collective > w.behind->collective)
        snprintf(out, size, "waits %.0f s for rank %u (worker %.64s)", w.seconds, w.behind->rank,
                 name_of(w.behind));
    else
        return false;
    return true;
}

/* Once for each rank and attempt: a rank that is slow at every step is one piece of news. */
void late_watch(struct run *r) {
    for (struct lease *l = r->leases; l; l = l->next) {
        struct wait w;
        if (!l->gang || l->revoked || l->told_late || !is_late(r, l->gang, &w) || w.behind != l)
            continue;
        char text[320];
        describe(&w, text, sizeof text);
        l->told_late = true;
        job_event(r, l->job, CAI_LOG_WARN, "%s %s: %s", l->stage, l->phase, text);
    }
}
