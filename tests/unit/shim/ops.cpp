/* ops: every operation gives libtorch's own result; the coarse ones give the composite's
 * result and gradients. */
#include "common.hpp"

static int init(void **) {
    return ct_init(1);
}

static const at::Tensor A = random_tensor({5, 7}, 1), B = random_tensor({5, 7}, 2),
                        ROW = random_tensor({7}, 3);

static void arithmetic(void **) {
    ct_scope *s = ct_scope_open();
    ct_tensor *a = give(s, A), *b = give(s, B), *row = give(s, ROW);
    struct {
        ct_tensor *got;
        at::Tensor want;
    } cases[] = {
        {ct_add(s, a, row), A + ROW},
        {ct_sub(s, a, b), A - B},
        {ct_mul(s, a, row), A * ROW},
        {ct_div(s, a, b), A / B},
        {ct_min(s, a, b), at::minimum(A, B)},
        {ct_max(s, a, b), at::maximum(A, B)},
        {ct_scale(s, a, 3), A * 3},
        {ct_shift(s, a, 3), A + 3},
        {ct_clamp(s, a, -0.5, 0.25), at::clamp(A, -0.5, 0.25)},
        {ct_exp(s, a), at::exp(A)},
        {ct_log(s, ct_exp(s, a)), at::log(at::exp(A))},
        {ct_square(s, a), at::square(A)},
        {ct_sigmoid(s, a), at::sigmoid(A)},
        {ct_log_sigmoid(s, a), at::log_sigmoid(A)},
        {ct_silu(s, a), at::silu(A)},
        {ct_sum(s, a), at::sum(A)},
        {ct_mean(s, a), at::mean(A)},
        {ct_sum_dim(s, a, -1), at::sum(A, -1)},
        {ct_softmax(s, a), at::softmax(A, -1)},
        {ct_log_softmax(s, a), at::log_softmax(A, -1)},
        {ct_logsumexp(s, a), at::logsumexp(A, -1)},
        {ct_argmax(s, a), at::argmax(A, -1)},
        {ct_matmul(s, a, ct_transpose(s, b, 0, 1)), at::matmul(A, B.t())},
    };
    healthy(s);
    for (auto &c : cases)
        assert_true(same_bits(take(c.got), c.want));
    ct_scope_close(s);
}

static void shapes(void **) {
    ct_scope *s = ct_scope_open();
    ct_tensor *a = give(s, A), *b = give(s, B);
    int64_t shape[] = {7, -1}, pick[] = {3, 0, 3}, last[] = {6, 0, 2, 2, 5};
    ct_tensor *both[] = {a, b};
    assert_true(same_bits(take(ct_view(s, a, shape, 2)), A.view({7, 5})));
    assert_true(same_bits(take(ct_narrow(s, a, 1, 2, 3)), A.narrow(1, 2, 3)));
    assert_true(same_bits(take(ct_contiguous(s, ct_transpose(s, a, 0, 1))), A.t()));
    assert_true(same_bits(take(ct_cat(s, both, 2, 1)), at::cat({A, B}, 1)));
    assert_true(same_bits(take(ct_to(s, a, CT_F64)), A.to(at::kDouble)));
    at::Tensor index = at::tensor(at::ArrayRef<int64_t>(pick, 3));
    ct_tensor *chosen = ct_index_select(s, a, 0, ct_from_i64(s, pick, 3));
    assert_true(same_bits(take(chosen), at::index_select(A, 0, index)));
    at::Tensor l = at::tensor(at::ArrayRef<int64_t>(last, 5));
    assert_true(same_bits(take(ct_gather_last(s, a, ct_from_i64(s, last, 5))),
                          A.gather(1, l.unsqueeze(1)).squeeze(1)));
    healthy(s);
    ct_scope_close(s);
}

static at::Tensor parameter(const at::Tensor &t) {
    return t.clone().requires_grad_(true);
}

static at::Tensor rms_reference(const at::Tensor &x, const at::Tensor &w, double eps) {
    return x * at::rsqrt((x * x).mean({-1}, true) + eps) * w;
}

