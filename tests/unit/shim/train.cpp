/* train: gradients through the C face, the chunked log-probability against log_softmax,
 * AdamW against its formula, and equal bits with any number of threads, rows or runs. */
#include "common.hpp"

#include <ATen/Parallel.h>

#include <cmath>

static int init(void **) {
    return ct_init(2);
}

static at::Tensor parameter(const at::Tensor &t) {
    return t.clone().requires_grad_(true);
}

static at::Tensor targets(int64_t rows, int64_t vocab) {
    return at::arange(rows).mul(7919).remainder(vocab);
}

/* Large vocabularies take several chunks. */
static void linear_logprob(void **) {
    struct {
        int64_t rows, d, vocab;
        double temperature, softcap;
    } cases[] = {{33, 24, 50, 1, 0}, {100, 40, 30011, 0.7, 0}, {1, 3, 2, 2, 0},
                 {70, 300, 601, 1, 0}, {100, 40, 30011, 1.5, 2}};
    for (auto &c : cases) {
        at::Tensor h = parameter(random_tensor({c.rows, c.d}, 1)),
                   w = parameter(random_tensor({c.vocab, c.d}, 2) * 0.3),
                   g = random_tensor({c.rows}, 3), id = targets(c.rows, c.vocab);
        at::Tensor z = at::linear(h, w);
        if (c.softcap != 0)
            z = at::tanh(z / c.softcap) * c.softcap;
        at::Tensor lp = at::log_softmax(z / c.temperature, -1);
        at::Tensor want = lp.gather(1, id.unsqueeze(1)).squeeze(1);
        want.backward(g);
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *ch = leaf(s, h), *cw = leaf(s, w), *entropy, *best;
        ct_tensor *y = ct_linear_logprob(s, ch, cw, give(s, id), c.temperature,
                                         c.softcap, &entropy, &best);
        near(take(y), want.detach(), 3e-6);
        near(take(entropy), -(lp.exp() * lp).sum(-1).detach(), 3e-6);
        assert_true(same_bits(take(best), lp.argmax(-1)));
        run_backward(s, y, g);
        near(take(ct_grad(s, ch)), h.grad(), 1e-5);
        near(take(ct_grad(s, cw)), w.grad(), 1e-5);
        ct_tensor *wide = ct_linear_logprob(s, give(s, h.to(at::kDouble)),
                                            give(s, w.to(at::kDouble)), give(s, id), c.temperature,
                                            c.softcap, nullptr, nullptr);
        near(take(wide), want.detach(), 3e-6);
        ct_scope_close(s);
    }
}

static void linear_logprob_refusals(void **) {
    for (int i = 0; i < 3; i++) {
        ct_scope *s = ct_scope_open();
        int64_t ids[] = {0, i == 0 ? 5 : i == 1 ? -1 : 4};
        ct_tensor *entropy, *best;
        assert_null(ct_linear_logprob(s, give(s, random_tensor({2, 3}, 1)),
                                      give(s, random_tensor({5, 3}, 2)), ct_from_i64(s, ids, 2),
                                      i == 2 ? 0.0 : 1.0, 0, &entropy, &best));
        assert_null(entropy);
        assert_null(best);
        assert_int_equal(ct_scope_status(s), CAI_EINTERNAL);
        ct_scope_close(s);
    }
}

static void gradients_gather_in_bound_storage(void **) {
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *flat = ct_zeros(s, CT_F32, (const int64_t[]){6}, 1);
    ct_tensor *part = ct_narrow(s, flat, 0, 2, 3), *x = leaf(s, random_tensor({3}, 4));
    assert_null(ct_grad(s, x));
    assert_int_equal(ct_bind_grad(x, part), 0);
    assert_int_equal(ct_bind_grad(x, flat), CAI_EINTERNAL);
    for (int i = 0; i < 2; i++) {
        ct_tensor *y = ct_sum(s, ct_scale(s, x, 3));
        assert_int_equal(ct_backward(s, &y, nullptr, 1), 0);
    }
    float got[6], want[6] = {0, 0, 6, 6, 6, 0};
    assert_int_equal(ct_read_f32(flat, got, 6), 0);
    assert_memory_equal(got, want, sizeof want);
    assert_null(ct_grad(s, ct_detach(s, x)));
    ct_tensor *row = ct_scale(s, x, 2);
    assert_int_equal(ct_backward(s, &row, nullptr, 1), CAI_EINTERNAL);
    ct_scope_close(s);
}

