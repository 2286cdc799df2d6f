/* review_draw.c: which of a round's texts people are asked about, and in which order: by counted
 * draws over natural keys alone. */
#include "base/error.h"
#include "base/rng.h"
#include "stage/data.h"
#include "stage/review.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum way { WAY_UNCERTAIN, WAY_DISAGREEMENT, WAY_RANDOM, WAYS };
static const char *const way_names[WAYS] = {"uncertain", "disagreement", "random"};

struct ranked {
    const struct candidate *of;
    double doubt, disputes, chance;
    int way; /* −1: not drawn yet */
};

static double key_of(const struct ranked *r, enum way way) {
    return way == WAY_UNCERTAIN ? r->doubt : way == WAY_DISAGREEMENT ? r->disputes : 0;
}

/* Chance breaks ties, and natural keys those that are left. */
static int by_key(const void *a, const void *b, void *context) {
    enum way sorted_by = *(const enum way *)context;
    const struct ranked *x = *(const struct ranked *const *)a;
    const struct ranked *y = *(const struct ranked *const *)b;
    double kx = key_of(x, sorted_by), ky = key_of(y, sorted_by);
    if (kx != ky)
        return kx < ky ? 1 : -1;
    if (x->chance != y->chance)
        return x->chance < y->chance ? -1 : 1;
    if (x->of->item != y->of->item)
        return x->of->item < y->of->item ? -1 : 1;
    return (x->of->k > y->of->k) - (x->of->k < y->of->k);
}

/* Takes the first `want` of what is left, by one way; how many there were. */
static size_t take(struct ranked *all, size_t n, enum way way, size_t want, struct cai_arena *a) {
    const struct ranked **sorted = cai_arena_array(a, n + 1, sizeof *sorted);
    size_t taken = 0;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &all[i];
    qsort_r(sorted, n, sizeof *sorted, by_key, &way);
    for (size_t i = 0; i < n && taken < want; i++) {
        struct ranked *r = &all[sorted[i] - all];
        /* Where orders and principles agree there is nothing to draw by. */
        if (r->way >= 0 || (way != WAY_RANDOM && key_of(r, way) <= 0))
            continue;
        r->way = way;
        taken++;
    }
    return taken;
}

/* Exactly round(share × n) of the places, by chance. */
static void mark(const struct stage_context *c, const char *what, double share, size_t n,
                 bool *ret) {
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, n + 1, sizeof *order);
    cai_rng_permutation(cai_key_make(c->job->seed, c->round, what, 0, 0), n, order);
    size_t want = (size_t)llround(share * (double)n);
    for (size_t i = 0; i < n; i++)
        ret[order[i]] = i < want;
}

static size_t choose(const struct stage_context *c, const char *what, struct ranked *all, size_t n,
                     size_t m, struct cai_arena *a) {
    const struct job_human *h = &c->job->human;
    double sum = h->uncertain + h->disagreement + h->random;
    for (size_t i = 0; i < n; i++)
        all[i].chance = cai_rng_uniform(cai_key_make(c->job->seed, c->round, what,
                                                     all[i].of->item, all[i].of->k), 0);
    size_t by_doubt = (size_t)llround(sum > 0 ? h->uncertain / sum * (double)m : 0);
    size_t by_dispute = (size_t)llround(sum > 0 ? h->disagreement / sum * (double)m : 0);
    by_dispute = by_dispute < m - by_doubt ? by_dispute : m - by_doubt;
    size_t got = take(all, n, WAY_DISAGREEMENT, by_dispute, a);
    got += take(all, n, WAY_UNCERTAIN, by_doubt, a);
    return got + take(all, n, WAY_RANDOM, m - got, a);
}

/* Among the first `within` places: the reserve behind them may never be read. */
static bool *gold_places(const struct stage_context *c, const char *what, size_t within,
                         size_t gold, size_t n, struct cai_arena *a) {
    bool *is = cai_arena_array(a, n + 1, sizeof *is);
    uint32_t *order = cai_arena_array(a, within + 1, sizeof *order);
    if (gold)
        cai_rng_permutation(cai_key_make(c->job->seed, c->round,
                                         cai_arena_printf(a, "%s/golden", what), 0, 0), within,
                            order);
    for (size_t i = 0; i < gold; i++)
        is[order[i]] = true;
    return is;
}

void review_draw(const struct stage_context *c, const char *what, const struct candidate *from,
                 size_t n, size_t want, size_t gold, struct cai_arena *a, struct drawn **ret,
                 size_t *ret_n) {
    const struct job_human *h = &c->job->human;
    /* So that one reader alone can end it, without any second reading, and skip some. */
    double alone = h->overlap < 0.5 ? h->overlap / (1 - h->overlap) : 1;
    size_t spare = (size_t)ceil(alone * (double)want) + (size_t)fmax(2, ceil(0.1 * (double)want));
    size_t m = want + spare < n ? want + spare : n, all_n = 0;
    struct ranked *all = cai_arena_array(a, n + 1, sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct ranked){&from[i], from[i].doubt, from[i].disputes, 0, -1};
    m = m ? choose(c, what, all, n, m, a) : 0;
    gold = m ? gold : 0;
    struct drawn *chosen = cai_arena_array(a, m + 1, sizeof *chosen);
    bool *unaided = cai_arena_array(a, m + gold + 1, sizeof *unaided);
    bool *second = cai_arena_array(a, m + 1, sizeof *second);
    mark(c, cai_arena_printf(a, "%s/unaided", what), h->unaided, m + gold, unaided);
    mark(c, cai_arena_printf(a, "%s/second", what), h->overlap, m, second);
    for (size_t i = 0; i < n; i++)
        if (all[i].way >= 0) {
            chosen[all_n] = (struct drawn){.of = all[i].of, .how = way_names[all[i].way],
                                           .second = second[all_n]};
            all_n++;
        }
    bool *golden = gold_places(c, what, (want < m ? want : m) + gold, gold, m + gold, a);
    uint32_t *order = cai_arena_array(a, m + 1, sizeof *order);
    cai_rng_permutation(cai_key_make(c->job->seed, c->round, cai_arena_printf(a, "%s/order", what),
                                     0, 0), m, order);
    *ret = cai_arena_array(a, m + gold + 1, sizeof **ret);
    *ret_n = m + gold;
    for (size_t i = 0, k = 0; i < m + gold; i++) {
        (*ret)[i] = golden[i] ? (struct drawn){.gold = true, .how = chosen[i % m].how}
                              : chosen[order[k++]];
        (*ret)[i].unaided = unaided[i];
    }
}
