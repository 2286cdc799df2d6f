/* kernels_few.c: the product of few rows with a weight matrix as it lies, the work of
 * generation. Weights are read once, in their own order, as the tile's rows; the rows of x
 * are its lanes, and only they are packed. So nothing of the weights is ever copied, and an
 * element's sum is the one of kernels_gemm.c. Not for many rows, whose packed copy would
 * leave the cache. */
#include "shim/kernels_tile.h"

typedef void few_function(int64_t k, const float *w, int64_t stride, const float *x, float *sums,
                          bool accumulate);

#define FEW(rows)                                                                                  \
    static void few_##rows(int64_t k, const float *w, int64_t stride, const float *x, float *sums, \
                           bool accumulate) {                                                      \
        tile(false, rows, NV, false, true, k, w, stride, x, 0, NR, sums, NR, NR, accumulate);             \
    }                                                                                              \
    static void few_##rows##_half(int64_t k, const float *w, int64_t stride, const float *x,       \
                                  float *sums, bool accumulate) {                                  \
        tile(false, rows, NV / 2, false, true, k, w, stride, x, 0, NR, sums, NR, NR, accumulate);  \
    }

FEW(1)
FEW(2)
FEW(4)
#if defined(__AVX512F__)
FEW(8)
FEW(12)
static const int heights[] = {12, 8, 4, 2, 1};
static few_function *const functions[][2] = {{few_12, few_12_half},
                                             {few_8, few_8_half},
                                             {few_4, few_4_half},
                                             {few_2, few_2_half},
                                             {few_1, few_1_half}};
#elif defined(__AVX2__)
FEW(6)
static const int heights[] = {6, 4, 2, 1};
static few_function *const functions[][2] = {{few_6, few_6_half},
                                             {few_4, few_4_half},
                                             {few_2, few_2_half},
                                             {few_1, few_1_half}};
#else
static const int heights[] = {4, 2, 1};
static few_function *const functions[][2] = {
    {few_4, few_4_half}, {few_2, few_2_half}, {few_1, few_1_half}};
#endif

void KERNEL(kernel_few)(int64_t m, int64_t n, int64_t k, const float *x, const float *w, float *y,
                        int64_t ldy) {
    float sums[ROWS * NR] __attribute__((aligned(64)));
    int kind = 0;
    for (int64_t o = 0; o < n; o += heights[kind]) {
        while (heights[kind] > n - o)
            kind++;
        for (int64_t i = 0; i < m; i += NR) {
            int64_t lanes = m - i < NR ? m - i : NR;
            few_function *f = functions[kind][lanes <= W];
            for (int64_t p = 0; p < k; p += KERNEL_KC)
                f(k - p < KERNEL_KC ? k - p : KERNEL_KC, w + o * k + p, k, x + i * k + p * NR, sums,
                  p > 0);
            turn(sums, NR, heights[kind], lanes, y + i * ldy + o, ldy);
        }
    }
}
