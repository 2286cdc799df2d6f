/* half_layer: a layer's parts around products in bfloat16, in one pass each, against the plain
 * operations one by one: the same bits, forward and backward, on one thread and on two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "shim/ct.h"

#include <stdlib.h>
#include <string.h>

/* More rows than one piece of work has, a width that no vector divides. */
enum { T = 700, D = 72, HQ = 4, HKV = 2, DH = 18, TURNED = 12, F = 104 };
enum { IN, NORM, WQ, WK, WV, WO, NORM2, GATE, UP, DOWN, COS, SIN, SEED, DATA };
static const int64_t shapes[DATA][2] = {
    {T, D}, {D, 0}, {HQ * DH, D}, {HKV * DH, D}, {HKV * DH, D}, {D, HQ *DH}, {D, 0}, {F, D},
    {F, D}, {D, F}, {T, TURNED}, {T, TURNED}, {T, D}};
static float *data[DATA];

static int64_t size_of(int i) {
    return shapes[i][0] * (shapes[i][1] ? shapes[i][1] : 1);
}

static int draw(void **state) {
    (void)state;
    for (int i = 0; i < DATA; i++) {
        struct cai_key key = cai_key_make(3, (uint64_t)i, "half layer", 0, 0);
        data[i] = malloc((size_t)size_of(i) * sizeof *data[i]);
        for (int64_t j = 0; j < size_of(i); j++)
            data[i][j] = (float)cai_rng_normal(key, (uint64_t)j);
    }
    return 0;
}

static int drop(void **state) {
    (void)state;
    for (int i = 0; i < DATA; i++)
        free(data[i]);
    return 0;
}

/* Everything that comes out: values, then gradients of IN … DOWN. */
struct out {
    float y[T * D], grad[DATA][T * F];
};

static ct_tensor *attended(ct_scope *s, ct_tensor *const h[3]) {
    const int64_t starts[] = {0, T / 3, T}, flat[2] = {T, HQ * DH};
    struct ct_attend how = {0.3, 0, 0};
    return ct_view(s, ct_attention_packed(s, h[0], h[1], h[2], starts, 2, how), flat, 2);
}

static ct_tensor *plain(ct_scope *s, ct_tensor *const *t) {
    ct_tensor *h[3], *gates[2], *const none[3] = {NULL}, *x = t[IN];
    const int64_t heads[3] = {HQ, HKV, HKV};
    assert_int_equal(ct_linears(s, ct_rms_norm(s, x, t[NORM], 1e-5), &t[WQ], none, 3, h), 0);
    for (int i = 0; i < 3; i++) {
        const int64_t shape[3] = {T, heads[i], DH};
        h[i] = ct_view(s, h[i], shape, 3);
        h[i] = i < 2 ? ct_rotary(s, h[i], t[COS], t[SIN]) : h[i];
    }
    x = ct_add(s, x, ct_linear(s, attended(s, h), t[WO], NULL));
    assert_int_equal(ct_linears(s, ct_rms_norm(s, x, t[NORM2], 1e-5), &t[GATE], none, 2, gates), 0);
    return ct_add(s, x, ct_linear(s, ct_swiglu(s, gates[0], gates[1]), t[DOWN], NULL));
}

static ct_tensor *fused(ct_scope *s, ct_tensor *const *t) {
    ct_tensor *h[3], *x = t[IN];
    assert_true(ct_half_fuses(s, x));
    assert_int_equal(ct_half_heads(s, ct_half_norm(s, x, t[NORM], 1e-5), &t[WQ], t[COS], t[SIN], DH,
                                   h), 0);
    x = ct_half_residual(s, x, attended(s, h), t[WO]);
    ct_tensor *y = ct_half_gate(s, ct_half_norm(s, x, t[NORM2], 1e-5), t[GATE], t[UP]);
    return ct_half_residual(s, x, y, t[DOWN]);
}

static void run(ct_tensor *(*layer)(ct_scope *s, ct_tensor *const *t), bool grads,
                struct out *ret) {
    ct_scope *s = grads ? ct_scope_open_grad() : ct_scope_open();
    ct_scope_products(s, CT_BF16);
    ct_tensor *t[DATA];
    for (int i = 0; i < DATA; i++) {
        t[i] = ct_view(s, ct_from_f32(s, data[i], size_of(i)), shapes[i], shapes[i][1] ? 2 : 1);
        if (grads && i < COS)
            t[i] = ct_leaf(s, t[i]);
    }
    ct_tensor *y = layer(s, t);
    memset(ret, 0, sizeof *ret);
    assert_int_equal(ct_read_f32(y, ret->y, T * D), 0);
    if (grads)
        assert_int_equal(ct_backward(s, &y, &t[SEED], 1), 0);
    for (int i = 0; grads && i < COS; i++)
        assert_int_equal(ct_read_f32(ct_contiguous(s, ct_grad(s, t[i])), ret->grad[i], size_of(i)),
                         0);
    assert_int_equal(ct_scope_status(s), 0);
    ct_scope_close(s);
}

static void same_bits_as_one_by_one(void **state) {
    (void)state;
    struct out *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    run(plain, true, a);
    run(fused, true, b);
    assert_memory_equal(a->y, b->y, sizeof a->y);
    for (int i = 0; i < COS; i++)
        if (memcmp(a->grad[i], b->grad[i], sizeof a->grad[i]) != 0)
            fail_msg("%d threads: gradient %d differs", ct_threads(), i);
    run(fused, false, b);
    assert_memory_equal(a->y, b->y, sizeof a->y);
    float sum = 0;
    for (int i = 0; i < T * D; i++)
        sum += a->y[i] * a->y[i] + a->grad[IN][i] * a->grad[IN][i];
    assert_true(sum > 1);
    free(a);
    free(b);
}

static void misfits_are_refused(void **state) {
    (void)state;
    ct_scope *s = ct_scope_open();
    assert_false(ct_half_fuses(s, ct_view(s, ct_from_f32(s, data[IN], T * D), shapes[IN], 2)));
    ct_scope_products(s, CT_BF16);
    ct_tensor *x = ct_view(s, ct_from_f32(s, data[IN], T * D), shapes[IN], 2);
    ct_tensor *w = ct_view(s, ct_from_f32(s, data[DOWN], D * F), shapes[DOWN], 2);
    assert_null(ct_half_gate(s, x, w, w)); /* w takes F numbers, x has D */
    assert_true(ct_scope_status(s) < 0);
    ct_scope_close(s);
}

int main(int argc, char **argv) {
    if (ct_init(argc > 1 ? atoi(argv[1]) : 1) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_as_one_by_one),
        cmocka_unit_test(misfits_are_refused),
    };
    return cmocka_run_group_tests(tests, draw, drop);
}