static void rms_norm(void **) {
    for (int64_t width : {7, 64, 200}) {
        at::Tensor x = parameter(random_tensor({9, width}, 4)),
                   w = parameter(random_tensor({width}, 5)), g = random_tensor({9, width}, 6);
        at::Tensor want = rms_reference(x, w, 1e-5);
        want.backward(g);
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *cx = leaf(s, x), *cw = leaf(s, w);
        ct_tensor *y = ct_rms_norm(s, cx, cw, 1e-5);
        near(take(y), want.detach(), 2e-6);
        run_backward(s, y, g);
        near(take(ct_grad(s, cx)), x.grad(), 5e-6);
        near(take(ct_grad(s, cw)), w.grad(), 5e-6);
        ct_scope_close(s);
    }
}

static void swiglu(void **) {
    at::Tensor a = parameter(random_tensor({9, 37}, 7) * 4), b = parameter(random_tensor({9, 37}, 8)),
               g = random_tensor({9, 37}, 9);
    at::Tensor want = at::silu(a) * b;
    want.backward(g);
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *ca = leaf(s, a), *cb = leaf(s, b), *y = ct_swiglu(s, ca, cb);
    near(take(y), want.detach(), 1e-6);
    run_backward(s, y, g);
    near(take(ct_grad(s, ca)), a.grad(), 2e-6);
    near(take(ct_grad(s, cb)), b.grad(), 2e-6);
    ct_scope_close(s);
}

static void rotary(void **) {
    for (auto [d, rest] : {std::pair<int64_t, int64_t>{8, 0}, {32, 0}, {6, 0}, {8, 24}, {6, 5}}) {
        at::Tensor x = parameter(random_tensor({9, 3, d + rest}, 10)),
                   g = random_tensor({9, 3, d + rest}, 11);
        at::Tensor angle = random_tensor({9, d / 2}, 12), full = at::cat({angle, angle}, 1);
        at::Tensor cos = at::cos(full), sin = at::sin(full), head = x.narrow(2, 0, d),
                   half1 = x.narrow(2, 0, d / 2), half2 = x.narrow(2, d / 2, d / 2);
        at::Tensor want = at::cat({head * cos.unsqueeze(1) +
                                       at::cat({-half2, half1}, 2) * sin.unsqueeze(1),
                                   x.narrow(2, d, rest)}, 2);
        want.backward(g);
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *cx = leaf(s, x), *y = ct_rotary(s, cx, give(s, cos), give(s, sin));
        near(take(y), want.detach(), 1e-6);
        run_backward(s, y, g);
        near(take(ct_grad(s, cx)), x.grad(), 1e-6);
        ct_scope_close(s);
    }
}

static void embedding_and_index_select(void **) {
    at::Tensor w = parameter(random_tensor({11, 20}, 13)), g = random_tensor({40, 20}, 14);
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 40; i++)
        ids.push_back(i * i % 11);
    at::Tensor index = at::tensor(at::ArrayRef<int64_t>(ids)), want = at::embedding(w, index);
    want.backward(g);
    for (int which = 0; which < 2; which++) {
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *cw = leaf(s, w), *ci = ct_from_i64(s, ids.data(), 40);
        ct_tensor *y = which ? ct_embedding(s, cw, ci) : ct_index_select(s, cw, 0, ci);
        assert_true(same_bits(take(y), want.detach()));
        run_backward(s, y, g);
        near(take(ct_grad(s, cw)), w.grad(), 1e-6);
        ct_scope_close(s);
    }
}

static void linear(void **) {
    at::Tensor x = parameter(random_tensor({4, 3, 10}, 15)), w = parameter(random_tensor({6, 10}, 16)),
               b = parameter(random_tensor({6}, 17)), g = random_tensor({4, 3, 6}, 18);
    at::Tensor want = at::linear(x, w, b);
    want.backward(g);
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *cx = leaf(s, x), *cw = leaf(s, w), *cb = leaf(s, b), *y = ct_linear(s, cx, cw, cb);
    near(take(y), want.detach(), 1e-6);
    run_backward(s, y, g);
    near(take(ct_grad(s, cx)), x.grad(), 1e-6);
    near(take(ct_grad(s, cw)), w.grad(), 1e-6);
    near(take(ct_grad(s, cb)), b.grad(), 1e-6);
    ct_scope_close(s);
}

int main() {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(shapes),
        cmocka_unit_test(rms_norm),
        cmocka_unit_test(swiglu),
        cmocka_unit_test(rotary),
        cmocka_unit_test(embedding_and_index_select),
        cmocka_unit_test(linear),
    };
    return cmocka_run_group_tests(tests, init, nullptr);
}
