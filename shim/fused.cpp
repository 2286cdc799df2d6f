/* fused.cpp: linear, embedding, RMSNorm, SwiGLU and rotary position, each with its own
 * forward and backward over the kernels where the tensors are fp32 on the CPU, and as a
 * composite of libtorch's operations elsewhere. Attention stands in attention.cpp. */
#include "fast.hpp"
#include "guard.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

using namespace shim;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

/* F::apply where the scope records, else F::forward without a graph. */
template <class F, class... Args> at::Tensor run(const ct_scope *s, const Args &...args) {
    return s->grad ? F::apply(args...) : F::forward(nullptr, args...);
}

/* ---- linear --------------------------------------------------------------------------------- */

/* y = x wᵀ + b; x [.., I], w [O, I], b [O] or undefined. */
struct Linear : Function<Linear> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &input, const at::Tensor &w,
                              const std::optional<at::Tensor> &b) {
        at::Tensor x = input.contiguous();
        int64_t in = w.size(1), out = w.size(0), rows = x.numel() / in;
        std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
        shape.back() = out;
        at::Tensor y = at::empty(shape, x.options());
        gemm(rows, out, in, {floats(x), in, 1}, {floats(w), 1, in}, floats_mut(y), out, false);
        if (b)
            y.add_(*b);
        if (ctx) {
            ctx->save_for_backward({x, w});
            ctx->saved_data["bias"] = b.has_value();
        }
        return y;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &x = saved[0], &w = saved[1], g = grads[0].contiguous();
        int64_t in = w.size(1), out = w.size(0), rows = x.numel() / in;
        at::Tensor dx, dw, db;
        if (ctx->needs_input_grad(0)) {
            dx = at::empty_like(x);
            gemm(rows, in, out, {floats(g), out, 1}, {floats(w), in, 1}, floats_mut(dx), in,
                 false);
        }
        if (ctx->needs_input_grad(1)) {
            dw = rows ? at::empty_like(w) : at::zeros_like(w);
            gemm(out, in, rows, {floats(g), 1, out}, {floats(x), in, 1}, floats_mut(dw), in,
                 false);
        }
        if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2)) {
            static const float one = 1;
            db = rows ? at::empty({out}, w.options()) : at::zeros({out}, w.options());
            gemm(1, out, rows, {&one, 0, 0}, {floats(g), out, 1}, floats_mut(db), out, false);
        }
        return {dx, dw, db};
    }
};

/* ---- embedding -------------------------------------------------------------------------------- */

/* dw[v] = Σ g[t] over the places t of v, in their order. A counting sort of the places
 * by id lets threads divide the ids; the order of every sum is fixed. */
static at::Tensor embedding_grad(const at::Tensor &g, const at::Tensor &ids, int64_t vocab) {
    int64_t n = ids.numel(), d = g.numel() / std::max<int64_t>(1, n);
    at::Tensor dw = at::zeros({vocab, d}, g.options());
    const int64_t *id = ids.const_data_ptr<int64_t>();
    std::vector<int64_t> first(static_cast<size_t>(vocab) + 1), place(static_cast<size_t>(n));
    for (int64_t t = 0; t < n; t++)
        first[static_cast<size_t>(id[t]) + 1]++;
    for (size_t v = 0; v < static_cast<size_t>(vocab); v++)
        first[v + 1] += first[v];
    std::vector<int64_t> next(first.begin(), first.end() - 1);
    for (int64_t t = 0; t < n; t++)
        place[static_cast<size_t>(next[static_cast<size_t>(id[t])]++)] = t;
    rows_parallel(vocab, d * (n / std::max<int64_t>(1, vocab) + 1), [&](int64_t from, int64_t to) {
        for (int64_t v = from; v < to; v++)
            for (int64_t i = first[static_cast<size_t>(v)]; i < first[static_cast<size_t>(v) + 1];
                 i++)
                kernels().add(d, floats(g) + place[static_cast<size_t>(i)] * d,
                              floats_mut(dw) + v * d);
    });
    return dw;
}

/* Rows of w [V, …] by ids [T]; the forward checks the ids. */
struct Rows : Function<Rows> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &w, const at::Tensor &ids) {
        at::Tensor index = ids.contiguous();
        if (ctx) {
            ctx->save_for_backward({index});
            ctx->saved_data["shape"] = w.sizes().vec();
        }
        return at::index_select(w, 0, index);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        at::Tensor ids = ctx->get_saved_variables()[0];
        std::vector<int64_t> shape = ctx->saved_data["shape"].toIntVector();
        return {embedding_grad(grads[0].contiguous(), ids, shape[0]).view(shape), at::Tensor()};
    }
};

/* ---- RMSNorm ------------------------------------------------------------------------------------ */

