/* attention.cpp: causal attention over packed sequences and over a key/value cache, one
 * task per (sequence, key/value head); and the cache's rows. Not for anything else of a
 * layer. */
#include "attention.hpp"
#include "half.hpp"
#include "guard.hpp"
#include "team.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/le.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstring>
#include <limits>

using namespace shim;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

enum : int64_t { CACHE_STEP = 32 }; /* a multiple of every kernel's nr */

struct Shape {
    int64_t heads, kv_heads, d;
};

Shape shape_of(const at::Tensor &q, const at::Tensor &k) {
    return {q.size(1), k.size(1), q.size(2)};
}

void set(kernel_attention &a, const ct_attend &how) {
    a.scale = static_cast<float>(how.scale);
    a.softcap = static_cast<float>(how.softcap);
    a.window = how.window;
}

/* Rows begin … end, key/value head h of a pack; v and out are still to be set. */
kernel_attention part(const Shape &s, const at::Tensor &q, const at::Tensor &k,
                      const at::Tensor &lse, int64_t begin, int64_t end, int64_t h,
                      const ct_attend &how) {
    kernel_attention a = {};
    a.rows = end - begin;
    a.d = s.d;
    a.group = s.heads / s.kv_heads;
    a.q_row = a.out_row = s.heads * s.d;
    a.k_row = s.kv_heads * s.d;
    int64_t q_at = begin * a.q_row + h * a.group * s.d, k_at = begin * a.k_row + h * s.d;
    a.q = floats(q) + q_at;
    a.k = floats(k) + k_at;
    a.lse = floats_mut(lse) + begin * s.heads + h * a.group;
    a.lse_row = s.heads;
    set(a, how);
    return a;
}

/* f(sequence, head) for every non-empty sequence; threads divide the tasks. */
template <class F> void each(const std::vector<int64_t> &starts, int64_t heads, F &&f) {
    int64_t n = static_cast<int64_t>(starts.size()) - 1;
    crew_parallel(n * heads, 1, [&](int64_t from, int64_t to) {
        for (int64_t task = from; task < to; task++) {
            size_t i = static_cast<size_t>(task / heads);
            if (starts[i + 1] > starts[i])
                f(starts[i], starts[i + 1], task % heads);
        }
    });
}

/* q [T, Hq, D], k, v [T, Hkv, D], starts [n + 1]. */
struct Packed : torch::autograd::Function<Packed> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &q_in, const at::Tensor &k_in,
                              const at::Tensor &v_in, const std::vector<int64_t> &starts,
                              const ct_attend &how) {
        at::Tensor q = q_in.contiguous(), k = k_in.contiguous(), v = v_in.contiguous();
        Shape s = shape_of(q, k);
        at::Tensor out = at::empty_like(q), lse = at::empty({q.size(0), s.heads}, q.options());
        each(starts, s.kv_heads, [&](int64_t begin, int64_t end, int64_t h) {
            kernel_attention a = part(s, q, k, lse, begin, end, h, how);
            a.v = floats(v) + (a.k - floats(k));
            a.out = floats_mut(out) + (a.q - floats(q));
            a.scratch = scratch(kernels().attention_scratch(end - begin, s.d, false));
            kernels().attention(&a);
        });
        if (ctx) {
            ctx->save_for_backward({q, k, v, out, lse});
            ctx->saved_data["starts"] = starts;
            ctx->saved_data["scale"] = how.scale;
            ctx->saved_data["softcap"] = how.softcap;
            ctx->saved_data["window"] = how.window;
        }
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list t = ctx->get_saved_variables();
        const at::Tensor &q = t[0], &k = t[1], &v = t[2], g = grads[0].contiguous();
        std::vector<int64_t> starts = ctx->saved_data["starts"].toIntVector();
        ct_attend how = {ctx->saved_data["scale"].toDouble(),
                         ctx->saved_data["softcap"].toDouble(), ctx->saved_data["window"].toInt()};
        Shape s = shape_of(q, k);
        at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
        each(starts, s.kv_heads, [&](int64_t begin, int64_t end, int64_t h) {
            kernel_attention_grad b = {};
            b.f = part(s, q, k, t[4], begin, end, h, how);
            b.f.v = floats(v) + (b.f.k - floats(k));
            b.f.out = floats_mut(t[3]) + (b.f.q - floats(q));
            b.f.scratch = scratch(kernels().attention_scratch(end - begin, s.d, true));
            b.d_out = floats(g) + (b.f.q - floats(q));
            b.d_q = floats_mut(dq) + (b.f.q - floats(q));
            b.d_k = floats_mut(dk) + (b.f.k - floats(k));
            b.d_v = floats_mut(dv) + (b.f.k - floats(k));
            kernels().attention_grad(&b);
        });
        return {dq, dk, dv, at::Tensor(), at::Tensor()};
    }
};

