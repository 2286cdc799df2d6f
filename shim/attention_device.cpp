/* attention_device.cpp: see attention.hpp. FlashAttention (Dao 2023), as libtorch_cuda has
 * it, reads a cache through cumulative starts and used lengths, both of them tensors: a
 * decoding step has the same shapes and addresses whatever the lengths are, and can be
 * recorded. Plain products serve where it does not. Not for the CPU's kernels. */
#include "attention.hpp"
#include "shim/device_plugin.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>

#include <limits>
#include <vector>

namespace shim {

at::Tensor device_list(const int64_t *list, int64_t n, const at::Tensor &like) {
    return at::from_blob(const_cast<int64_t *>(list), {n}, at::kLong).to(like.device(), at::kLong,
                                                                       false, true);
}

/* ---- FlashAttention -------------------------------------------------------------------------- */

namespace {

enum : int64_t { FLASH_WIDTH_MAX = 256, FLASH_WIDTH_STEP = 8 };

bool is_half(const at::Tensor &t) {
    return t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf;
}

bool takes_width(int64_t d) {
    return d <= FLASH_WIDTH_MAX && d % FLASH_WIDTH_STEP == 0;
}

/* Positions before its own that a row sees; none: all. */
std::optional<int64_t> left_of(const ct_attend &how) {
    return how.window > 0 ? std::optional<int64_t>(how.window - 1) : std::nullopt;
}

std::optional<int64_t> right_of(const ct_attend &how) {
    return how.window > 0 ? std::optional<int64_t>(0) : std::nullopt;
}

/* A cache seen as rows, position p of head h of slot s at row s · Hkv · L + p, head h: the
 * kernel steps by strides, so nothing is moved. */
at::Tensor as_rows(const at::Tensor &c) {
    int64_t heads = c.size(1), length = c.size(2), d = c.size(3);
    return c.as_strided({c.size(0) * heads * length - (heads - 1) * length, heads, d},
                        {d, length * d, 1});
}

/* Where each slot's rows begin, [B + 1] I32; the last is read by nobody, as lengths are given. */
at::Tensor row_starts(const at::Tensor &slots, const at::Tensor &cache) {
    at::Tensor at = slots * (cache.size(1) * cache.size(2));
    return at::cat({at, at.narrow(0, at.size(0) - 1, 1)}).to(at::kInt);
}

struct Lengths {
    at::Tensor q, k, used; /* cumulative, cumulative, of each sequence or undefined; I32 */
    int64_t max_q, max_k;
};

at::Tensor flash(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Lengths &n,
                 bool causal, const ct_attend &how) {
    std::optional<at::Tensor> used =
        n.used.defined() ? std::optional<at::Tensor>(n.used) : std::nullopt;
    return std::get<0>(at::_flash_attention_forward(q, k, v, n.q, n.k, n.max_q, n.max_k, 0.0,
                                                    causal, false, how.scale, left_of(how),
                                                    right_of(how), used));
}

} // namespace

bool device_kernel_takes(const at::Tensor &k, double softcap) {
    return k.is_cuda() && is_half(k) && softcap == 0 && takes_width(k.size(-1)) &&
           device_capable(8);
}

at::Tensor packed_by_device(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                            const int64_t *starts, int64_t n, const ct_attend &how) {
    int64_t longest = 1;
    for (int64_t i = 0; i < n; i++)
        longest = std::max(longest, starts[i + 1] - starts[i]);
    at::Tensor at = device_list(starts, n + 1, q).to(at::kInt);
    return flash(q.contiguous(), k.contiguous(), v.contiguous(), {at, at, {}, longest, longest},
                 true, how);
}

at::Tensor prefill_by_device(const at::Tensor &q, const at::Tensor &k_cache,
                             const at::Tensor &v_cache, const HostLists &c, const ct_attend &how) {
    int64_t longest = 1;
    std::vector<int64_t> used;
    TORCH_CHECK(k_cache.is_contiguous() && v_cache.is_contiguous(), "a cache lies in one piece");
    for (int64_t i = 0; i < c.n; i++) {
        int64_t rows = c.starts[i + 1] - c.starts[i];
        longest = std::max(longest, rows);
        used.push_back(c.past[i] + rows);
    }
    Lengths n = {device_list(c.starts, c.n + 1, q).to(at::kInt),
                 row_starts(device_list(c.slots, c.n, q), k_cache),
                 device_list(used.data(), c.n, q).to(at::kInt), longest, k_cache.size(2)};
    return flash(q.to(k_cache.scalar_type()).contiguous(), as_rows(k_cache), as_rows(v_cache), n,
                 true, how)
        .to(q.scalar_type());
}

/* ---- one row of each sequence ------------------------------------------------------------------ */

namespace {

at::Tensor decode_by_kernel(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                            const at::Tensor &slots, const at::Tensor &positions,
                            const ct_attend &how) {
    at::Tensor one_each = at::arange(q.size(0) + 1, slots.options().dtype(at::kInt));
    Lengths n = {one_each, row_starts(slots, k), (positions + 1).to(at::kInt), 1, k.size(2)};
    return flash(q.to(k.scalar_type()).contiguous(), as_rows(k), as_rows(v), n, false, how)
        .to(q.scalar_type());
}

/* A group's query heads are the rows of one product with their key head: [B, Hkv, G, L]. */
at::Tensor decode_by_products(const at::Tensor &q, const at::Tensor &k_cache,
                              const at::Tensor &v_cache, const at::Tensor &slots,
                              const at::Tensor &positions, const ct_attend &how) {
    int64_t b = q.size(0), kv_heads = k_cache.size(1), d = q.size(2);
    at::Tensor k = at::index_select(k_cache, 0, slots).to(q.scalar_type());
    at::Tensor v = at::index_select(v_cache, 0, slots).to(q.scalar_type());
    at::Tensor rows = q.reshape({b, kv_heads, q.size(1) / kv_heads, d});
    at::Tensor scores = at::matmul(rows, k.transpose(2, 3)) * how.scale;
    if (how.softcap != 0)
        scores = at::tanh(scores / how.softcap) * how.softcap;
    at::Tensor column = at::arange(k.size(2), positions.options()).unsqueeze(0); /* [1, L] */
    at::Tensor last = positions.unsqueeze(1), hidden = column > last;            /* [B, L] */
    if (how.window > 0)
        hidden = hidden.logical_or(column <= last - how.window);
    scores = scores.masked_fill(hidden.view({b, 1, 1, k.size(2)}),
                                -std::numeric_limits<double>::infinity());
    return at::matmul(at::softmax(scores, -1), v).reshape({b, q.size(1), d});
}

} // namespace

at::Tensor decode_rows(const at::Tensor &q, const at::Tensor &k_cache, const at::Tensor &v_cache,
                       const at::Tensor &slots, const at::Tensor &positions,
                       const ct_attend &how) {
    return (device_kernel_takes(k_cache, how.softcap) ? decode_by_kernel : decode_by_products)(
        q, k_cache, v_cache, slots, positions, how);
}

/* ---- writing ------------------------------------------------------------------------------------- */

namespace {

/* Rows go to places of their own, so any order of writing gives the same: the sorting that
 * deterministic mode would do first is left out. */
struct AnyOrder {
    bool was = at::globalContext().deterministicAlgorithms();
    bool warns = at::globalContext().deterministicAlgorithmsWarnOnly();
    AnyOrder() {
        at::globalContext().setDeterministicAlgorithms(false, false);
    }
    ~AnyOrder() {
        at::globalContext().setDeterministicAlgorithms(was, warns);
    }
};

} // namespace

void write_rows_at(const at::Tensor &cache, const at::Tensor &x, const at::Tensor &slots,
                   const at::Tensor &positions) {
    TORCH_CHECK(cache.dim() == 4 && x.dim() == 3 && x.size(0) == slots.numel() &&
                    x.size(0) == positions.numel() && x.size(1) == cache.size(1) &&
                    x.size(2) == cache.size(3),
                "cache ", cache.sizes(), " does not take rows ", x.sizes());
    AnyOrder unsorted;
    at::Tensor places = cache.permute({0, 2, 1, 3}); /* [S, L, Hkv, D] */
    c10::List<std::optional<at::Tensor>> at({slots, positions});
    at::index_put_(places, at, x.to(cache.scalar_type()));
}

void write_by_device(const at::Tensor &cache, const at::Tensor &x, const int64_t *slots,
                     const int64_t *positions, int64_t n) {
    for (int64_t t = 0; t < n; t++)
        TORCH_CHECK(slots[t] >= 0 && slots[t] < cache.size(0) && positions[t] >= 0 &&
                        positions[t] < cache.size(2),
                    "slot ", slots[t], " position ", positions[t], " is outside of the cache ",
                    cache.sizes());
    write_rows_at(cache, x, device_list(slots, n, cache), device_list(positions, n, cache));
}

} // namespace shim
