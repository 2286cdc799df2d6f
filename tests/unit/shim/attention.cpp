/* attention: packed, cached and single-row attention agree with the composite, in value
 * and gradient, and nearly so with products in bfloat16; a row's bits are its own: no
 * neighbour, batch, cache or thread shows. */
#include "common.hpp"

#include <ATen/Parallel.h>

#include <cmath>

static int init(void **) {
    return ct_init(2);
}

static at::Tensor parameter(const at::Tensor &t) {
    return t.clone().requires_grad_(true);
}

static at::Tensor reference(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                            const std::vector<int64_t> &starts, const ct_attend &how) {
    std::vector<at::Tensor> parts;
    int64_t group = q.size(1) / k.size(1);
    for (size_t i = 0; i + 1 < starts.size(); i++) {
        int64_t at = starts[i], n = starts[i + 1] - at;
        at::Tensor a = q.narrow(0, at, n).transpose(0, 1),
                   b = k.narrow(0, at, n).transpose(0, 1).repeat_interleave(group, 0),
                   c = v.narrow(0, at, n).transpose(0, 1).repeat_interleave(group, 0);
        at::Tensor mask = at::ones({n, n}, at::kBool).triu(1);
        if (how.window > 0)
            mask = mask.logical_or(at::ones({n, n}, at::kBool).tril(-how.window));
        at::Tensor x = at::matmul(a, b.transpose(1, 2)) * how.scale;
        if (how.softcap != 0)
            x = at::tanh(x / how.softcap) * how.softcap;
        at::Tensor p = at::softmax(x.masked_fill(mask, -INFINITY), -1);
        parts.push_back(at::matmul(p, c).transpose(0, 1));
    }
    return at::cat(parts, 0);
}

struct Case {
    int64_t heads, kv_heads, d;
    std::vector<int64_t> starts;
};

static const std::vector<Case> CASES = {
    {2, 2, 32, {0, 1, 8, 8, 55, 103}},
    {4, 2, 64, {0, 97, 128}},
    {3, 1, 20, {0, 49, 50}},
    {2, 1, 8, {0, 700}},
    {18, 2, 96, {0, 33, 64}},
};

/* Plain, a window, a cap, and both. */
static const ct_attend HOWS[] = {{0.3, 0, 0}, {0.2, 0, 7}, {0.4, 1.5, 0}, {0.5, 2, 300}};

static void packed_and_gradients(void **) {
    for (size_t i = 0; i < 4 * CASES.size(); i++) {
        const Case &c = CASES[i / 4];
        const ct_attend &how = HOWS[i % 4];
        int64_t t = c.starts.back(), n = static_cast<int64_t>(c.starts.size()) - 1;
        at::Tensor q = parameter(random_tensor({t, c.heads, c.d}, 1) * 2),
                   k = parameter(random_tensor({t, c.kv_heads, c.d}, 2)),
                   v = parameter(random_tensor({t, c.kv_heads, c.d}, 3)),
                   g = random_tensor({t, c.heads, c.d}, 4);
        at::Tensor want = reference(q, k, v, c.starts, how);
        want.backward(g);
        ct_scope *s = ct_scope_open_grad();
        ct_tensor *cq = leaf(s, q), *ck = leaf(s, k), *cv = leaf(s, v);
        ct_tensor *o = ct_attention_packed(s, cq, ck, cv, c.starts.data(), n, how);
        near(take(o), want.detach(), 3e-6);
        run_backward(s, o, g);
        near(take(ct_grad(s, cq)), q.grad(), 1e-5);
        near(take(ct_grad(s, ck)), k.grad(), 1e-5);
        near(take(ct_grad(s, cv)), v.grad(), 1e-5);
        ct_scope_close(s);
    }
}

