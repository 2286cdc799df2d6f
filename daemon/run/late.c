/* late.c: which rank of a gang the others wait for. A worker tells with every pong how many
 * collectives its task has entered, and whether and how long it stands in one. The deadline
 * follows the gang's own steps: a rank that others have awaited for their 99th percentile and the
 * longest of them, which is twice the percentile where steps are alike, is late: so it is named
 * within three of them, counted from when it hung: the first is at most what was left of its step.
 * And where now and then one takes much longer (a state is saved, the machine does other things)
 * nobody is called late for that. Before enough steps are known, late_s is the deadline; when they
 * are, the ranks hear of it at once, so that a rank that hangs before the next beat is found too.
 *
 * Quiet → asked (a worker says, unasked, that it has stood in one collective for half the
 * deadline; pings say how long that is): all ranks are asked again and again → late (the deadline
 * is over and a rank has entered fewer, or has not answered since) or quiet (nobody stands).
 *
 * Not for ending a gang: the collectives have a deadline of their own (shim/comm.h), and a silent
 * worker is found by its heartbeat (workers.c). */
#include "base/clock.h"
#include "base/log.h"
#include "run/state.h"
#include <stdio.h>

enum {
    LATE_FEW_MS = 400, /* what a busy machine takes a rank away for, as few steps do not show yet */
    LATE_MIN_MS = 50,  /* what asking and answering take */
    ASK_MIN_MS = 25,
    ANSWER_MIN_MS = 150, /* what a rank that is asked has for its answer, at the least */
    OLD_MS = 2000 /* of workers that do not say how long they stand: the least */
};

/* ---- deadlines ---------------------------------------------------------------------- */

static int64_t deadline_ms(const struct run *r, const struct gang *g) {
    const struct step_times *s = &g->steps;
    if (!s->p99_ms)
        return 1000 * r->o.config.late_s;
    int64_t wait = s->p99_ms + s->longest_ms;
    int64_t least = s->n < STEP_TIMES_MANY ? LATE_FEW_MS : LATE_MIN_MS;
    return wait < least ? least : wait;
}

uint32_t late_standing_ms(const struct run *r, const struct worker *w) {
    const struct gang *g = w->lease ? w->lease->gang : NULL;
    return g && g->world > 1 && !g->settled ? (uint32_t)(deadline_ms(r, g) / 2) : 0;
}

static int64_t ask_every_ms(const struct run *r, const struct gang *g) {
    int64_t every = deadline_ms(r, g) / 10;
    return every < ASK_MIN_MS ? ASK_MIN_MS : every > HEARTBEAT_MS ? HEARTBEAT_MS : every;
}

/* ---- what workers say ----------------------------------------------------------------- */

void late_note(struct run *r, struct worker *w, const Cai__V1__Pong *m) {
    struct lease *l = w->lease;
    int64_t now = cai_now_ms();
    if (!l || m->lease != l->id)
        return;
    if (!l->counted || l->collective != m->collective || l->inside != m->inside)
        l->collective_ms = now;
    if (m->standing_ms)
        l->collective_ms = now - (int64_t)m->standing_ms;
    l->counted = true;
    l->collective = m->collective;
    l->inside = m->inside;
    l->said_ms = now;
    l->says_standing = m->standing_ms > 0;
    struct gang *g = l->gang;
    if (g && !g->asked_ms && m->standing_ms && (int64_t)m->standing_ms >= deadline_ms(r, g) / 2)
        g->asked_ms = g->ask_ms = now;
}

/* ---- who waits for whom ----------------------------------------------------------------- */

struct wait {
    const struct lease *behind, *waiting; /* NULL: nobody waits */
    bool silent;                          /* behind has not answered */
    double seconds;
};

/* A rank that has not yet told how far it is in this task may still have been heard otherwise. */
static bool answered(const struct gang *g, const struct lease *l) {
    int64_t heard = l->counted || !l->worker ? l->said_ms : l->worker->seen_ms;
    return !g->asked_ms || heard >= g->asked_ms;
}

static const struct lease *furthest_inside(const struct run *r, const struct gang *g) {
    const struct lease *found = NULL;
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->gang == g && l->counted && l->inside && answered(g, l) &&
            (!found || l->collective > found->collective ||
             (l->collective == found->collective && l->rank < found->rank)))
            found = l;
    return found;
}

