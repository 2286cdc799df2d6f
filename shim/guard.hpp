/* guard.hpp: what every entry of the shim shares: the two handle types, the border at
 * which C++ exceptions become codes, and the template that an operation is written with.
 * Not for arithmetic. Private to the shim.
 *
 * A scope is open or failed. The first error fails it (code and text are kept); every
 * later operation returns NULL at once; closing frees what it owns in either state. */
#ifndef CAI_SHIM_GUARD_HPP
#define CAI_SHIM_GUARD_HPP

#include "shim/ct.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <deque>
#include <optional>
#include <string>

extern "C" {
#include "base/error.h"
}

struct ct_tensor {
    at::Tensor t;
};

struct ct_scope {
    bool grad;
    bool half_products = false; /* ct_scope_products */
    at::Tensor rounded, rounded16; /* its last input and that in bfloat16: several share one */
    int code = 0;
    std::string text;
    std::deque<ct_tensor> owned; /* stable addresses */
};

namespace shim {

/* Inside a catch block only: the code and the words of the exception in flight. */
int exception_code(std::string &ret_text);
/* The same, as this thread's cai error with "name: " before it. */
int exception_fail(const char *name);
void scope_fail(ct_scope *s, int code, std::string text);
void scope_exception(ct_scope *s, const char *name);
at::ScalarType scalar_type(enum ct_dtype dtype);
enum ct_dtype dtype_of(at::ScalarType type);

/* Recording follows the scope. Without it autograd's dispatch is skipped whole, which
 * is cheaper than NoGradGuard and, unlike InferenceMode, leaves ordinary tensors that a
 * recording scope may use. */
struct Mode {
    c10::AutoGradMode grad;
    std::optional<at::AutoDispatchBelowADInplaceOrView> below;
    explicit Mode(bool record) : grad(record) {
        if (!record)
            below.emplace();
    }
};

inline ct_tensor *own(ct_scope *s, at::Tensor t) {
    return &s->owned.emplace_back(ct_tensor{std::move(t)});
}

/* True when the scope can go on; a NULL input of a healthy scope fails it, so that a
 * result lost elsewhere cannot pass as success. */
template <class... In> bool ready(ct_scope *s, const char *name, const In *...in) {
    if (!s || s->code)
        return false;
    bool whole = (... && static_cast<bool>(in));
    if (!whole) {
        scope_fail(s, CAI_ESTATE, std::string(name) + ": an input is NULL");
        return false;
    }
    return true;
}

/* Runs f under the scope's mode; its tensor becomes the scope's. */
template <class F> ct_tensor *op(ct_scope *s, const char *name, F &&f) {
    try {
        Mode mode(s->grad);
        return own(s, f());
    } catch (...) {
        scope_exception(s, name);
        return nullptr;
    }
}

/* Runs f without recording; 0 or the code, message set. In-place work keeps autograd's
 * version counters, so that changing a tensor saved for backward is still caught. */
template <class F> int act(const char *name, F &&f) {
    try {
        c10::AutoGradMode off(false);
        f();
        return 0;
    } catch (...) {
        return exception_fail(name);
    }
}

} // namespace shim

#endif
