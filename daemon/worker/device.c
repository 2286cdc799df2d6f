/* device.c: runs a granted task on this machine's device: opens the gang's communicator,
 * lends the loop's services, and calls the table. */
#include "worker/device.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "shim/comm.h"
#include "shim/ct.h"
#include "worker/table.h"
#include <string.h>

enum { COLLECTIVE_MS = 300000 };

/* The collectives entered so far go up with every report, so that caid can name the rank
 * that is behind. */
struct lent {
    const struct loop_host *host;
    struct comm *comm;
};

static void lend_report(void *context, Cai__V1__Report *report) {
    struct lent *l = context;
    bool inside = false;
    report->collective = comm_progress(l->comm, &inside);
    l->host->report(l->host->context, report);
}
static int lend_commit(void *context, const char *folder, const char *hash, uint64_t step) {
    struct lent *l = context;
    return l->host->commit(l->host->context, folder, hash, step);
}
static bool lend_stopping(void *context) {
    struct lent *l = context;
    return l->host->stopping(l->host->context);
}

static int device_open(int threads, const char **ret_class) {
    CAI_TRY(ct_init(threads));
    *ret_class = ct_numeric_class();
    return 0;
}

static int open_comm(const Cai__V1__Gang *gang, struct comm **ret) {
    if (!gang || gang->world <= 1)
        return comm_open(&(struct comm_options){.backend = "single", .rank = 0, .world = 1,
                                                .timeout_ms = COLLECTIVE_MS},
                         ret);
    return comm_open(&(struct comm_options){.backend = gang->backend,
                                            .rank = (int)gang->rank,
                                            .world = (int)gang->world,
                                            .rendezvous = gang->rendezvous,
                                            .interface = gang->interface,
                                            .timeout_ms = COLLECTIVE_MS},
                     ret);
}

static int device_run(const Cai__V1__Task *task, const Cai__V1__Gang *gang,
                      const struct loop_host *host, Cai__V1__Result **ret) {
    struct lent lent = {.host = host};
    CAI_TRY(open_comm(gang, &lent.comm));
    struct task_host lend = {&lent, lend_report, lend_commit, lend_stopping};
    bool together = task->work_case == CAI__V1__TASK__WORK_TRAIN;
    struct task_run run = {task, together ? gang : NULL, lent.comm, &lend};
    int rc = worker_run_task(&run, ret);
    comm_close(lent.comm);
    if (rc == CAI_ENOMEM)
        worker_forget_models();
    return rc;
}

const struct loop_engine worker_device = {device_open, device_run};
