/* comm_queue.c: see comm_queue.h. Not for what a collective does (comm.c).
 *
 * States of a queue: idle → working (jobs in line) → idle; broken once a job failed: what
 * comes later is dropped. Added to and waited for by one thread. */
#include "shim/comm_queue.h"

#include "base/check.h"
#include "base/error.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct job {
    int what;
    ct_tensor *t;
    struct job *next;
};

struct comm_queue {
    comm_queue_work work;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *first, **last;
    bool busy, closing;
    int code;
    char text[768];
};

static void drop(struct job *j) {
    ct_free(j->t);
    free(j);
}

/* The next job, or NULL when the queue closes. */
static struct job *take(struct comm_queue *q) {
    pthread_mutex_lock(&q->lock);
    while (!q->first && !q->closing)
        pthread_cond_wait(&q->changed, &q->lock);
    struct job *j = q->closing ? NULL : q->first;
    if (j) {
        q->first = j->next;
        if (!q->first)
            q->last = &q->first;
        q->busy = true;
    }
    pthread_mutex_unlock(&q->lock);
    return j;
}

static void put_down(struct comm_queue *q, int rc) {
    pthread_mutex_lock(&q->lock);
    q->busy = false;
    if (rc < 0 && q->code == 0) {
        q->code = rc;
        snprintf(q->text, sizeof q->text, "%s", cai_error_text());
    }
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void *serve(void *argument) {
    struct comm_queue *q = argument;
    struct job *j;
    while ((j = take(q))) {
        int rc = q->code ? 0 : q->work(q->context, j->what, j->t);
        drop(j);
        put_down(q, rc);
    }
    return NULL;
}

int comm_queue_open(comm_queue_work work, void *context, struct comm_queue **ret) {
    struct comm_queue *q = cai_alloc(sizeof *q);
    *q = (struct comm_queue){.work = work, .context = context};
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    if (pthread_create(&q->thread, NULL, serve, q) != 0) {
        free(q);
        return cai_fail(CAI_EIO, "cannot start the thread of the collectives");
    }
    *ret = q;
    return 0;
}

void comm_queue_close(struct comm_queue *q) {
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    while (q->first) {
        struct job *j = q->first;
        q->first = j->next;
        drop(j);
    }
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

int comm_queue_add(struct comm_queue *q, int what, ct_tensor *t) {
    struct job *j = cai_alloc(sizeof *j);
    *j = (struct job){.what = what};
    int rc = ct_keep(t, &j->t);
    if (rc < 0) {
        free(j);
        return rc;
    }
    pthread_mutex_lock(&q->lock);
    *q->last = j;
    q->last = &j->next;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return 0;
}

int comm_queue_wait(struct comm_queue *q) {
    pthread_mutex_lock(&q->lock);
    while (q->first || q->busy)
        pthread_cond_wait(&q->changed, &q->lock);
    int code = q->code;
    pthread_mutex_unlock(&q->lock);
    return code < 0 ? cai_fail(code, "%s", q->text) : 0;
}
