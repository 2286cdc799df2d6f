/* comm_queue.h: collectives carried out by a thread of their own, one after another in the
 * order they were asked for. Private to the shim; comm.c says what a job is. */
#ifndef CAI_SHIM_COMM_QUEUE_H
#define CAI_SHIM_COMM_QUEUE_H

#include "shim/ct.h"

struct comm_queue;

/* Carries out one job; called on the queue's thread. */
typedef int (*comm_queue_work)(void *context, int what, ct_tensor *t);

int comm_queue_open(comm_queue_work work, void *context, struct comm_queue **ret);
/* Waits for the running job; those behind it are dropped. */
void comm_queue_close(struct comm_queue *q);
/* Keeps a handle of t until the job is done. */
int comm_queue_add(struct comm_queue *q, int what, ct_tensor *t);
/* Until all that was added is done: 0, or the first failure's code with its message; after a
 * failure nothing further is carried out, and each wait fails the same way. */
int comm_queue_wait(struct comm_queue *q);

#endif
