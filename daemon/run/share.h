/* share.h: whose task is next. Each person's worker seconds are counted, and fade by half in
 * half_life_min; whoever has used least comes first. Nothing here reaches a result: it decides
 * only which job's task is leased next.
 *
 * Given the store, the order is fixed: used time is written down every few seconds, with the
 * wall time at which it stood; all fade alike, so the order of two does not change by waiting. */
#ifndef CAI_RUN_SHARE_H
#define CAI_RUN_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct share {
    int64_t uid, wall_ms; /* when `seconds` stood so */
    double seconds;
    double held;  /* worker seconds of leases that run and are not counted yet */
    bool changed; /* not written down */
};
struct shares {
    struct share *all; /* by uid */
    size_t n;
    int64_t half_life_ms;
};

void shares_free(struct shares *s);
/* A new one has used nothing. Valid until the next person comes. */
struct share *share_of(struct shares *s, int64_t uid);
/* Used worker seconds as they count at wall_ms, with those held. A clock that went back is
 * taken to stand. */
double share_used(const struct shares *s, const struct share *x, int64_t wall_ms);
void share_add(const struct shares *s, struct share *x, double seconds, int64_t wall_ms);

/* A job that wants a worker, for share_before. */
struct share_turn {
    double used;
    int64_t uid, priority, id;
};
/* Less used time first, then the lower uid; of one person the higher priority, then the earlier
 * job. A total order. */
bool share_before(const struct share_turn *a, const struct share_turn *b);

#endif