/* Output and gradients to q, k, v of a pack, with products in bfloat16 or not. */
static std::vector<at::Tensor> run_pack(const std::vector<at::Tensor> &in,
                                        const std::vector<int64_t> &starts, const ct_attend &how,
                                        bool half) {
    ct_scope *s = ct_scope_open_grad();
    ct_scope_products(s, half ? CT_BF16 : CT_F32);
    ct_tensor *q = leaf(s, in[0]), *k = leaf(s, in[1]), *v = leaf(s, in[2]);
    ct_tensor *o = ct_attention_packed(s, q, k, v, starts.data(),
                                       static_cast<int64_t>(starts.size()) - 1, how);
    run_backward(s, o, in[3]);
    std::vector<at::Tensor> out;
    for (ct_tensor *x : {o, ct_grad(s, q), ct_grad(s, k), ct_grad(s, v)})
        out.push_back(take(x));
    ct_scope_close(s);
    return out;
}

static std::vector<at::Tensor> draw(const Case &c) {
    int64_t t = c.starts.back();
    return {random_tensor({t, c.heads, c.d}, 1), random_tensor({t, c.kv_heads, c.d}, 2),
            random_tensor({t, c.kv_heads, c.d}, 3), random_tensor({t, c.heads, c.d}, 4)};
}

/* Whether heads of this width are multiplied in bfloat16 here. */
static bool rounds(int64_t d) {
    Case c = {1, 1, d, {0, 9}};
    std::vector<at::Tensor> in = draw(c);
    return !same_bits(run_pack(in, c.starts, HOWS[0], true)[0],
                      run_pack(in, c.starts, HOWS[0], false)[0]);
}

static void half_products_are_near(void **) {
    std::vector<Case> cases = CASES;
    for (int64_t n : {1, 2, 3, 11, 12, 13, 31, 32, 33, 47, 48, 49, 95, 96, 97, 128, 199, 200})
        cases.push_back({4, 2, n % 2 ? 64 : 22, {0, n}});
    cases.push_back({2, 1, 7, {0, 61, 70}});
    cases.push_back({2, 1, 16, {0, 1300}});
    for (size_t i = 0; i < 4 * cases.size(); i++) {
        const Case &c = cases[i / 4];
        ct_attend how = HOWS[i % 4];
        how.scale = 1 / std::sqrt(static_cast<double>(c.d));
        std::vector<at::Tensor> in = draw(c), want = run_pack(in, c.starts, how, false),
                                got = run_pack(in, c.starts, how, true),
                                again = run_pack(in, c.starts, how, true);
        for (size_t j = 0; j < want.size(); j++) {
            near(got[j], want[j], 0.01);
            assert_true(same_bits(got[j], again[j]));
            if (c.d % 2)
                assert_true(same_bits(got[j], want[j]));
        }
    }
    assert_false(rounds(7));
    assert_int_equal(rounds(32), rounds(22));
}

/* Inputs that bfloat16 holds and one position: nothing is left to round but what comes out. */
static void half_products_are_exact_where_nothing_is_rounded(void **) {
    Case c = {4, 2, 24, {0, 1, 2, 3}};
    std::vector<at::Tensor> in = draw(c);
    for (at::Tensor &t : in)
        t = t.to(at::kBFloat16).to(at::kFloat);
    std::vector<at::Tensor> want = run_pack(in, c.starts, HOWS[0], false),
                            got = run_pack(in, c.starts, HOWS[0], true);
    assert_true(same_bits(got[0], in[2].repeat_interleave(2, 1)));
    at::Tensor dv = rounds(24) ? want[3].to(at::kBFloat16).to(at::kFloat) : want[3];
    assert_true(same_bits(got[3], dv));
}

/* What comes later shows neither in a row nor in what its first part leaves. */
static void half_rows_see_what_is_before_them(void **) {
    for (const ct_attend &how : HOWS)
        for (int64_t n : {1, 46, 47, 48, 49, 150, 600}) {
            Case c = {4, 2, 32, {0, 700}};
            std::vector<at::Tensor> in = draw(c), some;
            for (const at::Tensor &t : in)
                some.push_back(t.narrow(0, 0, n));
            at::Tensor whole = run_pack(in, {0, 700}, how, true)[0],
                       part = run_pack(some, {0, n}, how, true)[0];
            assert_true(same_bits(whole.narrow(0, 0, n), part));
        }
}

