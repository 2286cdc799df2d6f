/* half_layer.cpp: the parts of a transformer's layer around products in bfloat16 (products.cpp),
 * each with what stands before or after its product: norm, gate, turn of the heads, residual.
 * One by one they would write every matrix in fp32, and read it again to round it, in forward and
 * in backward; here a row is widened near the processor, worked on, and rounded where the plain
 * operations in the same order would round it: the same bits, half the memory and its traffic.
 * Only for fp32 on the CPU, where ct_half_fuses() says so. Not for arithmetic (kernels.h). */
#include "half.hpp"
#include "guard.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cstring>

using namespace shim;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

at::Tensor half_rows(int64_t rows, int64_t columns, const at::Tensor &like) {
    return at::empty({rows, columns}, like.options().dtype(at::kBFloat16));
}

at::Tensor float_rows(at::IntArrayRef shape, const at::Tensor &like) {
    return at::empty(shape, like.options().dtype(at::kFloat));
}

/* A gradient to x as x lies: g w [T, I]. */
at::Tensor input_grad(const at::Tensor &g, const at::Tensor &w, bool half) {
    at::Tensor d = at::mm(g, w);
    return half ? d : widened(d);
}

template <class F, class... Args> auto run(const ct_scope *s, const Args &...args) {
    return s->grad ? F::apply(args...) : F::forward(nullptr, args...);
}

/* ---- norm ------------------------------------------------------------------------------------ */

/* RMSNorm of x [T, D], rounded. */
struct NormHalf : Function<NormHalf> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &input, const at::Tensor &w,
                              double eps) {
        at::Tensor x = input.contiguous();
        int64_t d = w.numel(), n = x.size(0);
        at::Tensor y = half_rows(n, d, x), r = float_rows({n}, x);
        const float *in = floats(x), *weight = floats(w);
        float *scale = floats_mut(r);
        uint16_t *out = halves(y);
        rows_parallel(n, d, [=](int64_t from, int64_t to) {
            float *row = scratch(d);
            for (int64_t t = from; t < to; t++) {
                kernels().rms_norm(1, d, in + t * d, weight, static_cast<float>(eps), row, scale + t);
                kernels().halve(d, row, out + t * d);
            }
        });
        if (ctx)
            ctx->save_for_backward({x, w, r});
        return y;
    }

    /* As RmsNorm's in fused.cpp: sums of fixed parts, so that threads change nothing. */
    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &x = saved[0], &w = saved[1], &r = saved[2], g = grads[0].contiguous();
        constexpr int64_t PART = 128;
        int64_t d = w.numel(), n = x.size(0), parts = (n + PART - 1) / PART;
        at::Tensor dx = at::empty_like(x), sums = at::zeros({parts, d}, x.options());
        const float *in = floats(x), *weight = floats(w), *scale = floats(r);
        const uint16_t *dy = halves(g);
        float *out = floats_mut(dx), *sum = floats_mut(sums);
        rows_parallel(parts, PART * d, [=](int64_t from, int64_t to) {
            float *row = scratch(d);
            for (int64_t t = from * PART; t < std::min(to * PART, n); t++) {
                kernels().widen(d, dy + t * d, row);
                kernels().rms_norm_grad(1, d, in + t * d, weight, scale + t, row, out + t * d,
                                        sum + t / PART * d);
            }
        });
        at::Tensor dw = at::zeros_like(w);
        for (int64_t p = 0; p < parts; p++)
            kernels().add(d, floats(sums) + p * d, floats_mut(dw));
        return {dx, dw, at::Tensor()};
    }
};

/* ---- gate -------------------------------------------------------------------------------------- */

