/* amx_whole: the whole way of bfloat16 products on a processor with tile registers, from
 * ct_linear down, also where there are none: this program says that tiles are allowed, in the
 * place of shim/amx.c, and does by hand what the processor then refuses (tiles_trap.h). */
#include "common.hpp"

#include <ATen/Parallel.h>

extern "C" {
#include "shim/amx.h"
#include "tiles_trap.h"

bool amx_allowed(void) {
    return true;
}
}

static void the_class_says_so(void **) {
    assert_non_null(strstr(ct_numeric_class(), "cpu/avx512/bf16=amx/"));
}

static ct_tensor *half_of(ct_scope *s, const at::Tensor &w, bool tiled) {
    ct_tensor *half = ct_linear_half(s, give(s, w));
    healthy(s);
    assert_int_equal(ct_ndim(half), tiled ? 4 : 2);
    assert_int_equal(ct_numel(half), w.numel());
    return half;
}

/* In both orders of weights, by any number of rows and threads: near the product of rounded
 * numbers, and to the bit the same. */
static void a_linear_goes_by_tiles(void **) {
    trap_tiles();
    at::Tensor x = random_tensor({140, 96}, 1), b = random_tensor({112}, 3);
    for (int64_t out : {112, 70}) {
        at::Tensor w = random_tensor({out, 96}, 2), bias = b.narrow(0, 0, out);
        at::Tensor rounded = w.to(at::kBFloat16);
        ct_scope *s = ct_scope_open();
        int before = hand.dots; /* of this thread; it is the only one yet */
        ct_tensor *half = half_of(s, w, out == 112), *cb = give(s, bias);
        at::Tensor want = take(ct_linear(s, give(s, x), half, cb));
        near(want, at::linear(x.to(at::kBFloat16).to(at::kFloat), rounded.to(at::kFloat), bias),
             1e-5);
        assert_true(hand.dots - before >= 100);
        assert_true(same_bits(want, take(ct_linear(s, give(s, x), give(s, rounded), cb))));
        for (int threads : {1, 2})
            for (int64_t n : {1, 2, 16, 17, 33, 128, 129}) {
                at::set_num_threads(threads);
                at::Tensor got = take(ct_linear(s, give(s, x.narrow(0, 140 - n, n)), half, cb));
                assert_true(same_bits(got, want.narrow(0, 140 - n, n)));
            }
        at::set_num_threads(1);
        healthy(s);
        ct_scope_close(s);
    }
}

static void a_copy_follows_its_weights(void **) {
    trap_tiles();
    at::Tensor one = random_tensor({32, 64}, 4), other = random_tensor({32, 64}, 5),
               x = random_tensor({3, 64}, 6);
    ct_scope *s = ct_scope_open();
    ct_tensor *half = half_of(s, one, true), *cx = give(s, x);
    at::Tensor before = take(ct_linear(s, cx, half, nullptr));
    assert_int_equal(ct_linear_half_(half, give(s, other)), 0);
    at::Tensor after = take(ct_linear(s, cx, half, nullptr));
    assert_false(same_bits(before, after));
    assert_true(same_bits(after, take(ct_linear(s, cx, half_of(s, other, true), nullptr))));
    assert_true(ct_linear_half_(half, cx) < 0); /* of another shape */
    ct_scope_close(s);
}

/* Tiles are for generation alone. */
static void tiles_know_no_gradients(void **) {
    trap_tiles();
    ct_scope *s = ct_scope_open();
    ct_tensor *half = half_of(s, random_tensor({32, 64}, 7), true);
    ct_scope *g = ct_scope_open_grad();
    assert_null(ct_linear(g, give(g, random_tensor({3, 64}, 8)), half, nullptr));
    assert_true(ct_scope_status(g) < 0);
    assert_non_null(strstr(cai_error_text(), "tiles"));
    ct_scope_close(g);
    assert_null(ct_linear(s, give(s, random_tensor({3, 60}, 9)), half, nullptr));
    ct_scope_close(s);
}

static int init(void **) {
    return ct_init(1);
}

int main() {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_class_says_so),
        cmocka_unit_test(a_linear_goes_by_tiles),
        cmocka_unit_test(a_copy_follows_its_weights),
        cmocka_unit_test(tiles_know_no_gradients),
    };
    if (!__builtin_cpu_supports("avx512bf16"))
        return 77; /* every processor with tiles has it: skipped */
    return cmocka_run_group_tests(tests, init, nullptr);
}
