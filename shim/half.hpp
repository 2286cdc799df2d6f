/* half.hpp: what linear layers with products in bfloat16 share (products.cpp, half_layer.cpp):
 * rounding whole matrices there and back, matrices side by side, gradients of weights that were
 * multiplied as one. Private to the shim. */
#ifndef CAI_SHIM_HALF_HPP
#define CAI_SHIM_HALF_HPP

#include "fast.hpp"

#include <torch/csrc/autograd/custom_function.h>

namespace shim {

inline uint16_t *halves(const at::Tensor &t) {
    return static_cast<uint16_t *>(t.mutable_data_ptr());
}

/* x [R, C] in bfloat16, ties to even, and back; on the CPU over the kernels. */
at::Tensor halved(const at::Tensor &x);
at::Tensor widened(const at::Tensor &x);
/* halved(x), kept for the scope's next product of the same x; x itself where it is halved. */
const at::Tensor &rounded(ct_scope *s, const at::Tensor &x);
/* [ΣO, I] of weights (dim 0), or [T, ΣO] of gradients (dim 1), in bfloat16. */
at::Tensor rounded_side_by_side(at::TensorList list, int64_t dim);
/* gᵀ x [ΣO, I]: of all of them. */
at::Tensor whole_weight_grad(const at::Tensor &g, const at::Tensor &x);

/* Whether packed attention of heads of this width multiplies in bfloat16 here (attention.cpp). */
bool attends_half(int64_t d);

/* Gradients to w[i] [width[i], I], from g [T, ΣO] and x [T, I], both in bfloat16; undefined
 * where needs(i) is false. */
template <class F>
torch::autograd::variable_list weight_grads(const at::Tensor &g, const at::Tensor &x,
                                            const std::vector<int64_t> &width, F &&needs) {
    torch::autograd::variable_list d(width.size());
    at::Tensor all;
    int64_t at = 0;
    for (size_t i = 0; i < width.size(); at += width[i], i++) {
        if (!needs(i))
            continue;
        all = all.defined() ? all : whole_weight_grad(g, x);
        d[i] = widened(all.narrow(0, at, width[i]));
    }
    return d;
}

} // namespace shim

#endif
