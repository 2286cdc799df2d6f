/* products.cpp: linear layers whose matrix products are in bfloat16 while everything around them
 * stays fp32: what training calls mixed precision. Inputs are rounded to bfloat16, products are
 * summed in fp32, and what comes out of a product is rounded once more before it goes on as fp32:
 * so a weight's gradient from one micro-batch has eight bits, its sum over micro-batches 24: off
 * by 0.17 % (root mean square), either way, which sums over micro-batches even out further. The
 * one product in libtorch for CPUs that would give it in fp32, MKL's gemm_bf16bf16f32, takes 3.6
 * times as long as oneDNN's (4,096 tokens, 1,024 × 256, AVX512-BF16: 23.8 ms against 6.7 with
 * rounding and adding), so that a training step would take nearly twice as long. libtorch's
 * kernels do the products: AMX or AVX512-BF16 on the CPU, tensor cores on a GPU. Not for: weights that lie in bfloat16
 * (fused.cpp), heads over a vocabulary (train.cpp). */
#include "fast.hpp"
#include "guard.hpp"
#include "shim/isa.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

using namespace shim;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

/* yᵢ = x wᵢᵀ for several w [Oᵢ, I] under one x [T, I], as one product with all of them: queries,
 * keys and values, or gate and up. Inputs: x, x16 (x rounded), w …. Backward needs x and w as
 * they were multiplied: half the memory of fp32. */
struct LinearsHalf : Function<LinearsHalf> {
    /* [ΣO, I] of weights, or [T, ΣO] of gradients, side by side along `dim` in bfloat16. */
    static at::Tensor rounded_side_by_side(at::TensorList list, int64_t dim) {
        if (list.size() == 1)
            return list[0].to(at::kBFloat16);
        int64_t sum = 0, at = 0;
        for (const at::Tensor &t : list)
            sum += t.size(dim);
        std::vector<int64_t> shape(list[0].sizes().begin(), list[0].sizes().end());
        shape[static_cast<size_t>(dim)] = sum;
        at::Tensor all = at::empty(shape, list[0].options().dtype(at::kBFloat16));
        for (const at::Tensor &t : list) {
            all.narrow(dim, at, t.size(dim)).copy_(t);
            at += t.size(dim);
        }
        return all;
    }

    static variable_list forward(AutogradContext *ctx, const at::Tensor &, const at::Tensor &x16,
                                 at::TensorList w) {
        at::Tensor w16 = rounded_side_by_side(w, 0), all = at::linear(x16, w16);
        variable_list out;
        std::vector<int64_t> width;
        int64_t at = 0;
        for (size_t i = 0; i < w.size(); i++) {
            width.push_back(w[i].size(0));
            out.push_back(at::empty({x16.size(0), width[i]}, x16.options().dtype(at::kFloat)));
            out[i].copy_(all.narrow(1, at, width[i]));
            at += width[i];
        }
        if (ctx) {
            ctx->save_for_backward({x16, w16});
            ctx->saved_data["width"] = width;
        }
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &x = saved[0], &w = saved[1];
        std::vector<int64_t> width = ctx->saved_data["width"].toIntVector();
        size_t n = width.size();
        for (size_t i = 0; i < n; i++)
            if (!grads[i].defined())
                grads[i] = at::zeros({x.size(0), width[i]}, x.options().dtype(at::kFloat));
        at::Tensor g = rounded_side_by_side(grads, 1), dw;
        variable_list d(2 + n);
        if (ctx->needs_input_grad(0))
            d[0] = at::mm(g, w).to(at::kFloat);
        int64_t at = 0;
        for (size_t i = 0; i < n; at += width[i], i++) {
            if (!ctx->needs_input_grad(2 + i))
                continue;
            dw = dw.defined() ? dw : at::mm(g.t(), x); /* [ΣO, I] */
            d[2 + i] = dw.narrow(0, at, width[i]).to(at::kFloat);
        }
        return d;
    }
};

} // namespace

/* Queries, keys and values have one input, gate and up too; so have a layer's two halves. */
static const at::Tensor &rounded(ct_scope *s, const at::Tensor &x) {
    if (!s->rounded.is_same(x)) {
        s->rounded = x;
        s->rounded16 = x.detach().to(at::kBFloat16);
    }
    return s->rounded16;
}

bool shim::takes_half(const ct_scope *s, const at::Tensor &x, const at::Tensor &w) {
    return s->half_products && x.dim() == 2 && x.scalar_type() == at::kFloat &&
           w.scalar_type() == at::kFloat;
}

std::vector<at::Tensor> shim::linears_half(ct_scope *s, const at::Tensor &x,
                                           const std::vector<at::Tensor> &w,
                                           const std::vector<at::Tensor> &b) {
    const at::Tensor &x16 = rounded(s, x);
    at::TensorList list = w;
    std::vector<at::Tensor> y =
        s->grad ? LinearsHalf::apply(x, x16, list) : LinearsHalf::forward(nullptr, x, x16, list);
    for (size_t i = 0; i < y.size(); i++)
        if (b[i].defined())
            y[i] = y[i] + b[i];
    return y;
}

int ct_linears(ct_scope *s, ct_tensor *x, ct_tensor *const *w, ct_tensor *const *b, int n,
               ct_tensor **ret) {
    bool half = s && !s->code && x && n > 1;
    for (int i = 0; i < n && half; i++)
        half = w[i] && takes_half(s, x->t, w[i]->t);
    if (!half) {
        for (int i = 0; i < n; i++)
            ret[i] = ct_linear(s, x, w[i], b[i]);
        return ct_scope_status(s);
    }
    try {
        Mode mode(s->grad);
        variable_list weights, biases;
        for (int i = 0; i < n; i++) {
            weights.push_back(w[i]->t);
            biases.push_back(b[i] ? b[i]->t : at::Tensor());
        }
        variable_list out = linears_half(s, x->t, weights, biases);
        for (int i = 0; i < n; i++)
            ret[i] = own(s, out[static_cast<size_t>(i)]);
    } catch (...) {
        scope_exception(s, "ct_linears");
    }
    return ct_scope_status(s);
}

bool ct_half_pays(void) {
    return ct_device_now().cuda ||
           (std::string(kernels().bf16) != "widened" && isa_here() >= ISA_AVX512_BF16);
}

void ct_scope_products(ct_scope *s, enum ct_dtype dtype) {
    if (!s || s->code)
        return;
    if (dtype != CT_F32 && dtype != CT_BF16)
        return scope_fail(s, CAI_ESTATE, "ct_scope_products: products are in fp32 or bfloat16");
    s->half_products = dtype == CT_BF16;
}
