/* core.cpp: process set-up, scopes, making, reading and changing tensors.
 * Not for arithmetic (ops.cpp, attention.cpp) nor gradients (train.cpp). */
#include "fast.hpp"
#include "guard.hpp"
#include "shim/device_plugin.h"
#include "shim/isa.h"
#include "team.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <c10/util/accumulate.h>
#include <torch/csrc/api/include/torch/version.h>

#include <cstring>
#include <sys/mman.h>
#include <mutex>
#include <new>

namespace shim {

int exception_code(std::string &ret_text) {
    try {
        throw;
    } catch (const c10::OutOfMemoryError &e) {
        ret_text = e.what_without_backtrace();
        return CAI_ENOMEM;
    } catch (const c10::Error &e) {
        ret_text = e.what_without_backtrace();
        /* The CPU allocator throws a plain error; its words are the only mark. */
        return ret_text.find("can't allocate memory") != std::string::npos ||
                       ret_text.find("not enough memory") != std::string::npos
                   ? CAI_ENOMEM
                   : CAI_EINTERNAL;
    } catch (const std::bad_alloc &) {
        ret_text = "out of memory";
        return CAI_ENOMEM;
    } catch (const std::exception &e) {
        ret_text = e.what();
        return CAI_EINTERNAL;
    } catch (...) {
        ret_text = "an exception of unknown type";
        return CAI_EINTERNAL;
    }
}

int exception_fail(const char *name) {
    std::string text;
    int code = exception_code(text);
    return cai_fail(code, "%s: %s", name, text.c_str());
}

void scope_fail(ct_scope *s, int code, std::string text) {
    if (s->code)
        return;
    s->code = code;
    s->text = std::move(text);
}

void scope_exception(ct_scope *s, const char *name) {
    std::string text;
    int code = exception_code(text);
    scope_fail(s, code, std::string(name) + ": " + text);
}

at::ScalarType scalar_type(enum ct_dtype dtype) {
    switch (dtype) {
    case CT_F32: return at::kFloat;
    case CT_BF16: return at::kBFloat16;
    case CT_F16: return at::kHalf;
    case CT_F64: return at::kDouble;
    case CT_I64: return at::kLong;
    case CT_I32: return at::kInt;
    case CT_U8: return at::kByte;
    case CT_BOOL: return at::kBool;
    }
    TORCH_CHECK(false, "no such dtype: ", static_cast<int>(dtype));
}

enum ct_dtype dtype_of(at::ScalarType type) {
    switch (type) {
    case at::kBFloat16: return CT_BF16;
    case at::kHalf: return CT_F16;
    case at::kDouble: return CT_F64;
    case at::kLong: return CT_I64;
    case at::kInt: return CT_I32;
    case at::kByte: return CT_U8;
    case at::kBool: return CT_BOOL;
    default: return CT_F32;
    }
}

static at::Device device_of(struct ct_device d) {
    return d.cuda ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(d.index))
                  : at::Device(at::kCPU);
}

/* What new tensors are made with. */
static at::TensorOptions made(enum ct_dtype dtype) {
    return at::TensorOptions(scalar_type(dtype)).device(device_of(ct_device_now()));
}

} // namespace shim

using namespace shim;

/* ---- process ------------------------------------------------------------------------- */

int ct_init(int threads) {
    static std::mutex lock;
    static int chosen = 0;
    std::lock_guard<std::mutex> hold(lock);
    if (threads < 1)
        return cai_fail(CAI_EINPUT, "ct_init: %d threads; at least 1 is needed", threads);
    if (chosen && chosen != threads)
        return cai_fail(CAI_ESTATE,
                        "ct_init: this process already computes with %d threads, not %d; "
                        "results would change with it",
                        chosen, threads);
    if (chosen)
        return 0;
    int rc = act("ct_init", [&] {
        at::set_num_threads(threads);
        at::globalContext().setDeterministicAlgorithms(true, false);
        at::globalContext().setDeterministicFillUninitializedMemory(false);
    });
    if (rc == 0)
        chosen = threads;
    return rc;
}

const char *ct_version(void) {
    return TORCH_VERSION;
}

const char *ct_numeric_class(void) {
    static thread_local std::string text;
    const char *gpu = device_model();
    text = gpu ? std::string("cuda/") + gpu + "/" : "cpu/";
    text += at::get_cpu_capability();
    for (char &c : text)
        c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == ' ' ? '-' : c);
    if (!gpu) {
        char variables[ISA_VARIABLES_MAX];
        isa_variables(variables, sizeof variables);
        text += std::string("/bf16=") + shim::kernels().bf16 + "/onednn=" + isa_name(isa_here()) +
                variables;
    }
    text += "/threads=" + std::to_string(at::get_num_threads()) +
           "/torch=" + TORCH_VERSION;
    return text.c_str();
}

