/* consensus.c: see consensus.h. */
#include "stage/consensus.h"

#include <math.h>
#include <string.h>

enum { STEPS_MAX = 200 };
static const double still = 1e-9, least_known = 0.05;

struct model {
    const struct readings *r;
    const int *known;
    double *truth;  /* items × categories */
    double *share;  /* of each category */
    double *says;   /* readers × true category × said category */
};

static int said(const struct readings *r, size_t item, size_t reader) {
    return r->value[item * r->readers + reader];
}

/* P(said | true) of a reader. */
static double *cell(const struct model *m, size_t reader, size_t is, size_t says) {
    size_t k = m->r->categories;
    return &m->says[(reader * k + is) * k + says];
}

/* Where truth begins: the shares of what readers said (Dawid and Skene's own start). */
static void begin(struct model *m) {
    const struct readings *r = m->r;
    for (size_t i = 0; i < r->items; i++) {
        double *t = &m->truth[i * r->categories], sum = 0;
        for (size_t j = 0; j < r->readers; j++)
            if (said(r, i, j) != AGREE_GAP) {
                t[said(r, i, j)]++;
                sum++;
            }
        for (size_t k = 0; k < r->categories; k++)
            t[k] = m->known[i] >= 0 ? (int)k == m->known[i]
                   : sum > 0        ? t[k] / sum
                                    : 1 / (double)r->categories;
    }
}

/* Maximisation: shares and chances, with what is assumed beforehand. */
static void learn(struct model *m) {
    const struct readings *r = m->r;
    size_t n = r->categories;
    for (size_t k = 0; k < n; k++) {
        double sum = 1;
        for (size_t i = 0; i < r->items; i++)
            sum += m->truth[i * n + k];
        m->share[k] = sum / ((double)r->items + (double)n);
    }
    for (size_t j = 0; j < r->readers; j++)
        for (size_t k = 0; k < n; k++) {
            double sum = CONSENSUS_RIGHT + CONSENSUS_WRONG;
            for (size_t l = 0; l < n; l++)
                *cell(m, j, k, l) = l == k ? CONSENSUS_RIGHT
                                           : CONSENSUS_WRONG / (double)(n > 1 ? n - 1 : 1);
            for (size_t i = 0; i < r->items; i++)
                if (said(r, i, j) != AGREE_GAP) {
                    *cell(m, j, k, (size_t)said(r, i, j)) += m->truth[i * n + k];
                    sum += m->truth[i * n + k];
                }
            for (size_t l = 0; l < n; l++)
                *cell(m, j, k, l) /= sum;
        }
}

/* Expectation; by how much a truth moved at most. */
static double infer(struct model *m) {
    const struct readings *r = m->r;
    size_t n = r->categories;
    double moved = 0, p[AGREE_CATEGORIES];
    for (size_t i = 0; i < r->items; i++) {
        double *t = &m->truth[i * n], top = -INFINITY, sum = 0;
        if (m->known[i] >= 0)
            continue;
        for (size_t k = 0; k < n; k++) {
            p[k] = log(m->share[k]);
            for (size_t j = 0; j < r->readers; j++)
                if (said(r, i, j) != AGREE_GAP)
                    p[k] += log(*cell(m, j, k, (size_t)said(r, i, j)));
            top = fmax(top, p[k]);
        }
        for (size_t k = 0; k < n; k++)
            sum += p[k] = exp(p[k] - top);
        for (size_t k = 0; k < n; k++) {
            moved = fmax(moved, fabs(p[k] / sum - t[k]));
            t[k] = p[k] / sum;
        }
    }
    return moved;
}

static struct consensus_reader judge(const struct model *m, size_t reader) {
    const struct readings *r = m->r;
    struct consensus_reader o = {0};
    double right = CONSENSUS_RIGHT, doubt = 0, z = 1.959963984540054;
    for (size_t i = 0; i < r->items; i++) {
        int v = said(r, i, reader);
        if (v == AGREE_GAP)
            continue;
        double t = m->truth[i * r->categories + (size_t)v];
        right += t;
        doubt += t * (1 - t);
        o.n++;
    }
    double n = (double)o.n + CONSENSUS_RIGHT + CONSENSUS_WRONG, p = right / n;
    o.accuracy = p;
    n *= fmax(least_known, 1 - doubt / (n * p * (1 - p))); /* less what is not known (Louis 1982) */
    double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    o.low = fmax(0, middle - half);
    o.high = fmin(1, middle + half);
    return o;
}

void consensus_estimate(const struct readings *r, const int *known, struct cai_arena *a,
                        struct consensus *ret) {
    size_t n = r->categories;
    struct model m = {r, known, cai_arena_array(a, r->items * n + 1, sizeof(double)),
                      cai_arena_array(a, n + 1, sizeof(double)),
                      cai_arena_array(a, r->readers * n * n + 1, sizeof(double))};
    begin(&m);
    for (int step = 0; step < STEPS_MAX; step++) {
        learn(&m);
        if (infer(&m) < still)
            break;
    }
    ret->truth = m.truth;
    ret->reader = cai_arena_array(a, r->readers + 1, sizeof *ret->reader);
    for (size_t j = 0; j < r->readers; j++)
        ret->reader[j] = judge(&m, j);
}
