/* desk.c: the hand-over between a worker's two threads. */
#include "worker/desk.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { COMMIT_MS = 60000, COMMIT_STOPPING_MS = 8000 };

int desk_open(struct desk *d) {
    *d = (struct desk){0};
    d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->event_fd < 0)
        return cai_fail_errno("eventfd");
    d->last = &d->first;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

static void drop_letters(struct desk *d) {
    while (d->first) {
        struct desk_letter *l = d->first;
        d->first = l->next;
        free(l->packed);
        free(l);
    }
    d->last = &d->first;
}

void desk_close(struct desk *d) {
    drop_letters(d);
    close(d->event_fd);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
}

static void wake_control(struct desk *d) {
    uint64_t one = 1;
    /* Full means that it is awake already. */
    if (write(d->event_fd, &one, sizeof one) < 0)
        return;
}

void desk_give(struct desk *d, Cai__V1__Frame *frame) {
    pthread_mutex_lock(&d->lock);
    CAI_CHECK(!d->grant);
    d->frame = frame;
    d->grant = frame->grant;
    d->finished = d->stop = d->abandoned = d->save = d->left = false;
    d->seq = d->acked = 0;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void desk_stop(struct desk *d, bool abandoned) {
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    d->abandoned = d->abandoned || abandoned;
    if (abandoned)
        drop_letters(d);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void desk_save(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    d->save = true;
    pthread_mutex_unlock(&d->lock);
}

void desk_ack(struct desk *d, uint64_t seq) {
    pthread_mutex_lock(&d->lock);
    if (seq > d->acked)
        d->acked = seq;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

struct desk_letter *desk_next_letter(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    struct desk_letter *l = d->first;
    pthread_mutex_unlock(&d->lock);
    return l;
}

void desk_drop_letter(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    struct desk_letter *l = d->first;
    d->first = l->next;
    if (!d->first)
        d->last = &d->first;
    pthread_mutex_unlock(&d->lock);
    free(l->packed);
    free(l);
}

bool desk_busy(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    bool busy = d->grant != NULL;
    pthread_mutex_unlock(&d->lock);
    return busy;
}

bool desk_finished(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    bool finished = d->grant && d->finished;
    pthread_mutex_unlock(&d->lock);
    return finished;
}

void desk_clear(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    drop_letters(d);
    if (d->result)
        cai__v1__result__free_unpacked(d->result, NULL);
    cai__v1__frame__free_unpacked(d->frame, NULL);
    d->result = NULL;
    d->frame = NULL;
    d->grant = NULL;
    pthread_mutex_unlock(&d->lock);
}

void desk_leave(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    d->leaving = d->stop = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

bool desk_wait(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    while (!d->leaving && (!d->grant || d->finished))
        pthread_cond_wait(&d->changed, &d->lock);
    bool work = d->grant && !d->finished;
    pthread_mutex_unlock(&d->lock);
    return work;
}

void desk_finish(struct desk *d, int code, const char *text, Cai__V1__Result *result) {
    pthread_mutex_lock(&d->lock);
    d->code = code;
    snprintf(d->text, sizeof d->text, "%s", text);
    d->result = result;
    d->finished = true;
    pthread_mutex_unlock(&d->lock);
    wake_control(d);
}

/* ---- what a running task may call ------------------------------------------------ */

static uint64_t post(struct desk *d, Cai__V1__Report *r) {
    struct desk_letter *l = cai_alloc(sizeof *l);
    pthread_mutex_lock(&d->lock);
    r->job = d->grant->job;
    r->epoch = d->grant->epoch;
    r->lease = d->grant->lease;
    r->seq = ++d->seq;
    l->len = cai__v1__report__get_packed_size(r);
    l->packed = cai_alloc(l->len + 1);
    cai__v1__report__pack(r, l->packed);
    if (d->abandoned) {
        free(l->packed);
        free(l);
    } else {
        *d->last = l;
        d->last = &l->next;
    }
    uint64_t seq = d->seq;
    pthread_mutex_unlock(&d->lock);
    wake_control(d);
    return seq;
}

static void host_report(void *context, Cai__V1__Report *r) { (void)post(context, r); }

static bool host_stopping(void *context) {
    struct desk *d = context;
    pthread_mutex_lock(&d->lock);
    bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return stop;
}

static bool host_leaving(void *context) {
    struct desk *d = context;
    pthread_mutex_lock(&d->lock);
    bool save = d->save;
    pthread_mutex_unlock(&d->lock);
    return save;
}

static void host_left(void *context) {
    struct desk *d = context;
    pthread_mutex_lock(&d->lock);
    d->left = true;
    pthread_mutex_unlock(&d->lock);
}

/* A worker that was told to stop still waits a little: a caid that stops in order commits
 * the last checkpoint. */
static int host_commit(void *context, const char *folder, const char *hash, uint64_t step) {
    struct desk *d = context;
    Cai__V1__Report r = CAI__V1__REPORT__INIT;
    r.checkpoint = (char *)folder;
    r.checkpoint_hash = (char *)hash;
    r.step = r.done = step;
    CAI_TRY(CAI_FAILPOINT("worker.commit.before"));
    uint64_t seq = post(d, &r);
    int64_t begin = cai_now_ms();
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    while (d->acked < seq && rc == 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&d->changed, &d->lock, &until);
        int64_t waited = cai_now_ms() - begin;
        if (d->acked >= seq)
            break;
        if (d->abandoned || (d->stop && waited > COMMIT_STOPPING_MS))
            rc = cai_fail(CAI_ESTATE, "told to stop while a checkpoint was being committed");
        else if (waited > COMMIT_MS)
            rc = cai_fail(CAI_ETIMEOUT, "caid did not commit the checkpoint within %d s",
                          COMMIT_MS / 1000);
    }
    pthread_mutex_unlock(&d->lock);
    return rc < 0 ? rc : CAI_FAILPOINT("worker.commit.after");
}

void desk_host(struct desk *d, struct loop_host *ret) {
    *ret = (struct loop_host){d, host_report, host_commit, host_stopping, host_leaving,
                                host_left};
}
