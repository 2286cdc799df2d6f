/* kernels_amx.c: kernels_few16.c on a processor with tile registers (Intel AMX, TDPBF16PS):
 * 32 outputs by 32 rows of x at a time, 32 sums deep. Weights are the left operand, in their
 * own order; x is the right one, packed in pairs as for the other kernel. Not for whether the
 * processor has tiles (amx.c).
 *
 * The instruction sums the even and the odd products of 16 pairs apart, in fp32 and in order,
 * denormals as zero, and adds both to the total. So bits differ from kernels_few16.c's, and
 * again an element's are a function of its own operands and of the length of its sum: any
 * number of rows, in any grouping, gives the same. That is why one row goes this way too;
 * then reading the weights takes longer than multiplying, here as there. */
#include "shim/kernels.h"
#include "shim/kernels_turn.h"
#include "shim/tiles.h"

#include <string.h>

enum {
    SIDE = KERNEL_TILE_ROWS,       /* rows of a tile */
    DEPTH = KERNEL_TILE_SUMS / 2,  /* pairs in a row of a tile of weights */
    LANES = 2 * SIDE               /* rows of x side by side: a packed sliver */
};

/* 16 rows from p on: a row's next pairs lie in the same row of the next step. */
struct weights {
    const uint16_t *p;
    int64_t row, step; /* elements to the next one */
};

/* The last sums where they do not fill a tile: both sides with zeros behind. */
struct tail {
    uint16_t w[2 * SIDE][2 * DEPTH];
    uint32_t x[DEPTH][LANES];
};

/* Sums 0 … 3 (two for the upper outputs, two for the lower), weights 4 and 5, x 6 and 7. */
static void configure(int64_t rows) {
    struct tile_config c = {.palette = 1};
    uint8_t upper = (uint8_t)(rows < SIDE ? rows : SIDE), lower = (uint8_t)(rows - upper);
    const uint8_t tall[] = {upper, upper, lower, lower, upper, lower, DEPTH, DEPTH};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = tall[i];
        c.row_bytes[i] = tall[i] ? 64 : 0;
    }
    tile_configure(&c);
}

/* sums[2 · SIDE][LANES] of 16 or (`tall`) 32 rows of w, of which the lower lie `lower`
 * elements on, against 16 or (`wide`) 32 lanes of x. All three flags are constants. */
TURN_INLINE void products(const bool tall, const bool wide, const bool ahead, int64_t pairs,
                          struct weights w, int64_t lower, const uint32_t *x,
                          const struct tail *tail, float *sums) {
    enum { X = LANES * sizeof *x, Y = LANES * sizeof *sums };
    tile_zero(0);
    tile_zero(1);
    if (tall) {
        tile_zero(2);
        tile_zero(3);
    }
    for (int64_t p = 0; p < pairs; p += DEPTH, w.p += w.step, x += DEPTH * LANES) {
        const uint16_t *a = w.p, *a_lower = a + lower;
        int64_t stride = w.row * (int64_t)sizeof *a;
        const uint32_t *b = x;
        for (int r = 0; ahead && r < SIDE; r++) { /* what comes after these rows */
            __builtin_prefetch(a_lower + lower + r * w.row, 0, 2);
            __builtin_prefetch(a_lower + 2 * lower + r * w.row, 0, 2);
        }
        if (pairs - p < DEPTH) {
            a = tail->w[0], a_lower = tail->w[SIDE], b = tail->x[0];
            stride = sizeof tail->w[0];
        }
        tile_load(6, b, X);
        tile_load(4, a, stride);
        tile_dot(0, 4, 6);
        if (wide) {
            tile_load(7, b + SIDE, X);
            tile_dot(1, 4, 7);
        }
        if (tall) {
            tile_load(5, a_lower, stride);
            tile_dot(2, 5, 6);
        }
        if (tall && wide)
            tile_dot(3, 5, 7);
    }
    tile_store(0, sums, Y);
    tile_store(1, sums + SIDE, Y);
    if (tall) {
        tile_store(2, sums + SIDE * LANES, Y);
        tile_store(3, sums + SIDE * LANES + SIDE, Y);
    }
}

typedef void products_function(int64_t pairs, struct weights w, int64_t lower, const uint32_t *x,
                               const struct tail *tail, float *sums);

#define PRODUCTS(name, tall, wide, ahead)                                                          \
    static void name(int64_t pairs, struct weights w, int64_t lower, const uint32_t *x,            \
                     const struct tail *tail, float *sums) {                                       \
        products(tall, wide, ahead, pairs, w, lower, x, tail, sums);                               \
    }
PRODUCTS(low_narrow, false, false, false)
PRODUCTS(low_wide, false, true, false)
PRODUCTS(tall_narrow, true, false, false)
PRODUCTS(tall_wide, true, true, false)
PRODUCTS(first_narrow, true, false, true)
PRODUCTS(first_wide, true, true, true)
/* The first sliver of x reads weights from far away. */
static products_function *const functions[][2][2] = {
    {{low_narrow, low_wide}, {low_narrow, low_wide}},
    {{tall_narrow, tall_wide}, {first_narrow, first_wide}}};

/* `rows` rows of w against all m rows of x. */
static void outputs(int64_t rows, int64_t m, int64_t pairs, const uint32_t *x, struct weights w,
                    struct tail *tail, float *y, int64_t ldy) {
    float sums[2 * SIDE * LANES] __attribute__((aligned(64)));
    int64_t k = 2 * pairs, left = pairs % DEPTH, whole = pairs - left;
    for (int64_t r = 0; left && r < rows; r++)
        memcpy(tail->w[r], w.p + whole / DEPTH * w.step + r * w.row,
               (size_t)(2 * left) * sizeof *w.p);
    for (int64_t i = 0; i < m; i += LANES, x += pairs * LANES) {
        int64_t lanes = m - i < LANES ? m - i : LANES;
        for (int64_t p = 0; p < left; p++)
            memcpy(tail->x[p], x + (whole + p) * LANES, sizeof tail->x[p]);
        functions[rows > SIDE][i == 0][lanes > SIDE](pairs, w, SIDE * k, x, tail, sums);
        turn(sums, LANES, rows, lanes, y + i * ldy, ldy);
    }
}

static void few16(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, struct weights w,
                  float *y, int64_t ldy) {
    struct tail tail = {{{0}}, {{0}}};
    for (int64_t o = 0; o < n; o += 2 * SIDE, w.p += 2 * SIDE * 2 * pairs) {
        int64_t rows = n - o < 2 * SIDE ? n - o : 2 * SIDE;
        if (o == 0 || rows < 2 * SIDE)
            configure(rows);
        outputs(rows, m, pairs, x, w, &tail, y + o, ldy);
    }
    tile_release();
}

void kernel_few16_amx(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                      float *y, int64_t ldy) {
    few16(m, n, pairs, x, (struct weights){w, 2 * pairs, 2 * DEPTH}, y, ldy);
}

void kernel_few16_tiled_amx(int64_t m, int64_t n, int64_t pairs, const uint32_t *x,
                            const uint16_t *w, float *y, int64_t ldy) {
    few16(m, n, pairs, x, (struct weights){w, 2 * DEPTH, SIDE * 2 * DEPTH}, y, ldy);
}