/* Output and gradients of the rows of the second sequence, beside a given first one. */
static std::vector<at::Tensor> beside(int64_t first, uint64_t seed, int threads, bool half) {
    at::set_num_threads(threads);
    int64_t own = 77;
    std::vector<at::Tensor> in;
    for (uint64_t i = 0; i < 4; i++) {
        int64_t h = i == 0 || i == 3 ? 4 : 2;
        in.push_back(at::cat({random_tensor({first, h, 32}, seed + i),
                              random_tensor({own, h, 32}, 50 + i)}, 0));
    }
    std::vector<at::Tensor> out = run_pack(in, {0, first, first + own}, {0.2, 0, 0}, half);
    for (at::Tensor &t : out)
        t = t.narrow(0, first, own);
    return out;
}

static void neighbours_and_threads_change_nothing(void **) {
    for (bool half : {false, true}) {
        std::vector<at::Tensor> want = beside(40, 100, 1, half);
        for (int64_t first : {0, 40, 41, 300})
            for (int threads : {1, 2}) {
                std::vector<at::Tensor> got = beside(first, 200, threads, half);
                for (size_t i = 0; i < want.size(); i++)
                    assert_true(same_bits(got[i], want[i]));
            }
    }
}

/* A cache of 5 slots × 640 positions filled from k, v. */
struct Cache {
    ct_tensor *k, *v;
};

static Cache filled(ct_scope *s, const at::Tensor &k, const at::Tensor &v, int64_t slot,
                    enum ct_dtype type = CT_F32) {
    int64_t shape[] = {5, k.size(1), ct_cache_positions(620), k.size(2)};
    Cache c = {ct_full(s, type, shape, 4, 7), ct_full(s, type, shape, 4, NAN)};
    std::vector<int64_t> slots(static_cast<size_t>(k.size(0)), slot), positions;
    for (int64_t i = 0; i < k.size(0); i++)
        positions.push_back(i);
    int64_t n = k.size(0);
    assert_int_equal(ct_cache_write_keys(c.k, give(s, k), slots.data(), positions.data(), n), 0);
    assert_int_equal(ct_cache_write_values(c.v, give(s, v), slots.data(), positions.data(), n), 0);
    return c;
}

/* The same row as part of a pack, as a continuation, and decoded in any batch: equal bits. */
static void cached_rows_are_the_packed_rows(void **) {
    for (size_t i = 0; i < 4 * CASES.size(); i++) {
        const Case &shape = CASES[i / 4];
        const ct_attend &how = HOWS[i % 4];
        int64_t t = 600, starts[] = {0, t};
        at::Tensor q = random_tensor({t, shape.heads, shape.d}, 11),
                   k = random_tensor({t, shape.kv_heads, shape.d}, 12),
                   v = random_tensor({t, shape.kv_heads, shape.d}, 13);
        ct_scope *s = ct_scope_open();
        at::Tensor want =
            take(ct_attention_packed(s, give(s, q), give(s, k), give(s, v), starts, 1, how));
        Cache c = filled(s, k, v, 3);
        assert_int_equal(ct_cache_copy(c.k, 3, 0, t), 0);
        assert_int_equal(ct_cache_copy(c.v, 3, 0, t), 0);
        int64_t slots[] = {0, 3}, past[] = {560, 597}, rows[] = {0, 40, 43};
        at::Tensor some = at::cat({q.narrow(0, 560, 40), q.narrow(0, 597, 3)}, 0);
        at::Tensor got = take(ct_attention_prefill(s, give(s, some), c.k, c.v, slots, past, rows, 2,
                                                   how));
        assert_true(same_bits(got.narrow(0, 0, 40), want.narrow(0, 560, 40)));
        assert_true(same_bits(got.narrow(0, 40, 3), want.narrow(0, 597, 3)));
        int64_t lengths[] = {600, 1, 578}, of[] = {3, 0, 3};
        at::Tensor three = at::cat({q.narrow(0, 599, 1), q.narrow(0, 0, 1), q.narrow(0, 577, 1)}, 0);
        at::Tensor batch =
            take(ct_attention_decode(s, give(s, three), c.k, c.v, of, lengths, 3, how));
        at::Tensor alone = take(
            ct_attention_decode(s, give(s, three.narrow(0, 2, 1)), c.k, c.v, of + 2, lengths + 2, 1,
                                how));
        healthy(s);
        assert_true(same_bits(batch.narrow(0, 0, 1), want.narrow(0, 599, 1)));
        assert_true(same_bits(batch.narrow(0, 1, 1), want.narrow(0, 0, 1)));
        assert_true(same_bits(batch.narrow(0, 2, 1), want.narrow(0, 577, 1)));
        assert_true(same_bits(batch.narrow(0, 2, 1), alone));
        ct_scope_close(s);
    }
}