/* ---- scopes ---------------------------------------------------------------------------- */

static ct_scope *scope_new(bool grad) {
    try {
        ct_scope *s = new ct_scope;
        s->grad = grad;
        return s;
    } catch (...) {
        exception_fail("ct_scope_open");
        return nullptr;
    }
}

ct_scope *ct_scope_open(void) {
    return scope_new(false);
}

ct_scope *ct_scope_open_grad(void) {
    return scope_new(true);
}

void ct_scope_close(ct_scope *s) {
    delete s;
}

int ct_scope_status(const ct_scope *s) {
    if (!s)
        return cai_fail(CAI_ENOMEM, "no tensor scope");
    return s->code ? cai_fail(s->code, "%s", s->text.c_str()) : 0;
}

void ct_scope_fail(ct_scope *s, int code, const char *text) {
    if (s)
        scope_fail(s, code < 0 ? code : CAI_EINTERNAL, text);
}

int ct_keep(ct_tensor *t, ct_tensor **ret) {
    *ret = nullptr;
    if (!t)
        return cai_fail(CAI_ESTATE, "ct_keep: there is no tensor to keep");
    return act("ct_keep", [&] { *ret = new ct_tensor{t->t}; });
}

void ct_free(ct_tensor *t) {
    delete t;
}

ct_tensor *ct_adopt(ct_scope *s, ct_tensor *t) {
    if (!ready(s, "ct_adopt", t))
        return nullptr;
    return op(s, "ct_adopt", [&] { return t->t; });
}

/* ---- making and reading ------------------------------------------------------------------ */

/* Large ones are pages of their own: they read as zeros, are there only once they are written, go
 * back to the system with the tensor, and leave no gap in the heap for which the next one is too
 * large. Asked for in large pages, a gigabyte costs 512 faults in place of 262,144. */
static at::Tensor own_pages(at::IntArrayRef sizes, size_t bytes, const at::TensorOptions &o) {
    void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        throw std::bad_alloc();
    (void)madvise(data, bytes, MADV_HUGEPAGE); /* faster where the system has them */
    return at::from_blob(data, sizes, [bytes](void *p) { munmap(p, bytes); }, o);
}

ct_tensor *ct_zeros(ct_scope *s, enum ct_dtype dtype, const int64_t *shape, int ndim) {
    if (!ready(s, "ct_zeros"))
        return nullptr;
    return op(s, "ct_zeros", [&] {
        at::IntArrayRef sizes(shape, static_cast<size_t>(ndim));
        constexpr size_t LARGE = size_t{8} << 20;
        at::TensorOptions o = made(dtype);
        size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * o.dtype().itemsize();
        return o.device().is_cpu() && bytes >= LARGE ? own_pages(sizes, bytes, o)
                                                     : at::zeros(sizes, o);
    });
}

ct_tensor *ct_full(ct_scope *s, enum ct_dtype dtype, const int64_t *shape, int ndim,
                   double value) {
    if (!ready(s, "ct_full"))
        return nullptr;
    return op(s, "ct_full", [&] {
        return at::full(at::IntArrayRef(shape, static_cast<size_t>(ndim)), value, made(dtype));
    });
}

ct_tensor *ct_from_host(ct_scope *s, enum ct_dtype dtype, const int64_t *shape, int ndim,
                        const void *data) {
    if (!ready(s, "ct_from_host"))
        return nullptr;
    return op(s, "ct_from_host", [&] {
        at::Tensor t =
            at::empty(at::IntArrayRef(shape, static_cast<size_t>(ndim)), scalar_type(dtype));
        if (t.nbytes())
            memcpy(t.mutable_data_ptr(), data, t.nbytes());
        return ct_device_now().cuda ? t.to(device_of(ct_device_now())) : t;
    });
}

ct_tensor *ct_from_i64(ct_scope *s, const int64_t *data, int64_t n) {
    return ct_from_host(s, CT_I64, &n, 1, data);
}

ct_tensor *ct_from_f32(ct_scope *s, const float *data, int64_t n) {
    return ct_from_host(s, CT_F32, &n, 1, data);
}

int ct_ndim(const ct_tensor *t) {
    return t ? static_cast<int>(t->t.dim()) : 0;
}

int64_t ct_size(const ct_tensor *t, int dim) {
    if (!t)
        return 0;
    int64_t n = t->t.dim();
    int64_t d = dim < 0 ? dim + n : dim;
    return d < 0 || d >= n ? 0 : t->t.sizes()[static_cast<size_t>(d)];
}

int64_t ct_numel(const ct_tensor *t) {
    return t ? t->t.numel() : 0;
}

enum ct_dtype ct_dtype_of(const ct_tensor *t) {
    return t ? dtype_of(t->t.scalar_type()) : CT_F32;
}

