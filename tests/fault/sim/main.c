/* main.c: runs seeds, each in a process of its own, and compares what the job ends with.
 *
 *   sim FOLDER seeds FIRST COUNT        faults drawn from each seed
 *   sim FOLDER matrix SEEDS             each kind of fault in each phase, so many seeds of each
 *   sim FOLDER power EVERY              power cuts at each EVERYth call of an undisturbed job's
 *   sim FOLDER points                   every failpoint × kill, delay, error × its first passes
 *   sim FOLDER these SEED …             those
 *   sim FOLDER one SEED [FAULT PHASE]   one, told in words
 *
 * FOLDER holds model/ and red.jsonl. The exit code is 1 when a promise was broken. */
#include "base/check.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "sim.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEPS_MAX = 3000000, FAILURES_SHOWN = 10 };
#define LIMIT_US (30 * 60 * (int64_t)1000000)
#define QUIET_US (130 * (int64_t)1000000)

extern const char *person_folder;


struct plan {
    uint64_t seed;
    enum fault fault; /* FAULT_COUNT: by the seed */
    enum phase phase;
    bool calm; /* no fault at all */
    bool cut;  /* the power, again and again */
    struct sim_point point;
};
struct result {
    char trouble[2048], faults[4096];
    struct outcome outcome;
    uint64_t steps, caids, absorbed, looks, cuts;
    int64_t lasted_us;
    int requeues;
    unsigned passes; /* of the failpoint */
};
static struct outcome expected;

/* ---- power cuts ------------------------------------------------------------------------------- */

/* Before each EVERYth call of an undisturbed job's disk, a copy of the world loses its power in
 * each of the ways; what comes back must hold all that was acknowledged, and of each FULLth the
 * job must go on to the same end. */
enum { FULL = 40, WAYS = 8 };
static struct cuts {
    uint64_t every, calls, states, full, broken;
    char trouble[2048];
} *cuts;
static bool is_cut, to_the_end;

static void before_call(enum disk_op op) {
    (void)op;
    if (cuts->calls++ % cuts->every != 0)
        return;
    static const enum disk_loss ways[WAYS] = {LOSE_ALL,  LOSE_NONE, LOSE_SOME, LOSE_SOME,
                                              LOSE_SOME, LOSE_TAIL, LOSE_TAIL, LOSE_TAIL};
    for (int i = 0; i < WAYS; i++) {
        enum disk_loss loss = ways[i];
        bool full = cuts->states++ % FULL == 0;
        cuts->full += full;
        pid_t pid = fork();
        CAI_CHECK(pid >= 0);
        if (pid > 0) {
            CAI_CHECK(waitpid(pid, NULL, 0) == pid);
            continue;
        }
        is_cut = true;
        to_the_end = full;
        disk.hook = NULL;
        world.random = cuts->states;
        snprintf(faults_text, sizeof faults_text, "power cut before call %llu, loss %d",
                 (unsigned long long)cuts->calls, (int)loss);
        faults_power_cut(loss);
    }
}

/* In a copy, which ends here. */
static void end_of_cut(const struct result *r) {
    if (*r->trouble && !cuts->broken++)
        snprintf(cuts->trouble, sizeof cuts->trouble, "%.1000s (%.400s)", r->trouble, r->faults);
    _exit(0);
}

static bool sink(enum cai_log_level level, const struct cai_about *about, const char *program,
                 const char *text) {
    (void)about, (void)program;
    if (level < CAI_LOG_DEBUG)
        told("%s", text);
    return true;
}

struct toy_place *toy_place(void) { return &proc_here()->place; }

static void begin(const struct plan *p) {
    world.seed = p->seed;
    world.random = p->seed; /* hashed once: neighbouring seeds are no neighbours then */
    world.random = draw();
    world.n_workers = 2 + (uint32_t)draw_below(2);
    world.own_workers = draw_chance(0.5);
    world.next_pid = 100;
    disk_init();
    net_init();
    vfs_register();
    if (p->calm)
        ;
    else if (p->fault == FAULT_COUNT)
        faults_plan();
    else
        faults_plan_one(p->fault, p->phase);
    sim_point = p->point;
    person_init();
    person.expects_errors |= p->point.name && p->point.action == POINT_ERROR;
    world.caid = (struct proc){.is_caid = true, .number = SIM_WORKERS_MAX};
    snprintf(world.caid.name, sizeof world.caid.name, "caid");
    for (uint32_t i = 0; i < world.n_workers; i++) {
        world.workers[i] = (struct proc){.number = i};
        snprintf(world.workers[i].name, sizeof world.workers[i].name, "worker-%u", i);
    }
    if (p->cut)
        disk.hook = before_call;
    proc_start(&world.caid);
    for (uint32_t i = 0; !world.own_workers && i < world.n_workers; i++)
        proc_start(&world.workers[i]);
}

