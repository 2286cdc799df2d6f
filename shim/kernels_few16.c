/* kernels_few16.c: kernels_few.c for weights in bfloat16: x is rounded to it as well, the
 * products are summed in fp32, two at a time and in order, over the whole length. With
 * AVX512-BF16 by its own instruction, elsewhere by widening; the two differ in the last
 * bits. Any number of rows, in any grouping, gives the same bits. */
#include "shim/kernels_tile.h"

typedef uint32_t pair_u __attribute__((aligned(2), may_alias));
typedef int32_t vi_u __attribute__((vector_size(W * 4), aligned(4), may_alias));

/* `rows` rows of w from `w` on (pairs, `stride` apart) against a sliver of x: sums[row][lane]. */
INLINE void sums16(const int rows, const int vectors, int64_t pairs, const pair_u *w,
                   int64_t stride, const uint32_t *x, float *sums) {
    enum { LINE = 16 /* pairs */ };
    vf acc[ROWS][NV];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++)
            acc[r][v] = (vf){0};
    for (int64_t q = 0; q < pairs; q += LINE) {
        UNROLL for (int r = 0; r < rows; r++)
            __builtin_prefetch(w + (rows + r) * stride + q);
        int64_t end = q + LINE < pairs ? q + LINE : pairs;
        for (int64_t p = q; p < end; p++) {
            vi xv[NV];
            UNROLL for (int v = 0; v < vectors; v++)
                xv[v] = *(const vi_u *)(x + p * NR + v * W);
            UNROLL for (int r = 0; r < rows; r++) {
                vi one = (vi){0} + (int32_t)w[r * stride + p];
                UNROLL for (int v = 0; v < vectors; v++)
                    acc[r][v] = add_pairs(acc[r][v], xv[v], one);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++)
            store(sums + r * NR + v * W, acc[r][v]);
}

typedef void few16_function(int64_t pairs, const pair_u *w, int64_t stride, const uint32_t *x,
                            float *sums);

#define FEW16(rows)                                                                                \
    static void few16_##rows(int64_t pairs, const pair_u *w, int64_t stride, const uint32_t *x,    \
                             float *sums) {                                                        \
        sums16(rows, NV, pairs, w, stride, x, sums);                                               \
    }                                                                                              \
    static void few16_##rows##_half(int64_t pairs, const pair_u *w, int64_t stride,                \
                                    const uint32_t *x, float *sums) {                              \
        sums16(rows, NV / 2, pairs, w, stride, x, sums);                                           \
    }

FEW16(1)
FEW16(4)
#if defined(__AVX512F__)
FEW16(12)
static const int heights[] = {12, 4, 1};
static few16_function *const functions[][2] = {
    {few16_12, few16_12_half}, {few16_4, few16_4_half}, {few16_1, few16_1_half}};
#else
static const int heights[] = {4, 1};
static few16_function *const functions[][2] = {{few16_4, few16_4_half}, {few16_1, few16_1_half}};
#endif

void KERNEL(kernel_few16)(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                          float *y, int64_t ldy) {
    float sums[ROWS * NR] __attribute__((aligned(64)));
    int kind = 0;
    for (int64_t o = 0; o < n; o += heights[kind]) {
        while (heights[kind] > n - o)
            kind++;
        const pair_u *rows = (const pair_u *)(w + o * pairs * 2);
        for (int64_t i = 0; i < m; i += NR) {
            int64_t lanes = m - i < NR ? m - i : NR;
            functions[kind][lanes <= W](pairs, rows, pairs, x + i * pairs, sums);
            turn(sums, NR, heights[kind], lanes, y + i * ldy + o, ldy);
        }
    }
}

/* To the nearest, ties to even; NaN stays NaN. In the upper half. */
INLINE uint32_t rounded(float value) {
    uint32_t u;
    memcpy(&u, &value, sizeof u);
    uint32_t nearest = u + 0x7fff + (u >> 16 & 1), quiet = u | 0x400000;
    return ((u & 0x7fffffff) > 0x7f800000 ? quiet : nearest) & 0xffff0000;
}

void KERNEL(kernel_halve)(int64_t n, const float *restrict x, uint16_t *restrict to) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (uint16_t)(rounded(x[i]) >> 16);
}

void KERNEL(kernel_widen)(int64_t n, const uint16_t *restrict x, float *restrict to) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)x[i] << 16;
        memcpy(&to[i], &u, sizeof u);
    }
}