struct RmsNorm : Function<RmsNorm> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &input, const at::Tensor &w,
                              double eps) {
        at::Tensor x = input.contiguous(), y = at::empty_like(x);
        int64_t d = w.numel(), n = x.numel() / d;
        at::Tensor r = at::empty({n}, x.options());
        rows_parallel(n, d, [&](int64_t from, int64_t to) {
            kernels().rms_norm(to - from, d, floats(x) + from * d, floats(w),
                               static_cast<float>(eps), floats_mut(y) + from * d,
                               floats_mut(r) + from);
        });
        if (ctx)
            ctx->save_for_backward({x, w, r});
        return y;
    }

    /* The weight's gradient is summed in parts of fixed length, so that threads change
     * nothing. */
    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &x = saved[0], &w = saved[1], &r = saved[2], g = grads[0].contiguous();
        constexpr int64_t PART = 128;
        int64_t d = w.numel(), n = x.numel() / d, parts = (n + PART - 1) / PART;
        at::Tensor dx = at::empty_like(x), sums = at::zeros({parts, d}, x.options());
        rows_parallel(parts, PART * d, [&](int64_t from, int64_t to) {
            for (int64_t p = from; p < to; p++) {
                int64_t at = p * PART;
                kernels().rms_norm_grad(std::min(PART, n - at), d, floats(x) + at * d, floats(w),
                                        floats(r) + at, floats(g) + at * d,
                                        floats_mut(dx) + at * d, floats_mut(sums) + p * d);
            }
        });
        at::Tensor dw = at::zeros_like(w);
        for (int64_t p = 0; p < parts; p++)
            kernels().add(d, floats(sums) + p * d, floats_mut(dw));
        return {dx, dw, at::Tensor()};
    }
};

/* ---- SwiGLU --------------------------------------------------------------------------------------- */

/* Rows [T, F] of a wider matrix, as they are; anything else in one piece. */
static at::Tensor with_plain_rows(const at::Tensor &x) {
    return x.dim() == 2 && x.stride(1) == 1 ? x : x.contiguous().view({-1, x.size(-1)});
}

struct SwiGlu : Function<SwiGlu> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &gate_in,
                              const at::Tensor &up_in) {
        at::Tensor gate = with_plain_rows(gate_in), up = with_plain_rows(up_in);
        at::Tensor y = at::empty(gate_in.sizes(), gate.options());
        int64_t f = gate.size(1);
        rows_parallel(gate.size(0), f, [&](int64_t from, int64_t to) {
            for (int64_t t = from; t < to; t++)
                kernels().swiglu(f, floats(gate) + t * gate.stride(0),
                                 floats(up) + t * up.stride(0), floats_mut(y) + t * f);
        });
        if (ctx)
            ctx->save_for_backward({gate_in.contiguous(), up_in.contiguous()});
        return y;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &gate = saved[0], &up = saved[1], g = grads[0].contiguous();
        at::Tensor d_gate = at::empty_like(gate), d_up = at::empty_like(up);
        rows_parallel(gate.numel(), 1, [&](int64_t from, int64_t to) {
            kernels().swiglu_grad(to - from, floats(gate) + from, floats(up) + from,
                                  floats(g) + from, floats_mut(d_gate) + from,
                                  floats_mut(d_up) + from);
        });
        return {d_gate, d_up};
    }
};

/* ---- rotary position -------------------------------------------------------------------------------- */

struct Rotary : Function<Rotary> {
    static at::Tensor turn(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin,
                           bool back) {
        int64_t n = x.size(0), h = x.size(1), d = x.size(2), turned = cos.size(1);
        at::Tensor y = at::empty({n, h, d}, x.options());
        rows_parallel(n, h * d, [&](int64_t from, int64_t to) {
            kernels().rotary(to - from, h, d, turned, floats(x) + from * x.stride(0),
                             x.stride(0),
                             floats(cos) + from * turned, floats(sin) + from * turned,
                             floats_mut(y) + from * h * d, back);
        });
        return y;
    }

    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x, const at::Tensor &cos_in,
                              const at::Tensor &sin_in) {
        at::Tensor cos = cos_in.contiguous(), sin = sin_in.contiguous();
        if (ctx)
            ctx->save_for_backward({cos, sin});
        bool dense = x.stride(2) == 1 && x.stride(1) == x.size(2); /* its heads, row by row */
        return turn(dense ? x : x.contiguous(), cos, sin, false);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        return {turn(grads[0].contiguous(), saved[0], saved[1], true), at::Tensor(), at::Tensor()};
    }
};

} // namespace

/* ---- the C face ---------------------------------------------------------------------------------------- */

