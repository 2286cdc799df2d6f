/* kernels_attention16.c: kernels_attention.c for training whose products are in bfloat16: what
 * goes into a product is rounded to it, to the nearest, ties to even; sums, scores, softmax and
 * what lies between the products of backward stay fp32. Values and what comes out are bfloat16
 * from the start, queries and keys are rounded here. A product's sum runs over pairs of
 * neighbours: two elements of a head, two positions, or two query rows. Both sides lie as
 * 32-bit words of such a pair, in arrays of floats, as kernel_product16() takes them.
 * The promise is the same: a row's bits depend on its own query and the keys before it only.
 * Not for a cache, nor for processors without the instruction. */
#include "shim/kernels_attend.h"

#if defined(__AVX512BF16__)

#include <immintrin.h>

enum { HALF_BLOCK = KERNEL_BLOCK / 2 };

static int64_t even(int64_t n) {
    return (n + 1) / 2 * 2;
}

int64_t KERNEL(kernel_attention16_scratch)(int64_t positions, int64_t d, bool backward) {
    int64_t length = padded(positions), width = padded(d), pairs = d / 2;
    int64_t keys = length * pairs, turned = length / 2 * width, scores = KERNEL_BLOCK * length;
    int64_t rows = KERNEL_BLOCK * pairs, some = NR * pairs;
    return backward ? 2 * keys + turned + 2 * scores + HALF_BLOCK * length + rows +
                          2 * HALF_BLOCK * width + some + length * d
                    : keys + turned + scores + rows + some + KERNEL_BLOCK * d;
}

/* ---- rounding and turning ------------------------------------------------------------------- */

INLINE vf load_some(const float *p, int64_t n) {
    return n >= W ? load(p) : load_part(p, n > 0 ? n : 0);
}

/* Pairs along a row: to[i / 2] = (from[i], from[i + 1]) for even i < n; n even. In place too. */
static void round_row(int64_t n, const float *from, float *to) {
    for (int64_t i = 0; i < n; i += 2 * W) {
        vf low = load_some(from + i, n - i), high = load_some(from + i + W, n - i - W);
        vf pairs = (vf)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
        if (n - i >= 2 * W)
            store(to + i / 2, pairs);
        else
            store_part(to + i / 2, pairs, (n - i) / 2);
    }
}

/* Pairs across two rows: lane i = (low[i], high[i]). */
INLINE vf zip(vf low, vf high) {
    typedef int16_t halves __attribute__((vector_size(2 * W * 2)));
    const halves turn = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    return (vf)_mm512_permutexvar_epi16((__m512i)turn, both);
}