static const struct lease *least(const struct run *r, const struct gang *g,
                                 const struct lease *waiting) {
    const struct lease *found = NULL;
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->gang == g && l->counted && l->collective < waiting->collective &&
            (!found || l->collective < found->collective ||
             (l->collective == found->collective && l->rank < found->rank)))
            found = l;
    return found;
}

/* Somebody who has been asked for as long as the deadline leaves, and has not said a word. */
static const struct lease *silent(const struct run *r, const struct gang *g) {
    if (cai_now_ms() - g->asked_ms < ANSWER_MIN_MS)
        return NULL;
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->gang == g && l->worker && !answered(g, l))
            return l;
    return NULL;
}

static struct wait look(const struct run *r, const struct gang *g) {
    struct wait w = {.waiting = furthest_inside(r, g)};
    if (!w.waiting)
        return w;
    w.seconds = (double)(w.waiting->said_ms - w.waiting->collective_ms) / 1000;
    w.behind = least(r, g, w.waiting);
    if (w.behind && answered(g, w.behind))
        return w;
    w.behind = silent(r, g);
    w.silent = w.behind != NULL;
    return w;
}

static const char *name_of(const struct lease *l) { return l->worker ? l->worker->name : "?"; }

static void describe(const struct wait *w, char *out, size_t size) {
    char how[64] = "does not answer", step[64] = "";
    int64_t p99 = w->waiting->gang->steps.p99_ms;
    if (!w->silent)
        snprintf(how, sizeof how, "is behind: it has entered %llu collectives",
                 (unsigned long long)w->behind->collective);
    if (p99)
        snprintf(step, sizeof step, "; a step takes %.3f s at most", (double)p99 / 1000);
    snprintf(out, size, "rank %u (worker %.64s) %s, rank %u (worker %.64s) has waited %.1f s in "
             "number %llu%s", w->behind->rank, name_of(w->behind), how, w->waiting->rank,
             name_of(w->waiting), w->seconds, (unsigned long long)w->waiting->collective, step);
}

bool late_behind(const struct run *r, const struct gang *g, char *out, size_t size) {
    struct wait w = look(r, g);
    if (w.behind)
        describe(&w, out, size);
    return w.behind != NULL;
}

static bool is_late(const struct run *r, const struct gang *g, struct wait *ret) {
    *ret = look(r, g);
    if (!ret->behind || g->settled)
        return false;
    int64_t deadline = deadline_ms(r, g);
    if (!ret->waiting->says_standing)
        deadline = deadline < OLD_MS ? OLD_MS : deadline;
    return 1000 * ret->seconds >= (double)deadline;
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
        snprintf(out, size, "waits %.1f s for rank %u (worker %.64s)", w.seconds, w.behind->rank,
                 name_of(w.behind));
    else
        return false;
    return true;
}

/* ---- asking and telling ------------------------------------------------------------------- */

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

static bool anybody_stands(const struct run *r, const struct gang *g) {
    const struct lease *l = furthest_inside(r, g);
    return l && !g->settled && l->said_ms - l->collective_ms >= deadline_ms(r, g) / 2;
}

static void ping_all(struct run *r, const struct gang *g) {
    for (struct lease *l = r->leases; l; l = l->next)
        if (l->gang == g && l->worker)
            (void)workers_ping(r, l->worker);
}

static void ask(struct run *r, struct gang *g, int64_t now) {
    g->ask_ms = now + ask_every_ms(r, g);
    ping_all(r, g);
}

void late_steps(struct run *r, struct gang *g, uint64_t steps) {
    bool known = g->steps.p99_ms > 0;
    step_times_add(&g->steps, steps, cai_now_ms());
    if (!known && g->steps.p99_ms > 0 && g->world > 1)
        ping_all(r, g);
}

void late_ask(struct run *r) {
    int64_t now = cai_now_ms();
    for (struct lease *l = r->leases; l; l = l->next) {
        struct gang *g = l->gang;
        if (!g || !g->asked_ms || now < g->ask_ms)
            continue;
        if (anybody_stands(r, g))
            ask(r, g, now);
        else
            g->asked_ms = 0;
    }
}

int64_t late_next_ask(const struct run *r) {
    int64_t first = 0;
    for (const struct lease *l = r->leases; l; l = l->next)
        if (l->gang && l->gang->asked_ms && (!first || l->gang->ask_ms < first))
            first = l->gang->ask_ms;
    return first;
}