/* silu(x wgᵀ) · (x wuᵀ), rounded [T, F]; x16 [T, I] is x rounded, or x. */
struct GateHalf : Function<GateHalf> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x, const at::Tensor &x16,
                              const at::Tensor &gate, const at::Tensor &up) {
        at::Tensor w = rounded_side_by_side({gate, up}, 0), both = at::linear(x16, w);
        int64_t f = gate.size(0), n = x16.size(0);
        at::Tensor y = half_rows(n, f, x16);
        const uint16_t *in = halves(both);
        uint16_t *out = halves(y);
        rows_parallel(n, f, [=](int64_t from, int64_t to) {
            float *row = scratch(3 * f);
            for (int64_t t = from; t < to; t++) {
                kernels().widen(2 * f, in + t * 2 * f, row);
                kernels().swiglu(f, row, row + f, row + 2 * f);
                kernels().halve(f, row + 2 * f, out + t * f);
            }
        });
        if (ctx) {
            ctx->save_for_backward({x16, w, both});
            ctx->saved_data["half"] = x.scalar_type() == at::kBFloat16;
        }
        return y;
    }

    /* [T, 2F]: to what gate and up gave. */
    static at::Tensor slopes(const at::Tensor &both, const at::Tensor &dy) {
        int64_t n = both.size(0), f = both.size(1) / 2;
        at::Tensor g = half_rows(n, 2 * f, both);
        const uint16_t *gates = halves(both), *slope = halves(dy);
        uint16_t *out = halves(g);
        rows_parallel(n, 2 * f, [=](int64_t from, int64_t to) {
            float *in = scratch(5 * f), *d = in + 3 * f;
            for (int64_t t = from; t < to; t++) {
                kernels().widen(2 * f, gates + t * 2 * f, in);
                kernels().widen(f, slope + t * f, in + 2 * f);
                kernels().swiglu_grad(f, in, in + f, in + 2 * f, d, d + f);
                kernels().halve(2 * f, d, out + t * 2 * f);
            }
        });
        return g;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        int64_t f = saved[2].size(1) / 2;
        at::Tensor g = slopes(saved[2], grads[0].contiguous());
        variable_list dw = weight_grads(g, saved[0], {f, f}, [&](size_t i) {
            return ctx->needs_input_grad(2 + i);
        });
        at::Tensor dx;
        if (ctx->needs_input_grad(0))
            dx = input_grad(g, saved[1], ctx->saved_data["half"].toBool());
        return {dx, at::Tensor(), dw[0], dw[1]};
    }
};

/* ---- heads -------------------------------------------------------------------------------------- */

/* `rows` of `width` in bfloat16. */
void copy_rows(int64_t rows, int64_t width, const uint16_t *from, int64_t from_row, uint16_t *to,
               int64_t to_row) {
    rows_parallel(rows, width, [=](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; t++)
            memcpy(to + t * to_row, from + t * from_row, static_cast<size_t>(width) * sizeof *to);
    });
}

/* Queries, keys and values of x: [T, n, D] each, fp32, the first two turned; the last one
 * stays bfloat16 where attention takes it so. */
struct HeadsHalf : Function<HeadsHalf> {
    static variable_list forward(AutogradContext *ctx, const at::Tensor &x, const at::Tensor &x16,
                                 const at::Tensor &wq, const at::Tensor &wk, const at::Tensor &wv,
                                 const at::Tensor &cos_in, const at::Tensor &sin_in, int64_t d) {
        at::Tensor w = rounded_side_by_side({wq, wk, wv}, 0), all = at::linear(x16, w);
        at::Tensor cos = cos_in.contiguous(), sin = sin_in.contiguous();
        int64_t n = x16.size(0), turned = cos.size(1), sum = w.size(0), at = 0;
        variable_list out;
        bool half_values = attends_half(d);
        for (const at::Tensor *part : {&wq, &wk, &wv})
            out.push_back(at::empty({n, part->size(0) / d, d},
                                    x16.options().dtype(part == &wv && half_values
                                                            ? at::kBFloat16
                                                            : at::kFloat)));
        const float *c = floats(cos), *s = floats(sin);
        const uint16_t *in = halves(all);
        for (size_t i = 0; i < 3; at += out[i].size(1) * d, i++) {
            int64_t h = out[i].size(1);
            if (out[i].scalar_type() == at::kBFloat16) {
                copy_rows(n, h * d, in + at, sum, halves(out[i]), h * d);
                continue;
            }
            float *heads = floats_mut(out[i]);
            rows_parallel(n, h * d, [=](int64_t from, int64_t to) {
                float *row = scratch(h * d);
                for (int64_t t = from; t < to; t++) {
                    float *y = heads + t * h * d;
                    kernels().widen(h * d, in + t * sum + at, i < 2 ? row : y);
                    if (i < 2)
                        kernels().rotary(1, h, d, turned, row, h * d, c + t * turned,
                                         s + t * turned, y, false);
                }
            });
        }
        if (ctx) {
            ctx->save_for_backward({x16, w, cos, sin});
            ctx->saved_data["half"] = x.scalar_type() == at::kBFloat16;
            ctx->saved_data["width"] = std::vector<int64_t>{wq.size(0), wk.size(0), wv.size(0)};
            ctx->saved_data["d"] = d;
        }
        return out;
    }

