/* faults.c: what goes wrong, and when: drawn from the seed, or one kind in one phase of a job. */
#include "sim.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { EVENTS_MAX = 64, FAULTS_MAX = 9, SPAN_MS = 2500 };

char faults_text[4096];

static const char *const names[FAULT_COUNT] = {
    "kill-worker", "kill-caid", "kill-all", "stop-worker", "stop-caid", "cut-up", "cut-down",
    "cut-both", "delay", "twice", "reorder", "slow", "clock", "swap", "term-caid", "term-worker",
    "kill-in-disk", "disk-error", "disk-full", "short-write", "power-cut", "break"};
static const char *const phases[PHASE_COUNT] = {"any", "first", "second", "gang", "gang-later",
                                                "ending", "last"};
const char *fault_name(enum fault f) { return names[f]; }
const char *phase_name(enum phase p) { return phases[p]; }

static struct event {
    int64_t at_us;
    enum fault fault;
    enum phase phase;
    bool done;
} events[EVENTS_MAX];
static size_t n_events;
static int64_t calm_us; /* when links and the disk are well again */

static bool errors_are_expected(enum fault f) {
    return f == FAULT_DISK_ERROR || f == FAULT_DISK_FULL || f == FAULT_SHORT_WRITE;
}

/* A rank that is given up for its silence, and wakes, may write one more state after its training is
 * over: caid tells of it at the next start, and `ckpt gc` takes it away. */
static bool may_wake(enum fault f) {
    return f == FAULT_STOP_WORKER || f == FAULT_CUT_UP || f == FAULT_CUT_DOWN ||
           f == FAULT_CUT_BOTH || f == FAULT_SLOW || f == FAULT_DELAY;
}

static void add(int64_t at_us, enum fault f, enum phase p) {
    events[n_events++] = (struct event){at_us, f, p, false};
    person.expects_errors |= errors_are_expected(f);
    person.expects_loss |= f == FAULT_REORDER;
    person.expects_wakes |= may_wake(f);
}

void faults_plan(void) {
    n_events = 0;
    person.expects_errors = person.expects_loss = person.expects_wakes = false;
    uint64_t enabled = draw() | draw(); /* some kinds are left out of a run */
    uint64_t n = draw_below(FAULTS_MAX + 1);
    for (uint64_t i = 0; i < n; i++) {
        enum fault f = (enum fault)draw_below(FAULT_COUNT);
        int64_t at = draw_between(0, SPAN_MS) * SIM_MS;
        if (enabled >> f & 1)
            add(at, f, PHASE_ANY);
    }
}

void faults_plan_one(enum fault f, enum phase p) {
    n_events = 0;
    person.expects_errors = person.expects_loss = person.expects_wakes = false;
    add(p == PHASE_ANY ? draw_between(0, SPAN_MS) * SIM_MS : SIM_NEVER, f, p);
}

/* ---- phases ----------------------------------------------------------------------------------------- */

static bool is_phase(const struct lease *l, enum phase p) {
    switch (p) {
    case PHASE_FIRST: return strcmp(l->phase, "first") == 0;
    case PHASE_SECOND: return strcmp(l->phase, "second") == 0;
    case PHASE_GANG: return l->gang && l->rank == 0 && l->done >= 1 && l->done < 6;
    case PHASE_GANG_LATER: return l->gang && l->rank == 0 && l->done >= 7;
    case PHASE_ENDING: return l->gang && l->rank == 0 && l->done >= 23;
    case PHASE_LAST: return l->gang && strcmp(l->stage, "last") == 0;
    default: return false;
    }
}

static void see_phases(void) {
    const struct run *r = world.caid.alive ? world.caid.run : NULL;
    for (size_t i = 0; r && i < n_events; i++)
        for (const struct lease *l = r->leases; events[i].at_us == SIM_NEVER && l; l = l->next)
            if (!l->revoked && is_phase(l, events[i].phase))
                events[i].at_us = world.now_us + draw_between(0, 40) * SIM_MS;
}

/* ---- what they do --------------------------------------------------------------------------------------- */

static struct proc *some_worker(void) { return &world.workers[draw_below(world.n_workers)]; }

static void note(const char *text) {
    size_t n = strlen(faults_text);
    snprintf(faults_text + n, sizeof faults_text - n, "%s%.3f %s", n ? ", " : "",
             (double)world.now_us / 1e6, text);
    told("fault: %s", text);
}

static void calm_after(int64_t us) {
    calm_us = calm_us > world.now_us + us ? calm_us : world.now_us + us;
}

