/* train.cpp: gradients, the chunked log-probability of a linear head, the optimizer.
 * Not for losses (they are written in C over ct.h). */
#include "half.hpp"
#include "guard.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

using namespace shim;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/* Logits of one chunk of rows are at most this many elements (8 MiB in fp32): small enough
 * to stay near the processor, large enough for the products to run at full speed. On a GPU,
 * 32 times as many. */
static constexpr int64_t CHUNK_ELEMENTS = int64_t{2} << 20;

static int64_t chunk_rows(const at::Tensor &w) {
    int64_t vocab = w.size(0), elements = w.is_cuda() ? 32 * CHUNK_ELEMENTS : CHUNK_ELEMENTS;
    return std::max<int64_t>(48, elements / std::max<int64_t>(1, vocab));
}

namespace {

/* Logits in bfloat16 on the CPU are widened row by row, near the processor, and rounded there
 * again: the same bits as with whole matrices in between. */
bool by_rows(const at::Tensor &h, double softcap) {
    return h.is_cpu() && h.scalar_type() == at::kBFloat16 && softcap == 0;
}

/* Where the logits of a chunk go: one room for all chunks of a call, since blocks of this size,
 * taken and given back for each, made glibc's heap grow to nine of them. */
struct Room {
    at::Tensor logits; /* [rows, V] fp32; undefined by_rows() */
    at::Tensor half;   /* the same in the type of h and w, where that is another */
    Room(const at::Tensor &h, const at::Tensor &w, int64_t rows, double softcap) {
        if (!by_rows(h, softcap))
            logits = at::empty({rows, w.size(0)}, h.options().dtype(at::kFloat));
        if (h.scalar_type() != at::kFloat)
            half = at::empty({rows, w.size(0)}, h.options());
    }
};

/* What a chunk works on: rows at … at + n of h [T, D], target [T], and w [V, D]. */
struct Chunk {
    const at::Tensor &h, &w, &target;
    int64_t at, n;
    double temperature, softcap;
    const Room &room;
};

bool by_kernel(const Chunk &c) {
    return takes(c.h) && takes(c.w);
}

/* [n, V], in the type of h */
at::Tensor chunk_mm(const Chunk &c) {
    const at::Tensor &own = c.room.half.defined() ? c.room.half : c.room.logits;
    at::Tensor product = own.narrow(0, 0, c.n);
    return at::mm_out(product, c.h.narrow(0, c.at, c.n), c.w.t());
}

/* [n, V] */
at::Tensor chunk_products_of(const Chunk &c) {
    if (!by_kernel(c)) {
        at::Tensor product = chunk_mm(c);
        return c.room.half.defined() ? c.room.logits.narrow(0, 0, c.n).copy_(product) : product;
    }
    int64_t d = c.h.size(1), v = c.w.size(0);
    at::Tensor logits = c.room.logits.narrow(0, 0, c.n);
    gemm(c.n, v, d, {floats(c.h) + c.at * d, d, 1}, {floats(c.w), 1, d}, floats_mut(logits), v,
         false);
    return logits;
}

/* [n, V] */
at::Tensor chunk_logits(const Chunk &c) {
    at::Tensor logits = chunk_products_of(c);
    return c.softcap == 0 ? logits : logits.div_(c.softcap).tanh_().mul_(c.softcap);
}

struct Stats {
    at::Tensor logprob, lse, entropy, best; /* [T]; the last two may be undefined */
};

void chunk_stats_composite(const Chunk &c, at::Tensor logits, const Stats &s) {
    logits.div_(c.temperature);
    at::Tensor z = at::logsumexp(logits, {-1});
    at::Tensor index = c.target.narrow(0, c.at, c.n).unsqueeze(1);
    s.lse.narrow(0, c.at, c.n).copy_(z);
    s.logprob.narrow(0, c.at, c.n).copy_(logits.gather(1, index).squeeze(1) - z);
    if (!s.entropy.defined())
        return;
    s.best.narrow(0, c.at, c.n).copy_(logits.argmax(-1));
    at::Tensor lp = logits - z.unsqueeze(1);
    s.entropy.narrow(0, c.at, c.n).copy_((lp.exp() * lp).sum(-1).neg_());
}

/* f(row t, its logits [V] in fp32) for every row of a chunk. by_rows() they are a copy, which
 * becomes the row's bfloat16 again where `back`. */
template <class F> void each_row(const Chunk &c, const at::Tensor &logits, bool back, F &&f) {
    int64_t v = c.w.size(0);
    bool half = !takes(logits);
    rows_parallel(c.n, v, [&](int64_t from, int64_t to) {
        float *copy = half ? scratch(v) : nullptr;
        for (int64_t t = from; t < to; t++) {
            float *row = half ? copy : floats_mut(logits) + t * v;
            if (half)
                kernels().widen(v, halves(logits) + t * v, row);
            f(t, row);
            if (half && back)
                kernels().halve(v, row, halves(logits) + t * v);
        }
    });
}

void chunk_stats(const Chunk &c, const Stats &s) {
    bool rows = by_rows(c.h, c.softcap);
    at::Tensor logits = rows ? chunk_mm(c) : chunk_logits(c);
    if (!rows && !takes(logits))
        return chunk_stats_composite(c, logits, s);
    kernel_logprob k = {c.w.size(0), static_cast<float>(1 / c.temperature)};
    const int64_t *target = c.target.const_data_ptr<int64_t>() + c.at;
    bool extras = s.entropy.defined();
    each_row(c, logits, false, [&](int64_t t, const float *row) {
        kernels().logprob(&k, row, target[t], floats_mut(s.lse) + c.at + t,
                          floats_mut(s.logprob) + c.at + t,
                          extras ? floats_mut(s.entropy) + c.at + t : nullptr,
                          extras ? s.best.mutable_data_ptr<int64_t>() + c.at + t : nullptr);
    });
}

/* logits become (onehot − softmax) · coefficient, the gradient of Σ coefficient · logprob. */
void chunk_grad(const Chunk &c, const at::Tensor &logits, const at::Tensor &lse,
                const at::Tensor &coefficient) {
    if (!takes(logits) && !by_rows(c.h, c.softcap)) {
        at::Tensor index = c.target.narrow(0, c.at, c.n).unsqueeze(1);
        logits.div_(c.temperature).sub_(lse.narrow(0, c.at, c.n).unsqueeze(1)).exp_().neg_();
        logits.scatter_(1, index, logits.gather(1, index) + 1);
        logits.mul_(coefficient.narrow(0, c.at, c.n).unsqueeze(1));
        return;
    }
    kernel_logprob k = {c.w.size(0), static_cast<float>(1 / c.temperature)};
    const int64_t *target = c.target.const_data_ptr<int64_t>() + c.at;
    each_row(c, logits, true, [&](int64_t t, float *row) {
        kernels().logprob_grad(&k, row, target[t], floats(lse)[c.at + t],
                               floats(coefficient)[c.at + t]);
    });
}

/* to [R, C] fp32 = or += x in bfloat16. */
void take_halves(const at::Tensor &to, const at::Tensor &x, bool add) {
    int64_t d = x.size(1);
    const uint16_t *in = halves(x);
    float *sum = floats_mut(to);
    rows_parallel(x.size(0), d, [=](int64_t from, int64_t end) {
        float *row = scratch(d);
        for (int64_t r = from; r < end; r++) {
            kernels().widen(d, in + r * d, add ? row : sum + r * d);
            if (add)
                kernels().add(d, row, sum + r * d);
        }
    });
}

/* dh [T, D] gets its rows, dw [V, D] fp32 is added to; either may be undefined. */
void chunk_products(const Chunk &c, const at::Tensor &g, const at::Tensor &dh,
                    const at::Tensor &dw) {
    if (!by_kernel(c)) {
        at::Tensor typed = g.to(c.h.scalar_type());
        bool cpu = g.is_cpu() && typed.scalar_type() == at::kBFloat16;
        if (dh.defined()) {
            at::Tensor part = at::mm(typed, c.w), rows = dh.narrow(0, c.at, c.n);
            cpu && takes(dh) ? take_halves(rows, part, false) : (void)rows.copy_(part);
        }
        if (dw.defined()) {
            at::Tensor part = at::mm(typed.t(), c.h.narrow(0, c.at, c.n));
            cpu && takes(dw) ? take_halves(dw, part, true) : (void)dw.add_(part);
        }
        return;
    }
    int64_t d = c.h.size(1), v = c.w.size(0);
    if (dh.defined())
        gemm(c.n, d, v, {floats(g), v, 1}, {floats(c.w), d, 1}, floats_mut(dh) + c.at * d, d,
             false);
    if (dw.defined())
        gemm(v, d, c.n, {floats(g), 1, v}, {floats(c.h) + c.at * d, d, 1}, floats_mut(dw), d,
             true);
}

at::Tensor typed(const at::Tensor &x, at::ScalarType type) {
    return takes(x) && type == at::kBFloat16 ? halved(x) : x.to(type).contiguous();
}

/* log softmax(h wᵀ / temperature)[target] by chunks of rows; a chunk's logits are made
 * again in backward instead of kept (as Liger's fused linear cross-entropy, but with a
 * gradient per row, which its single pass cannot take). */
struct LinearLogprob : torch::autograd::Function<LinearLogprob> {
    static variable_list forward(AutogradContext *ctx, const at::Tensor &h_in,
                                 const at::Tensor &w_in, const at::Tensor &target_in,
                                 double temperature, double softcap, bool extras, bool half) {
        at::ScalarType own = h_in.scalar_type(), type = half ? at::kBFloat16 : own;
        at::Tensor h = typed(h_in, type), w = typed(w_in, type);
        at::Tensor target = target_in.contiguous();
        int64_t rows = h.size(0), step = chunk_rows(w);
        Room room(h, w, std::min(step, rows), softcap);
        Stats s;
        s.logprob = at::empty({rows}, h.options().dtype(at::kFloat));
        s.lse = at::empty_like(s.logprob);
        if (extras) {
            s.entropy = at::empty_like(s.logprob);
            s.best = at::empty({rows}, target.options());
        }
        for (int64_t at = 0; at < rows; at += step) {
            Chunk c = {h, w, target, at, std::min(step, rows - at), temperature, softcap, room};
            chunk_stats(c, s);
        }
        if (ctx) {
            ctx->save_for_backward({h, w, target, s.lse});
            ctx->saved_data["temperature"] = temperature;
            ctx->saved_data["softcap"] = softcap;
            ctx->saved_data["own"] = static_cast<int64_t>(own);
            if (extras)
                ctx->mark_non_differentiable({s.entropy, s.best});
        }
        return extras ? variable_list{s.logprob, s.entropy, s.best} : variable_list{s.logprob};
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &h = saved[0], &w = saved[1], &target = saved[2], &lse = saved[3];
        double temperature = ctx->saved_data["temperature"].toDouble();
        double softcap = ctx->saved_data["softcap"].toDouble();
        at::Tensor coefficient = grads[0].to(at::kFloat).div(temperature).contiguous();
        int64_t rows = h.size(0), step = chunk_rows(w);
        auto own = static_cast<at::ScalarType>(ctx->saved_data["own"].toInt());
        at::Tensor dh, dw;
        Room room(h, w, std::min(step, rows), softcap);
        if (ctx->needs_input_grad(0))
            dh = at::empty_like(h, h.options().dtype(own));
        if (ctx->needs_input_grad(1))
            dw = at::zeros_like(w, w.options().dtype(at::kFloat));
        for (int64_t at = 0; at < rows; at += step) {
            Chunk c = {h, w, target, at, std::min(step, rows - at), temperature, softcap, room};
            at::Tensor g = by_rows(h, softcap) ? chunk_mm(c) : chunk_logits(c), slope; /* slope: 1 − tanh², what the cap leaves */
            if (softcap != 0)
                slope = 1 - (g / softcap).square_();
            chunk_grad(c, g, lse, coefficient);
            if (softcap != 0)
                g.mul_(slope);
            chunk_products(c, g, dh, dw);
        }
        return {dh, dw.defined() ? dw.to(own) : dw, {}, {}, {}, {}, {}};
    }
};

void check_logprob(const at::Tensor &h, const at::Tensor &w, const at::Tensor &target,
                   double temperature) {
    TORCH_CHECK(h.dim() == 2 && w.dim() == 2 && h.size(1) == w.size(1) && target.dim() == 1 &&
                    target.size(0) == h.size(0) && target.scalar_type() == at::kLong &&
                    h.scalar_type() == w.scalar_type(),
                "h ", h.sizes(), ", w ", w.sizes(), ", target ", target.sizes());
    TORCH_CHECK(temperature > 0, "the temperature is ", temperature);
    if (!target.is_cpu())
        return; /* reading it would wait for the device; its own kernels check there */
    at::Tensor list = target.contiguous();
    const int64_t *id = list.const_data_ptr<int64_t>();
    for (int64_t t = 0; t < list.numel(); t++)
        TORCH_CHECK(id[t] >= 0 && id[t] < w.size(0), "target ", t, " is ", id[t], ", not one of ",
                    w.size(0), " tokens");
}

} // namespace

