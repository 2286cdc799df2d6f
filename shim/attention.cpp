/* attention.cpp: causal attention over packed sequences and over a key/value cache.
 * Not for anything else of a layer. */
#include "guard.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/le.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <cstring>

using namespace shim;

/* [L, H, D] → [1, H, L, D] */
static at::Tensor heads_first(const at::Tensor &x) {
    return x.transpose(0, 1).unsqueeze(0);
}

ct_tensor *ct_attention_packed(ct_scope *s, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                               const int64_t *starts, int64_t n, double scale) {
    if (!ready(s, "ct_attention_packed", q, k, v))
        return nullptr;
    return op(s, "ct_attention_packed", [&] {
        std::vector<at::Tensor> parts;
        for (int64_t i = 0; i < n; i++) {
            int64_t at = starts[i], len = starts[i + 1] - at;
            at::Tensor o = at::scaled_dot_product_attention(
                heads_first(q->t.narrow(0, at, len)), heads_first(k->t.narrow(0, at, len)),
                heads_first(v->t.narrow(0, at, len)), {}, 0.0, true, scale, true);
            parts.push_back(o.squeeze(0).transpose(0, 1));
        }
        return at::cat(parts, 0);
    });
}

static at::Tensor cached(const at::Tensor &q, const at::Tensor &k_cache,
                         const at::Tensor &v_cache, int64_t slot, int64_t past, double scale) {
    int64_t rows = q.size(0);
    at::Tensor k = k_cache.select(0, slot).narrow(1, 0, past + rows).unsqueeze(0);
    at::Tensor v = v_cache.select(0, slot).narrow(1, 0, past + rows).unsqueeze(0);
    at::Tensor column = at::arange(past + rows), row = at::arange(past, past + rows);
    at::Tensor mask = at::le(column.unsqueeze(0), row.unsqueeze(1));
    return at::scaled_dot_product_attention(heads_first(q), k, v, mask, 0.0, false, scale, true)
        .squeeze(0)
        .transpose(0, 1);
}

ct_tensor *ct_attention_decode(ct_scope *s, ct_tensor *q, ct_tensor *k_cache, ct_tensor *v_cache,
                               const int64_t *slots, const int64_t *lengths, int64_t b,
                               double scale) {
    if (!ready(s, "ct_attention_decode", q, k_cache, v_cache))
        return nullptr;
    return op(s, "ct_attention_decode", [&] {
        std::vector<at::Tensor> parts;
        for (int64_t i = 0; i < b; i++)
            parts.push_back(cached(q->t.narrow(0, i, 1), k_cache->t, v_cache->t, slots[i],
                                   lengths[i] - 1, scale));
        return at::cat(parts, 0);
    });
}

ct_tensor *ct_attention_prefill(ct_scope *s, ct_tensor *q, ct_tensor *k_cache, ct_tensor *v_cache,
                                const int64_t *slots, const int64_t *past, const int64_t *starts,
                                int64_t n, double scale) {
    if (!ready(s, "ct_attention_prefill", q, k_cache, v_cache))
        return nullptr;
    return op(s, "ct_attention_prefill", [&] {
        std::vector<at::Tensor> parts;
        for (int64_t i = 0; i < n; i++)
            parts.push_back(cached(q->t.narrow(0, starts[i], starts[i + 1] - starts[i]),
                                   k_cache->t, v_cache->t, slots[i], past[i], scale));
        return at::cat(parts, 0);
    });
}

int ct_cache_write(ct_tensor *cache, ct_tensor *x, const int64_t *slots, const int64_t *positions,
                   int64_t n) {
    if (!cache || !x)
        return cai_fail(CAI_ESTATE, "ct_cache_write: an input is NULL");
    return act("ct_cache_write", [&] {
        const at::Tensor &c = cache->t;
        at::Tensor rows = x->t.to(c.scalar_type()).contiguous();
        TORCH_CHECK(c.is_contiguous() && c.dim() == 4 && rows.dim() == 3 && rows.size(0) == n &&
                        rows.size(1) == c.size(1) && rows.size(2) == c.size(3),
                    "cache ", c.sizes(), " does not take rows ", rows.sizes());
        int64_t heads = c.size(1), length = c.size(2);
        size_t bytes = static_cast<size_t>(c.size(3)) * c.element_size();
        char *to = static_cast<char *>(c.mutable_data_ptr());
        const char *from = static_cast<const char *>(rows.const_data_ptr());
        for (int64_t t = 0; t < n; t++) {
            TORCH_CHECK(slots[t] >= 0 && slots[t] < c.size(0) && positions[t] >= 0 &&
                            positions[t] < length,
                        "slot ", slots[t], " position ", positions[t], " is outside of the cache ",
                        c.sizes());
            for (int64_t h = 0; h < heads; h++)
                memcpy(to + static_cast<size_t>((slots[t] * heads + h) * length + positions[t]) *
                                bytes,
                       from + static_cast<size_t>(t * heads + h) * bytes, bytes);
        }
    });
}

int ct_cache_copy(ct_tensor *cache, int64_t from, int64_t to, int64_t length) {
    if (!cache)
        return cai_fail(CAI_ESTATE, "ct_cache_copy: there is no cache");
    return act("ct_cache_copy", [&] {
        cache->t.select(0, to).narrow(1, 0, length).copy_(
            cache->t.select(0, from).narrow(1, 0, length));
    });
}