static void nothing_is_recorded_without_grad(void **) {
    ct_scope *s = ct_scope_open(), *r = ct_scope_open_grad();
    ct_tensor *x = leaf(s, random_tensor({4, 8}, 5)), *w = leaf(s, random_tensor({8}, 6));
    ct_tensor *y = ct_sum(s, ct_rms_norm(s, x, w, 1e-5));
    assert_int_equal(ct_backward(s, &y, nullptr, 1), CAI_EINTERNAL);
    /* What an inference scope made can be an input of a recording one. */
    ct_tensor *seen = ct_scale(r, ct_rms_norm(r, x, w, 1e-5), 1);
    ct_tensor *z = ct_sum(r, ct_mul(r, seen, ct_detach(r, seen)));
    assert_int_equal(ct_backward(r, &z, nullptr, 1), 0);
    assert_non_null(ct_grad(r, x));
    ct_scope_close(r);
    ct_scope_close(s);
}

/* Loshchilov & Hutter 2019, algorithm 2, with eps outside of the corrected root. */
static void adamw(void **) {
    const double lr = 0.01, b1 = 0.9, b2 = 0.95, eps = 1e-8, decay = 0.1;
    ct_scope *s = ct_scope_open();
    at::Tensor p = random_tensor({1000}, 7).to(at::kDouble), m = at::zeros_like(p), v = m.clone();
    ct_tensor *cp = give(s, p.to(at::kFloat)), *cm = give(s, m.to(at::kFloat)),
              *cv = give(s, v.to(at::kFloat));
    for (int64_t step = 1; step <= 5; step++) {
        at::Tensor g = random_tensor({1000}, 100 + static_cast<uint64_t>(step)).to(at::kDouble);
        p = p * (1 - lr * decay);
        m = b1 * m + (1 - b1) * g;
        v = b2 * v + (1 - b2) * g * g;
        at::Tensor root = at::sqrt(v / (1 - std::pow(b2, step)));
        p = p - lr * (m / (1 - std::pow(b1, step))) / (root + eps);
        assert_int_equal(ct_adamw_(cp, give(s, g.to(at::kFloat)), cm, cv, step, lr, b1, b2, eps,
                                   decay), 0);
    }
    near(take(cp), p, 1e-6);
    near(take(cm), m, 1e-6);
    near(take(cv), v, 1e-6);
    assert_int_equal(ct_adamw_(cp, cp, cm, cv, 0, lr, b1, b2, eps, decay), CAI_EINTERNAL);
    double norm;
    assert_int_equal(ct_norm(cp, &norm), 0);
    assert_true(std::fabs(norm - p.norm().item<double>()) < 1e-4);
    ct_scope_close(s);
}

/* Every operation with a gradient of its own, once; all results and gradients. */
static std::vector<at::Tensor> everything(int threads) {
    at::set_num_threads(threads);
    int64_t t = 700, d = 96, vocab = 333;
    std::vector<int64_t> starts = {0, 100, 101, 430, t};
    ct_scope *s = ct_scope_open_grad();
    ct_tensor *table = leaf(s, random_tensor({vocab, d}, 1)), *w = leaf(s, random_tensor({d}, 2)),
              *a = leaf(s, random_tensor({d, d}, 3) * 0.1), *b = leaf(s, random_tensor({d}, 4)),
              *up = leaf(s, random_tensor({2 * d, d}, 5) * 0.1);
    ct_tensor *ids = give(s, targets(t, vocab));
    at::Tensor angle = random_tensor({t, 16}, 6), full = at::cat({angle, angle}, 1);
    ct_tensor *x = ct_embedding(s, table, ids);
    ct_tensor *h = ct_linear(s, ct_rms_norm(s, x, w, 1e-5), a, b);
    int64_t heads[] = {t, 3, 32}, wide[] = {t, d};
    ct_tensor *q = ct_rotary(s, ct_view(s, h, heads, 3), give(s, at::cos(full)),
                             give(s, at::sin(full)));
    h = ct_view(s, ct_attention_packed(s, q, q, q, starts.data(), 4, {0.2, 0, 0}), wide, 2);
    h = ct_add(s, x, h);
    ct_tensor *u = ct_linear(s, h, up, nullptr);
    h = ct_swiglu(s, ct_contiguous(s, ct_narrow(s, u, 1, 0, d)), ct_narrow(s, u, 1, d, d));
    h = ct_index_select(s, h, 0, give(s, targets(300, t)));
    ct_tensor *y = ct_linear_logprob(s, h, table, give(s, targets(300, vocab)), 1, 0, nullptr,
                                     nullptr);
    run_backward(s, y, random_tensor({300}, 8));
    std::vector<at::Tensor> out;
    for (ct_tensor *r : {y, ct_grad(s, table), ct_grad(s, w), ct_grad(s, a), ct_grad(s, b),
                         ct_grad(s, up)})
        out.push_back(take(r));
    ct_scope_close(s);
    return out;
}

