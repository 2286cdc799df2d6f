/* engine_sample.c: sampling on host logits. Plain sampling is one pass for exponentials and
 * block sums (ct_exp_sums), and a draw from the cumulative sums: the log-probability of
 * what was drawn needs their total anyway, so noise per id would only add to it.
 * Not for: which rows there are (engine_generate.c). */
#include "learn/engine_sample.h"

#include "base/check.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

struct candidate {
    float weight;
    int32_t id;
};

void sampler_open(struct sampler *s, int64_t n)
{
    *s = (struct sampler){.n = n};
    s->weights = cai_alloc((size_t)n * sizeof(*s->weights));
    s->sums = cai_alloc((size_t)(n + CT_SUM_BLOCK - 1) / CT_SUM_BLOCK * sizeof(*s->sums));
}

void sampler_close(struct sampler *s)
{
    free(s->weights);
    free(s->sums);
    free(s->sorted);
    memset(s, 0, sizeof(*s));
}

/* The id at which the cumulative weight passes u · total. */
static int32_t pick(const struct sampler *s, double u, double total)
{
    double left = u * total;
    int64_t n = s->n, blocks = (n + CT_SUM_BLOCK - 1) / CT_SUM_BLOCK, b = 0;
    int32_t last = -1;
    while (b + 1 < blocks && left >= s->sums[b])
        left -= s->sums[b++];
    for (; b < blocks; b++) { /* a second block only when rounding ate the remainder */
        int64_t end = (b + 1) * CT_SUM_BLOCK < n ? (b + 1) * CT_SUM_BLOCK : n;
        for (int64_t i = b * CT_SUM_BLOCK; i < end; i++) {
            if (s->weights[i] <= 0)
                continue;
            last = (int32_t)i;
            left -= (double)s->weights[i];
            if (left < 0)
                return last;
        }
    }
    for (int64_t i = n; last < 0 && i-- > 0;)
        if (s->weights[i] > 0)
            last = (int32_t)i;
    return last;
}

static int by_weight(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Candidates that can survive, heaviest first. Without top-k, ids lighter than
 * (1 - p) · total / n are left out at once: all of them together weigh less than what
 * top-p removes. */
static int64_t collect(struct sampler *s, const struct sampling *how, double total)
{
    float floor = 0;
    if (how->top_k <= 0 && how->top_p < 1)
        floor = (float)((1 - how->top_p) * total / (double)s->n * 0.999);
    if (how->min_p > 0 && (float)how->min_p > floor)
        floor = (float)how->min_p; /* the heaviest weighs 1 */
    if (!s->sorted)
        s->sorted = cai_alloc((size_t)s->n * sizeof(*s->sorted));
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (s->weights[i] > 0 && s->weights[i] >= floor)
            s->sorted[n++] = (struct candidate){s->weights[i], (int32_t)i};
    qsort(s->sorted, (size_t)n, sizeof(*s->sorted), by_weight);
    return n;
}

/* Draws among what top-k, top-p and min-p leave, in that order. Only when min-p is alone
 * may collect() apply it early: before top-p it would change the sums top-p looks at. */
static int32_t pick_truncated(struct sampler *s, const struct sampling *how, double u,
                              double total)
{
    struct sampling early = *how;
    early.min_p = how->top_p < 1 || how->top_k > 0 ? 0 : how->min_p;
    int64_t n = collect(s, &early, total);
    struct candidate *c = s->sorted;
    double mass = total;
    if (how->top_k > 0 && how->top_k < n) {
        int64_t k = how->top_k; /* ties with the last stay, as in transformers */
        while (k < n && c[k].weight == c[how->top_k - 1].weight)
            k++;
        n = k;
        mass = 0;
        for (int64_t i = 0; i < n; i++)
            mass += (double)c[i].weight;
    }
    if (how->top_p < 1) {
        double before = 0; /* an id stays while the mass before it is below p */
        int64_t k = 0;
        while (k < n && (k == 0 || before < how->top_p * mass))
            before += (double)c[k++].weight;
        n = k;
    }
    while (how->min_p > 0 && n > 1 && (double)c[n - 1].weight < how->min_p * (double)c[0].weight)
        n--;
    double kept = 0;
    qsort(c, (size_t)n, sizeof(*c), by_id);
    for (int64_t i = 0; i < n; i++)
        kept += (double)c[i].weight;
    double left = u * kept;
    for (int64_t i = 0; i + 1 < n; i++) {
        left -= (double)c[i].weight;
        if (left < 0)
            return c[i].id;
    }
    return c[n - 1].id;
}

static int32_t first_of(const float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] == value)
            return (int32_t)i;
    return 0;
}

int sampler_draw(struct sampler *s, const float *logits, const struct sampling *how,
                 struct cai_key key, uint64_t position, int32_t *ret_id, float *ret_logprob)
{
    bool greedy = how->temperature <= 0;
    double temperature = greedy ? 1 : how->temperature, total = 0;
    float max = ct_exp_sums(logits, s->n, temperature, s->weights, s->sums);
    for (int64_t b = 0; b < s->n; b += CT_SUM_BLOCK)
        total += s->sums[b / CT_SUM_BLOCK];
    if (!isfinite(max) || !isfinite(total)) /* NaN hides from the maximum, not from the sum */
        return cai_fail(CAI_ENUMERIC, "the model's logits are not finite");
    bool truncated = how->top_k > 0 || how->top_p < 1 || how->min_p > 0;
    int32_t id;
    if (greedy)
        id = first_of(logits, s->n, max);
    else if (truncated)
        id = pick_truncated(s, how, cai_rng_uniform(key, position), total);
    else
        id = pick(s, cai_rng_uniform(key, position), total);
    *ret_id = id;
    *ret_logprob = (float)((double)(logits[id] - max) / temperature - log(total));
    return 0;
}

struct part {
    struct sampler *samplers;
    int parts;
    const struct sampling *how;
    struct draw *draws;
    size_t n;
};

static void draw_part(void *context, int part)
{
    struct part *p = context;
    for (size_t i = (size_t)part; i < p->n; i += (size_t)p->parts) {
        struct draw *d = &p->draws[i];
        d->rc = sampler_draw(&p->samplers[part], d->logits, p->how, d->key, d->position, &d->id,
                             &d->logprob);
    }
}

int sampler_draw_all(struct sampler *samplers, int parts, const struct sampling *how,
                     struct draw *draws, size_t n)
{
    struct part p = {samplers, parts, how, draws, n};
    ct_parallel(parts, draw_part, &p);
    for (size_t i = 0; i < n; i++)
        if (draws[i].rc < 0) /* again, for its words were another thread's */
            return sampler_draw(samplers, draws[i].logits, how, draws[i].key, draws[i].position,
                                &draws[i].id, &draws[i].logprob);
    return 0;
}