/* x [T, H, D] in bfloat16, or in fp32. */
at::Tensor with_halves(const at::Tensor &x) {
    at::Tensor rows = x.contiguous();
    return x.scalar_type() == at::kBFloat16 ? rows : halved(rows.flatten(1)).view(x.sizes());
}

at::Tensor with_floats(const at::Tensor &x) {
    return widened(x.flatten(1)).view(x.sizes());
}

/* The same with products in bfloat16. v, what comes out, and their gradients are bfloat16, or
 * fp32 whose values bfloat16 holds. */
struct PackedHalf : torch::autograd::Function<PackedHalf> {
    static kernel_attention16 part16(const Shape &s, const at::Tensor &q, const at::Tensor &k,
                                     const at::Tensor &v, const at::Tensor &out,
                                     const at::Tensor &lse, int64_t begin, int64_t end, int64_t h,
                                     const ct_attend &how, bool backward) {
        kernel_attention16 a = {};
        a.f = part(s, q, k, lse, begin, end, h, how);
        a.f.scratch = scratch(kernels().attention16_scratch(end - begin, s.d, backward));
        a.v = halves(v) + (a.f.k - floats(k));
        a.out = halves(out) + (a.f.q - floats(q));
        return a;
    }

    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &q_in, const at::Tensor &k_in,
                              const at::Tensor &v_in, const std::vector<int64_t> &starts,
                              const ct_attend &how) {
        at::Tensor q = q_in.contiguous(), k = k_in.contiguous(), v = with_halves(v_in);
        Shape s = shape_of(q, k);
        at::Tensor out = at::empty_like(q, q.options().dtype(at::kBFloat16)),
                   lse = at::empty({q.size(0), s.heads}, q.options());
        each(starts, s.kv_heads, [&](int64_t begin, int64_t end, int64_t h) {
            kernel_attention16 a = part16(s, q, k, v, out, lse, begin, end, h, how, false);
            kernels().attention16(&a);
        });
        bool half = v_in.scalar_type() == at::kBFloat16;
        if (ctx) {
            ctx->save_for_backward({q, k, v, out, lse});
            ctx->saved_data["starts"] = starts;
            ctx->saved_data["scale"] = how.scale;
            ctx->saved_data["softcap"] = how.softcap;
            ctx->saved_data["window"] = how.window;
            ctx->saved_data["half"] = half;
        }
        return half ? out : with_floats(out);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list t = ctx->get_saved_variables();
        const at::Tensor &q = t[0], &k = t[1], &v = t[2], g = with_halves(grads[0]);
        std::vector<int64_t> starts = ctx->saved_data["starts"].toIntVector();
        ct_attend how = {ctx->saved_data["scale"].toDouble(),
                         ctx->saved_data["softcap"].toDouble(), ctx->saved_data["window"].toInt()};
        Shape s = shape_of(q, k);
        at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
        each(starts, s.kv_heads, [&](int64_t begin, int64_t end, int64_t h) {
            kernel_attention16 a = part16(s, q, k, v, t[3], t[4], begin, end, h, how, true);
            a.d_out = halves(g) + (a.f.q - floats(q));
            a.d_q = floats_mut(dq) + (a.f.q - floats(q));
            a.d_k = floats_mut(dk) + (a.f.k - floats(k));
            a.d_v = halves(dv) + (a.f.k - floats(k));
            kernels().attention16_grad(&a);
        });
        bool half = ctx->saved_data["half"].toBool();
        return {dq, dk, half ? dv : with_floats(dv), at::Tensor(), at::Tensor()};
    }
};

