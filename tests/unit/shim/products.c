/* products: linear layers in mixed precision: near fp32's values and gradients, the same bits
 * each time, several under one input as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "shim/ct.h"

#include <math.h>
#include <string.h>

enum { T = 37, I = 48, O = 40, N = 3 };

struct numbers {
    float x[T * I], w[N][O * I], b[O], seed[T * O];
    float y[N][T * O], dx[T * I], dw[N][O * I], db[O];
};

static void draw(struct numbers *n) {
    struct cai_key key = cai_key_make(5, 0, "products", 0, 0);
    float *all = n->x;
    for (size_t i = 0; i < offsetof(struct numbers, y) / sizeof *all; i++)
        all[i] = (float)cai_rng_normal(key, i);
}

static ct_tensor *leaf(ct_scope *s, const float *data, int64_t rows, int64_t columns) {
    const int64_t shape[2] = {rows, columns};
    return ct_leaf(s, ct_view(s, ct_from_f32(s, data, rows * columns), shape, columns ? 2 : 1));
}

static void grad(ct_scope *s, ct_tensor *t, float *ret, int64_t n) {
    assert_int_equal(ct_read_f32(ct_contiguous(s, ct_grad(s, t)), ret, n), 0);
}

/* Three outputs of x, the first with a bias; their sum's gradient. `apart`: one by one. */
static void run(struct numbers *n, enum ct_dtype dtype, bool apart) {
    ct_scope *s = ct_scope_open_grad();
    ct_scope_products(s, dtype);
    const int64_t shape[2] = {T, O};
    ct_tensor *x = leaf(s, n->x, T, I), *w[N], *y[N], *b[N] = {NULL};
    ct_tensor *seed = ct_view(s, ct_from_f32(s, n->seed, T * O), shape, 2);
    const int64_t flat = O;
    b[0] = ct_leaf(s, ct_view(s, ct_from_f32(s, n->b, O), &flat, 1));
    for (int i = 0; i < N; i++)
        w[i] = leaf(s, n->w[i], O, I);
    for (int i = 0; i < N && apart; i++)
        y[i] = ct_linear(s, x, w[i], b[i]);
    if (!apart)
        assert_int_equal(ct_linears(s, x, w, b, N, y), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(ct_read_f32(y[i], n->y[i], T * O), 0);
    ct_tensor *sum = ct_add(s, ct_add(s, y[0], y[1]), y[2]);
    assert_int_equal(ct_backward(s, &sum, &seed, 1), 0);
    grad(s, x, n->dx, T * I);
    grad(s, b[0], n->db, O);
    for (int i = 0; i < N; i++)
        grad(s, w[i], n->dw[i], O * I);
    assert_int_equal(ct_scope_status(s), 0);
    ct_scope_close(s);
}

/* Largest difference over the largest number. */
static double apart(const float *a, const float *b, size_t n) {
    double most = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)a[i]));
    }
    return most / largest;
}

static void near_fp32(void **state) {
    (void)state;
    static struct numbers full, half;
    draw(&full);
    draw(&half);
    run(&full, CT_F32, false);
    run(&half, CT_BF16, false);
    double y = apart(full.y[0], half.y[0], N * T * O), dx = apart(full.dx, half.dx, T * I);
    double dw = apart(full.dw[0], half.dw[0], N * O * I);
    assert_true(y > 1e-5 && y < 0.01); /* rounded, and no more than that */
    assert_true(dx > 1e-5 && dx < 0.01 && dw > 1e-5 && dw < 0.01);
    assert_true(apart(full.db, half.db, O) < 1e-6); /* sums stay fp32 */
}

static void the_same_bits(void **state) {
    (void)state;
    static struct numbers one, two, single;
    draw(&one);
    draw(&two);
    draw(&single);
    run(&one, CT_BF16, false);
    run(&two, CT_BF16, false);
    assert_memory_equal(&one, &two, sizeof one);
    run(&single, CT_BF16, true);
    assert_true(apart(one.y[0], single.y[0], N * T * O) < 1e-6);
    assert_true(apart(one.dw[0], single.dw[0], N * O * I) < 0.005);
    /* one sum over all outputs, rounded once, instead of three */
    assert_true(apart(one.dx, single.dx, T * I) < 0.01);
}