ct_tensor *ct_linear_logprob(ct_scope *s, ct_tensor *h, ct_tensor *w, ct_tensor *target,
                             double temperature, double softcap, ct_tensor **ret_entropy,
                             ct_tensor **ret_argmax) {
    if (!ready(s, "ct_linear_logprob", h, w, target))
        return nullptr;
    bool extras = ret_entropy || ret_argmax, half = s->half_products;
    variable_list out;
    ct_tensor *result = op(s, "ct_linear_logprob", [&] {
        check_logprob(h->t, w->t, target->t, temperature);
        out = s->grad ? LinearLogprob::apply(h->t, w->t, target->t, temperature, softcap, extras,
                                             half)
                      : LinearLogprob::forward(nullptr, h->t, w->t, target->t, temperature,
                                               softcap, extras, half);
        return out[0];
    });
    if (ret_entropy)
        *ret_entropy = result ? own(s, out[1]) : nullptr;
    if (ret_argmax)
        *ret_argmax = result ? own(s, out[2]) : nullptr;
    return result;
}

/* ---- gradients ------------------------------------------------------------------------------ */

ct_tensor *ct_leaf(ct_scope *s, ct_tensor *t) {
    if (!ready(s, "ct_leaf", t))
        return nullptr;
    return op(s, "ct_leaf", [&] { return t->t.detach().requires_grad_(true); });
}

