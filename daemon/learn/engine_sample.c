/* engine_sample.c: sampling on host logits. Plain sampling is one pass for the maximum,
 * one for exponentials and block sums, and a draw from the cumulative sums; sums run in a
 * fixed order, so that a draw never depends on how many lanes the compiler used.
 * Not for: which rows there are (engine.c). */
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
    size_t padded = (size_t)(n + SAMPLER_BLOCK - 1) / SAMPLER_BLOCK * SAMPLER_BLOCK;
    s->n = n;
    s->weights = cai_alloc(padded * sizeof(*s->weights));
    s->sums = cai_alloc(padded / SAMPLER_BLOCK * sizeof(*s->sums));
    s->sorted = cai_alloc((size_t)n * sizeof(*s->sorted));
}

void sampler_close(struct sampler *s)
{
    free(s->weights);
    free(s->sums);
    free(s->sorted);
    memset(s, 0, sizeof(*s));
}

/* exp(x) for x <= 0 within 2 units in the last place, written so that it vectorises:
 * 2^n by exponent bits times a polynomial of degree 6 on [-ln2/2, ln2/2]. */
static inline float exp_negative(float x)
{
    x = x < -87.0f ? -87.0f : x; /* in this form NaN stays NaN */
    float shifted = x * 1.44269504f + 12582912.0f; /* rounds to an integer in the low bits */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f; /* ln 2 in two parts */
    r = r + n * 2.12194440e-4f;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    bits = (bits + 127u) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return p * scale;
}

/* Lanes keep the order of additions independent of the machine's vector width. */
enum { LANES = 16 };

static float row_max(const float *x, int64_t n)
{
    float lane[LANES];
    int64_t i = 0;
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    float m = -INFINITY;
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    for (int j = 0; j < LANES; j++)
        m = lane[j] > m ? lane[j] : m;
    return m;
}

static double block_sum(const float *in)
{
    float lane[LANES] = {0};
    for (int i = 0; i < SAMPLER_BLOCK; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += in[i + j];
    double sum = 0;
    for (int j = 0; j < LANES; j++)
        sum += (double)lane[j];
    return sum;
}

/* weights[i] = exp((x[i] - max) / T) and their sums by block; returns the whole sum. */
static double exponentials(struct sampler *s, const float *x, float max, float inverse)
{
    int64_t whole = s->n / SAMPLER_BLOCK;
    double total = 0;
    for (int64_t b = 0; b < whole; b++) {
        float *restrict w = s->weights + b * SAMPLER_BLOCK;
        const float *in = x + b * SAMPLER_BLOCK;
        for (int i = 0; i < SAMPLER_BLOCK; i++) /* the constant count lets it vectorise */
            w[i] = exp_negative((in[i] - max) * inverse);
        s->sums[b] = block_sum(w);
        total += s->sums[b];
    }
    if (whole * SAMPLER_BLOCK < s->n) {
        for (int64_t i = whole * SAMPLER_BLOCK; i < s->n; i++)
            s->weights[i] = exp_negative((x[i] - max) * inverse);
        s->sums[whole] = block_sum(s->weights + whole * SAMPLER_BLOCK); /* the rest is zero */
        total += s->sums[whole];
    }
    return total;
}

/* The id at which the cumulative weight passes u · total. */
static int32_t pick(const struct sampler *s, double u, double total)
{
    double left = u * total;
    int64_t n = s->n, blocks = (n + SAMPLER_BLOCK - 1) / SAMPLER_BLOCK, b = 0;
    int32_t last = -1;
    while (b + 1 < blocks && left >= s->sums[b])
        left -= s->sums[b++];
    for (; b < blocks; b++) { /* a second block only when rounding ate the remainder */
        int64_t end = (b + 1) * SAMPLER_BLOCK < n ? (b + 1) * SAMPLER_BLOCK : n;
        for (int64_t i = b * SAMPLER_BLOCK; i < end; i++) {
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
    float max = row_max(logits, s->n), inverse = greedy ? 1.0f : (float)(1.0 / how->temperature);
    if (!isfinite(max))
        return cai_fail(CAI_ENUMERIC, "the model's logits are not finite");
    double total = exponentials(s, logits, max, inverse);
    if (!isfinite(total)) /* a NaN hides from the maximum, not from the sum */
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
    *ret_logprob = (float)((double)((logits[id] - max) * inverse) - log(total));
    return 0;
}
