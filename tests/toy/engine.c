/* engine.c: toy results in place of a model's: no libtorch, whole jobs in a second. A "model" is
 * a SHA-256 over what it was trained on, folded once per step; checkpoints are saved, committed
 * and resumed from as a real trainer does, and the ranks of a gang meet through files in their
 * rendezvous folder at every step. */
#include "engine.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 24, CHECKPOINT_EVERY = 6, STEP_US = 10000, TASK_US = 30000, MEET_MS = 5000 };

static int toy_open(int threads, const char *device, const char **ret_class) {
    (void)threads, (void)device;
    const char *class = getenv("TOY_CLASS");
    *ret_class = class ? class : "toy";
    return 0;
}

static void answer(const Cai__V1__Task *task, const Cai__V1__GenerateItem *item,
                   Cai__V1__Generated *ret) {
    CAI_AUTO(mem) char *text =
        cai_format("%llu %u %s %llu %s", (unsigned long long)task->seed, task->round, task->phase,
                   (unsigned long long)item->item, item->conversation->messages[0]->text);
    char hash[CAI_SHA256_HEX];
    cai_sha256(text, strlen(text), hash);
    ret->item = item->item;
    ret->text = cai_strdup(hash);
    ret->finish = CAI__V1__FINISH__FINISH_END;
}

static int generate(const Cai__V1__Task *task, const struct loop_host *host, Cai__V1__Result *ret) {
    const Cai__V1__Generate *g = task->generate;
    ret->generated = cai_alloc(g->n_items * sizeof *ret->generated);
    for (size_t i = 0; i < g->n_items; i++) {
        if (host->stopping(host->context))
            return cai_fail(CAI_ESTATE, "told to stop");
        usleep(TASK_US / (unsigned)g->n_items);
        ret->generated[i] = cai_alloc(sizeof **ret->generated);
        cai__v1__generated__init(ret->generated[i]);
        ret->n_generated = i + 1;
        answer(task, g->items[i], ret->generated[i]);
        Cai__V1__Report report = CAI__V1__REPORT__INIT;
        report.done = i + 1;
        report.total = g->n_items;
        host->report(host->context, &report);
    }
    return 0;
}

/* ---- a gang ------------------------------------------------------------------------------- */

static uint64_t toy_collective(bool *ret_inside) {
    struct toy_place *p = toy_place();
    *ret_inside = p->inside;
    return p->entered;
}

static int64_t toy_standing(void) {
    struct toy_place *p = toy_place();
    return p->inside ? cai_now_ms() - p->since_ms + 1 : 0;
}

/* What a test asks of the toy: TOY_LATE="RANK STEP MS" keeps that rank so long before it. */
static void be_late(const Cai__V1__Gang *g, int step) {
    const char *asked = getenv("TOY_LATE");
    unsigned rank, ms;
    int at;
    if (asked && sscanf(asked, "%u %d %u", &rank, &at, &ms) == 3 && rank == g->rank && at == step)
        usleep(1000 * ms);
}

/* TOY_STEP_MS: how long a step of training takes. */
static unsigned step_us(void) {
    const char *asked = getenv("TOY_STEP_MS");
    return asked ? 1000 * (unsigned)atoi(asked) : STEP_US;
}

/* TOY_MEET_MS: how long a rank waits for the others. */
static int64_t meet_ms(void) {
    const char *asked = getenv("TOY_MEET_MS");
    return asked ? atoll(asked) : MEET_MS;
}

/* *ret_leave: some rank wished to leave when it came. */
static int meet(const Cai__V1__Gang *g, int step, const struct loop_host *host, bool *ret_leave) {
    *ret_leave = host->leaving(host->context);
    for (uint32_t rank = 0; g->world > 1 && rank < g->world; rank++) {
        CAI_AUTO(mem) char *path = cai_format("%s/%d-%u", g->rendezvous, step, rank);
        if (rank == g->rank)
            CAI_TRY(cai_file_write_atomic(path, *ret_leave ? "leave" : "", *ret_leave ? 5 : 0));
    }
    int64_t until = cai_now_ms() + meet_ms();
    for (uint32_t rank = 0; g->world > 1 && rank < g->world; rank++) {
        CAI_AUTO(mem) char *path = cai_format("%s/%d-%u", g->rendezvous, step, rank);
        while (!cai_file_exists(path)) {
            if (host->stopping(host->context))
                return cai_fail(CAI_ESTATE, "told to stop");
            if (cai_now_ms() > until)
                return cai_fail(CAI_ETIMEOUT, "rank %u did not come", rank);
            usleep(1000);
        }
        CAI_AUTO(buf) struct cai_buf wish = {0};
        CAI_TRY(cai_file_read(path, 16, &wish));
        *ret_leave = *ret_leave || wish.len > 0;
    }
    return 0;
}

/* step-N/ with state and MANIFEST.json, made under another name and renamed whole. */
static int save(const char *folder, int step, const char *state, const struct loop_host *host) {
    CAI_AUTO(mem) char *final = cai_format("%s/step-%d", folder, step);
    CAI_AUTO(mem) char *part = cai_format("%s.tmp-%d", final, (int)getpid());
    CAI_AUTO(mem) char *state_path = cai_path_join(part, "state");
    CAI_AUTO(mem) char *manifest_path = cai_path_join(part, "MANIFEST.json");
    CAI_AUTO(mem) char *manifest = cai_format("{\"step\": %d, \"state\": \"%s\"}\n", step, state);
    CAI_TRY(cai_dir_make(part));
    CAI_TRY(cai_file_write_atomic(state_path, state, strlen(state)));
    CAI_TRY(cai_file_write_atomic(manifest_path, manifest, strlen(manifest)));
    CAI_TRY(cai_dir_remove(final));
    CAI_TRY(cai_file_rename_durable(part, final));
    char hash[CAI_SHA256_HEX];
    cai_sha256(manifest, strlen(manifest), hash);
    return host->commit(host->context, final, hash, (uint64_t)step);
}

