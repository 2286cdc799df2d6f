/* kernels_gemm.c: the matrix product, and the table of one instruction set. Tiles of
 * ROWS × NR stay in registers for a block of KERNEL_KC sums (Goto & van de Geijn 2008,
 * "Anatomy of high-performance matrix multiplication"). */
#include "shim/kernels_tile.h"

/* ---- tiles ------------------------------------------------------------------------- */

typedef void tile_function(int64_t k, const float *a, int64_t stride, const float *b,
                           int64_t sliver, int64_t ldb, float *c, int64_t ldc, int64_t cols,
                           bool accumulate);

#define TILE_OF(name, rows, vectors, unit_row)                                                     \
    static void name(int64_t k, const float *a, int64_t stride, const float *b, int64_t sliver,    \
                     int64_t ldb, float *c, int64_t ldc, int64_t cols, bool accumulate) {          \
        tile(false, rows, vectors, unit_row, false, k, a, stride, b, sliver, ldb, c, ldc, cols,    \
             accumulate);                                                                          \
    }
#define TILE(rows)                                                                                 \
    TILE_OF(tile_columns_##rows, rows, NV, false)                                                  \
    TILE_OF(tile_rows_##rows, rows, NV, true)

TILE_OF(tile_wide, 1, WIDE * NV, false)
TILE_OF(tile_half_wide, 1, WIDE * NV / 2, false)

/* Full tiles, then what is left by halves; the grouping changes no bit. */
TILE(1)
TILE(2)
TILE(4)
#if defined(__AVX512F__)
TILE(8)
TILE(12)
static const int tile_heights[] = {12, 8, 4, 2, 1};
static tile_function *const tile_functions[][2] = {{tile_columns_12, tile_rows_12},
                                                   {tile_columns_8, tile_rows_8},
                                                   {tile_columns_4, tile_rows_4},
                                                   {tile_columns_2, tile_rows_2},
                                                   {tile_columns_1, tile_rows_1}};
#elif defined(__AVX2__)
TILE(6)
static const int tile_heights[] = {6, 4, 2, 1};
static tile_function *const tile_functions[][2] = {{tile_columns_6, tile_rows_6},
                                                   {tile_columns_4, tile_rows_4},
                                                   {tile_columns_2, tile_rows_2},
                                                   {tile_columns_1, tile_rows_1}};
#else
static const int tile_heights[] = {4, 2, 1};
static tile_function *const tile_functions[][2] = {{tile_columns_4, tile_rows_4},
                                                   {tile_columns_2, tile_rows_2},
                                                   {tile_columns_1, tile_rows_1}};
#endif

/* One block of sums for all rows and columns. */
static void block(int64_t m, int64_t n, int64_t k, struct kernel_matrix a, const float *b,
                  int64_t sliver, int64_t ldb, float *c, int64_t ldc, bool accumulate) {
    bool unit_row = a.cs != 1;
    int64_t stride = unit_row ? a.cs : a.rs;
    int kind = 0;
    for (int64_t r = 0; r < m; r += tile_heights[kind]) {
        while (tile_heights[kind] > m - r)
            kind++;
        tile_function *f = tile_functions[kind][unit_row];
        const float *from = a.p + r * a.rs;
        float *to = c + r * ldc;
        int64_t j = 0;
        bool alone = tile_heights[kind] == 1 && !unit_row;
        for (; alone && n - j > (WIDE - 1) * NR; j += WIDE * NR)
            tile_wide(k, from, stride, b + j / NR * sliver, sliver, ldb, to + j, ldc, n - j,
                      accumulate);
        for (; alone && n - j > (WIDE / 2 - 1) * NR; j += WIDE / 2 * NR)
            tile_half_wide(k, from, stride, b + j / NR * sliver, sliver, ldb, to + j, ldc, n - j,
                           accumulate);
        for (; j < n; j += NR)
            f(k, from, stride, b + j / NR * sliver, sliver, ldb, to + j, ldc,
              n - j < NR ? n - j : NR, accumulate);
    }
}

void KERNEL(kernel_product)(int64_t m, int64_t n, int64_t k, struct kernel_matrix a,
                            const float *b, int64_t sliver, int64_t ldb, float *c, int64_t ldc,
                            bool accumulate) {
    for (int64_t p = 0; p < k; p += KERNEL_KC) {
        struct kernel_matrix part = {a.p + p * a.cs, a.rs, a.cs};
        block(m, n, k - p < KERNEL_KC ? k - p : KERNEL_KC, part, b + p * ldb, sliver, ldb, c, ldc,
              accumulate || p > 0);
    }
}

/* ---- packing -------------------------------------------------------------------------- */

static void pack_sliver(int64_t cols, int64_t k, struct kernel_matrix b, float *to) {
    int64_t p = 0;
    if (cols == NR && b.cs == 1) {
        for (; p < k; p++)
            memcpy(to + p * NR, b.p + p * b.rs, NR * sizeof *to);
        return;
    }
    /* Part slivers too: decoding's keys are seldom a multiple of NR. */
    if (b.rs == 1)
        for (; p + 4 <= k; p += 4) {
            int64_t j = 0;
            for (; j + 4 <= cols; j += 4)
                transpose_4x4(b.p + p + j * b.cs, b.cs, to + p * NR + j, NR);
            for (; j < NR; j++)
                for (int64_t q = 0; q < 4; q++)
                    to[(p + q) * NR + j] = j < cols ? b.p[p + q + j * b.cs] : 0;
        }
    for (; p < k; p++)
        for (int64_t j = 0; j < NR; j++)
            to[p * NR + j] = j < cols ? b.p[p * b.rs + j * b.cs] : 0;
}

void KERNEL(kernel_pack)(int64_t n, int64_t k, struct kernel_matrix b, float *packed) {
    for (int64_t j = 0; j < n; j += NR) {
        struct kernel_matrix part = {b.p + j * b.cs, b.rs, b.cs};
        pack_sliver(n - j < NR ? n - j : NR, k, part, packed + j * k);
    }
}

/* ---- the whole product ------------------------------------------------------------------ */

static void gemm(int64_t m, int64_t n, int64_t k, struct kernel_matrix a, struct kernel_matrix b,
                 float *c, int64_t ldc, bool accumulate, float *scratch) {
    for (int64_t j = 0; j < n; j += KERNEL_NC) {
        int64_t cols = n - j < KERNEL_NC ? n - j : KERNEL_NC;
        for (int64_t p = 0; p < k; p += KERNEL_KC) {
            int64_t sums = k - p < KERNEL_KC ? k - p : KERNEL_KC;
            struct kernel_matrix pb = {b.p + p * b.rs + j * b.cs, b.rs, b.cs};
            struct kernel_matrix pa = {a.p + p * a.cs, a.rs, a.cs};
            KERNEL(kernel_pack)(cols, sums, pb, scratch);
            block(m, cols, sums, pa, scratch, sums * NR, NR, c + j, ldc, accumulate || p > 0);
        }
    }
}

static void gemm_packed(int64_t m, int64_t n, int64_t k, struct kernel_matrix a,
                        const float *packed, float *c, int64_t ldc) {
    KERNEL(kernel_product)(m, n, k, a, packed, k * NR, NR, c, ldc, false);
}

const struct shim_kernels KERNEL(shim_kernels) = {
#if defined(__AVX512BF16__)
    "avx512",
#else
    "widened",
#endif
    NR,
    KERNEL(kernel_pack),
    gemm,
    gemm_packed,
    KERNEL(kernel_few),
    KERNEL(kernel_few16),
    NULL, /* few16_tiled */
    12,
    KERNEL(kernel_halve),
    KERNEL(kernel_widen),
    KERNEL(kernel_attention_scratch),
    KERNEL(kernel_attention),
    KERNEL(kernel_attention_grad),
#if defined(__AVX512BF16__)
    KERNEL(kernel_attention16_scratch),
    KERNEL(kernel_attention16),
    KERNEL(kernel_attention16_grad),
#else
    NULL, /* attention16_scratch */
    NULL, /* attention16 */
    NULL, /* attention16_grad */
#endif
    KERNEL(kernel_rms_norm),
    KERNEL(kernel_rms_norm_grad),
    KERNEL(kernel_swiglu),
    KERNEL(kernel_swiglu_grad),
    KERNEL(kernel_rotary),
    KERNEL(kernel_add),
    KERNEL(kernel_logprob),
    KERNEL(kernel_logprob_grad),
    KERNEL(kernel_exp_sums),
};
