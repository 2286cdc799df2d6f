/* rehearsal.h: a small job in a store of its own that nobody else sees: its stages run as a real
 * job's do, task by task, and its folder is removed with it. Not for: who computes the tasks,
 * and what follows from them (estimate.c). */
#ifndef CAI_CONTROL_REHEARSAL_H
#define CAI_CONTROL_REHEARSAL_H

#include "run/state.h"
#include "stage/cost.h"

struct rehearsal {
    char *dir, *work_dir;
    struct job_spec *spec;
    const struct constitution *constitution; /* borrowed */
    struct store *store;
    uint32_t round;
    const struct stage *stage; /* NULL before the first */
    bool planned, over;
    struct cost_probe probe;
};
/* Takes spec. Its data files must be small already: of `drawn` rows each, at most. */
int rehearsal_open(const char *dir, struct job_spec *spec, size_t drawn,
                   const struct constitution *c, struct rehearsal *ret);
void rehearsal_close(struct rehearsal *h); /* and removes the folder */
/* The next task, the caller's; NULL when it is over (h->over) */
int rehearsal_next(struct rehearsal *h, Cai__V1__Task **ret);
/* `begun_ms`: when the task was granted. */
int rehearsal_absorb(struct rehearsal *h, const Cai__V1__Task *task, Cai__V1__Result *result,
                     int64_t begun_ms, const struct cost_steps *steps);

#endif
