/* ops.cpp: shape and arithmetic, one entry per operation of libtorch. The
 * coarse operations stand in fused.cpp and attention.cpp, gradients in train.cpp. */
#include "guard.hpp"

#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/log.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/square.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tanh.h>

using namespace shim;

/* ---- shape ---------------------------------------------------------------------------------- */

ct_tensor *ct_view(ct_scope *s, ct_tensor *t, const int64_t *shape, int ndim) {
    if (!ready(s, "ct_view", t))
        return nullptr;
    return op(s, "ct_view",
              [&] { return t->t.view(at::IntArrayRef(shape, static_cast<size_t>(ndim))); });
}

ct_tensor *ct_narrow(ct_scope *s, ct_tensor *t, int dim, int64_t start, int64_t length) {
    if (!ready(s, "ct_narrow", t))
        return nullptr;
    return op(s, "ct_narrow", [&] { return t->t.narrow(dim, start, length); });
}

ct_tensor *ct_transpose(ct_scope *s, ct_tensor *t, int a, int b) {
    if (!ready(s, "ct_transpose", t))
        return nullptr;
    return op(s, "ct_transpose", [&] { return t->t.transpose(a, b); });
}

ct_tensor *ct_contiguous(ct_scope *s, ct_tensor *t) {
    if (!ready(s, "ct_contiguous", t))
        return nullptr;
    return op(s, "ct_contiguous", [&] { return t->t.contiguous(); });
}

ct_tensor *ct_cat(ct_scope *s, ct_tensor *const *t, int n, int dim) {
    if (!ready(s, "ct_cat"))
        return nullptr;
    for (int i = 0; i < n; i++)
        if (!ready(s, "ct_cat", t[i]))
            return nullptr;
    return op(s, "ct_cat", [&] {
        std::vector<at::Tensor> list;
        for (int i = 0; i < n; i++)
            list.push_back(t[i]->t);
        return at::cat(list, dim);
    });
}

ct_tensor *ct_to(ct_scope *s, ct_tensor *t, enum ct_dtype dtype) {
    if (!ready(s, "ct_to", t))
        return nullptr;
    return op(s, "ct_to", [&] { return t->t.to(scalar_type(dtype)); });
}

ct_tensor *ct_gather_last(ct_scope *s, ct_tensor *t, ct_tensor *index) {
    if (!ready(s, "ct_gather_last", t, index))
        return nullptr;
    return op(s, "ct_gather_last",
              [&] { return at::gather(t->t, -1, index->t.unsqueeze(-1)).squeeze(-1); });
}

/* ---- arithmetic ----------------------------------------------------------------------------- */

#define UNARY(name, expression)                                                                    \
    ct_tensor *name(ct_scope *s, ct_tensor *a) {                                                   \
        if (!ready(s, #name, a))                                                                   \
            return nullptr;                                                                        \
        const at::Tensor &x = a->t;                                                                \
        return op(s, #name, [&] { return expression; });                                           \
    }
#define BINARY(name, expression)                                                                   \
    ct_tensor *name(ct_scope *s, ct_tensor *a, ct_tensor *b) {                                     \
        if (!ready(s, #name, a, b))                                                                \
            return nullptr;                                                                        \
        const at::Tensor &x = a->t, &y = b->t;                                                     \
        return op(s, #name, [&] { return expression; });                                           \
    }

BINARY(ct_add, x + y)
BINARY(ct_sub, x - y)
BINARY(ct_mul, x * y)
BINARY(ct_div, x / y)
BINARY(ct_min, at::minimum(x, y))
BINARY(ct_max, at::maximum(x, y))
BINARY(ct_matmul, at::matmul(x, y))
UNARY(ct_exp, at::exp(x))
UNARY(ct_log, at::log(x))
UNARY(ct_square, at::square(x))
UNARY(ct_sigmoid, at::sigmoid(x))
UNARY(ct_log_sigmoid, at::log_sigmoid(x))
UNARY(ct_silu, at::silu(x))
UNARY(ct_sum, at::sum(x))
UNARY(ct_mean, at::mean(x))
UNARY(ct_softmax, at::softmax(x, -1, at::kFloat))
UNARY(ct_log_softmax, at::log_softmax(x, -1, at::kFloat))
UNARY(ct_logsumexp, at::logsumexp(x, -1))
UNARY(ct_argmax, at::argmax(x, -1))

ct_tensor *ct_scale(ct_scope *s, ct_tensor *a, double factor) {
    if (!ready(s, "ct_scale", a))
        return nullptr;
    return op(s, "ct_scale", [&] { return a->t * factor; });
}

ct_tensor *ct_shift(ct_scope *s, ct_tensor *a, double addend) {
    if (!ready(s, "ct_shift", a))
        return nullptr;
    return op(s, "ct_shift", [&] { return a->t + addend; });
}

ct_tensor *ct_softcap(ct_scope *s, ct_tensor *x, double cap) {
    if (!ready(s, "ct_softcap", x))
        return nullptr;
    return op(s, "ct_softcap", [&] { return cap == 0 ? x->t : at::tanh(x->t / cap) * cap; });
}

ct_tensor *ct_clamp(ct_scope *s, ct_tensor *a, double low, double high) {
    if (!ready(s, "ct_clamp", a))
        return nullptr;
    return op(s, "ct_clamp", [&] { return at::clamp(a->t, low, high); });
}

ct_tensor *ct_sum_dim(ct_scope *s, ct_tensor *a, int dim) {
    if (!ready(s, "ct_sum_dim", a))
        return nullptr;
    return op(s, "ct_sum_dim", [&] { return at::sum(a->t, dim); });
}
