/* vote.c: see vote.h. */
#include "stage/vote.h"

#include "base/check.h"
#include "stage/rates.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct vote vote_count(const char *const *answer, size_t n) {
    struct vote best = {.paths = n};
    for (size_t i = 0; i < n; i++) {
        size_t votes = 0;
        bool seen = false;
        for (size_t j = 0; answer[i] && j < n && !seen; j++) {
            bool same = answer[j] && strcmp(answer[i], answer[j]) == 0;
            seen = same && j < i;
            votes += same;
        }
        if (!answer[i] || seen)
            continue;
        best.tie = votes == best.votes || (votes < best.votes && best.tie);
        if (votes > best.votes) {
            best.answer = answer[i];
            best.votes = votes;
            best.first = i;
        }
    }
    return best;
}

double vote_share(const struct vote *v) {
    return v->paths ? (double)v->votes / (double)v->paths : 0;
}

/* ---- calibration ------------------------------------------------------------------------- */
struct point {
    double share, right;
    size_t at;
};
static int by_share(const void *x, const void *y) {
    const struct point *a = x, *b = y;
    if (a->share != b->share)
        return a->share < b->share ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

struct block {
    double sum, n, share;
};

void vote_isotonic(const double *share, const bool *right, size_t n, double *ret_fit) {
    CAI_AUTO(mem) struct point *p = cai_realloc(NULL, n + 1, sizeof *p);
    CAI_AUTO(mem) struct block *b = cai_realloc(NULL, n + 1, sizeof *b);
    size_t blocks = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        p[i] = (struct point){share[i], right[i], i};
    qsort(p, n, sizeof *p, by_share);
    for (size_t i = 0; i < n; i++) {
        if (blocks && b[blocks - 1].share == p[i].share && i > 0) {
            b[blocks - 1].sum += p[i].right;
            b[blocks - 1].n++;
        } else {
            b[blocks++] = (struct block){p[i].right, 1, p[i].share};
        }
        bool last = i + 1 == n || p[i + 1].share != p[i].share;
        while (last && blocks > 1 &&
               b[blocks - 2].sum * b[blocks - 1].n >= b[blocks - 1].sum * b[blocks - 2].n) {
            b[blocks - 2].sum += b[blocks - 1].sum;
            b[blocks - 2].n += b[blocks - 1].n;
            b[blocks - 2].share = b[blocks - 1].share;
            blocks--;
        }
    }
    for (size_t i = 0; i < blocks; i++)
        for (size_t k = 0; k < (size_t)b[i].n; k++)
            ret_fit[p[at++].at] = b[i].sum / b[i].n;
}

double vote_threshold(const double *share, const double *fit, size_t n, double accuracy,
                      size_t least) {
    double lowest = INFINITY;
    size_t reached = 0;
    for (size_t i = 0; i < n; i++)
        if (fit[i] >= accuracy && share[i] < lowest)
            lowest = share[i];
    for (size_t i = 0; i < n; i++)
        reached += share[i] >= lowest;
    return reached >= least ? lowest : INFINITY;
}

/* ---- change ------------------------------------------------------------------------------ */
struct vote_change vote_rise(const double *difference, size_t n, double confidence) {
    struct vote_change o = {.n = n};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += difference[i];
    o.mean = n ? sum / (double)n : 0;
    for (size_t i = 0; i < n; i++)
        squares += (difference[i] - o.mean) * (difference[i] - o.mean);
    double error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : INFINITY;
    double reach = rates_quantile(confidence) * error;
    o.low = o.mean - reach;
    o.high = o.mean + reach;
    return o;
}