static bool takes_linear(const at::Tensor &x, const at::Tensor &w, const ct_tensor *b) {
    return takes(x) && takes(w) && w.is_contiguous() && w.dim() == 2 && w.numel() > 0 &&
           x.dim() > 0 && (!b || takes(b->t));
}

/* The same where the kernels below do not go: on a device, and while gradients are recorded. */
static at::Tensor by_mixed(const at::Tensor &x, const at::Tensor &w,
                           const std::optional<at::Tensor> &b) {
    at::Tensor y = at::linear(x.to(w.scalar_type()), w).to(x.scalar_type());
    return b ? y + *b : y;
}

/* [O / 16, I / 32, 16, 32], as ct_linear_half makes it. */
static bool is_tiled(const at::Tensor &w) {
    return w.dim() == 4;
}

static int64_t inputs_of(const at::Tensor &w) {
    return is_tiled(w) ? w.size(1) * KERNEL_TILE_SUMS : w.size(1);
}

static bool prefers_tiles(const at::Tensor &w) {
    return w.is_cpu() && kernels().few16_tiled && w.numel() > 0 &&
           w.size(0) % KERNEL_TILE_ROWS == 0 && w.size(1) % KERNEL_TILE_SUMS == 0;
}

/* A view of w [O, I]. */
static at::Tensor as_tiles(const at::Tensor &w) {
    return w.unflatten(1, {-1, KERNEL_TILE_SUMS}).unflatten(0, {-1, KERNEL_TILE_ROWS})
        .transpose(1, 2);
}

/* Weights in bfloat16 under activations in fp32: the products in bfloat16, sums in fp32. */
static bool takes_linear16(const ct_scope *s, const at::Tensor &x, const at::Tensor &w,
                           const ct_tensor *b) {
    if (is_tiled(w))
        TORCH_CHECK(!s->grad && takes(x), "weights in tiles are for fp32 without gradients");
    return !s->grad && takes(x) && w.is_cpu() && w.scalar_type() == at::kBFloat16 &&
           w.is_contiguous() && (w.dim() == 2 || is_tiled(w)) && w.numel() > 0 &&
           inputs_of(w) % 2 == 0 && x.dim() == 2 && x.size(1) == inputs_of(w) &&
           (!b || takes(b->t));
}

static at::Tensor by_linear16(const at::Tensor &input, const at::Tensor &w,
                              const std::optional<at::Tensor> &b) {
    int64_t n = is_tiled(w) ? w.size(0) * KERNEL_TILE_ROWS : w.size(0);
    at::Tensor x = input.contiguous(), y = at::empty({x.size(0), n}, x.options());
    linear16(kernels(), x.size(0), floats(x),
             {reinterpret_cast<const uint16_t *>(w.const_data_ptr()), n, x.size(1), is_tiled(w)},
             floats_mut(y));
    if (b)
        y.add_(*b);
    return y;
}

ct_tensor *ct_linear(ct_scope *s, ct_tensor *x, ct_tensor *w, ct_tensor *b) {
    if (!ready(s, "ct_linear", x, w))
        return nullptr;
    return op(s, "ct_linear", [&] {
        std::optional<at::Tensor> bias = b ? std::optional<at::Tensor>(b->t) : std::nullopt;
        if (takes_half(s, x->t, w->t))
            return linears_half(s, x->t, {w->t}, {b ? b->t : at::Tensor()})[0];
        if (takes_linear16(s, x->t, w->t, b))
            return by_linear16(x->t, w->t, bias);
        if (x->t.scalar_type() != w->t.scalar_type())
            return by_mixed(x->t, w->t, bias);
        if (!takes_linear(x->t, w->t, b))
            return at::linear(x->t, w->t, bias);
        TORCH_CHECK(x->t.size(-1) == w->t.size(1) && (!b || b->t.numel() == w->t.size(0)), "x ",
                    x->t.sizes(), " and w ", w->t.sizes(), " do not fit",
                    b ? " with this bias" : "");
        return run<Linear>(s, x->t, w->t, bias);
    });
}

ct_tensor *ct_linear_half(ct_scope *s, ct_tensor *w) {
    if (!ready(s, "ct_linear_half", w))
        return nullptr;
    return op(s, "ct_linear_half", [&] {
        TORCH_CHECK(w->t.dim() == 2, "w is ", w->t.sizes(), ", not [O, I]");
        at::Tensor half = w->t.to(at::kBFloat16, false, true);
        return prefers_tiles(half) ? as_tiles(half).contiguous() : half;
    });
}

int ct_linear_half_(ct_tensor *half, const ct_tensor *w) {
    if (!half || !w)
        return cai_fail(CAI_ESTATE, "ct_linear_half_: an input is NULL");
    return act("ct_linear_half_",
               [&] { half->t.copy_(is_tiled(half->t) ? as_tiles(w->t) : w->t); });
}

