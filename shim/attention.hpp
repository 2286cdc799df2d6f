/* attention.hpp: attention without host lists and the CPU's kernels, for devices: what
 * attention_device.cpp does for attention.cpp. Caches lie plainly, [S, Hkv, L, D]. Private
 * to the shim. */
#ifndef CAI_SHIM_ATTENTION_HPP
#define CAI_SHIM_ATTENTION_HPP

#include "shim/ct.h"

#include <ATen/core/Tensor.h>

namespace shim {

/* Sequence i: rows starts[i] … of q after past[i] positions of slot slots[i]. */
struct HostLists {
    const int64_t *slots, *past, *starts;
    int64_t n;
};

/* n numbers as a tensor on the device of `like`, I64. */
at::Tensor device_list(const int64_t *list, int64_t n, const at::Tensor &like);

/* Whether FlashAttention serves: a GPU of compute capability 8 or more, half-precision
 * keys, no soft cap. */
bool device_kernel_takes(const at::Tensor &k, double softcap);

at::Tensor packed_by_device(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                            const int64_t *starts, int64_t n, const ct_attend &how);
at::Tensor prefill_by_device(const at::Tensor &q, const at::Tensor &k_cache,
                             const at::Tensor &v_cache, const HostLists &c, const ct_attend &how);
/* q [B, Hq, D]; slots, positions [B] I64 → [B, Hq, D]; by the kernel or by plain products. */
at::Tensor decode_rows(const at::Tensor &q, const at::Tensor &k_cache, const at::Tensor &v_cache,
                       const at::Tensor &slots, const at::Tensor &positions, const ct_attend &how);

/* x [T, Hkv, D] to positions [T] of slots [T]; no place twice. */
void write_rows_at(const at::Tensor &cache, const at::Tensor &x, const at::Tensor &slots,
                   const at::Tensor &positions);
void write_by_device(const at::Tensor &cache, const at::Tensor &x, const int64_t *slots,
                     const int64_t *positions, int64_t n);

} // namespace shim

#endif
