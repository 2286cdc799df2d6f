/* table.c: task kind → function. Not for: leases, sockets (the loop). */
#include "worker/internal.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "learn/heap.h"
#include "learn/held.h"
#include "shim/ct.h"
#include "worker/peak.h"
#include <stdio.h>
#include <string.h>

static const struct kind {
    Cai__V1__Task__WorkCase work;
    int (*run)(const struct task_run *run, Cai__V1__Result *ret);
} kinds[] = {
    {CAI__V1__TASK__WORK_GENERATE, worker_generate},
    {CAI__V1__TASK__WORK_SCORE, worker_score},
    {CAI__V1__TASK__WORK_REWARD, worker_reward},
    {CAI__V1__TASK__WORK_TRAIN, worker_train},
};

/* Whether it is of another job or stage than the one before. One compute thread asks. */
static bool turns_to_other_work(const Cai__V1__Task *task)
{
    static uint64_t job;
    static char stage[32];
    bool other = task->job != job || strcmp(stage, task->stage) != 0;
    job = task->job;
    snprintf(stage, sizeof(stage), "%s", task->stage);
    return other;
}

/* A stage's peak is its own, whatever was done before it. */
static void begin(const Cai__V1__Task *task, Cai__V1__Held *held)
{
    bool trains = task->work_case == CAI__V1__TASK__WORK_TRAIN;
    if (trains)
        worker_forget_models(); /* a trainer's buffers want their memory */
    if (turns_to_other_work(task) || trains)
        heap_give_back();
    peak_begin();
    held_begin();
    held->rest = peak_end();
}

/* What a device holds is its own; the machine's memory says nothing of it. */
static void end(Cai__V1__Result *result)
{
    struct held h = held_now();
    if (ct_device_now().cuda)
        return;
    result->memory = peak_end();
    result->held->cache = (uint64_t)h.cache;
    result->held->slots = (uint64_t)h.slots;
    result->held->positions = (uint64_t)h.positions;
    result->held->rows = (uint64_t)h.rows;
    result->held->micro = (uint64_t)h.micro;
    result->held->data = (uint64_t)h.data;
}

int worker_run_task(const struct task_run *run, Cai__V1__Result **ret)
{
    const char *dtype = run->task->dtype;
    if (*dtype && strcmp(dtype, "float32") != 0 && !worker_in_half(run->task))
        return cai_fail(CAI_EPROTO, "a task in %.20s: this worker is older than the daemon", dtype);
    for (size_t i = 0; i < CAI_COUNT(kinds); i++) {
        if (kinds[i].work != run->task->work_case)
            continue;
        int64_t start = cai_now_ms();
        Cai__V1__Result *result = cai_alloc(sizeof(*result));
        cai__v1__result__init(result);
        result->job = run->task->job;
        result->id = run->task->id;
        result->held = cai_alloc(sizeof(*result->held));
        cai__v1__held__init(result->held);
        begin(run->task, result->held);
        int rc = kinds[i].run(run, result);
        if (rc < 0) {
            cai__v1__result__free_unpacked(result, NULL);
            return rc;
        }
        end(result);
        result->seconds = (double)(cai_now_ms() - start) / 1000;
        *ret = result;
        return 0;
    }
    return cai_fail(CAI_EPROTO, "a task of kind %d: this worker is older than the daemon",
                    (int)run->task->work_case);
}
