/* device.c: runs a granted task on this machine's device: opens the gang's communicator,
 * lends the loop's services, and calls the table. */
#include "worker/device.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "shim/comm.h"
#include "shim/ct.h"
#include "worker/table.h"
#include <pthread.h>
#include <string.h>

enum { COLLECTIVE_MS = 300000 };

struct lent {
    const struct loop_host *host;
    struct comm *comm;
};

/* The running task's communicator, for the control thread, which says with every heartbeat
 * how far it is, so that caid can name the rank that is behind. */
static struct {
    pthread_mutex_t lock;
    struct comm *comm;
    bool opening; /* meeting the other ranks: as if inside a collective before the first */
} present = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void set_present(struct comm *comm, bool opening) {
    pthread_mutex_lock(&present.lock);
    present.comm = comm;
    present.opening = opening;
    pthread_mutex_unlock(&present.lock);
}

static uint64_t device_collective(bool *ret_inside) {
    pthread_mutex_lock(&present.lock);
    *ret_inside = present.opening;
    uint64_t entered = present.comm ? comm_progress(present.comm, ret_inside) : 0;
    pthread_mutex_unlock(&present.lock);
    return entered;
}

static int64_t device_standing(void) {
    pthread_mutex_lock(&present.lock);
    int64_t ms = present.comm ? comm_standing_ms(present.comm) : 0;
    pthread_mutex_unlock(&present.lock);
    return ms;
}

static void device_interrupt(void) {
    pthread_mutex_lock(&present.lock);
    if (present.comm)
        comm_interrupt(present.comm);
    pthread_mutex_unlock(&present.lock);
}

static void lend_report(void *context, Cai__V1__Report *report) {
    struct lent *l = context;
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

static bool lend_leaving(void *context) {
    struct lent *l = context;
    return l->host->leaving(l->host->context);
}
static void lend_left(void *context) {
    struct lent *l = context;
    l->host->left(l->host->context);
}

static int device_open(int threads, const char *device, const char **ret_class) {
    struct ct_device chosen;
    char why[256];
    CAI_TRY(ct_init(threads));
    CAI_TRY(ct_device_find(device, &chosen, why, sizeof why));
    CAI_TRY(ct_device_use(chosen));
    *ret_class = ct_numeric_class();
    cai_info("%s%s%s", *ret_class, *why ? "; no GPU: " : "", why);
    return 0;
}

/* A fault of a GPU ends all later work of the process that met it. */
static bool device_lost(void) {
    if (!ct_device_now().cuda || ct_device_sync() == 0)
        return false;
    cai_error("%s", cai_error_text());
    return true;
}

/* A GPU's that nobody else holds now: what is planned must fit beside the others. */
static uint64_t device_memory(void) {
    struct ct_memory m;
    if (!ct_device_now().cuda || ct_device_memory(&m) < 0)
        return 0;
    return (uint64_t)(m.free + m.reserved);
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

/* What fills the memory; the message stays the task's. */
static void forget_all(void) {
    CAI_AUTO(mem) char *text = cai_strdup(cai_error_text());
    worker_forget_models();
    (void)ct_device_trim();
    (void)cai_fail(CAI_ENOMEM, "%s", text);
}

static int device_run(const Cai__V1__Task *task, const Cai__V1__Gang *gang,
                      const struct loop_host *host, Cai__V1__Result **ret) {
    struct lent lent = {.host = host};
    set_present(NULL, true);
    int rc = open_comm(gang, &lent.comm);
    set_present(lent.comm, false);
    CAI_TRY(rc);
    struct task_host lend = {&lent, lend_report, lend_commit, lend_stopping, lend_leaving,
                             lend_left};
    bool together = task->work_case == CAI__V1__TASK__WORK_TRAIN;
    struct task_run run = {task, together ? gang : NULL, lent.comm, &lend};
    rc = worker_run_task(&run, ret);
    set_present(NULL, false);
    comm_close(lent.comm);
    if (rc == CAI_ENOMEM)
        forget_all();
    return rc;
}

const struct loop_engine worker_device = {device_open, device_run, device_collective, device_lost,
                                         device_memory, device_interrupt, device_standing};
