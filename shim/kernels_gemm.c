/* kernels_gemm.c: the matrix product, and the table of one instruction set. Tiles of
 * ROWS × NR stay in registers for a block of KERNEL_KC sums (Goto & van de Geijn 2008,
 * "Anatomy of high-performance matrix multiplication"). */
#include "shim/kernels_vec.h"

/* ---- one tile ---------------------------------------------------------------------- */

/* c[rows, cols ≤ NR] (+)= A · B over k ≤ KERNEL_KC sums. `rows`, `unit_row` are constants
 * where this is inlined; unit_row: A's rows are neighbours (rs = 1), else its columns are. */
INLINE void tile(const int rows, const bool unit_row, int64_t k, const float *a, int64_t stride,
                 const float *b, int64_t ldb, float *c, int64_t ldc, int64_t cols,
                 bool accumulate) {
    vf acc[ROWS][NV];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < NV; v++)
            acc[r][v] = (vf){0};
    for (int64_t p = 0; p < k; p++) {
        vf bv[NV];
        UNROLL for (int v = 0; v < NV; v++)
            bv[v] = load(b + v * W);
        UNROLL for (int r = 0; r < rows; r++) {
            vf x = splat(unit_row ? a[p * stride + r] : a[r * stride + p]);
            UNROLL for (int v = 0; v < NV; v++)
                acc[r][v] += x * bv[v];
        }
        b += ldb;
    }
    UNROLL for (int r = 0; r < rows; r++) {
        float *to = c + r * ldc;
        UNROLL for (int v = 0; v < NV; v++) {
            int64_t left = cols - v * W;
            if (left >= W)
                store(to + v * W, accumulate ? load(to + v * W) + acc[r][v] : acc[r][v]);
            else if (left > 0)
                store_part(to + v * W,
                           accumulate ? load_part(to + v * W, left) + acc[r][v] : acc[r][v], left);
        }
    }
}

typedef void tile_function(int64_t k, const float *a, int64_t stride, const float *b, int64_t ldb,
                           float *c, int64_t ldc, int64_t cols, bool accumulate);

#define TILE(rows)                                                                                 \
    static void tile_columns_##rows(int64_t k, const float *a, int64_t stride, const float *b,     \
                                    int64_t ldb, float *c, int64_t ldc, int64_t cols,              \
                                    bool accumulate) {                                             \
        tile(rows, false, k, a, stride, b, ldb, c, ldc, cols, accumulate);                         \
    }                                                                                              \
    static void tile_rows_##rows(int64_t k, const float *a, int64_t stride, const float *b,        \
                                 int64_t ldb, float *c, int64_t ldc, int64_t cols,                 \
                                 bool accumulate) {                                                \
        tile(rows, true, k, a, stride, b, ldb, c, ldc, cols, accumulate);                          \
    }

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
        for (int64_t j = 0; j < n; j += NR)
            f(k, a.p + r * a.rs, stride, b + j / NR * sliver, ldb, c + r * ldc + j, ldc,
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

typedef float v4 __attribute__((vector_size(16)));
typedef float v4u __attribute__((vector_size(16), aligned(4), may_alias));

/* Four rows of B's transpose become four columns: to[k · NR + j] = from[j · stride + k]. */
INLINE void transpose_4x4(const float *from, int64_t stride, float *to) {
    v4 a = *(const v4u *)from, b = *(const v4u *)(from + stride),
       c = *(const v4u *)(from + 2 * stride), d = *(const v4u *)(from + 3 * stride);
    v4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
       cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(v4u *)to = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
    *(v4u *)(to + NR) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
    *(v4u *)(to + 2 * NR) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
    *(v4u *)(to + 3 * NR) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

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
                transpose_4x4(b.p + p + j * b.cs, b.cs, to + p * NR + j);
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
    NR,
    KERNEL(kernel_pack),
    gemm,
    gemm_packed,
    KERNEL(kernel_attention_scratch),
    KERNEL(kernel_attention),
    KERNEL(kernel_attention_grad),
    KERNEL(kernel_rms_norm),
    KERNEL(kernel_rms_norm_grad),
    KERNEL(kernel_swiglu),
    KERNEL(kernel_swiglu_grad),
    KERNEL(kernel_rotary),
    KERNEL(kernel_add),
    KERNEL(kernel_logprob),
    KERNEL(kernel_logprob_grad),
};
