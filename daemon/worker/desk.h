/* desk.h: what the two threads of a worker hand each other: one task in, reports and one
 * outcome out, behind one lock and one eventfd. For loop.c and desk.c.
 *
 * Empty → given → running → finished → (taken) empty. */
#ifndef CAI_WORKER_DESK_H
#define CAI_WORKER_DESK_H

#include "worker/loop.h"
#include <pthread.h>

struct desk_letter { /* a report on its way up, in order */
    uint8_t *packed;
    size_t len;
    struct desk_letter *next;
};

struct desk {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int event_fd;          /* readable when the control thread should look */
    Cai__V1__Grant *grant; /* given or running; the frame that owns it is `frame` */
    Cai__V1__Frame *frame;
    bool finished, leaving, stop, abandoned;
    bool save, left; /* asked to end at its next step; it did, with its state saved */
    int code;
    char text[512];
    Cai__V1__Result *result;
    uint64_t seq, acked;
    struct desk_letter *first, **last;
};

int desk_open(struct desk *d);
void desk_close(struct desk *d);

/* ---- control thread -------------------------------------------------------------- */
void desk_give(struct desk *d, Cai__V1__Frame *frame); /* takes the frame; desk must be empty */
/* Asks the running task to stop; abandoned: its outcome is for nobody. */
void desk_stop(struct desk *d, bool abandoned);
/* Asks the running task to end at its next step, with its state saved. */
void desk_save(struct desk *d);
void desk_ack(struct desk *d, uint64_t seq);
struct desk_letter *desk_next_letter(struct desk *d); /* the oldest, still owned by the desk */
void desk_drop_letter(struct desk *d);
bool desk_busy(struct desk *d);
bool desk_finished(struct desk *d);
void desk_clear(struct desk *d); /* after the outcome was read: empty again */
void desk_leave(struct desk *d); /* the compute thread ends after its task */

/* ---- compute thread -------------------------------------------------------------- */
bool desk_wait(struct desk *d); /* false: leave */
void desk_finish(struct desk *d, int code, const char *text, Cai__V1__Result *result);
void desk_host(struct desk *d, struct loop_host *ret);

#endif
