/* world.c: processes of the simulation as coroutines, and whose turn it is. A thread gives its
 * turn away where the real one would wait (calls.c) and nowhere else, so a killed process
 * stops at a wait or, by disk.kill_at, in the middle of a durable step. */
#include "base/check.h"
#include "base/error.h"
#include "control/front.h"
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK = 1 << 20, PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 3000 };

struct world world;
static ucontext_t scheduler;

/* SplitMix64. */
uint64_t draw(void) {
    uint64_t z = (world.random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t draw_below(uint64_t n) { return n ? draw() % n : 0; }
int64_t draw_between(int64_t low, int64_t high) {
    return low + (int64_t)draw_below((uint64_t)(high - low + 1));
}
bool draw_chance(double p) { return (double)(draw() >> 11) * 0x1p-53 < p; }

void broken(const char *format, ...) {
    if (*world.trouble)
        return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(world.trouble, sizeof world.trouble, format, ap);
    va_end(ap);
    told("BROKEN: %s", world.trouble);
}

void told(const char *format, ...) {
    if (!world.verbose)
        return;
    va_list ap;
    va_start(ap, format);
    struct proc *p = proc_here();
    fprintf(stderr, "%10.4f %-9s ", (double)world.now_us / 1e6, p ? p->name : "-");
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
}

struct proc *proc_here(void) { return world.current ? world.current->proc : NULL; }

/* ---- threads -------------------------------------------------------------------------------- */

static void enter(void) {
    struct thread *t = world.current;
    t->f(t->argument);
    t->finished = true;
    for (struct thread *o = t->proc->threads; o; o = o->next)
        o->poked = true; /* who joins it */
    setcontext(&scheduler);
}

void thread_start(struct proc *p, void *(*f)(void *), void *argument) {
    struct thread *t = cai_alloc(sizeof *t);
    *t = (struct thread){.proc = p, .f = f, .argument = argument, .poked = true,
                         .wake_us = SIM_NEVER, .next = p->threads};
    t->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CAI_CHECK(t->stack != MAP_FAILED);
    CAI_CHECK(getcontext(&t->context) == 0);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = STACK;
    t->context.uc_link = NULL;
    makecontext(&t->context, enter, 0);
    p->threads = t;
}

void thread_block(int64_t until_us, const void *waits_on) {
    struct thread *t = world.current;
    CAI_CHECK(t);
    t->wake_us = until_us;
    t->waits_on = waits_on;
    t->poked = false;
    CAI_CHECK(swapcontext(&t->context, &scheduler) == 0);
    t->waits_on = NULL;
}

void proc_poke(struct proc *p) {
    for (struct thread *t = p->threads; t; t = t->next)
        if (!t->waits_on)
            t->poked = true;
}

/* ---- processes -------------------------------------------------------------------------------- */

static void *caid_main(void *argument) {
    struct proc *p = argument;
    struct run_options o = {.front = &control_front, .state_dir = SIM_STATE, .runtime_dir = "/sim/run",
                            .spawner_fd = world.own_workers ? SIM_FD + 3 : -1,
                            .spawn = world.own_workers ? (int)world.n_workers : 0, .threads = 1};
    run_config_default(&o.config);
    struct run *r = NULL;
    int rc = run_open(&o, &r);
    if (rc == 0) {
        p->run = r;
        check_caid_opened(r);
        rc = run_serve(r);
        check_caid_closes();
        p->run = NULL;
        run_close(r);
    }
    if (rc < 0)
        told("caid ends: %s", cai_error_text());
    proc_exit(rc < 0);
}

static void *worker_main(void *argument) {
    struct proc *p = argument;
    struct loop_options o = {"ipc:///sim/run/worker", SIM_STATE, p->name, CAI_VERSION, 1,
                             &toy_engine, 0, "cpu", 0};
    int rc = worker_loop(&o);
    if (rc < 0)
        told("worker ends: %s", cai_error_text());
    proc_exit(rc < 0);
}

void spawner_says(const char *format, ...) {
    struct proc *p = &world.caid;
    if (!p->alive || !world.own_workers)
        return;
    va_list ap;
    va_start(ap, format);
    size_t room = sizeof p->spawner_in - p->spawner_len;
    int n = vsnprintf(p->spawner_in + p->spawner_len, room, format, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < room)
        p->spawner_len += (size_t)n;
    proc_poke(p);
}

void proc_start(struct proc *p) {
    CAI_CHECK(!p->alive);
    p->alive = true;
    p->told_to_stop = false;
    p->threads = NULL;
    p->stopped_until_us = p->restart_us = 0;
    p->run = NULL;
    p->spawner_len = 0;
    p->events = 0;
    p->pid = ++world.next_pid;
    memset(&p->place, 0, sizeof p->place);
    told("%s starts", p->name);
    if (p->is_caid) {
        world.caids++;
        if (world.own_workers) /* its starter, which ended with it, starts them */
            for (uint32_t i = 0; i < world.n_workers; i++)
                world.workers[i].restart_us = world.now_us + draw_between(1, 20) * SIM_MS;
    } else {
        spawner_says("start %s %u\n", p->name, p->pid);
    }
    thread_start(p, p->is_caid ? caid_main : worker_main, p);
}

static void end(struct proc *p, int status) {
    told("%s ends with %d", p->name, status);
    p->alive = false;
    p->run = NULL;
    p->exit_status = status;
    net_proc_ended(p);
    /* The stacks stay: a process that was killed frees nothing, and the run is short. */
    for (struct thread *t = p->threads; t; t = t->next)
        t->finished = true;
    if (!p->pause_ms || status >= 0)
        p->pause_ms = PAUSE_FIRST_MS;
    p->restart_us = world.now_us + p->pause_ms * SIM_MS;
    p->pause_ms = p->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : p->pause_ms * 2;
    if (!p->is_caid)
        spawner_says("exit %s %u %d\n", p->name, p->pid, status);
    for (uint32_t i = 0; p->is_caid && world.own_workers && i < world.n_workers; i++) {
        if (world.workers[i].alive)
            end(&world.workers[i], -9);
        world.workers[i].restart_us = 0; /* nobody starts it before caid is back */
    }
}

void proc_end(struct proc *p, int status) {
    if (p->alive)
        end(p, status);
}

void thread_leave(void) {
    setcontext(&scheduler);
    abort();
}

void proc_kill(struct proc *p, int status) {
    proc_end(p, status);
    if (world.current && world.current->finished)
        setcontext(&scheduler);
}

void proc_exit(int status) {
    end(world.current->proc, status);
    setcontext(&scheduler);
    abort();
}

/* ---- turns ------------------------------------------------------------------------------------ */

static bool may_run(const struct thread *t) {
    return !t->finished && t->proc->stopped_until_us <= world.now_us &&
           (t->poked || t->wake_us <= world.now_us);
}

static size_t ready(struct proc *p, struct thread **list, size_t n) {
    if (p->alive)
        for (struct thread *t = p->threads; t; t = t->next)
            if (may_run(t))
                list[n++] = t;
    return n;
}

static int64_t wakes(const struct proc *p, int64_t at) {
    if (!p->alive)
        return p->restart_us && p->restart_us < at ? p->restart_us : at;
    for (const struct thread *t = p->threads; t; t = t->next) {
        int64_t own = t->finished ? SIM_NEVER : t->poked ? world.now_us : t->wake_us;
        if (own < p->stopped_until_us)
            own = p->stopped_until_us;
        at = own < at ? own : at;
    }
    return at;
}

static bool sleep_till_next(void) {
    int64_t at = wakes(&world.caid, SIM_NEVER);
    for (uint32_t i = 0; i < world.n_workers; i++)
        at = wakes(&world.workers[i], at);
    int64_t others[3] = {net_next_us(), person_next_us(), faults_next_us()};
    for (int i = 0; i < 3; i++)
        at = others[i] < at ? others[i] : at;
    if (at == SIM_NEVER)
        return false;
    if (at > world.now_us)
        world.now_us = at;
    return true;
}

static void restart(struct proc *p) {
    if (!p->alive && p->restart_us && p->restart_us <= world.now_us)
        proc_start(p);
}

bool world_step(void) {
    struct thread *list[4 * (SIM_WORKERS_MAX + 1)];
    size_t n = ready(&world.caid, list, 0);
    for (uint32_t i = 0; i < world.n_workers; i++)
        n = ready(&world.workers[i], list, n);
    if (n == 0) {
        if (!sleep_till_next())
            return false;
        restart(&world.caid);
        for (uint32_t i = 0; i < world.n_workers; i++)
            restart(&world.workers[i]);
        net_deliver();
        person_act();
        faults_act();
        return true;
    }
    struct thread *t = list[draw_below(n)];
    world.current = t;
    world.steps++;
    CAI_CHECK(swapcontext(&scheduler, &t->context) == 0);
    world.current = NULL;
    if (t->proc->is_caid)
        check_after_caid();
    return true;
}
