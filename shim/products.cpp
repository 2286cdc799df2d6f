/* products.cpp: linear layers whose matrix products are in bfloat16 while everything around them
 * stays fp32: what training calls mixed precision. Inputs are rounded to bfloat16, products are
 * summed in fp32, results and gradients come back as fp32. libtorch's kernels do the products:
 * AMX or AVX512-BF16 on the CPU, tensor cores on a GPU. Not for: weights that lie in bfloat16
 * (fused.cpp), heads over a vocabulary (train.cpp). */
#include "fast.hpp"
#include "guard.hpp"

#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

using namespace shim;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

/* y = x wᵀ + b; x [T, I], w [O, I], b [O] or undefined. Backward needs x and w as they were
 * multiplied: half the memory of keeping them in fp32. */
struct LinearHalf : Function<LinearHalf> {
    static at::Tensor forward(AutogradContext *ctx, const at::Tensor &, const at::Tensor &x16,
                              const at::Tensor &w, const std::optional<at::Tensor> &b) {
        at::Tensor w16 = w.to(at::kBFloat16);
        at::Tensor y = at::linear(x16, w16).to(at::kFloat);
        if (b)
            y.add_(*b);
        if (ctx) {
            ctx->save_for_backward({x16, w16});
            ctx->saved_data["bias"] = b.has_value();
        }
        return y;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads) {
        variable_list saved = ctx->get_saved_variables();
        const at::Tensor &x = saved[0], &w = saved[1];
        at::Tensor g = grads[0].to(at::kBFloat16), dx, dw, db;
        if (ctx->needs_input_grad(0))
            dx = at::mm(g, w).to(at::kFloat);
        if (ctx->needs_input_grad(2))
            dw = at::mm(g.t(), x).to(at::kFloat);
        if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(3))
            db = grads[0].sum(0);
        return {dx, {}, dw, db};
    }
};

} // namespace

at::Tensor shim::linear_half(bool record, const at::Tensor &x, const at::Tensor &x16,
                             const at::Tensor &w, const std::optional<at::Tensor> &b) {
    return record ? LinearHalf::apply(x, x16, w, b) : LinearHalf::forward(nullptr, x, x16, w, b);
}

void ct_scope_products(ct_scope *s, enum ct_dtype dtype) {
    if (!s || s->code)
        return;
    if (dtype != CT_F32 && dtype != CT_BF16)
        return scope_fail(s, CAI_ESTATE, "ct_scope_products: products are in fp32 or bfloat16");
    s->half_products = dtype == CT_BF16;
}