ct_tensor *ct_detach(ct_scope *s, ct_tensor *t) {
    if (!ready(s, "ct_detach", t))
        return nullptr;
    return op(s, "ct_detach", [&] { return t->t.detach(); });
}

int ct_set_requires_grad(ct_tensor *t, bool on) {
    if (!t)
        return cai_fail(CAI_ESTATE, "ct_set_requires_grad: there is no tensor");
    return act("ct_set_requires_grad", [&] { t->t.requires_grad_(on); });
}

int ct_backward(ct_scope *s, ct_tensor *const *roots, ct_tensor *const *seeds, int n) {
    if (!s)
        return cai_fail(CAI_ESTATE, "ct_backward: no tensor scope");
    for (int i = 0; i < n; i++)
        if (!ready(s, "ct_backward", roots[i]))
            return ct_scope_status(s);
    try {
        variable_list r, g;
        for (int i = 0; i < n; i++) {
            const at::Tensor &root = roots[i]->t;
            const at::Tensor *seed = seeds && seeds[i] ? &seeds[i]->t : nullptr;
            TORCH_CHECK(seed || root.numel() == 1, "root ", i, " has shape ", root.sizes(),
                        " and no seed; only a scalar's may be left out");
            r.push_back(root);
            g.push_back(seed ? *seed : at::ones_like(root));
        }
        torch::autograd::backward(r, g);
    } catch (...) {
        scope_exception(s, "ct_backward");
    }
    return ct_scope_status(s);
}

