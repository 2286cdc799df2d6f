/* train.c: the task "train": hands a gang's run to learn, after every model it names has
 * been checked against its hash. Not for: how anything is trained. */
#include "worker/internal.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/heap.h"
#include "learn/saving.h"
#include "learn/train.h"
#include <string.h>

static int check_model(const Cai__V1__Model *m)
{
    char found[65];
    if (!m)
        return 0;
    CAI_TRY(hf_model_hash(m->path, found));
    if (strcmp(found, m->hash))
        return cai_fail(CAI_ESTATE, "%s: its hash is %.12s…, the task names %.12s…; the folder "
                        "was changed", m->path, found, m->hash);
    return 0;
}

static int check_models(const Cai__V1__Train *t)
{
    CAI_TRY(check_model(t->init));
    CAI_TRY(check_model(t->reference));
    CAI_TRY(check_model(t->target));
    for (size_t i = 0; i < t->n_pm; i++)
        CAI_TRY(check_model(t->pm[i]));
    return 0;
}

int worker_train(const struct task_run *run, Cai__V1__Result *ret)
{
    const Cai__V1__Task *task = run->task;
    CAI_TRY(check_models(task->train));
    struct learn_host host = {.context = run->host->context, .report = run->host->report,
                              .commit = run->host->commit, .stopping = run->host->stopping,
                              .leaving = run->host->leaving, .left = run->host->left};
    struct learn_task t = {.train = task->train, .seed = task->seed, .round = task->round,
                           .bfloat16 = worker_in_half(task),
                           .comm = run->comm, .host = &host,
                           .resume = run->gang ? run->gang->resume : NULL,
                           .resume_hash = run->gang ? run->gang->resume_hash : NULL};
    saving_tally_begin();
    int rc = learn_train(&t, &ret->trained);
    saving_tally(&ret->saving_seconds, &ret->saves);
    heap_give_back(); /* what a step took and gave back, learn kept for the next */
    return rc;
}