    /* Columns at … of g [T, ΣO] = the gradient to queries, keys (turned back) or values. */
    static void turn_back(const at::Tensor &g, int64_t at, const at::Tensor &from_heads,
                          const at::Tensor &cos, const at::Tensor &sin, bool turns) {
        at::Tensor from = from_heads.contiguous(); /* [T, h, D] */
        int64_t n = from.size(0), h = from.size(1), d = from.size(2), turned = cos.size(1);
        int64_t sum = g.size(1);
        if (from.scalar_type() == at::kBFloat16)
            return copy_rows(n, h * d, halves(from), h * d, halves(g) + at, sum);
        const float *heads = floats(from), *c = floats(cos), *s = floats(sin);
        uint16_t *out = halves(g) + at;
        rows_parallel(n, h * d, [=](int64_t begin, int64_t end) {
            float *row = scratch(h * d);
            for (int64_t t = begin; t < end; t++) {
                const float *x = heads + t * h * d;
                if (turns)
                    kernels().rotary(1, h, d, turned, x, h * d, c + t * turned, s + t * turned, row,
                                     true);
                kernels().halve(h * d, turns ? row : x, out + t * sum);
            }
        });
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        std::vector<int64_t> width = ctx->saved_data["width"].toIntVector();
        int64_t n = saved[0].size(0), d = ctx->saved_data["d"].toInt(), at = 0;
        at::Tensor g = half_rows(n, saved[1].size(0), saved[0]);
        for (size_t i = 0; i < 3; at += width[i], i++) {
            if (!grads[i].defined())
                grads[i] = at::zeros({n, width[i] / d, d}, g.options().dtype(at::kFloat));
            turn_back(g, at, grads[i], saved[2], saved[3], i < 2);
        }
        variable_list dw = weight_grads(g, saved[0], width, [&](size_t i) {
            return ctx->needs_input_grad(2 + i);
        });
        at::Tensor dx;
        if (ctx->needs_input_grad(0))
            dx = input_grad(g, saved[1], ctx->saved_data["half"].toBool());
        return {dx, at::Tensor(), dw[0], dw[1], dw[2], at::Tensor(), at::Tensor(), at::Tensor()};
    }
};

/* ---- residual ------------------------------------------------------------------------------------ */

/* r + x wᵀ: r [T, O] fp32. */
struct ResidualHalf : Function<ResidualHalf> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &residual, const at::Tensor &x,
                              const at::Tensor &x16, const at::Tensor &weights) {
        at::Tensor w = halved(weights), y = at::linear(x16, w), r = residual.contiguous();
        int64_t n = y.size(0), c = y.size(1);
        at::Tensor out = at::empty_like(r);
        const float *before = floats(r);
        const uint16_t *product = halves(y);
        float *after = floats_mut(out);
        rows_parallel(n, c, [=](int64_t from, int64_t to) {
            for (int64_t t = from; t < to; t++) {
                kernels().widen(c, product + t * c, after + t * c);
                kernels().add(c, before + t * c, after + t * c);
            }
        });
        if (ctx) {
            ctx->save_for_backward({x16, w});
            ctx->saved_data["half"] = x.scalar_type() == at::kBFloat16;
        }
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        at::Tensor g = halved(grads[0].contiguous()), dx, dw;
        if (ctx->needs_input_grad(1))
            dx = input_grad(g, saved[1], ctx->saved_data["half"].toBool());
        if (ctx->needs_input_grad(3))
            dw = widened(whole_weight_grad(g, saved[0]));
        return {grads[0], dx, at::Tensor(), dw};
    }
};