static void other_types_take_the_composite(void **) {
    const Case &c = CASES[1];
    int64_t t = c.starts.back();
    at::Tensor q = random_tensor({t, c.heads, c.d}, 21), k = random_tensor({t, c.kv_heads, c.d}, 22),
               v = random_tensor({t, c.kv_heads, c.d}, 23);
    ct_scope *s = ct_scope_open();
    at::Tensor got =
        take(ct_attention_packed(s, give(s, q.to(at::kDouble)), give(s, k.to(at::kDouble)),
                                 give(s, v.to(at::kDouble)), c.starts.data(), 2, {0.1, 0, 0}));
    near(got, reference(q, k, v, c.starts, {0.1, 0, 0}), 1e-6);
    Cache cache = filled(s, k.narrow(0, 0, 90), v.narrow(0, 0, 90), 2, CT_F64);
    int64_t slot = 2, length = 90, starts[] = {0, 90};
    at::Tensor row = take(ct_attention_decode(s, give(s, q.narrow(0, 89, 1).to(at::kDouble)),
                                              cache.k, cache.v, &slot, &length, 1, {0.1, 0, 0}));
    at::Tensor want = take(ct_attention_packed(s, give(s, q.narrow(0, 0, 90)),
                                               give(s, k.narrow(0, 0, 90)),
                                               give(s, v.narrow(0, 0, 90)), starts, 1, {0.1, 0, 0}));
    near(row, want.narrow(0, 89, 1), 1e-6);
    ct_scope_close(s);
}

static void refusals(void **) {
    at::Tensor x = random_tensor({10, 2, 8}, 31), odd = random_tensor({10, 3, 8}, 32);
    int64_t shape[] = {2, 2, 6, 8}, few[] = {0, 4, 9}, back[] = {0, 6, 5, 10};
    int64_t slot[] = {2}, length[] = {7}, zero[] = {0}, eleven[] = {11};
    for (int i = 0; i < 6; i++) {
        ct_scope *s = ct_scope_open();
        ct_tensor *t = give(s, x), *cache = ct_zeros(s, CT_F32, shape, 4);
        ct_tensor *row = give(s, x.narrow(0, 0, 1));
        ct_tensor *got = i == 0   ? ct_attention_packed(s, t, t, t, few, 2, {1, 0, 0})
                         : i == 1 ? ct_attention_packed(s, t, t, t, back, 3, {1, 0, 0})
                         : i == 2 ? ct_attention_packed(s, give(s, odd), t, t, back, 3, {1, 0, 0})
                         : i == 3 ? ct_attention_decode(s, row, cache, cache, slot, slot, 1, {1, 0, 0})
                         : i == 4 ? ct_attention_decode(s, row, cache, cache, zero, length, 1, {1, 0, 0})
                                  : ct_attention_decode(s, row, cache, cache, zero, zero, 1, {1, 0, 0});
        assert_null(got);
        assert_int_equal(ct_scope_status(s), CAI_EINTERNAL);
        assert_int_equal(ct_cache_write_values(cache, row, zero, eleven, 1), CAI_EINTERNAL);
        assert_int_equal(ct_cache_write_keys(cache, row, slot, zero, 1), CAI_EINTERNAL);
        ct_scope_close(s);
    }
}

int main() {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_and_gradients),
        cmocka_unit_test(half_products_are_near),
        cmocka_unit_test(half_products_are_exact_where_nothing_is_rounded),
        cmocka_unit_test(half_rows_see_what_is_before_them),
        cmocka_unit_test(neighbours_and_threads_change_nothing),
        cmocka_unit_test(cached_rows_are_the_packed_rows),
        cmocka_unit_test(other_types_take_the_composite),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, init, nullptr);
}
