/* kernels_turn.h: the small transposition that packing and unpacking share. Only for the
 * kernels' own sources. */
#ifndef CAI_SHIM_KERNELS_TURN_H
#define CAI_SHIM_KERNELS_TURN_H

#include <stdint.h>

#define TURN_INLINE static inline __attribute__((always_inline))

typedef float v4 __attribute__((vector_size(16)));
typedef float v4u __attribute__((vector_size(16), aligned(4), may_alias));

/* Four rows become four columns: to[k · to_stride + j] = from[j · stride + k]. */
TURN_INLINE void transpose_4x4(const float *from, int64_t stride, float *to, int64_t to_stride) {
    v4 a = *(const v4u *)from, b = *(const v4u *)(from + stride),
       c = *(const v4u *)(from + 2 * stride), d = *(const v4u *)(from + 3 * stride);
    v4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
       cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(v4u *)to = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
    *(v4u *)(to + to_stride) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
    *(v4u *)(to + 2 * to_stride) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
    *(v4u *)(to + 3 * to_stride) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

/* y[lane, row] = sums[row, lane] for `rows`, which are `stride` apart, and `lanes`. */
TURN_INLINE void turn(const float *sums, int64_t stride, int64_t rows, int64_t lanes, float *y,
                      int64_t ldy) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        int64_t i = 0;
        for (; i + 4 <= lanes; i += 4)
            transpose_4x4(sums + r * stride + i, stride, y + i * ldy + r, ldy);
        for (; i < lanes; i++)
            for (int64_t q = 0; q < 4; q++)
                y[i * ldy + r + q] = sums[(r + q) * stride + i];
    }
    for (; r < rows; r++)
        for (int64_t i = 0; i < lanes; i++)
            y[i * ldy + r] = sums[r * stride + i];
}

#endif