/* [L, H, D] → [1, H, L, D] */
at::Tensor heads_first(const at::Tensor &x) {
    return x.transpose(0, 1).unsqueeze(0);
}

/* Rows past … past + rows of q [1, Hq, rows, D] against k, v [1, Hkv, past + rows, D]. */
at::Tensor composite(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, int64_t past,
                     const ct_attend &how) {
    int64_t rows = q.size(2);
    at::Tensor column = at::arange(past + rows, q.options().dtype(at::kLong)).unsqueeze(0);
    at::Tensor row = column.narrow(1, past, rows).squeeze(0).unsqueeze(1);
    at::Tensor mask = at::le(column, row);
    if (how.window > 0)
        mask = mask.logical_and(at::gt(column, row - how.window));
    if (how.softcap == 0)
        return at::scaled_dot_product_attention(q, k, v, mask, 0.0, false, how.scale, true);
    int64_t group = q.size(1) / k.size(1);
    at::Tensor scores = at::matmul(q, k.repeat_interleave(group, 1).transpose(2, 3)) * how.scale;
    scores = at::tanh(scores / how.softcap) * how.softcap;
    scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
    return at::matmul(at::softmax(scores, -1), v.repeat_interleave(group, 1));
}

at::Tensor packed_composite(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                            const int64_t *starts, int64_t n, const ct_attend &how) {
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = starts[i], len = starts[i + 1] - at;
        at::Tensor o = composite(heads_first(q.narrow(0, at, len)),
                                 heads_first(k.narrow(0, at, len)),
                                 heads_first(v.narrow(0, at, len)), 0, how);
        parts.push_back(o.squeeze(0).transpose(0, 1));
    }
    return at::cat(parts, 0);
}

void check_pack(const at::Tensor &q, const int64_t *starts, int64_t n) {
    TORCH_CHECK(n >= 1 && starts[0] == 0 && starts[n] == q.size(0), "the ", n,
                " sequences do not cover the ", q.size(0), " rows");
    for (int64_t i = 0; i < n; i++)
        TORCH_CHECK(starts[i + 1] >= starts[i], "sequence ", i, " ends before it begins");
}

void check_heads(const at::Tensor &q, int64_t kv_heads, int64_t d) {
    TORCH_CHECK(q.dim() == 3 && q.size(2) == d && kv_heads > 0 && q.size(1) % kv_heads == 0, "q ",
                q.sizes(), " does not fit ", kv_heads, " key heads of width ", d);
}

/* ---- over a cache --------------------------------------------------------------------------- */

/* Keys of an fp32 cache on the CPU lie as kernels().pack leaves them: slivers of nr
 * positions, each [D][nr]. Nothing is packed when they are read, and a new key touches its
 * own elements only. Other caches keep keys as they keep values, [L, D]. */
bool keeps_packed(const at::Tensor &cache) {
    return takes(cache) && cache.is_contiguous() && cache.dim() == 4 &&
           cache.size(2) % kernels().nr == 0;
}

/* Sequence i: rows starts[i] … of q after past[i] positions of slot slots[i]. */
struct Continuation {
    const int64_t *slots, *past, *starts;
    int64_t n;
    ct_attend how;
};

void check_cache(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                 const Continuation &c) {
    TORCH_CHECK(k.dim() == 4 && k.sizes() == v.sizes(), "caches ", k.sizes(), " and ", v.sizes());
    check_heads(q, k.size(1), k.size(3));
    check_pack(q, c.starts, c.n);
    for (int64_t i = 0; i < c.n; i++)
        TORCH_CHECK(c.slots[i] >= 0 && c.slots[i] < k.size(0) && c.past[i] >= 0 &&
                        c.past[i] + c.starts[i + 1] - c.starts[i] <= k.size(2),
                    "sequence ", i, ": slot ", c.slots[i], " with ", c.past[i],
                    " positions before is outside of the cache ", k.sizes());
}

