/* saving.c: see saving.h. Begun → (start → done)*: last_ms is when the state under way began
 * until it is done. */
#include "learn/saving.h"

#include "base/clock.h"
#include <math.h>

/* A process computes one task at a time, on one thread. */
static double tally_s;
static uint32_t tally_n;

void saving_begin(struct saving *s, int64_t every, double fault_every) {
    *s = (struct saving){.every = every, .fault_every = fault_every, .last_ms = cai_now_ms()};
}

double saving_interval(const struct saving *s) {
    return s->n ? sqrt(2 * s->cost * s->fault_every) : 0;
}

bool saving_due(const struct saving *s, int64_t done) {
    if (s->fault_every <= 0)
        return s->every > 0 && done % s->every == 0;
    return (double)(cai_now_ms() - s->last_ms) / 1000 >= saving_interval(s);
}

void saving_start(struct saving *s) { s->last_ms = cai_now_ms(); }

void saving_done(struct saving *s) {
    int64_t now = cai_now_ms();
    /* A clock of milliseconds cannot say less than half of one. */
    s->cost = fmax((double)(now - s->last_ms) / 1000, 0.0005);
    s->last_ms = now;
    s->spent += s->cost;
    s->n++;
    tally_s += s->cost;
    tally_n++;
}

void saving_tally_begin(void) {
    tally_s = 0;
    tally_n = 0;
}

void saving_tally(double *ret_seconds, uint32_t *ret_n) {
    *ret_seconds = tally_s;
    *ret_n = tally_n;
}