ct_tensor *ct_grad(ct_scope *s, ct_tensor *leaf) {
    if (!ready(s, "ct_grad", leaf) || !leaf->t.grad().defined())
        return nullptr;
    return op(s, "ct_grad", [&] { return leaf->t.grad(); });
}

int ct_bind_grad(ct_tensor *leaf, ct_tensor *grad) {
    if (!leaf || !grad)
        return cai_fail(CAI_ESTATE, "ct_bind_grad: an input is NULL");
    return act("ct_bind_grad", [&] {
        TORCH_CHECK(leaf->t.sizes() == grad->t.sizes() &&
                        leaf->t.scalar_type() == grad->t.scalar_type(),
                    "leaf ", leaf->t.sizes(), " and gradient ", grad->t.sizes(), " differ");
        leaf->t.mutable_grad() = grad->t;
    });
}

/* ---- optimizer ------------------------------------------------------------------------------ */

int ct_adamw_(ct_tensor *param, ct_tensor *grad, ct_tensor *exp_avg, ct_tensor *exp_avg_sq,
              int64_t step, double lr, double beta1, double beta2, double eps,
              double weight_decay) {
    if (!param || !grad || !exp_avg || !exp_avg_sq)
        return cai_fail(CAI_ESTATE, "ct_adamw_: an input is NULL");
    return act("ct_adamw_", [&] {
        TORCH_CHECK(step >= 1, "steps count from 1, not ", step);
        at::Tensor count = at::full({}, static_cast<double>(step), param->t.options().dtype(at::kFloat));
        at::_fused_adamw_(at::TensorList(&param->t, 1), at::TensorList(&grad->t, 1),
                          at::TensorList(&exp_avg->t, 1), at::TensorList(&exp_avg_sq->t, 1), {},
                          at::TensorList(&count, 1), lr, beta1, beta2, weight_decay, eps, false,
                          false);
    });
}

int ct_norm(const ct_tensor *t, double *ret) {
    if (!t)
        return cai_fail(CAI_ESTATE, "ct_norm: there is no tensor");
    return act("ct_norm", [&] {
        *ret = at::linalg_vector_norm(t->t, 2, {}, false, at::kDouble).item<double>();
    });
}
