/* share.c: the arithmetic of shares; no clock, no store. Who is asked when: schedule.c. */
#include "run/share.h"
#include "base/buf.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void shares_free(struct shares *s) {
    free(s->all);
    s->all = NULL;
    s->n = 0;
}

struct share *share_of(struct shares *s, int64_t uid) {
    size_t at = 0;
    while (at < s->n && s->all[at].uid < uid)
        at++;
    if (at < s->n && s->all[at].uid == uid)
        return &s->all[at];
    s->all = cai_realloc(s->all, s->n + 1, sizeof *s->all);
    memmove(s->all + at + 1, s->all + at, (s->n - at) * sizeof *s->all);
    s->all[at] = (struct share){.uid = uid};
    s->n++;
    return &s->all[at];
}

static double faded(const struct shares *s, const struct share *x, int64_t wall_ms) {
    int64_t age = wall_ms - x->wall_ms;
    if (x->seconds <= 0 || age <= 0)
        return x->seconds;
    return x->seconds * exp2(-(double)age / (double)s->half_life_ms);
}

double share_used(const struct shares *s, const struct share *x, int64_t wall_ms) {
    return faded(s, x, wall_ms) + x->held;
}

void share_add(const struct shares *s, struct share *x, double seconds, int64_t wall_ms) {
    x->seconds = faded(s, x, wall_ms) + seconds;
    x->wall_ms = wall_ms > x->wall_ms ? wall_ms : x->wall_ms;
    x->changed = true;
}

bool share_before(const struct share_turn *a, const struct share_turn *b) {
    if (a->uid != b->uid)
        return a->used != b->used ? a->used < b->used : a->uid < b->uid;
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}