static int resume(const Cai__V1__Gang *g, int *io_step, char state[CAI_SHA256_HEX]) {
    if (!*g->resume)
        return 0;
    CAI_AUTO(mem) char *path = cai_path_join(g->resume, "state");
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(cai_file_read(path, 1000, &b));
    if (b.len != CAI_SHA256_HEX - 1)
        return cai_fail(CAI_EIO, "a bad checkpoint");
    memcpy(state, b.data, CAI_SHA256_HEX);
    *io_step = atoi(strstr(g->resume, "step-") + 5);
    return 0;
}

static void report_step(const struct loop_host *host, int step, const char *state) {
    Cai__V1__Metric loss = CAI__V1__METRIC__INIT, *metrics[1] = {&loss};
    loss.name = (char *)"loss";
    loss.step = (uint64_t)step;
    loss.value = (double)strtoul(state + 56, NULL, 16) / 4294967296.0;
    Cai__V1__Report report = CAI__V1__REPORT__INIT;
    report.done = (uint64_t)step;
    report.total = STEPS;
    report.n_metrics = 1;
    report.metrics = metrics;
    host->report(host->context, &report);
}

static int finish(const Cai__V1__Train *t, const char *state, Cai__V1__Result *ret) {
    CAI_AUTO(mem) char *path = cai_path_join(t->output, "model");
    CAI_TRY(cai_dir_remove(t->output)); /* half of what a process that was ended wrote */
    CAI_TRY(cai_dir_make(t->output));
    CAI_TRY(cai_file_write_atomic(path, state, strlen(state)));
    ret->trained = cai_alloc(sizeof *ret->trained);
    cai__v1__trained__init(ret->trained);
    ret->trained->steps = STEPS;
    ret->trained->n_outputs = 1;
    ret->trained->outputs = cai_alloc(sizeof *ret->trained->outputs);
    Cai__V1__Model *m = ret->trained->outputs[0] = cai_alloc(sizeof *m);
    cai__v1__model__init(m);
    m->path = cai_strdup(t->output);
    m->hash = cai_strdup(state);
    return 0;
}

static int train(const Cai__V1__Task *task, const Cai__V1__Gang *g, const struct loop_host *host,
                 Cai__V1__Result *ret) {
    const Cai__V1__Train *t = task->train;
    char state[CAI_SHA256_HEX];
    CAI_TRY(cai_file_sha256(t->dataset->path, state));
    if (strcmp(state, t->dataset->hash) != 0)
        return cai_fail(CAI_EINPUT, "the dataset is not what was frozen");
    int step = 0;
    struct toy_place *place = toy_place();
    place->entered = 0;
    CAI_TRY(resume(g, &step, state));
    while (step < STEPS) {
        if (host->stopping(host->context))
            return cai_fail(CAI_ESTATE, "told to stop");
        be_late(g, step);
        place->since_ms = cai_now_ms();
        place->entered++;
        place->inside = true;
        bool leave;
        int rc = meet(g, step++, host, &leave);
        place->inside = false;
        CAI_TRY(rc);
        usleep(step_us());
        cai_sha256(state, strlen(state), state);
        if (!g->rank)
            report_step(host, step, state);
        if (!g->rank && (leave || step % CHECKPOINT_EVERY == 0) && step < STEPS)
            CAI_TRY(save(t->checkpoints, step, state, host));
        if (leave && step < STEPS) {
            host->left(host->context);
            return cai_fail(CAI_ESTATE, "left after step %d", step);
        }
    }
    return g->rank ? 0 : finish(t, state, ret);
}

/* What a test asks of the toy through its environment: TOY_FAIL=CODE fails every training;
 * TOY_FAIL_ONCE=FILE fails the one task that takes that file away. */
static int asked_to_fail(const Cai__V1__Task *task) {
    const char *code = getenv("TOY_FAIL"), *once = getenv("TOY_FAIL_ONCE");
    if (once && unlink(once) == 0)
        return cai_fail(CAI_EINTERNAL, "told to fail once by the test");
    if (!code || task->work_case != CAI__V1__TASK__WORK_TRAIN)
        return 0;
    return cai_fail(atoi(code), "told to fail by the test");
}

static int toy_run(const Cai__V1__Task *task, const Cai__V1__Gang *gang,
                   const struct loop_host *host, Cai__V1__Result **ret) {
    CAI_TRY(asked_to_fail(task));
    Cai__V1__Result *r = cai_alloc(sizeof *r);
    cai__v1__result__init(r);
    r->job = task->job;
    r->id = task->id;
    r->seconds = 0.01;
    int rc = task->work_case == CAI__V1__TASK__WORK_GENERATE ? generate(task, host, r)
             : task->work_case == CAI__V1__TASK__WORK_TRAIN  ? train(task, gang, host, r)
                                                             : cai_fail(CAI_EPROTO, "what?");
    if (rc < 0)
        cai__v1__result__free_unpacked(r, NULL);
    else
        *ret = r;
    return rc;
}

const struct loop_engine toy_engine = {toy_open, toy_run, toy_collective, NULL, NULL, NULL, toy_standing};