static void log_probabilities(void **state) {
    (void)state;
    static float h[T * I], w[O * I];
    float out[2][T], dh[2][T * I];
    int64_t target[T];
    struct cai_key key = cai_key_make(6, 0, "products", 0, 0);
    for (int i = 0; i < T * I; i++)
        h[i] = (float)cai_rng_normal(key, (uint64_t)i);
    for (int i = 0; i < O * I; i++)
        w[i] = (float)(0.2 * cai_rng_normal(key, (uint64_t)(T * I + i)));
    for (int i = 0; i < T; i++)
        target[i] = (int64_t)cai_rng_below(key, 100000u + (uint64_t)i, O);
    for (int k = 0; k < 2; k++) {
        ct_scope *s = ct_scope_open_grad();
        ct_scope_products(s, k ? CT_BF16 : CT_F32);
        ct_tensor *x = leaf(s, h, T, I);
        ct_tensor *lp = ct_linear_logprob(s, x, leaf(s, w, O, I), ct_from_i64(s, target, T), 1, 0,
                                          NULL, NULL);
        ct_tensor *sum = ct_sum(s, lp);
        assert_int_equal(ct_read_f32(lp, out[k], T), 0);
        assert_int_equal(ct_backward(s, &sum, NULL, 1), 0);
        grad(s, x, dh[k], T * I);
        ct_scope_close(s);
    }
    double lp = apart(out[0], out[1], T), d = apart(dh[0], dh[1], T * I);
    assert_true(lp > 1e-6 && lp < 0.01 && d > 1e-6 && d < 0.01);
}

static double bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits += 0x7fff + (bits >> 16 & 1); /* to nearest, ties to even */
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return (double)x;
}

/* A weight's gradient of one micro-batch is rounded once, to eight bits: its error's root mean
 * square is at most 2⁻⁹ of its size. The sum over 16 micro-batches is fp32's, so that errors, which
 * go either way, shrink against it. */
static void a_gradient_is_rounded_once(void **state) {
    (void)state;
    enum { MICROS = 16 };
    static float x[T * I], w[O * I], seed[T * O], dw[O * I];
    static double exact[O * I];
    double one = 0;
    ct_scope *whole = ct_scope_open_grad();
    struct cai_key key = cai_key_make(7, 0, "products", 0, 0);
    for (int i = 0; i < O * I; i++)
        w[i] = (float)cai_rng_normal(key, (uint64_t)i);
    ct_tensor *weight = leaf(whole, w, O, I);
    for (uint64_t m = 0; m < MICROS; m++) {
        ct_scope *s = ct_scope_open_grad();
        ct_scope_products(s, CT_BF16);
        const int64_t shape[2] = {T, O};
        for (int i = 0; i < T * I; i++) /* with a mean, so that the sum grows as its parts do */
            x[i] = 1 + (float)cai_rng_normal(key, 10000 * (m + 1) + (uint64_t)i);
        for (int i = 0; i < T * O; i++)
            seed[i] = 1 + (float)cai_rng_normal(key, 10000 * (m + 1) + 5000 + (uint64_t)i);
        ct_tensor *y = ct_linear(s, leaf(s, x, T, I), weight, NULL);
        ct_tensor *g = ct_view(s, ct_from_f32(s, seed, T * O), shape, 2);
        assert_int_equal(ct_backward(s, &y, &g, 1), 0);
        ct_scope_close(s);
        grad(whole, weight, dw, O * I);
        double error = 0, size = 0;
        for (int o = 0; o < O; o++)
            for (int i = 0; i < I; i++) {
                for (int t = 0; t < T; t++)
                    exact[o * I + i] += bf16(seed[t * O + o]) * bf16(x[t * I + i]);
                error += pow((double)dw[o * I + i] - exact[o * I + i], 2);
                size += pow(exact[o * I + i], 2);
            }
        if (m == 0)
            one = sqrt(error / size);
        if (m + 1 == MICROS) {
            double all = sqrt(error / size);
            print_message("one micro-batch is off by %.2e, the sum of %d by %.2e\n", one, MICROS, all);
            assert_true(one > 1e-4 && one < 1.0 / 512);
            assert_true(all < one / 2);
        }
    }
    ct_scope_close(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_fp32),
        cmocka_unit_test(the_same_bits),
        cmocka_unit_test(log_probabilities),
        cmocka_unit_test(a_gradient_is_rounded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