/* Rows [T, H, D] whose heads lie side by side: as they are; others copied. */
at::Tensor with_dense_rows(const at::Tensor &x) {
    return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous();
}

/* Positions of the longest sequence. */
int64_t longest(const Continuation &c) {
    int64_t most = 1;
    for (int64_t i = 0; i < c.n; i++)
        most = std::max(most, c.past[i] + c.starts[i + 1] - c.starts[i]);
    return most;
}

at::Tensor cached_kernel(const at::Tensor &q_in, const at::Tensor &k, const at::Tensor &v,
                         const Continuation &c) {
    at::Tensor q = with_dense_rows(q_in);
    int64_t heads = q.size(1), kv_heads = k.size(1), length = k.size(2), d = k.size(3);
    at::Tensor out = at::empty({q.size(0), heads, d}, q.options());
    auto some = [&](int64_t from, int64_t to) {
        for (int64_t task = from; task < to; task++) {
            int64_t i = task / kv_heads, h = task % kv_heads;
            kernel_attention a = {};
            a.rows = c.starts[i + 1] - c.starts[i];
            a.past = c.past[i];
            a.d = d;
            a.group = heads / kv_heads;
            a.q_row = q.stride(0);
            a.out_row = heads * d;
            a.k_row = d;
            a.keys_packed = true;
            int64_t at = h * a.group * d, slab = (c.slots[i] * kv_heads + h) * length * d;
            a.q = floats(q) + c.starts[i] * a.q_row + at;
            a.out = floats_mut(out) + c.starts[i] * a.out_row + at;
            a.k = floats(k) + slab;
            a.v = floats(v) + slab;
            set(a, c.how);
            a.scratch = scratch(kernels().attention_scratch(a.past + a.rows, d, false));
            if (a.rows > 0)
                kernels().attention(&a);
        }
    };
    if (q.size(0) == c.n) /* decoding */
        team_parallel(c.n * kv_heads, 1 + 8192 / (longest(c) * d), some);
    else
        crew_parallel(c.n * kv_heads, 1, some);
    return out;
}

at::Tensor cached_composite(const at::Tensor &q, const at::Tensor &k_cache,
                            const at::Tensor &v_cache, const Continuation &c) {
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < c.n; i++) {
        int64_t rows = c.starts[i + 1] - c.starts[i], past = c.past[i];
        at::Tensor k = k_cache.select(0, c.slots[i]).narrow(1, 0, past + rows).unsqueeze(0);
        at::Tensor v = v_cache.select(0, c.slots[i]).narrow(1, 0, past + rows).unsqueeze(0);
        parts.push_back(composite(heads_first(q.narrow(0, c.starts[i], rows)),
                                  k.to(q.scalar_type()), v.to(q.scalar_type()), past, c.how)
                            .squeeze(0)
                            .transpose(0, 1));
    }
    return at::cat(parts, 0);
}

/* On a device all sequences at once, where there is a kernel or one row each. */
at::Tensor cached_on_device(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                            const Continuation &c) {
    if (device_kernel_takes(k, c.how.softcap))
        return prefill_by_device(q, k, v, {c.slots, c.past, c.starts, c.n}, c.how);
    if (q.size(0) == c.n)
        return decode_rows(q, k, v, device_list(c.slots, c.n, q), device_list(c.past, c.n, q),
                           c.how);
    return cached_composite(q, k, v, c);
}

at::Tensor cached(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                  const Continuation &c) {
    check_cache(q, k, v, c);
    if (k.is_cuda())
        return cached_on_device(q, k, v, c);
    if (keeps_packed(k)) {
        TORCH_CHECK(takes(q) && keeps_packed(v), "q and the caches are of different types");
        return cached_kernel(q, k, v, c);
    }
    return cached_composite(q, k, v, c);
}

} // namespace

bool shim::attends_half(int64_t d) {
    return kernels().attention16 && d % 2 == 0;
}

/* ---- the C face ------------------------------------------------------------------------------- */

