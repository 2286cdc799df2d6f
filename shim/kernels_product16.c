/* kernels_product16.c: kernels_gemm.c's product where both sides are bfloat16, two in a 32-bit
 * word, and sums are fp32. Only where an instruction does it; not for weights as they lie
 * (kernels_few16.c). */
#include "shim/kernels_tile.h"

#if defined(__AVX512BF16__)

typedef void tile16_function(int64_t pairs, const float *a, int64_t stride, const float *b,
                             float *c, int64_t ldc, int64_t cols, bool accumulate);

#define TILE16_OF(name, rows, unit_row)                                                            \
    static void name(int64_t pairs, const float *a, int64_t stride, const float *b, float *c,      \
                     int64_t ldc, int64_t cols, bool accumulate) {                                 \
        tile(true, rows, NV, unit_row, false, pairs, a, stride, b, 0, NR, c, ldc, cols,            \
             accumulate);                                                                          \
    }
#define TILE16(rows)                                                                               \
    TILE16_OF(tile16_columns_##rows, rows, false)                                                  \
    TILE16_OF(tile16_rows_##rows, rows, true)

TILE16(1)
TILE16(2)
TILE16(4)
TILE16(8)
TILE16(12)
static const int heights[] = {12, 8, 4, 2, 1};
static tile16_function *const functions[][2] = {{tile16_columns_12, tile16_rows_12},
                                                {tile16_columns_8, tile16_rows_8},
                                                {tile16_columns_4, tile16_rows_4},
                                                {tile16_columns_2, tile16_rows_2},
                                                {tile16_columns_1, tile16_rows_1}};

void KERNEL(kernel_product16)(int64_t m, int64_t n, int64_t pairs, struct kernel_matrix a,
                              const float *b, int64_t sliver, float *c, int64_t ldc,
                              bool accumulate) {
    bool unit_row = a.cs != 1;
    int64_t stride = unit_row ? a.cs : a.rs;
    for (int64_t p = 0; p < pairs; p += KERNEL_KC) {
        int64_t sums = pairs - p < KERNEL_KC ? pairs - p : KERNEL_KC;
        int kind = 0;
        for (int64_t r = 0; r < m; r += heights[kind]) {
            while (heights[kind] > m - r)
                kind++;
            const float *from = a.p + p * a.cs + r * a.rs;
            for (int64_t j = 0; j < n; j += NR)
                functions[kind][unit_row](sums, from, stride, b + j / NR * sliver + p * NR,
                                          c + r * ldc + j, ldc, n - j < NR ? n - j : NR,
                                          accumulate || p > 0);
        }
    }
}

#endif