/* The first n of W elements in bfloat16, one in a lane's lower half; the rest is 0. */
INLINE vi load_halves(const uint16_t *p, int64_t n) {
    uint16_t some[W] = {0};
    if (n < W) {
        memcpy(some, p, (size_t)n * sizeof *p);
        p = some;
    }
    return (vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

/* Elements in bfloat16, an even number of them, as the words that products take. */
INLINE const float *words(const uint16_t *p) {
    return (const float *)(const void *)p;
}

INLINE float *words_mut(uint16_t *p) {
    return (float *)(void *)p;
}

/* B(k = pairs along d, n = positions) of rows [n, d]: kernel_pack's form. `some`: NR · d / 2. */
static void pack_rows(int64_t n, int64_t d, const float *x, int64_t row, float *some, float *to) {
    int64_t pairs = d / 2;
    for (int64_t j = 0; j < n; j += NR) {
        int64_t cols = n - j < NR ? n - j : NR;
        for (int64_t c = 0; c < cols; c++)
            round_row(d, x + (j + c) * row, some + c * pairs);
        KERNEL(kernel_pack)(cols, pairs, (struct kernel_matrix){some, 1, pairs}, to + j * pairs);
    }
}

/* B(k = pairs of rows, n = d) of n rows; a last odd row's partner is 0. Slivers are
 * even(n) / 2 · NR apart. x is float [n, d], or bfloat16 where `half`, a constant, says so. */
INLINE void pack_turned_of(const bool half, int64_t n, int64_t d, const void *x, int64_t row,
                           float *to) {
    int64_t pairs = even(n) / 2;
    for (int64_t p = 0; p < pairs; p++) {
        bool whole = 2 * p + 1 < n;
        for (int64_t j = 0; j < d; j += W) {
            int64_t low = 2 * p * row + j, high = low + row, left = d - j;
            float *at = to + (j / NR * pairs + p) * NR + j % NR;
            if (half) {
                const uint16_t *from = x;
                vi upper = whole ? load_halves(from + high, left) : (vi){0};
                store(at, (vf)(load_halves(from + low, left) | upper << 16));
            } else {
                const float *from = x;
                store(at, zip(load_some(from + low, left),
                              whole ? load_some(from + high, left) : (vf){0}));
            }
        }
        if (d % NR > 0 && d % NR <= W) /* what the loop leaves of the last sliver */
            store(to + (d / NR * pairs + p) * NR + W, (vf){0});
    }
}

static void pack_turned(int64_t n, int64_t d, const float *x, int64_t row, float *to) {
    pack_turned_of(false, n, d, x, row, to);
}

static void pack_turned_halves(int64_t n, int64_t d, const uint16_t *x, int64_t row, float *to) {
    pack_turned_of(true, n, d, x, row, to);
}

/* A(m = columns, k = pairs of rows), rs = 1, of rows [n, cols ≤ pitch]; in place too. */
static void turn_rows(int64_t n, int64_t cols, int64_t pitch, const float *x, float *to) {
    for (int64_t r = 0; r < n; r += 2)
        for (int64_t i = 0; i < cols; i += W)
            store(to + r / 2 * pitch + i,
                  zip(load(x + r * pitch + i), r + 1 < n ? load(x + (r + 1) * pitch + i) : (vf){0}));
}

/* ---- forward -------------------------------------------------------------------------------- */

struct sides {
    float *keys, *values, *q, *scores, *out;
    int64_t lds, sliver; /* the values' */
};

static struct sides prepare(const struct kernel_attention16 *h) {
    const struct kernel_attention *a = &h->f;
    int64_t pairs = a->d / 2;
    struct sides s = {.lds = padded(a->rows), .sliver = even(a->rows) / 2 * NR};
    s.keys = a->scratch;
    s.values = s.keys + s.lds * pairs;
    s.scores = s.values + s.lds / 2 * padded(a->d);
    s.q = s.scores + KERNEL_BLOCK * s.lds;
    s.out = s.q + KERNEL_BLOCK * pairs;
    pack_rows(a->rows, a->d, a->k, a->k_row, s.out + KERNEL_BLOCK * a->d, s.keys);
    pack_turned_halves(a->rows, a->d, h->v, a->k_row, s.values);
    return s;
}

/* Query rows i … i + rows of head g. */
static void attend(const struct kernel_attention16 *h, const struct sides *s, int64_t g, int64_t i,
                   int64_t rows) {
    /* Positions that no row attends to: whole blocks of sums, so that what is left adds up
     * as it would with the zeros. */
    enum { WHOLE = 2 * KERNEL_KC };
    const struct kernel_attention *a = &h->f;
    int64_t skip = first_seen(a, i + 1) / WHOLE * WHOLE, cols = even(i + rows) - skip;
    int64_t d = a->d, pairs = d / 2, at = i * a->q_row + g * d;
    for (int64_t r = 0; r < rows; r++)
        round_row(d, a->q + at + r * a->q_row, s->q + r * pairs);
    KERNEL(kernel_product16)(rows, cols, pairs, (struct kernel_matrix){s->q, pairs, 1},
                             s->keys + skip * pairs, pairs * NR, s->scores, s->lds, false);
    for (int64_t r = 0; r < rows; r++) {
        int64_t seen = i + r + 1;
        float *row = s->scores + r * s->lds;
        a->lse[(i + r) * a->lse_row + g] =
            softmax_row(a, row, first_seen(a, seen) - skip, seen - skip, cols);
        round_row(padded(cols), row, row);
    }
    KERNEL(kernel_product16)(rows, d, cols / 2, (struct kernel_matrix){s->scores, s->lds, 1},
                             s->values + skip / 2 * NR, s->sliver, s->out, d, false);
    for (int64_t r = 0; r < rows; r++)
        round_row(d, s->out + r * d, words_mut(h->out + at + r * a->q_row));
}

void KERNEL(kernel_attention16)(const struct kernel_attention16 *h) {
    struct sides s = prepare(h);
    int64_t rows = h->f.rows;
    for (int64_t g = 0; g < h->f.group; g++)
        for (int64_t i = 0; i < rows; i += KERNEL_BLOCK)
            attend(h, &s, g, i, rows - i < KERNEL_BLOCK ? rows - i : KERNEL_BLOCK);
}

/* ---- backward ------------------------------------------------------------------------------- */

struct packs {
    float *keys_t, *values_t, *keys, *p, *ds, *ds_t, *q, *q_t, *d_out_t, *d_v;
    int64_t lds, sliver; /* of keys */
};

static struct packs pack_all(const struct kernel_attention16 *h) {
    const struct kernel_attention *f = &h->f;
    int64_t pairs = f->d / 2, width = padded(f->d);
    struct packs k = {.lds = padded(f->rows), .sliver = even(f->rows) / 2 * NR};
    k.keys_t = f->scratch;
    k.values_t = k.keys_t + k.lds * pairs;
    k.keys = k.values_t + k.lds * pairs;
    k.p = k.keys + k.lds / 2 * width;
    k.ds = k.p + KERNEL_BLOCK * k.lds;
    k.ds_t = k.ds + KERNEL_BLOCK * k.lds;
    k.q_t = k.ds_t + HALF_BLOCK * k.lds;
    k.d_out_t = k.q_t + HALF_BLOCK * width;
    k.d_v = k.d_out_t + HALF_BLOCK * width;
    k.q = k.d_v + k.lds * f->d;
    pack_rows(f->rows, f->d, f->k, f->k_row, k.q + KERNEL_BLOCK * pairs, k.keys_t);
    KERNEL(kernel_pack)(f->rows, pairs, (struct kernel_matrix){words(h->v), 1, f->k_row / 2},
                        k.values_t);
    pack_turned(f->rows, f->d, f->k, f->k_row, k.keys);
    return k;
}

static float dot_halves(int64_t n, const uint16_t *a, const uint16_t *b) {
    vf sum = {0};
    for (int64_t i = 0; i < n; i += W) {
        int64_t left = n - i < W ? n - i : W;
        sum += (vf)(load_halves(a + i, left) << 16) * (vf)(load_halves(b + i, left) << 16);
    }
    return sum_lanes(sum);
}

/* P and dS of query rows i … i + rows of head `head`, which begin at `at`: columns [0, cols). */
static void slopes(const struct kernel_attention16 *h, const struct packs *k, int64_t head,
                   int64_t i, int64_t rows, int64_t at, int64_t cols) {
    const struct kernel_attention *f = &h->f;
    int64_t d = f->d, pairs = d / 2, lds = k->lds;
    for (int64_t r = 0; r < rows; r++)
        round_row(d, f->q + at + r * f->q_row, k->q + r * pairs);
    KERNEL(kernel_product16)(rows, cols, pairs, (struct kernel_matrix){k->q, pairs, 1}, k->keys_t,
                             pairs * NR, k->p, lds, false);
    KERNEL(kernel_product16)(rows, cols, pairs,
                             (struct kernel_matrix){words(h->d_out + at), f->q_row / 2, 1},
                             k->values_t, pairs * NR, k->ds, lds, false);
    for (int64_t r = 0; r < rows; r++) {
        int64_t row = at + r * f->q_row;
        float delta = dot_halves(d, h->d_out + row, h->out + row);
        grad_row(f, k->p + r * lds, k->ds + r * lds, first_seen(f, i + r + 1), i + r + 1, cols,
                 f->lse[(i + r) * f->lse_row + head], delta);
    }
}

static void grad_block(const struct kernel_attention16 *h, const struct packs *k, int64_t head,
                       int64_t i, int64_t rows) {
    const struct kernel_attention *f = &h->f;
    int64_t cols = i + rows, d = f->d, at = i * f->q_row + head * d, lds = k->lds;
    int64_t pairs = even(rows) / 2;
    slopes(h, k, head, i, rows, at, even(cols));
    turn_rows(rows, cols, lds, k->p, k->p);
    turn_rows(rows, cols, lds, k->ds, k->ds_t);
    for (int64_t r = 0; r < rows; r++)
        round_row(padded(cols), k->ds + r * lds, k->ds + r * lds);
    KERNEL(kernel_product16)(rows, d, even(cols) / 2, (struct kernel_matrix){k->ds, lds, 1},
                             k->keys, k->sliver, h->d_q + at, f->q_row, false);
    pack_turned(rows, d, f->q + at, f->q_row, k->q_t);
    pack_turned_halves(rows, d, h->d_out + at, f->q_row, k->d_out_t);
    KERNEL(kernel_product16)(cols, d, pairs, (struct kernel_matrix){k->p, 1, lds}, k->d_out_t,
                             pairs * NR, k->d_v, d, true);
    KERNEL(kernel_product16)(cols, d, pairs, (struct kernel_matrix){k->ds_t, 1, lds}, k->q_t,
                             pairs * NR, h->d_k, f->k_row, true);
}

void KERNEL(kernel_attention16_grad)(const struct kernel_attention16 *h) {
    int64_t rows = h->f.rows, d = h->f.d, row = h->f.k_row;
    struct packs k = pack_all(h);
    memset(k.d_v, 0, (size_t)(rows * d) * sizeof(float));
    for (int64_t j = 0; j < rows; j++)
        memset(h->d_k + j * row, 0, (size_t)d * sizeof(float));
    for (int64_t head = 0; head < h->f.group; head++)
        for (int64_t i = 0; i < rows; i += KERNEL_BLOCK)
            grad_block(h, &k, head, i, rows - i < KERNEL_BLOCK ? rows - i : KERNEL_BLOCK);
    for (int64_t j = 0; j < rows; j++)
        round_row(d, k.d_v + j * d, words_mut(h->d_v + j * row));
}

#endif