ct_tensor *ct_attention_packed(ct_scope *s, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                               const int64_t *starts, int64_t n, struct ct_attend how) {
    if (!ready(s, "ct_attention_packed", q, k, v))
        return nullptr;
    return op(s, "ct_attention_packed", [&] {
        TORCH_CHECK(k->t.dim() == 3 && k->t.sizes() == v->t.sizes() &&
                        k->t.size(0) == q->t.size(0),
                    "q ", q->t.sizes(), ", k ", k->t.sizes(), ", v ", v->t.sizes());
        check_heads(q->t, k->t.size(1), k->t.size(2));
        check_pack(q->t, starts, n);
        if (device_kernel_takes(q->t, how.softcap))
            return packed_by_device(q->t, k->t, v->t, starts, n, how);
        bool half = s->half_products && attends_half(k->t.size(2)) &&
                    (takes(v->t) || (v->t.is_cpu() && v->t.scalar_type() == at::kBFloat16));
        if (!takes(q->t) || !takes(k->t) || !(half || takes(v->t)))
            return packed_composite(q->t, k->t, v->t, starts, n, how);
        std::vector<int64_t> list(starts, starts + n + 1);
        if (half)
            return s->grad ? PackedHalf::apply(q->t, k->t, v->t, list, how)
                           : PackedHalf::forward(nullptr, q->t, k->t, v->t, list, how);
        return s->grad ? Packed::apply(q->t, k->t, v->t, list, how)
                       : Packed::forward(nullptr, q->t, k->t, v->t, list, how);
    });
}

ct_tensor *ct_attention_decode(ct_scope *s, ct_tensor *q, ct_tensor *k_cache, ct_tensor *v_cache,
                               const int64_t *slots, const int64_t *lengths, int64_t b,
                               struct ct_attend how) {
    if (!ready(s, "ct_attention_decode", q, k_cache, v_cache))
        return nullptr;
    return op(s, "ct_attention_decode", [&] {
        std::vector<int64_t> past, starts = {0};
        for (int64_t i = 0; i < b; i++) {
            past.push_back(lengths[i] - 1);
            starts.push_back(i + 1);
        }
        return cached(q->t, k_cache->t, v_cache->t,
                      {slots, past.data(), starts.data(), b, how});
    });
}

ct_tensor *ct_attention_prefill(ct_scope *s, ct_tensor *q, ct_tensor *k_cache, ct_tensor *v_cache,
                                const int64_t *slots, const int64_t *past, const int64_t *starts,
                                int64_t n, struct ct_attend how) {
    if (!ready(s, "ct_attention_prefill", q, k_cache, v_cache))
        return nullptr;
    return op(s, "ct_attention_prefill", [&] {
        return cached(q->t, k_cache->t, v_cache->t, {slots, past, starts, n, how});
    });
}

int64_t ct_cache_positions(int64_t positions) {
    return (positions + CACHE_STEP - 1) / CACHE_STEP * CACHE_STEP;
}

