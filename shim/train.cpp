/* train.cpp: gradients, the chunked log-probability of a linear head, the optimizer.
 * Not for losses (they are written in C over ct.h). */
#include "guard.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
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

/* Logits of one chunk are at most this many elements (16 MiB in fp32). */
static constexpr int64_t CHUNK_ELEMENTS = int64_t{4} << 20;

static int64_t chunk_rows(int64_t vocab) {
    return std::max<int64_t>(16, CHUNK_ELEMENTS / std::max<int64_t>(1, vocab));
}

namespace {

/* log softmax(h wᵀ / temperature)[target] by row chunks, logits made twice (forward and
 * backward) instead of kept: memory is one chunk. h [T, D], w [V, D], target [T]. */
struct LinearLogprob : torch::autograd::Function<LinearLogprob> {
    static variable_list forward(AutogradContext *ctx, const at::Tensor &h, const at::Tensor &w,
                                 const at::Tensor &target, double temperature, bool extras) {
        int64_t rows = h.size(0), step = chunk_rows(w.size(0));
        at::Tensor logprob = at::empty({rows}, h.options().dtype(at::kFloat));
        at::Tensor lse = at::empty_like(logprob);
        at::Tensor entropy = extras ? at::empty_like(logprob) : at::Tensor();
        at::Tensor best = extras ? at::empty({rows}, target.options()) : at::Tensor();
        at::Tensor wt = w.t();
        for (int64_t at = 0; at < rows; at += step) {
            int64_t n = std::min(step, rows - at);
            at::Tensor logits = at::mm(h.narrow(0, at, n), wt).to(at::kFloat).div_(temperature);
            at::Tensor z = at::logsumexp(logits, {-1});
            lse.narrow(0, at, n).copy_(z);
            logprob.narrow(0, at, n).copy_(
                logits.gather(1, target.narrow(0, at, n).unsqueeze(1)).squeeze(1) - z);
            if (extras) {
                best.narrow(0, at, n).copy_(logits.argmax(-1));
                at::Tensor lp = logits - z.unsqueeze(1);
                entropy.narrow(0, at, n).copy_((lp.exp() * lp).sum(-1).neg_());
            }
        }
        if (ctx) {
            ctx->save_for_backward({h, w, target, lse});
            ctx->saved_data["temperature"] = temperature;
            if (extras)
                ctx->mark_non_differentiable({entropy, best});
        }
        return extras ? variable_list{logprob, entropy, best} : variable_list{logprob};
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &h = saved[0], &w = saved[1], &target = saved[2], &lse = saved[3];
        double temperature = ctx->saved_data["temperature"].toDouble();
        at::Tensor coefficient = grads[0].to(at::kFloat).div(temperature); /* [T] */
        int64_t rows = h.size(0), step = chunk_rows(w.size(0));
        bool need_h = ctx->needs_input_grad(0), need_w = ctx->needs_input_grad(1);
        at::Tensor dh = need_h ? at::empty_like(h) : at::Tensor();
        at::Tensor dw = need_w ? at::zeros_like(w, w.options().dtype(at::kFloat)) : at::Tensor();
        at::Tensor wt = w.t();
        for (int64_t at = 0; at < rows; at += step) {
            int64_t n = std::min(step, rows - at);
            at::Tensor x = h.narrow(0, at, n);
            at::Tensor g = at::mm(x, wt).to(at::kFloat).div_(temperature);
            at::Tensor c = coefficient.narrow(0, at, n).unsqueeze(1);
            /* d logprob / d logits = onehot − p */
            g.sub_(lse.narrow(0, at, n).unsqueeze(1)).exp_().neg_();
            at::Tensor index = target.narrow(0, at, n).unsqueeze(1);
            g.scatter_(1, index, g.gather(1, index) + 1).mul_(c);
            at::Tensor typed = g.to(h.scalar_type());
            if (need_h)
                dh.narrow(0, at, n).copy_(at::mm(typed, w));
            if (need_w)
                dw.add_(at::mm(typed.t(), x));
        }
        return {dh, need_w ? dw.to(w.scalar_type()) : dw, {}, {}, {}};
    }
};

} // namespace

ct_tensor *ct_linear_logprob(ct_scope *s, ct_tensor *h, ct_tensor *w, ct_tensor *target,
                             double temperature, ct_tensor **ret_entropy, ct_tensor **ret_argmax) {
    if (!ready(s, "ct_linear_logprob", h, w, target))
        return nullptr;
    bool extras = ret_entropy || ret_argmax;
    variable_list out;
    ct_tensor *result = op(s, "ct_linear_logprob", [&] {
        TORCH_CHECK(h->t.dim() == 2 && w->t.dim() == 2 && h->t.size(1) == w->t.size(1) &&
                        target->t.dim() == 1 && target->t.size(0) == h->t.size(0),
                    "h ", h->t.sizes(), ", w ", w->t.sizes(), ", target ", target->t.sizes());
        TORCH_CHECK(temperature > 0, "the temperature is ", temperature);
        out = s->grad ? LinearLogprob::apply(h->t, w->t, target->t, temperature, extras)
                      : LinearLogprob::forward(nullptr, h->t, w->t, target->t, temperature, extras);
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
        at::Tensor count = at::full({}, static_cast<double>(step), at::kFloat);
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
