/* host.h: a training task as learn sees it, and what it asks of whoever runs it:
 * reports upward, the commit of a checkpoint, the wish to stop. */
#ifndef CAI_LEARN_HOST_H
#define CAI_LEARN_HOST_H

#include "cai.pb-c.h"
#include "shim/comm.h"
#include <stdbool.h>
#include <stdint.h>

/* NULL functions are skipped (tests). */
struct learn_host {
    void *context;
    void (*report)(void *context, Cai__V1__Report *report);
    /* Returns when the folder is committed (older ones may go then), or a code. */
    int (*commit)(void *context, const char *folder, const char *manifest_hash, uint64_t step);
    bool (*stopping)(void *context);
    /* The wish that the run ends at its next step, its state saved; left() is called when it
     * does so. Ranks agree: the wish of one is enough. */
    bool (*leaving)(void *context);
    void (*left)(void *context);
};

/* One rank's share of a gang's training run. Everything is borrowed. Every draw of the
 * run is keyed by (seed, round, …). */
struct learn_task {
    const Cai__V1__Train *train;
    uint64_t seed;
    uint32_t round;
    bool bfloat16;                 /* samples with matrices in bfloat16; trains in fp32 */
    struct comm *comm;             /* NULL: this process alone */
    const struct learn_host *host; /* NULL: nobody listens */
    const char *resume;            /* checkpoint folder to continue from; NULL or "" = begin */
    const char *resume_hash;       /* of its MANIFEST.json */
};

static inline int learn_rank(const struct learn_task *t) {
    return t->comm != NULL ? comm_rank(t->comm) : 0;
}
static inline int learn_world(const struct learn_task *t) {
    return t->comm != NULL ? comm_world(t->comm) : 1;
}
/* CAI_ESTATE when the host wants the task to end. */
int learn_stopping(const struct learn_task *t);

/* This rank's wish, to be summed with the others'. */
bool learn_wishes_to_leave(const struct learn_task *t);
/* After the state was saved: CAI_ESTATE. */
int learn_left(const struct learn_task *t, uint64_t step);

/* Figures of one step. A value that is not finite is left out: it has no meaning to
 * show, and the step that made it has been reported by its own name. */
enum { METRICS_MAX = 128, METRIC_NAME = 80 };
struct metrics {
    int n;
    struct {
        char name[METRIC_NAME];
        double value;
    } item[METRICS_MAX];
};
void metrics_add(struct metrics *m, double value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Rank 0 alone reports; samples are borrowed for the call. */
void learn_report(const struct learn_task *t, uint64_t done, uint64_t total, uint64_t step,
                  const struct metrics *m, Cai__V1__Sample **samples, size_t n_samples);

/* The result. Free with cai__v1__trained__free_unpacked. */
Cai__V1__Trained *trained_new(uint64_t steps, const struct metrics *m, const char *stopped);
/* Adds a saved folder with its model hash. */
int trained_add_output(const struct learn_task *task, Cai__V1__Trained *t, const char *dir);

#endif