void faults_power_cut(enum disk_loss loss) {
    for (uint32_t i = 0; i < world.n_workers; i++)
        proc_end(&world.workers[i], -9);
    proc_end(&world.caid, -9);
    disk_power_cut(loss);
    if (world.current)
        thread_leave(); /* whoever runs now is no more */
}

/* Seconds; long enough, now and then, to be given up. */
static int64_t some_time(void) {
    return (draw_chance(0.3) ? draw_between(4000, 20000) : draw_between(50, 4000)) * SIM_MS;
}

static void upset_link(enum fault f, struct link *l) {
    int64_t time = some_time();
    if (f == FAULT_CUT_UP || f == FAULT_CUT_BOTH)
        l->cut_up_us = world.now_us + time;
    if (f == FAULT_CUT_DOWN || f == FAULT_CUT_BOTH)
        l->cut_down_us = world.now_us + time;
    if (f == FAULT_DELAY) {
        l->delay_us = draw_between(1, 500) * SIM_MS;
        l->jitter_us = draw_between(0, 1000) * SIM_MS;
    }
    if (f == FAULT_TWICE)
        l->twice = 0.3;
    if (f == FAULT_REORDER)
        l->late = 0.3;
    calm_after(time);
}

static void upset_disk(enum fault f) {
    disk.caid_only = draw_chance(0.7);
    disk.fail_from = disk.ops + 1 + draw_below(60);
    disk.fail_count = draw_chance(0.3) ? 1000000 : 1 + draw_below(3);
    disk.fail_errno = f == FAULT_DISK_ERROR ? EIO : ENOSPC;
    disk.short_writes = f == FAULT_SHORT_WRITE;
    calm_after(draw_between(100, 4000) * SIM_MS);
}

static void happen(enum fault f) {
    note(names[f]);
    struct proc *w = some_worker();
    switch (f) {
    case FAULT_KILL_WORKER: proc_kill(w, -9); break;
    case FAULT_KILL_CAID: proc_kill(&world.caid, -9); break;
    case FAULT_KILL_ALL:
        for (uint32_t i = 0; i < world.n_workers; i++)
            proc_kill(&world.workers[i], -9);
        proc_kill(&world.caid, -9);
        break;
    case FAULT_STOP_WORKER: w->stopped_until_us = world.now_us + some_time(); break;
    case FAULT_STOP_CAID: world.caid.stopped_until_us = world.now_us + some_time(); break;
    case FAULT_SLOW: w->slow = 10; calm_after(some_time()); break;
    case FAULT_CLOCK:
        world.caid.wall_jump_ms = draw_between(-3600, 3600) * 1000;
        w->wall_jump_ms = draw_between(-3600, 3600) * 1000;
        break;
    case FAULT_SWAP:
        proc_kill(w, -9);
        if (world.caid.alive || !world.own_workers)
            w->restart_us = world.now_us + draw_between(0, 5) * SIM_MS;
        break;
    case FAULT_TERM_CAID:
        world.caid.told_to_stop = true;
        proc_poke(&world.caid);
        break;
    case FAULT_TERM_WORKER:
        w->told_to_stop = true;
        proc_poke(w);
        break;
    case FAULT_KILL_IN_DISK: disk.kill_at = disk.ops + 1 + draw_below(40); break;
    case FAULT_DISK_ERROR:
    case FAULT_DISK_FULL:
    case FAULT_SHORT_WRITE: upset_disk(f); break;
    case FAULT_POWER_CUT: faults_power_cut((enum disk_loss)draw_below(4)); break;
    case FAULT_BREAK: net_break(w->number); break;
    default: upset_link(f, &links[w->number]);
    }
}

static void calm(void) {
    for (uint32_t i = 0; i < world.n_workers; i++) {
        links[i].delay_us = 100;
        links[i].jitter_us = 200;
        links[i].twice = links[i].late = 0;
        world.workers[i].slow = 0;
    }
    disk.fail_from = disk.fail_count = 0;
    disk.caid_only = false;
    calm_us = 0;
}

void faults_act(void) {
    see_phases();
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].done || events[i].at_us > world.now_us)
            continue;
        events[i].done = true;
        happen(events[i].fault);
    }
    if (calm_us && world.now_us >= calm_us)
        calm();
}

int64_t faults_next_us(void) {
    int64_t at = calm_us ? calm_us : SIM_NEVER;
    for (size_t i = 0; i < n_events; i++)
        if (!events[i].done && events[i].at_us < at)
            at = events[i].at_us;
    return at;
}
