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
#include "half.hpp"
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

/* Rows that lie dense, as far as the columns go. */
bool has_rows(const at::Tensor &t) {
    return t.is_cpu() && t.dim() == 2 && (t.stride(1) == 1 || t.size(1) == 1);
}

/* `to` [R, C] in bfloat16 = x in fp32. libtorch's own rounds with AVX2 alone. */
void halve(const at::Tensor &to, const at::Tensor &x) {
    if (!has_rows(to) || !has_rows(x) || x.scalar_type() != at::kFloat) {
        to.copy_(x);
        return;
    }
    int64_t c = x.size(1), from_row = x.stride(0), to_row = to.stride(0);
    const float *in = floats(x);
    uint16_t *out = halves(to);
    rows_parallel(x.size(0), c, [=](int64_t from, int64_t end) {
        for (int64_t r = from; r < end; r++)
            kernels().halve(c, in + r * from_row, out + r * to_row);
    });
}

} // namespace

at::Tensor shim::halved(const at::Tensor &x) {
    at::Tensor to = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
    halve(to, x);
    return to;
}

at::Tensor shim::widened(const at::Tensor &x) {
    at::Tensor to = at::empty(x.sizes(), x.options().dtype(at::kFloat));
    if (!has_rows(x))
        return to.copy_(x);
    int64_t c = x.size(1), from_row = x.stride(0);
    const uint16_t *in = halves(x);
    float *out = floats_mut(to);
    rows_parallel(x.size(0), c, [=](int64_t from, int64_t end) {
        for (int64_t r = from; r < end; r++)
            kernels().widen(c, in + r * from_row, out + r * c);
    });
    return to;
}

at::Tensor shim::rounded_side_by_side(at::TensorList list, int64_t dim) {
    if (list.size() == 1)
        return halved(list[0]);
    int64_t sum = 0, at = 0;
    for (const at::Tensor &t : list)
        sum += t.size(dim);
    std::vector<int64_t> shape(list[0].sizes().begin(), list[0].sizes().end());
    shape[static_cast<size_t>(dim)] = sum;
    at::Tensor all = at::empty(shape, list[0].options().dtype(at::kBFloat16));
    for (const at::Tensor &t : list) {
        halve(all.narrow(dim, at, t.size(dim)), t);
        at += t.size(dim);
    }
    return all;
}

at::Tensor shim::whole_weight_grad(const at::Tensor &g, const at::Tensor &x) {
    return at::mm(g.t(), x);
}

namespace {

/* yᵢ = x wᵢᵀ for several w [Oᵢ, I] under one x [T, I], as one product with all of them: queries,
 * keys and values, or gate and up. Inputs: x, x16 (x rounded), w …. Backward needs x and w as
 * they were multiplied: half the memory of fp32. */
struct LinearsHalf : Function<LinearsHalf> {
    static variable_list forward(AutogradContext *ctx, const at::Tensor &, const at::Tensor &x16,
                                 at::TensorList w) {
        at::Tensor w16 = rounded_side_by_side(w, 0), all = at::linear(x16, w16);
        variable_list out;
        std::vector<int64_t> width;
        int64_t at = 0;
        for (size_t i = 0; i < w.size(); i++) {
            width.push_back(w[i].size(0));
            out.push_back(widened(all.narrow(1, at, width[i])));
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
        at::Tensor g = rounded_side_by_side(grads, 1);
        variable_list d(2);
        if (ctx->needs_input_grad(0))
            d[0] = widened(at::mm(g, w));
        variable_list dw = weight_grads(g, x, width, [&](size_t i) { return ctx->needs_input_grad(2 + i); });
        d.insert(d.end(), dw.begin(), dw.end());
        return d;
    }
};

} // namespace

/* Queries, keys and values have one input, gate and up too; so have a layer's two halves. */
const at::Tensor &shim::rounded(ct_scope *s, const at::Tensor &x) {
    if (x.scalar_type() == at::kBFloat16)
        return x;
    if (!s->rounded.is_same(x)) {
        s->rounded = x;
        s->rounded16 = halved(x.detach());
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
