/* kernels_tile.h: one register tile of a matrix product. Only for the kernels' own sources. */
#ifndef CAI_SHIM_KERNELS_TILE_H
#define CAI_SHIM_KERNELS_TILE_H

#include "shim/kernels_turn.h"
#include "shim/kernels_vec.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

/* A row or two alone would leave the multipliers waiting for their own sums, so they take
 * more columns at a time. */
enum { WIDE = 4 /* slivers */ };

typedef int32_t tile_word __attribute__((may_alias));

/* acc += a.high · b.high + a.low · b.low, by lanes. */
INLINE vf add_pairs(vf acc, vi a, vi b) {
#if defined(__AVX512BF16__)
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#else
    const vi high = (vi){0} + (int32_t)0xffff0000;
    acc += (vf)(a & high) * (vf)(b & high);
    return acc + (vf)(a << 16) * (vf)(b << 16);
#endif
}

/* acc[rows][vectors] += A · B over k sums. `half`, `rows`, `vectors` and `unit_row` are
 * constants where this is inlined; unit_row: A's rows are neighbours (rs = 1), else its columns
 * are. B's slivers of NR columns are `sliver` apart. half: an element of A and of B is no float
 * but two bfloat16, and k counts pairs. */
INLINE void tile_sums(const bool half, const int rows, const int vectors, const bool unit_row,
                      int64_t k, const float *a, int64_t stride, const float *b, int64_t sliver,
                      int64_t ldb, vf acc[ROWS][WIDE * NV]) {
    for (int64_t p = 0; p < k; p++) {
        vf bv[WIDE * NV];
        UNROLL for (int v = 0; v < vectors; v++)
            bv[v] = load(b + v / NV * sliver + v % NV * W);
        UNROLL for (int r = 0; r < rows; r++) {
            const float *one = a + (unit_row ? p * stride + r : r * stride + p);
            vi pair = half ? (vi){0} + *(const tile_word *)one : (vi){0};
            vf x = half ? (vf){0} : splat(*one);
            UNROLL for (int v = 0; v < vectors; v++)
                acc[r][v] = half ? add_pairs(acc[r][v], pair, (vi)bv[v]) : acc[r][v] + x * bv[v];
        }
        b += ldb;
    }
}

/* c[rows, cols ≤ vectors · W] (+)= A · B over k ≤ KERNEL_KC sums. `ahead`: A is read once, from
 * far away, and the tile after this one begins `rows` rows below. */
INLINE void tile(const bool half, const int rows, const int vectors, const bool unit_row,
                 const bool ahead, int64_t k, const float *a, int64_t stride, const float *b,
                 int64_t sliver, int64_t ldb, float *c, int64_t ldc, int64_t cols,
                 bool accumulate) {
    enum { LINE = 16 /* floats */ };
    vf acc[ROWS][WIDE * NV];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++)
            acc[r][v] = (vf){0};
    for (int64_t p = 0; ahead && p < k; p += LINE) {
        UNROLL for (int r = 0; r < rows; r++)
            __builtin_prefetch(a + (rows + r) * stride + p);
        tile_sums(half, rows, vectors, unit_row, k - p < LINE ? k - p : LINE, a + p, stride,
                  b + p * ldb, sliver, ldb, acc);
    }
    if (!ahead)
        tile_sums(half, rows, vectors, unit_row, k, a, stride, b, sliver, ldb, acc);
    UNROLL for (int r = 0; r < rows; r++) {
        float *to = c + r * ldc;
        UNROLL for (int v = 0; v < vectors; v++) {
            int64_t left = cols - v * W;
            if (left >= W)
                store(to + v * W, accumulate ? load(to + v * W) + acc[r][v] : acc[r][v]);
            else if (left > 0)
                store_part(to + v * W,
                           accumulate ? load_part(to + v * W, left) + acc[r][v] : acc[r][v], left);
        }
    }
}

#endif