bool plain(const at::Tensor &t) {
    return takes(t) && t.is_contiguous();
}

bool fits(const at::Tensor &x, const at::Tensor &w) {
    return x.dim() == 2 && (takes(x) || (x.is_cpu() && x.scalar_type() == at::kBFloat16)) &&
           plain(w) && w.dim() == 2 && w.size(1) == x.size(1);
}

} // namespace

bool ct_half_fuses(const ct_scope *s, const ct_tensor *x) {
    return s && !s->code && s->half_products && x && takes(x->t) && x->t.dim() == 2;
}

ct_tensor *ct_half_norm(ct_scope *s, ct_tensor *x, ct_tensor *w, double eps) {
    if (!ready(s, "ct_half_norm", x, w))
        return nullptr;
    return op(s, "ct_half_norm", [&] {
        TORCH_CHECK(takes(x->t) && plain(w->t) && w->t.dim() == 1 && x->t.dim() == 2 &&
                        x->t.size(1) == w->t.numel(),
                    "x ", x->t.sizes(), " and weight ", w->t.sizes(), " do not fit");
        return run<NormHalf>(s, x->t, w->t, eps);
    });
}

ct_tensor *ct_half_gate(ct_scope *s, ct_tensor *x, ct_tensor *gate, ct_tensor *up) {
    if (!ready(s, "ct_half_gate", x, gate, up))
        return nullptr;
    return op(s, "ct_half_gate", [&] {
        TORCH_CHECK(fits(x->t, gate->t) && fits(x->t, up->t) && gate->t.sizes() == up->t.sizes(),
                    "x ", x->t.sizes(), ", gate ", gate->t.sizes(), ", up ", up->t.sizes());
        return run<GateHalf>(s, x->t, rounded(s, x->t), gate->t, up->t);
    });
}

ct_tensor *ct_half_residual(ct_scope *s, ct_tensor *residual, ct_tensor *x, ct_tensor *w) {
    if (!ready(s, "ct_half_residual", residual, x, w))
        return nullptr;
    return op(s, "ct_half_residual", [&] {
        TORCH_CHECK(fits(x->t, w->t) && takes(residual->t) && residual->t.dim() == 2 &&
                        residual->t.size(0) == x->t.size(0) && residual->t.size(1) == w->t.size(0),
                    "residual ", residual->t.sizes(), ", x ", x->t.sizes(), ", w ", w->t.sizes());
        return run<ResidualHalf>(s, residual->t, x->t, rounded(s, x->t), w->t);
    });
}

int ct_half_heads(ct_scope *s, ct_tensor *x, ct_tensor *const w[3], ct_tensor *cos, ct_tensor *sin,
                  int64_t d, ct_tensor *ret[3]) {
    if (!ready(s, "ct_half_heads", x, w[0], w[1], w[2], cos, sin))
        return ct_scope_status(s);
    try {
        Mode mode(s->grad);
        for (int i = 0; i < 3; i++)
            TORCH_CHECK(fits(x->t, w[i]->t) && w[i]->t.size(0) % d == 0, "x ", x->t.sizes(), ", w ",
                        w[i]->t.sizes(), ", heads of ", d);
        TORCH_CHECK(takes(cos->t) && takes(sin->t) && cos->t.sizes() == sin->t.sizes() &&
                        cos->t.dim() == 2 && cos->t.size(0) == x->t.size(0) &&
                        cos->t.size(1) % 2 == 0 && cos->t.size(1) <= d,
                    "cos ", cos->t.sizes(), ", sin ", sin->t.sizes());
        variable_list out = run<HeadsHalf>(s, x->t, rounded(s, x->t), w[0]->t, w[1]->t, w[2]->t,
                                           cos->t, sin->t, d);
        for (size_t i = 0; i < 3; i++)
            ret[i] = own(s, out[i]);
    } catch (...) {
        scope_exception(s, "ct_half_heads");
    }
    return ct_scope_status(s);
}
