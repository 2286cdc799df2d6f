/* draw.c: principles by weight. Order is the constitution's, so a draw depends on the
 * revision and the key alone. */
#include "stage/draw.h"

#include <string.h>

bool draw_usable(const struct principle *p, enum draw_use use) {
    if (!p->enabled || !(p->weight > 0))
        return false;
    if (use == DRAW_CRITIQUE)
        return (p->phases & PHASE_SFT) && p->critique && p->revision;
    return (p->phases & PHASE_RL) && p->choice;
}

static size_t weights(const struct constitution *c, enum draw_use use, double *w) {
    size_t usable = 0;
    for (size_t i = 0; i < c->n_principles; i++) {
        bool on = draw_usable(&c->principles[i], use);
        w[i] = on ? c->principles[i].weight : 0;
        usable += on;
    }
    return usable;
}

const struct principle *draw_principle(const struct stage_context *c, enum draw_use use,
                                       const char *what, uint64_t item, uint32_t k) {
    const struct constitution *o = c->constitution;
    CAI_AUTO(mem) double *w = cai_realloc(NULL, o->n_principles + 1, sizeof *w);
    if (weights(o, use, w) == 0)
        return NULL;
    struct cai_key key = cai_key_make(c->job->seed, c->round, what, item, k);
    return &o->principles[cai_rng_weighted(key, 0, w, o->n_principles)];
}

const struct principle *draw_principle_distinct(const struct stage_context *c, enum draw_use use,
                                                const char *what, uint64_t item, uint32_t i) {
    const struct constitution *o = c->constitution;
    CAI_AUTO(mem) double *w = cai_realloc(NULL, o->n_principles + 1, sizeof *w);
    if (weights(o, use, w) <= i)
        return NULL;
    struct cai_key key = cai_key_make(c->job->seed, c->round, what, item, 0);
    size_t at = 0;
    for (uint32_t j = 0; j <= i; j++) {
        at = cai_rng_weighted(key, j, w, o->n_principles);
        w[at] = 0;
    }
    return &o->principles[at];
}

void draw_table_make(struct draw_table *t, const double *weight, size_t n) {
    CAI_CHECK(n > 0);
    t->n = n;
    t->cumulative = cai_realloc(NULL, n, sizeof *t->cumulative);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        t->cumulative[i] = sum += weight[i];
    CAI_CHECK(sum > 0);
}

size_t draw_table_pick(const struct draw_table *t, struct cai_key key, uint64_t position) {
    double x = cai_rng_uniform(key, position) * t->cumulative[t->n - 1];
    size_t low = 0, high = t->n - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->cumulative[middle] > x)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void draw_table_free(struct draw_table *t) {
    free(t->cumulative);
    *t = (struct draw_table){0};
}
