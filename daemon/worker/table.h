/* table.h: task kind → function. A task function reads the task, uses learn, and fills
 * the result; it knows no sockets. */
#ifndef CAI_WORKER_TABLE_H
#define CAI_WORKER_TABLE_H

#include "cai.pb-c.h"
#include "shim/comm.h"

/* What the loop lends to a running task. Callable from the compute thread. */
struct task_host {
    void *context;
    /* Numbered report upward; the loop fills job, epoch, lease and seq. */
    void (*report)(void *context, Cai__V1__Report *report);
    /* Sends a checkpoint report and waits until caid has committed it; 0, or a code. */
    int (*commit)(void *context, const char *folder, const char *manifest_hash, uint64_t step);
    /* True when the lease was revoked or the worker is stopping: return CAI_ESTATE soon. */
    bool (*stopping)(void *context);
    /* Training: true when the task shall end at its next step, its state saved; left() then
     * says that it does so. May differ between ranks for a moment. */
    bool (*leaving)(void *context);
    void (*left)(void *context);
};

struct task_run {
    const Cai__V1__Task *task;
    const Cai__V1__Gang *gang; /* NULL for single tasks */
    struct comm *comm;         /* open; "single" for single tasks */
    const struct task_host *host;
};

/* *ret is the caller's: cai__v1__result__free_unpacked. Models are cached by hash between
 * tasks, weights only. */
int worker_run_task(const struct task_run *run, Cai__V1__Result **ret);
void worker_forget_models(void);

#endif