static int read_as(const char *name, const ct_tensor *t, at::ScalarType type, void *out,
                   size_t bytes) {
    if (!t)
        return cai_fail(CAI_ESTATE, "%s: there is no tensor to read", name);
    return act(name, [&] {
        at::Tensor c = t->t.detach().to(at::kCPU, type).contiguous();
        TORCH_CHECK(c.nbytes() == bytes, "the tensor has ", c.numel(), " elements (", c.nbytes(),
                    " bytes), the caller expects ", bytes, " bytes");
        if (bytes)
            memcpy(out, c.const_data_ptr(), bytes);
    });
}

int ct_read_f32(const ct_tensor *t, float *out, int64_t n) {
    return read_as("ct_read_f32", t, at::kFloat, out, static_cast<size_t>(n) * sizeof *out);
}

int ct_read_i64(const ct_tensor *t, int64_t *out, int64_t n) {
    return read_as("ct_read_i64", t, at::kLong, out, static_cast<size_t>(n) * sizeof *out);
}

int ct_read_raw(const ct_tensor *t, void *out, size_t bytes) {
    return read_as("ct_read_raw", t, t ? t->t.scalar_type() : at::kFloat, out, bytes);
}

int ct_item(const ct_tensor *t, double *out) {
    return read_as("ct_item", t, at::kDouble, out, sizeof *out);
}

void *ct_host_data(ct_tensor *t) {
    if (!t || !t->t.is_cpu() || !t->t.is_contiguous())
        return nullptr;
    return t->t.data_ptr();
}

void *ct_data(ct_tensor *t) {
    return t && t->t.is_contiguous() ? t->t.data_ptr() : nullptr;
}

struct ct_device ct_device_of(const ct_tensor *t) {
    bool cuda = t && t->t.is_cuda();
    return {cuda, cuda ? static_cast<int>(t->t.get_device()) : 0};
}

ct_tensor *ct_host(ct_scope *s, ct_tensor *t) {
    if (!ready(s, "ct_host", t))
        return nullptr;
    return op(s, "ct_host", [&] { return t->t.to(at::kCPU).contiguous(); });
}

ct_tensor *ct_move(ct_scope *s, ct_tensor *t, struct ct_device device) {
    if (!ready(s, "ct_move", t))
        return nullptr;
    return op(s, "ct_move", [&] { return t->t.to(device_of(device)); });
}

bool ct_all_finite(ct_scope *s, ct_tensor *t) {
    if (!ready(s, "ct_all_finite", t))
        return false;
    try {
        Mode mode(false);
        return at::isfinite(t->t).all().item<bool>();
    } catch (...) {
        scope_exception(s, "ct_all_finite");
        return false;
    }
}

/* ---- in place ------------------------------------------------------------------------------ */

int ct_copy_(ct_tensor *dst, const ct_tensor *src) {
    if (!dst || !src)
        return cai_fail(CAI_ESTATE, "ct_copy_: an input is NULL");
    return act("ct_copy_", [&] { dst->t.copy_(src->t); });
}

int ct_write_host_(ct_tensor *dst, enum ct_dtype dtype, const void *data) {
    if (!dst)
        return cai_fail(CAI_ESTATE, "ct_write_host_: there is no tensor to write");
    return act("ct_write_host_", [&] {
        dst->t.copy_(at::from_blob(const_cast<void *>(data), dst->t.sizes(), scalar_type(dtype)));
    });
}

int ct_fill_(ct_tensor *t, double value) {
    if (!t)
        return cai_fail(CAI_ESTATE, "ct_fill_: there is no tensor");
    return act("ct_fill_", [&] { t->t.fill_(value); });
}

int ct_scale_(ct_tensor *t, double factor) {
    if (!t)
        return cai_fail(CAI_ESTATE, "ct_scale_: there is no tensor");
    return act("ct_scale_", [&] { t->t.mul_(factor); });
}

int ct_add_(ct_tensor *t, const ct_tensor *other, double alpha) {
    if (!t || !other)
        return cai_fail(CAI_ESTATE, "ct_add_: an input is NULL");
    return act("ct_add_", [&] { t->t.add_(other->t, alpha); });
}

/* ---- host rows ----------------------------------------------------------------------------- */

static_assert(static_cast<int>(CT_SUM_BLOCK) == static_cast<int>(KERNEL_SUM));

float ct_exp_sums(const float *x, int64_t n, double temperature, float *weights, double *sums) {
    return kernels().exp_sums(n, x, static_cast<float>(1 / temperature), weights, sums);
}

int ct_threads(void) {
    return at::get_num_threads();
}

void ct_parallel(int n, void (*task)(void *context, int i), void *context) {
    auto some = [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; i++)
            task(context, static_cast<int>(i));
    };
    team_parallel(n, 1, some);
}
