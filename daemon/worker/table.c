/* table.c: task kind → function. Not for: leases, sockets (the loop). */
#include "worker/internal.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "shim/ct.h"
#include "worker/peak.h"
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
        peak_begin();
        int rc = kinds[i].run(run, result);
        if (rc < 0) {
            cai__v1__result__free_unpacked(result, NULL);
            return rc;
        }
        /* What a device holds is its own; the machine's memory says nothing of it. */
        result->memory = ct_device_now().cuda ? 0 : peak_end();
        result->seconds = (double)(cai_now_ms() - start) / 1000;
        *ret = result;
        return 0;
    }
    return cai_fail(CAI_EPROTO, "a task of kind %d: this worker is older than the daemon",
                    (int)run->task->work_case);
}
