/* fast.hpp: the way from tensors to the fp32 CPU kernels (kernels.h): which kernels, which
 * tensors they take, memory for their scratch, and threads. Tensors they do not take go
 * through libtorch's composites. Private to the shim. */
#ifndef CAI_SHIM_FAST_HPP
#define CAI_SHIM_FAST_HPP

#include "shim/kernels.h"
#include "team.hpp"

#include <ATen/core/Tensor.h>

#include <vector>

struct ct_scope;

namespace shim {

/* Chosen once, by libtorch's own CPU capability, so that one name covers both. */
const shim_kernels &kernels();
/* This thread's memory, valid until its next call. */
float *scratch(int64_t floats);

inline bool takes(const at::Tensor &t) {
    return t.is_cpu() && t.scalar_type() == at::kFloat;
}

inline const float *floats(const at::Tensor &t) {
    return t.const_data_ptr<float>();
}

inline float *floats_mut(const at::Tensor &t) {
    return t.mutable_data_ptr<float>();
}

/* kernels().gemm over threads; they divide rows or columns, never a sum. */
void gemm(int64_t m, int64_t n, int64_t k, kernel_matrix a, kernel_matrix b, float *c,
          int64_t ldc, bool accumulate);

/* w [n, k] in bfloat16, k even, as it lies or in the tiles of few16_tiled. */
struct weights16 {
    const uint16_t *p;
    int64_t n, k;
    bool tiled;
};

/* y[m, n] = x[m, k] wᵀ with x rounded to bfloat16. */
void linear16(const shim_kernels &K, int64_t m, const float *x, weights16 w, float *y);

/* Products in bfloat16 of fp32 tensors (products.cpp): whether the scope wants them, and
 * x wᵢᵀ + bᵢ for one x [T, I] and several w [Oᵢ, I]; b are as many, each may be undefined. */
bool takes_half(const ct_scope *s, const at::Tensor &x, const at::Tensor &w);
std::vector<at::Tensor> linears_half(ct_scope *s, const at::Tensor &x,
                                     const std::vector<at::Tensor> &w,
                                     const std::vector<at::Tensor> &b);

/* f(begin, end) over [0, n) in pieces of at least about 32 K elements of `width` each. */
template <class F> void rows_parallel(int64_t n, int64_t width, F &&f) {
    crew_parallel(n, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width)), f);
}

} // namespace shim

#endif
