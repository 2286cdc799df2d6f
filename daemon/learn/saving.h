/* saving.h: when a training run saves its state. Saving moves nothing that is learned, so that a
 * clock may decide it: the bits of a run are the same whenever it was saved. Not for: how
 * (checkpoint.h). */
#ifndef CAI_LEARN_SAVING_H
#define CAI_LEARN_SAVING_H

#include <stdbool.h>
#include <stdint.h>

/* Either every so many steps, or, when the time between faults is known, by Young's rule (Young
 * 1974: √(2 · cost · time between faults)) from what the states so far have cost: one is saved
 * at the first step, to know. */
struct saving {
    int64_t every;      /* steps; 0 = only at the end */
    double fault_every; /* seconds; 0 = `every` counts */
    double cost;        /* of the last state, seconds; 0 = none yet */
    int64_t last_ms;    /* when the last was whole, or the run began */
    double spent;       /* on all of them, in seconds */
    uint32_t n;
};
void saving_begin(struct saving *s, int64_t every, double fault_every);
/* Seconds from one state to the next; 0 = at the next step. */
double saving_interval(const struct saving *s);
/* This rank's wish after a step, `done` steps in all; ranks agree on rank 0's. */
bool saving_due(const struct saving *s, int64_t done);
/* Around a state that is being saved. */
void saving_start(struct saving *s);
void saving_done(struct saving *s);

/* Of all runs of this process since saving_tally_begin(): for a task's result. */
void saving_tally_begin(void);
void saving_tally(double *ret_seconds, uint32_t *ret_n);

#endif
