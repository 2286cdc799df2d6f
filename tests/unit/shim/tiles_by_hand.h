/* tiles_by_hand.h: the tile registers in plain C, for machines without: TDPBF16PS as its page
 * in Intel's SDM writes it. Sixteen pairs' even and odd products are summed apart, each by
 * fused multiply-adds in fp32, then added to each other and to the total; to the nearest even,
 * denormals as zero. Not for speed. */
#ifndef CAI_TEST_TILES_BY_HAND_H
#define CAI_TEST_TILES_BY_HAND_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct hand_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static __thread struct {
    struct hand_config c;
    uint8_t data[8][16][64];
    int dots; /* so far */
} hand;

/* What the processor answers with a fault. */
static inline void hand_check(int ok) {
    if (!ok)
        abort();
}

static inline void hand_used(int tile) {
    hand_check(hand.c.palette == 1 && tile >= 0 && tile < 8 && hand.c.rows[tile]);
}

static inline void hand_configure(const void *config) {
    memcpy(&hand.c, config, sizeof hand.c);
    memset(hand.data, 0, sizeof hand.data);
    hand_check(hand.c.palette == 1 && hand.c.start_row == 0);
    for (int i = 0; i < 14; i++)
        hand_check(hand.c.reserved[i] == 0);
    for (int t = 0; t < 16; t++) {
        hand_check(hand.c.rows[t] <= 16 && hand.c.row_bytes[t] <= 64);
        hand_check(!hand.c.rows[t] == !hand.c.row_bytes[t] && (t < 8 || !hand.c.rows[t]));
    }
}

static inline void hand_release(void) {
    memset(&hand.c, 0, sizeof hand.c);
}

static inline void hand_zero(int tile) {
    hand_used(tile);
    memset(hand.data[tile], 0, sizeof hand.data[tile]);
}

static inline void hand_load(int tile, const void *from, ptrdiff_t stride) {
    hand_zero(tile);
    for (int r = 0; r < hand.c.rows[tile]; r++)
        memcpy(hand.data[tile][r], (const uint8_t *)from + r * stride, hand.c.row_bytes[tile]);
}

static inline void hand_store(int tile, void *to, ptrdiff_t stride) {
    hand_used(tile);
    for (int r = 0; r < hand.c.rows[tile]; r++)
        memcpy((uint8_t *)to + r * stride, hand.data[tile][r], hand.c.row_bytes[tile]);
}

static inline float hand_flushed(float x) {
    return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}

/* The upper (`odd`) or lower bfloat16 of a pair. */
static inline float hand_half(const uint8_t *row, int pair, int odd) {
    uint16_t half;
    float x;
    memcpy(&half, row + 4 * pair + 2 * odd, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&x, &bits, sizeof x);
    return hand_flushed(x);
}

/* One rounding: a product has 16 bits, and where the sum does not fit a double, the smaller
 * is too small to matter. */
static inline float hand_fma(float a, float b, float c) {
    return hand_flushed((float)((double)a * b + hand_flushed(c)));
}

static inline void hand_dot(int c, int a, int b) {
    hand_used(a);
    hand_used(b);
    hand_used(c);
    hand_check(hand.c.rows[a] == hand.c.rows[c] && hand.c.row_bytes[b] == hand.c.row_bytes[c] &&
               hand.c.row_bytes[a] == 4 * hand.c.rows[b]);
    for (int m = 0; m < hand.c.rows[c]; m++) {
        float sums[2][16] = {{0}};
        for (int k = 0; k < hand.c.row_bytes[a] / 4; k++)
            for (int odd = 0; odd < 2; odd++) {
                float x = hand_half(hand.data[a][m], k, odd);
                for (int n = 0; n < hand.c.row_bytes[c] / 4; n++)
                    sums[odd][n] = hand_fma(x, hand_half(hand.data[b][k], n, odd), sums[odd][n]);
            }
        for (int n = 0; n < hand.c.row_bytes[c] / 4; n++) {
            float total, both = hand_flushed(sums[0][n] + sums[1][n]);
            memcpy(&total, hand.data[c][m] + 4 * n, sizeof total);
            total = hand_flushed(hand_flushed(total) + both);
            memcpy(hand.data[c][m] + 4 * n, &total, sizeof total);
        }
    }
    hand.dots++;
}

#endif
