/* common.hpp: what the shim's C++ tests share: random tensors, passing an at::Tensor
 * through the C face and back, comparison. */
#ifndef CAI_TEST_SHIM_COMMON_HPP
#define CAI_TEST_SHIM_COMMON_HPP

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <cstring>
#include <vector>

#include "shim/ct.h"

/* cmocka's macros (fail, …) must come after the C++ headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include "base/error.h"
#include <cmocka.h>
}

static inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed) {
    auto g = at::make_generator<at::CPUGeneratorImpl>(seed);
    return at::randn(shape, g);
}

static inline ct_tensor *give(ct_scope *s, const at::Tensor &t) {
    at::Tensor c = t.detach().contiguous();
    enum ct_dtype type = c.scalar_type() == at::kLong      ? CT_I64
                         : c.scalar_type() == at::kDouble  ? CT_F64
                         : c.scalar_type() == at::kBFloat16 ? CT_BF16
                                                           : CT_F32;
    return ct_from_host(s, type, c.sizes().data(), static_cast<int>(c.dim()), c.const_data_ptr());
}

static inline at::Tensor take(const ct_tensor *t) {
    if (!t)
        fail_msg("no tensor: %s", cai_error_text());
    std::vector<int64_t> shape;
    for (int i = 0; i < ct_ndim(t); i++)
        shape.push_back(ct_size(t, i));
    at::ScalarType types[] = {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble,
                              at::kLong,  at::kInt,      at::kByte, at::kBool};
    at::Tensor out = at::empty(shape, types[ct_dtype_of(t)]);
    assert_int_equal(ct_read_raw(t, out.data_ptr(), out.nbytes()), 0);
    return out;
}

static inline void healthy(ct_scope *s) {
    if (ct_scope_status(s) != 0)
        fail_msg("%s", cai_error_text());
}

static inline void near(const at::Tensor &got, const at::Tensor &want, double tolerance) {
    if (got.sizes() != want.sizes())
        fail_msg("shapes differ: %zu and %zu elements", (size_t)got.numel(), (size_t)want.numel());
    at::Tensor g = got.to(at::kDouble), w = want.to(at::kDouble);
    double worst = got.numel() ? (g - w).abs().max().item<double>() : 0;
    double size = got.numel() ? w.abs().max().item<double>() : 0;
    if (!(worst <= tolerance * (1 + size)))
        fail_msg("differs by %g where values reach %g", worst, size);
}

static inline bool same_bits(const at::Tensor &a, const at::Tensor &b) {
    at::Tensor x = a.contiguous(), y = b.contiguous();
    return x.nbytes() == y.nbytes() && memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

/* Gradients through the C face. */
static inline ct_tensor *leaf(ct_scope *s, const at::Tensor &t) {
    return ct_leaf(s, give(s, t));
}

static inline void run_backward(ct_scope *s, ct_tensor *root, const at::Tensor &seed) {
    ct_tensor *g = give(s, seed);
    ct_backward(s, &root, &g, 1);
    healthy(s);
}

#endif