static void compare(const struct outcome *got) {
    if (!*expected.ledger)
        return;
#define SAME(field)                                                                                \
    if (strcmp(got->field, expected.field) != 0)                                                   \
    broken(#field " differ from those of the undisturbed run")
    SAME(ledger);
    SAME(examples);
    SAME(models);
    if (!person.expects_loss)
        SAME(metrics);
    SAME(files);
#undef SAME
}

static void run(const struct plan *p, struct result *ret) {
    begin(p);
    while (!person.ended && !*world.trouble && world.now_us < LIMIT_US &&
           world.steps < STEPS_MAX && !(is_cut && !to_the_end && world.caid.run))
        if (!world_step()) {
            broken("nothing will ever happen again");
            break;
        }
    /* What could not be removed from a disk that failed is tried again a minute later. */
    int64_t quiet_us = world.now_us + (person.expects_errors ? QUIET_US : 0);
    while (person.ended && !*world.trouble && world.now_us < quiet_us && world_step())
        ;
    if (!person.ended && !*world.trouble && (!is_cut || to_the_end))
        broken("the job does not end: %s %s (%s) after %.0f s", person.state, person.stage,
               person.reason, (double)world.now_us / 1e6);
    if (person.ended && world.caid.run) {
        check_outcome(world.caid.run, &ret->outcome);
        compare(&ret->outcome);
    }
    snprintf(ret->trouble, sizeof ret->trouble, "%s", world.trouble);
    snprintf(ret->faults, sizeof ret->faults, "%s", faults_text);
    ret->steps = world.steps;
    ret->caids = world.caids;
    ret->absorbed = check_absorbed;
    ret->looks = check_looks;
    ret->lasted_us = world.now_us;
    ret->requeues = person.requeues;
    ret->passes = sim_point.passes;
}

/* In a process of its own: killed ones of the simulation free nothing. */
static void run_apart(const struct plan *p, struct result *ret) {
    int ends[2];
    CAI_CHECK(pipe(ends) == 0);
    fflush(stdout);
    pid_t pid = fork();
    CAI_CHECK(pid >= 0);
    if (pid == 0) {
        struct result r = {0};
        run(p, &r);
        if (is_cut)
            end_of_cut(&r);
        if (write(ends[1], &r, sizeof r) != (ssize_t)sizeof r)
            abort();
        _exit(0); /* the real one: main() is no process of the simulation */
    }
    close(ends[1]);
    *ret = (struct result){0};
    size_t have = 0;
    for (ssize_t n; have < sizeof *ret &&
                    (n = read(ends[0], (char *)ret + have, sizeof *ret - have)) > 0;)
        have += (size_t)n;
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    if (have < sizeof *ret)
        snprintf(ret->trouble, sizeof ret->trouble, "the simulation itself ended with status %#x",
                 (unsigned)status);
}

static bool report(const struct plan *p, const struct result *r) {
    if (!*r->trouble)
        return true;
    printf("BROKEN seed %llu: %s\n   faults: %s\n   again: tests/fault/sim.py PROGRAM one %llu",
           (unsigned long long)p->seed, r->trouble, r->faults, (unsigned long long)p->seed);
    if (p->fault != FAULT_COUNT)
        printf(" %s %s", fault_name(p->fault), phase_name(p->phase));
    if (p->point.name)
        printf(" at %s, action %d, pass %u", p->point.name, (int)p->point.action, p->point.at);
    printf("\n");
    fflush(stdout);
    return false;
}

static struct {
    uint64_t runs, failures, steps, caids, absorbed, looks;
    int64_t virtual_us;
    int requeues;
} total;

static unsigned passes;
static bool struck; /* a fault did come */

static bool run_one(const struct plan *p) {
    struct result r;
    run_apart(p, &r);
    total.runs++;
    total.steps += r.steps;
    total.caids += r.caids;
    total.absorbed += r.absorbed;
    total.looks += r.looks;
    total.virtual_us += r.lasted_us;
    total.requeues += r.requeues;
    passes = r.passes;
    struck = *r.faults;
    bool good = report(p, &r);
    total.failures += !good;
    return total.failures < FAILURES_SHOWN;
}

static void find_expected(void) {
    struct result r;
    run_apart(&(struct plan){.seed = 0, .fault = FAULT_COUNT, .calm = true}, &r);
    CAI_CHECK(report(&(struct plan){.fault = FAULT_COUNT}, &r));
    expected = r.outcome;
    printf("undisturbed: %llu slices, %.2f s of its own time, ledger %.16s\n",
           (unsigned long long)r.steps, (double)r.lasted_us / 1e6, expected.ledger);
}

static double now_s(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int sum_up(double began) {
    double took = now_s() - began;
    printf("%llu runs in %.1f s (%.1f ms each): %llu broken; %.0f s of their own time, %llu slices, "
           "%llu lives of caid, %llu results absorbed, %llu looks at the store, %d requeues\n",
           (unsigned long long)total.runs, took, took * 1000 / (double)(total.runs ? total.runs : 1),
           (unsigned long long)total.failures, (double)total.virtual_us / 1e6,
           (unsigned long long)total.steps, (unsigned long long)total.caids,
           (unsigned long long)total.absorbed, (unsigned long long)total.looks, total.requeues);
    return total.failures ? 1 : 0;
}

static void matrix(uint64_t seeds) {
    for (int f = 0; f < FAULT_COUNT; f++)
        for (int p = PHASE_ANY + 1; p < PHASE_COUNT; p++)
            for (uint64_t s = 1; s <= seeds; s++) {
                if (!run_one(&(struct plan){.seed = s * 1000 + (uint64_t)(f * PHASE_COUNT + p),
                                            .fault = (enum fault)f, .phase = (enum phase)p}))
                    return;
                if (struck)
                    continue;
                printf("%s in %s never came\n", fault_name((enum fault)f), phase_name((enum phase)p));
                total.failures++;
            }
    printf("%d kinds of fault in %d phases\n", FAULT_COUNT, PHASE_COUNT - 1);
}

/* Each point at its first three passes; a point that no pass reaches is named. */
static void points(void) {
#ifdef CAI_FAILPOINTS
    int reached = 0, named = 0;
    for (const char *const *name = cai_failpoints; *name; name++, named++) {
        unsigned seen = 0;
        for (int action = 0; action <= POINT_ERROR; action++)
            for (unsigned at = 1; at <= 3; at++) {
                struct plan p = {.seed = at, .fault = FAULT_COUNT, .calm = true,
                                 .point = {.name = *name, .action = action, .at = at}};
                if (!run_one(&p))
                    return;
                seen = passes > seen ? passes : seen;
                if (passes < at)
                    break;
            }
        reached += seen > 0;
        if (!seen)
            printf("   not reached: %s\n", *name);
    }
    printf("%d of %d failpoints reached\n", reached, named);
#else
    printf("built without -Dfailpoints=true\n");
#endif
}

static int power(uint64_t every) {
    cuts = mmap(NULL, sizeof *cuts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CAI_CHECK(cuts != MAP_FAILED);
    cuts->every = every ? every : 1;
    bool good = run_one(&(struct plan){.seed = 1, .fault = FAULT_COUNT, .calm = true, .cut = true});
    printf("%llu calls of the disk, %llu states after a power cut, %llu of them to the end of the "
           "job: %llu broken\n", (unsigned long long)cuts->calls,
           (unsigned long long)cuts->states, (unsigned long long)cuts->full,
           (unsigned long long)cuts->broken);
    if (cuts->broken)
        printf("BROKEN %s\n", cuts->trouble);
    return good && !cuts->broken ? 0 : 1;
}

static int find_name(const char *name, const char *(*f)(int), int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(f(i), name) == 0)
            return i;
    return n;
}
static const char *fault_of(int i) { return fault_name((enum fault)i); }
static const char *phase_of(int i) { return phase_name((enum phase)i); }

static int one(int argc, char **argv) {
    struct plan p = {.seed = strtoull(argv[3], NULL, 10), .fault = FAULT_COUNT};
    if (argc > 5) {
        p.fault = (enum fault)find_name(argv[4], fault_of, FAULT_COUNT);
        p.phase = (enum phase)find_name(argv[5], phase_of, PHASE_COUNT);
    }
    world.verbose = true;
    return run_one(&p) && total.failures == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct stat st;
    char stream[64];
    if (fstat(2, &st) == 0) { /* as under systemd, so that messages go to the sink */
        snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
    }
    cai_log_to(sink);
    cai_log_open("sim", CAI_LOG_INFO);
    if (argc < 3 || (argc < 4 && strcmp(argv[2], "points") != 0))
        return 2;
    person_folder = argv[1];
    double began = now_s();
    find_expected();
    if (strcmp(argv[2], "one") == 0)
        return one(argc, argv);
    if (strcmp(argv[2], "power") == 0)
        return power(strtoull(argv[3], NULL, 10)) | sum_up(began);
    if (strcmp(argv[2], "seeds") == 0 && argc > 4) {
        uint64_t first = strtoull(argv[3], NULL, 10), count = strtoull(argv[4], NULL, 10);
        for (uint64_t i = 0; i < count; i++)
            if (!run_one(&(struct plan){.seed = first + i, .fault = FAULT_COUNT}))
                break;
    } else if (strcmp(argv[2], "points") == 0) {
        points();
    } else if (strcmp(argv[2], "these") == 0) {
        for (int i = 3; i < argc; i++)
            run_one(&(struct plan){.seed = strtoull(argv[i], NULL, 10), .fault = FAULT_COUNT});
    } else if (strcmp(argv[2], "matrix") == 0) {
        matrix(strtoull(argv[3], NULL, 10));
    } else {
        return 2;
    }
    return sum_up(began);
}