static void runs_and_threads_change_nothing(void **) {
    std::vector<at::Tensor> want = everything(1);
    for (int threads : {1, 2, 3, 2}) {
        std::vector<at::Tensor> got = everything(threads);
        for (size_t i = 0; i < want.size(); i++)
            assert_true(same_bits(got[i], want[i]));
    }
    at::set_num_threads(2);
}

/* Few rows and many take different ways through the kernels; wide and narrow outputs divide
 * differently over threads. */
static void a_linear_row_does_not_know_its_batch(void **) {
    for (int64_t out : {70, 701}) {
        at::Tensor x = random_tensor({300, 600}, 9), w = random_tensor({out, 600}, 10);
        ct_scope *s = ct_scope_open();
        at::Tensor want = take(ct_linear(s, give(s, x), give(s, w), nullptr));
        near(want, at::linear(x, w), 1e-5);
        for (int threads : {1, 2})
            for (int64_t n : {1, 2, 3, 5, 12, 13, 16, 17, 31, 33, 64, 99, 128, 129, 299}) {
                at::set_num_threads(threads);
                ct_tensor *rows = give(s, x.narrow(0, 300 - n, n));
                at::Tensor got = take(ct_linear(s, rows, give(s, w), nullptr));
                assert_true(same_bits(got, want.narrow(0, 300 - n, n)));
            }
        ct_scope_close(s);
    }
}

/* Weights in bfloat16: the products of rounded numbers, summed in fp32, and again a row
 * does not know its batch. */
static void a_bfloat16_linear_is_near_and_row_by_row(void **) {
    for (int64_t out : {70, 701}) {
        at::Tensor x = random_tensor({300, 602}, 19), b = random_tensor({out}, 21),
                   w = random_tensor({out, 602}, 20).to(at::kBFloat16);
        ct_scope *s = ct_scope_open();
        ct_tensor *cw = give(s, w), *cb = give(s, b);
        at::Tensor want = take(ct_linear(s, give(s, x), cw, cb));
        assert_true(want.scalar_type() == at::kFloat);
        near(want, at::linear(x.to(at::kBFloat16).to(at::kFloat), w.to(at::kFloat), b), 1e-5);
        for (int threads : {1, 2})
            for (int64_t n : {1, 2, 16, 17, 33, 128, 129}) {
                at::set_num_threads(threads);
                at::Tensor got = take(ct_linear(s, give(s, x.narrow(0, 300 - n, n)), cw, cb));
                assert_true(same_bits(got, want.narrow(0, 300 - n, n)));
            }
        at::Tensor bad = x.narrow(0, 0, 2).clone();
        bad[1][3] = NAN;
        at::Tensor with_nan = take(ct_linear(s, give(s, bad), cw, cb));
        assert_true(same_bits(with_nan[0], want[0]) && with_nan[1].isnan().all().item<bool>());
        healthy(s);
        ct_scope_close(s);
    }
}

int main() {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_logprob),
        cmocka_unit_test(linear_logprob_refusals),
        cmocka_unit_test(gradients_gather_in_bound_storage),
        cmocka_unit_test(nothing_is_recorded_without_grad),
        cmocka_unit_test(adamw),
        cmocka_unit_test(runs_and_threads_change_nothing),
        cmocka_unit_test(a_linear_row_does_not_know_its_batch),
        cmocka_unit_test(a_bfloat16_linear_is_near_and_row_by_row),
    };
    return cmocka_run_group_tests(tests, init, nullptr);
}
