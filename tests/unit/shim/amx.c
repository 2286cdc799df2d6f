/* amx: the bfloat16 kernel for tile registers, with and without any. Its source is compiled
 * here once more over tiles in plain C, and held against a product in fp64 and the other
 * bfloat16 kernel; the object that ships runs too, on the processor's tiles where it has
 * some, else with each of its tile instructions done by hand; both must give the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiles_trap.h"

/* shim/tiles.h's words. */
#define CAI_SHIM_TILES_H
#define tile_config hand_config
#define tile_configure hand_configure
#define tile_zero hand_zero
#define tile_load hand_load
#define tile_store hand_store
#define tile_dot hand_dot
#define tile_release hand_release
#define kernel_few16_amx by_hand
#define kernel_few16_tiled_amx by_hand_tiled
#include "shim/kernels_amx.c"
#undef kernel_few16_amx
#undef kernel_few16_tiled_amx

#include "base/check.h"
#include "base/rng.h"
#include "shim/amx.h"

void kernel_few16_amx(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                      float *y, int64_t ldy);
void kernel_few16_tiled_amx(int64_t m, int64_t n, int64_t pairs, const uint32_t *x,
                            const uint16_t *w, float *y, int64_t ldy);

typedef void few16_function(int64_t m, int64_t n, int64_t pairs, const uint32_t *x,
                            const uint16_t *w, float *y, int64_t ldy);

enum { M = 64, N = 100, PAIRS = 50 };
static float x[M * 2 * PAIRS];
static uint16_t w[N * 2 * PAIRS], tiled[N * 2 * PAIRS];
static uint32_t packed[M * PAIRS];

static float widened(uint16_t half) {
    uint32_t u = (uint32_t)half << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static float drawn(uint64_t i) {
    return (float)(cai_rng_uniform((struct cai_key){.hi = 5}, i) * 2 - 1);
}

/* Random numbers, some of them so small that their products vanish, some denormal. */
static void fill(void) {
    for (int i = 0; i < M * 2 * PAIRS; i++)
        x[i] = drawn((uint64_t)i) * (i % 97 == 5 ? 1e-30f : i % 89 == 3 ? 1e-39f : 1);
    float rounded[2];
    for (int i = 0; i < N * 2 * PAIRS; i++) {
        rounded[0] = drawn((uint64_t)i + 1000000) * (i % 101 == 7 ? 1e-20f : 1);
        rounded[1] = 0;
        uint32_t pair;
        shim_kernels_base.halve(2, rounded, (uint16_t *)&pair);
        w[i] = (uint16_t)pair;
    }
}

/* Rows [from, from + m) of x, `k` wide, as kernels with slivers of nr take them. */
static void pack(int64_t nr, int64_t from, int64_t m, int64_t pairs) {
    memset(packed, 0xff, sizeof packed); /* NaN, should anybody read too far */
    for (int64_t i = 0; i < (m + nr - 1) / nr * nr; i++)
        for (int64_t p = 0; p < pairs; p++) {
            uint32_t *to = packed + i / nr * nr * pairs + p * nr + i % nr;
            *to = 0;
            if (i < m)
                shim_kernels_base.halve(2, x + (from + i) * 2 * PAIRS + 2 * p, (uint16_t *)to);
        }
}

/* In packed rows: w's first n rows of 2 · pairs, and in tiles. */
static void lay(int64_t n, int64_t pairs, uint16_t *to, bool in_tiles) {
    for (int64_t o = 0; o < n; o++)
        for (int64_t i = 0; i < 2 * pairs; i++) {
            int64_t at = in_tiles ? (o / 16 * (pairs / 16) + i / 32) * 512 + o % 16 * 32 + i % 32
                                  : o * 2 * pairs + i;
            to[at] = w[o * 2 * PAIRS + i];
        }
}

static void product(few16_function *f, int64_t nr, int64_t from, int64_t m, int64_t n,
                    int64_t pairs, const uint16_t *weights, float *y) {
    pack(nr, from, m, pairs);
    f(m, n, pairs, packed, weights, y, n);
}

static float bf16_of(float value) {
    uint32_t pair;
    shim_kernels_base.halve(2, (float[]){value, 0}, (uint16_t *)&pair);
    return widened((uint16_t)pair);
}

/* As near to the product in fp64 as sums in fp32 of that length can be. */
static double check_near(int64_t m, int64_t n, int64_t pairs, const float *y) {
    double worst = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t o = 0; o < n; o++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < 2 * pairs; k++) {
                double one = (double)bf16_of(x[i * 2 * PAIRS + k]) * widened(w[o * 2 * PAIRS + k]);
                sum += one;
                size += fabs(one);
            }
            double off = fabs(y[i * n + o] - sum) / (ldexp(size, -24) * (double)(2 * pairs) + 1e-30);
            worst = off > worst ? off : worst;
        }
    assert_true(worst <= 1);
    return worst;
}