ct_tensor *ct_embedding(ct_scope *s, ct_tensor *w, ct_tensor *ids) {
    if (!ready(s, "ct_embedding", w, ids))
        return nullptr;
    return op(s, "ct_embedding", [&] {
        if (w->t.is_cuda()) /* its backward sums in a fixed order */
            return at::index_select(w->t, 0, ids->t);
        if (!takes(w->t) || w->t.dim() != 2 || ids->t.dim() != 1 ||
            ids->t.scalar_type() != at::kLong)
            return at::embedding(w->t, ids->t);
        return run<Rows>(s, w->t, ids->t);
    });
}

ct_tensor *ct_index_select(ct_scope *s, ct_tensor *t, int dim, ct_tensor *index) {
    if (!ready(s, "ct_index_select", t, index))
        return nullptr;
    return op(s, "ct_index_select", [&] {
        if (!takes(t->t) || dim != 0 || t->t.dim() == 0 || index->t.dim() != 1 ||
            index->t.scalar_type() != at::kLong)
            return at::index_select(t->t, dim, index->t);
        return run<Rows>(s, t->t, index->t);
    });
}

ct_tensor *ct_rms_norm(ct_scope *s, ct_tensor *x, ct_tensor *w, double eps) {
    if (!ready(s, "ct_rms_norm", x, w))
        return nullptr;
    return op(s, "ct_rms_norm", [&] {
        TORCH_CHECK(w->t.dim() == 1 && x->t.dim() > 0 && x->t.size(-1) == w->t.numel() &&
                        w->t.numel() > 0,
                    "x ", x->t.sizes(), " and weight ", w->t.sizes(), " do not fit");
        if (takes(x->t) && takes(w->t) && w->t.is_contiguous())
            return run<RmsNorm>(s, x->t, w->t, eps);
        at::Tensor f = x->t.to(at::kFloat);
        at::Tensor r = at::rsqrt(at::mean(f * f, {-1}, true) + eps);
        return (f * r).to(x->t.scalar_type()) * w->t;
    });
}

ct_tensor *ct_layer_norm(ct_scope *s, ct_tensor *x, ct_tensor *w, ct_tensor *b, double eps) {
    if (!ready(s, "ct_layer_norm", x, w))
        return nullptr;
    return op(s, "ct_layer_norm", [&] {
        std::optional<at::Tensor> bias = b ? std::optional<at::Tensor>(b->t) : std::nullopt;
        return at::layer_norm(x->t, {x->t.size(-1)}, w->t, bias, eps);
    });
}

ct_tensor *ct_gelu(ct_scope *s, ct_tensor *x, bool tanh) {
    if (!ready(s, "ct_gelu", x))
        return nullptr;
    return op(s, "ct_gelu", [&] { return at::gelu(x->t, tanh ? "tanh" : "none"); });
}

ct_tensor *ct_swiglu(ct_scope *s, ct_tensor *gate, ct_tensor *up) {
    if (!ready(s, "ct_swiglu", gate, up))
        return nullptr;
    return op(s, "ct_swiglu", [&] {
        if (takes(gate->t) && takes(up->t) && gate->t.sizes() == up->t.sizes())
            return run<SwiGlu>(s, gate->t, up->t);
        return at::silu(gate->t) * up->t;
    });
}

ct_tensor *ct_rotary(ct_scope *s, ct_tensor *x, ct_tensor *cos, ct_tensor *sin) {
    if (!ready(s, "ct_rotary", x, cos, sin))
        return nullptr;
    return op(s, "ct_rotary", [&] {
        TORCH_CHECK(x->t.dim() == 3 && cos->t.dim() == 2 && cos->t.size(1) % 2 == 0 &&
                        cos->t.sizes() == sin->t.sizes() && cos->t.size(0) == x->t.size(0) &&
                        cos->t.size(1) <= x->t.size(2),
                    "x ", x->t.sizes(), ", cos ", cos->t.sizes(), ", sin ", sin->t.sizes());
        if (takes(x->t) && takes(cos->t) && takes(sin->t))
            return run<Rotary>(s, x->t, cos->t, sin->t);
        int64_t turned = cos->t.size(1), half = turned / 2, rest = x->t.size(2) - turned;
        at::Tensor head = x->t.narrow(2, 0, turned);
        at::Tensor other = at::cat({-head.narrow(2, half, half), head.narrow(2, 0, half)}, 2);
        at::Tensor c = cos->t.unsqueeze(1), n = sin->t.unsqueeze(1);
        at::Tensor y = (head * c + other * n).to(x->t.scalar_type());
        return rest ? at::cat({y, x->t.narrow(2, turned, rest)}, 2) : y;
    });
}