namespace {

/* put(place, row, width): row of x at its place in the cache, both of the cache's type. */
template <class F>
void write_rows(const at::Tensor &c, const at::Tensor &x, const int64_t *slots,
                const int64_t *positions, int64_t n, F &&put) {
    TORCH_CHECK(c.is_contiguous() && c.dim() == 4 && x.dim() == 3 && x.size(0) == n &&
                    x.size(1) == c.size(1) && x.size(2) == c.size(3),
                "cache ", c.sizes(), " does not take rows ", x.sizes());
    at::Tensor rows = with_dense_rows(x.to(c.scalar_type()));
    int64_t heads = c.size(1), length = c.size(2), d = c.size(3);
    size_t item = c.element_size();
    char *to = static_cast<char *>(c.mutable_data_ptr());
    const char *from = static_cast<const char *>(rows.const_data_ptr());
    for (int64_t t = 0; t < n; t++) {
        TORCH_CHECK(slots[t] >= 0 && slots[t] < c.size(0) && positions[t] >= 0 &&
                        positions[t] < length,
                    "slot ", slots[t], " position ", positions[t], " is outside of the cache ",
                    c.sizes());
        for (int64_t h = 0; h < heads; h++)
            put(to + static_cast<size_t>((slots[t] * heads + h) * length * d) * item, positions[t],
                from + static_cast<size_t>(t * rows.stride(0) + h * d) * item,
                static_cast<size_t>(d));
    }
}

void write_plain(const at::Tensor &c, const at::Tensor &x, const int64_t *slots,
                 const int64_t *positions, int64_t n) {
    size_t item = c.element_size();
    write_rows(c, x, slots, positions, n,
               [&](char *slab, int64_t position, const char *row, size_t d) {
                   memcpy(slab + static_cast<size_t>(position) * d * item, row, d * item);
               });
}

void write_packed(const at::Tensor &c, const at::Tensor &x, const int64_t *slots,
                  const int64_t *positions, int64_t n) {
    size_t nr = static_cast<size_t>(kernels().nr);
    write_rows(c, x, slots, positions, n,
               [&](char *slab, int64_t position, const char *row, size_t d) {
                   size_t p = static_cast<size_t>(position);
                   float *to = reinterpret_cast<float *>(slab) + p / nr * nr * d + p % nr;
                   const float *from = reinterpret_cast<const float *>(row);
                   for (size_t i = 0; i < d; i++)
                       to[i * nr] = from[i];
               });
}

} // namespace

int ct_cache_write_keys(ct_tensor *cache, ct_tensor *x, const int64_t *slots,
                        const int64_t *positions, int64_t n) {
    if (!cache || !x)
        return cai_fail(CAI_ESTATE, "ct_cache_write_keys: an input is NULL");
    return act("ct_cache_write_keys", [&] {
        if (cache->t.is_cuda())
            return write_by_device(cache->t, x->t, slots, positions, n);
        (keeps_packed(cache->t) ? write_packed : write_plain)(cache->t, x->t, slots, positions, n);
    });
}

/* Rows by the lists as tensors; what lies packed is not reached so. */
int ct_cache_write_at(ct_tensor *cache, ct_tensor *x, ct_tensor *slots, ct_tensor *positions) {
    if (!cache || !x || !slots || !positions)
        return cai_fail(CAI_ESTATE, "ct_cache_write_at: an input is NULL");
    return act("ct_cache_write_at", [&] {
        TORCH_CHECK(!keeps_packed(cache->t), "this cache keeps its keys packed");
        write_rows_at(cache->t, x->t, slots->t, positions->t);
    });
}

ct_tensor *ct_attention_decode_at(ct_scope *s, ct_tensor *q, ct_tensor *k_cache,
                                  ct_tensor *v_cache, ct_tensor *slots, ct_tensor *positions,
                                  struct ct_attend how) {
    if (!ready(s, "ct_attention_decode_at", q, k_cache, v_cache, slots, positions))
        return nullptr;
    return op(s, "ct_attention_decode_at", [&] {
        TORCH_CHECK(!keeps_packed(k_cache->t), "this cache keeps its keys packed");
        check_heads(q->t, k_cache->t.size(1), k_cache->t.size(3));
        return decode_rows(q->t, k_cache->t, v_cache->t, slots->t, positions->t, how);
    });
}

int ct_cache_write_values(ct_tensor *cache, ct_tensor *x, const int64_t *slots,
                          const int64_t *positions, int64_t n) {
    if (!cache || !x)
        return cai_fail(CAI_ESTATE, "ct_cache_write_values: an input is NULL");
    return act("ct_cache_write_values", [&] {
        (cache->t.is_cuda() ? write_by_device : write_plain)(cache->t, x->t, slots, positions, n);
    });
}

int ct_cache_copy(ct_tensor *cache, int64_t from, int64_t to, int64_t length) {
    if (!cache)
        return cai_fail(CAI_ESTATE, "ct_cache_copy: there is no cache");
    return act("ct_cache_copy", [&] {
        int64_t whole = std::min(ct_cache_positions(length), cache->t.size(2));
        cache->t.select(0, to).narrow(1, 0, whole).copy_(
            cache->t.select(0, from).narrow(1, 0, whole));
    });
}
