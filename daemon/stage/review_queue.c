/* review_queue.c: a stage's queue: opened, waited for, closed. */
#include "stage/review.h"

#include "stage/rates.h"
#include <string.h>

bool review_drawn(const struct stage_context *c) { return rates_known(c, "drawn"); }

int review_open_queue(const struct stage_context *c, const char *kind, const char *gate,
                      int64_t required) {
    struct store_review_queue q = {.job = c->job_id, .round = c->round, .kind = kind,
                                   .gate = gate, .required = required};
    return store_review_queue_add(c->store, &q);
}

struct search {
    const struct stage_context *c;
    const char *kind;
    struct store_review_queue found;
    char gate[32];
    bool there;
};

static int find_queue(void *context, const struct store_review_queue *q) {
    struct search *x = context;
    if (q->round != x->c->round || strcmp(q->kind, x->kind) != 0)
        return 0;
    x->found = *q;
    x->found.kind = x->kind;
    snprintf(x->gate, sizeof x->gate, "%s", q->gate);
    x->found.gate = x->gate;
    x->there = true;
    return 1;
}

int review_wait(const struct stage_context *c, const char *kind, const struct book *b,
                struct stage_verdict *ret, bool *ret_closed) {
    struct search x = {.c = c, .kind = kind};
    *ret_closed = false;
    ret->next = STAGE_DONE;
    int rc = store_review_queues_each(c->store, c->job_id, find_queue, &x);
    if (rc < 0)
        return rc;
    if (!x.there || x.found.closed)
        return 0;
    struct review_count n = book_count(b, &x.found);
    if (n.done < n.required && !stage_accepted(c, x.gate)) {
        ret->next = STAGE_WAIT;
        snprintf(ret->gate, sizeof ret->gate, "%s", x.gate);
        review_reason(&x.found, &n, ret->reason, sizeof ret->reason);
        return 0;
    }
    *ret_closed = true;
    return store_review_queue_close(c->store, c->job_id, c->round, kind);
}