static const int64_t outputs_tried[] = {1, 15, 16, 17, 31, 32, 33, 49, 100},
                     pairs_tried[] = {1, 15, 16, 17, 32, 50};

/* Any size, every number of rows; both orders of weights. */
static void by_hand_it_is_the_product(void **state) {
    (void)state;
    static float y[M * N], other[M * N];
    static uint16_t plain[N * 2 * PAIRS];
    double worst = 0, apart = 0;
    for (size_t a = 0; a < CAI_COUNT(outputs_tried); a++)
        for (size_t b = 0; b < CAI_COUNT(pairs_tried); b++) {
            int64_t n = outputs_tried[a], pairs = pairs_tried[b];
            lay(n, pairs, plain, false);
            product(by_hand, 32, 0, M, n, pairs, plain, y);
            double off = check_near(M, n, pairs, y);
            worst = off > worst ? off : worst;
            product(shim_kernels_base.few16, shim_kernels_base.nr, 0, M, n, pairs, plain, other);
            for (int64_t i = 0; i < M * n; i++)
                apart = fmax(apart, fabs(y[i] - other[i]) / (1 + fabs(other[i])));
            assert_true(apart < 1e-5);
        }
    print_message("at most %.3f of the error bound; %.1e from the other kernel\n", worst, apart);
}

/* Row i of a batch of m is row i of the whole, for every m and from every place. */
static void check_rows(few16_function *f, int64_t n, int64_t pairs, const uint16_t *weights,
                       const float *whole) {
    static float y[M * N];
    for (int64_t m = 1; m <= M; m++) {
        int64_t from = (M - m) / 2;
        product(f, 32, from, m, n, pairs, weights, y);
        assert_memory_equal(y, whole + from * n, (size_t)(m * n) * sizeof *y);
    }
}

static void rows_do_not_know_their_batch(void **state) {
    (void)state;
    static float whole[M * N];
    static uint16_t plain[N * 2 * PAIRS];
    static const int64_t sizes[][2] = {{1, 3}, {16, 16}, {17, 17}, {33, 40}, {100, 50}};
    for (size_t i = 0; i < CAI_COUNT(sizes); i++) {
        int64_t n = sizes[i][0], pairs = sizes[i][1];
        lay(n, pairs, plain, false);
        product(by_hand, 32, 0, M, n, pairs, plain, whole);
        check_rows(by_hand, n, pairs, plain, whole);
        for (int64_t o = 0; o < n; o += 16) { /* nor outputs their neighbours */
            static float part[M * 16];
            int64_t some = n - o < 16 ? n - o : 16;
            product(by_hand, 32, 0, M, some, pairs, plain + o * 2 * pairs, part);
            for (int64_t r = 0; r < M; r++)
                assert_memory_equal(part + r * some, whole + r * n + o,
                                    (size_t)some * sizeof *part);
        }
    }
}

static void tiles_of_weights_change_no_bit(void **state) {
    (void)state;
    static float whole[M * N], y[M * N];
    static uint16_t plain[N * 2 * PAIRS];
    for (int64_t n = 16; n <= 96; n += 16)
        for (int64_t pairs = 16; pairs <= 48; pairs += 16) {
            lay(n, pairs, plain, false);
            lay(n, pairs, tiled, true);
            product(by_hand, 32, 0, M, n, pairs, plain, whole);
            product(by_hand_tiled, 32, 0, M, n, pairs, tiled, y);
            assert_memory_equal(y, whole, (size_t)(M * n) * sizeof *y);
            check_rows(by_hand_tiled, n, pairs, tiled, whole);
        }
}

/* Where each sum ends up, by numbers that a sum in another order would round otherwise. */
static void sums_are_in_the_order_of_the_manual(void **state) {
    (void)state;
    trap_tiles();
    static const struct {
        float x[4];
        float want;
    } cases[] = {
        {{0x1p24f, 1, 1, 1}, 0x1p24f + 2}, /* even: 2^24 + 1 = 2^24; odd: 2 */
        {{0x1p24f, 1, -0x1p24f, 1}, 2},     /* not pair by pair, where 1 would be lost */
        {{1e-39f, 1e-39f, 0, 0}, 0},        /* denormals are zero */
        {{INFINITY, 1, 1, 1}, INFINITY},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        static const uint16_t ones[4] = {0x3f80, 0x3f80, 0x3f80, 0x3f80};
        float y = NAN, same = NAN;
        memset(packed, 0, sizeof packed);
        for (int p = 0; p < 2; p++)
            shim_kernels_base.halve(2, cases[i].x + 2 * p, (uint16_t *)(packed + p * 32));
        by_hand(1, 1, 2, packed, ones, &y, 1);
        assert_float_equal(y, cases[i].want, 0);
        kernel_few16_amx(1, 1, 2, packed, ones, &same, 1);
        assert_memory_equal(&same, &y, sizeof y);
    }
}

static void nan_stays_in_its_row(void **state) {
    (void)state;
    static float whole[M * N], y[M * N];
    static uint16_t plain[N * 2 * PAIRS];
    lay(33, 17, plain, false);
    product(by_hand, 32, 0, M, 33, 17, plain, whole);
    float kept = x[20 * 2 * PAIRS + 33];
    x[20 * 2 * PAIRS + 33] = NAN;
    product(by_hand, 32, 0, M, 33, 17, plain, y);
    x[20 * 2 * PAIRS + 33] = kept;
    for (int64_t i = 0; i < M * 33; i++)
        assert_true(i / 33 == 20 ? isnan(y[i]) : y[i] == whole[i]);
}

/* The compiled kernel against its source over tiles by hand. */
static void the_object_gives_the_same_bits(void **state) {
    (void)state;
    trap_tiles();
    static float want[M * N], got[M * N];
    static uint16_t plain[N * 2 * PAIRS];
    bool native = amx_allowed();
    int before = hand.dots, trapped = 0;
    for (size_t a = 0; a < CAI_COUNT(outputs_tried); a++)
        for (size_t b = 0; b < CAI_COUNT(pairs_tried); b++)
            for (int64_t m = 1; m <= M; m += m % 16 == 1 ? 1 : 7) {
                int64_t n = outputs_tried[a], pairs = pairs_tried[b];
                lay(n, pairs, plain, false);
                product(by_hand, 32, 0, m, n, pairs, plain, want);
                before = hand.dots;
                memset(got, 0xff, sizeof got);
                product(kernel_few16_amx, 32, 0, m, n, pairs, plain, got);
                trapped += hand.dots - before;
                assert_memory_equal(got, want, (size_t)(m * n) * sizeof *got);
                if (n % 16 || pairs % 16)
                    continue;
                lay(n, pairs, tiled, true);
                product(kernel_few16_tiled_amx, 32, 0, m, n, pairs, tiled, got);
                assert_memory_equal(got, want, (size_t)(m * n) * sizeof *got);
            }
    assert_true(native ? trapped == 0 : trapped > 1000);
    print_message("%s\n", native ? "on this processor's tiles" : "its tile instructions by hand");
}

static void tiles_are_used_only_where_they_are_whole(void **state) {
    (void)state;
    const struct amx_facts whole = {.leaf1_ecx = 1u << 27, .leaf7_edx = 1u << 22 | 1u << 24,
                                    .palette_eax = 1024u << 16 | 8192,
                                    .palette_ebx = 8u << 16 | 64, .palette_ecx = 16,
                                    .xcr0 = 3u << 17};
    struct amx_facts f = whole;
    assert_true(amx_described(&f));
    assert_false(amx_described(&(struct amx_facts){0}));
    f = whole, f.leaf1_ecx = 0; /* the system does not save extended state */
    assert_false(amx_described(&f));
    f = whole, f.leaf7_edx = 1u << 24; /* integers alone */
    assert_false(amx_described(&f));
    f = whole, f.leaf7_edx = 1u << 22;
    assert_false(amx_described(&f));
    f = whole, f.xcr0 = 1u << 17; /* a system that does not know tiles */
    assert_false(amx_described(&f));
    f = whole, f.xcr0 = 1u << 18;
    assert_false(amx_described(&f));
    f = whole, f.palette_eax = 512u << 16;
    assert_false(amx_described(&f));
    f = whole, f.palette_ebx = 4u << 16 | 64;
    assert_false(amx_described(&f));
    f = whole, f.palette_ebx = 8u << 16 | 32;
    assert_false(amx_described(&f));
    f = whole, f.palette_ecx = 8;
    assert_false(amx_described(&f));
    f = amx_facts_here();
    assert_true(!amx_allowed() || amx_described(&f));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_are_used_only_where_they_are_whole),
        cmocka_unit_test(by_hand_it_is_the_product),
        cmocka_unit_test(rows_do_not_know_their_batch),
        cmocka_unit_test(tiles_of_weights_change_no_bit),
        cmocka_unit_test(sums_are_in_the_order_of_the_manual),
        cmocka_unit_test(nan_stays_in_its_row),
        cmocka_unit_test(the_object_gives_the_same_bits),
    };
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
