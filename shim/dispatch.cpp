/* dispatch.cpp: see fast.hpp. */
#include "fast.hpp"
#include "shim/amx.h"
#include "team.hpp"

#include <ATen/Version.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <string>

namespace shim {

static shim_kernels with_amx() {
    shim_kernels k = shim_kernels_avx512bf16;
    k.bf16 = "amx";
    k.few16 = kernel_few16_amx;
    k.few16_tiled = kernel_few16_tiled_amx;
    k.few16_rows = 2 * KERNEL_TILE_ROWS;
    return k;
}

static const shim_kernels &choose() {
    static const shim_kernels amx = with_amx();
    std::string capability = at::get_cpu_capability();
    if (capability == "AVX512" && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        if (!__builtin_cpu_supports("avx512bf16"))
            return shim_kernels_avx512;
        return amx_allowed() ? amx : shim_kernels_avx512bf16;
    }
    if ((capability == "AVX2" || capability == "AVX512") && __builtin_cpu_supports("fma"))
        return shim_kernels_avx2;
    return shim_kernels_base;
}

const shim_kernels &kernels() {
    static const shim_kernels &chosen = choose();
    return chosen;
}

namespace {
struct Free {
    void operator()(float *p) const {
        free(p);
    }
};
} // namespace

float *scratch(int64_t floats) {
    static thread_local std::unique_ptr<float, Free> memory;
    static thread_local int64_t size = 0;
    if (floats > size) {
        size_t bytes = (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64;
        memory.reset(static_cast<float *>(aligned_alloc(64, bytes)));
        size = memory ? floats : 0;
        if (!memory)
            throw std::bad_alloc();
    }
    return memory.get();
}

/* Few rows of x [m, k] against w [n, k]: a packed copy of x stays near the processor. */
static bool is_few(int64_t m, int64_t k, kernel_matrix a, kernel_matrix b, bool accumulate) {
    return !accumulate && a.cs == 1 && b.rs == 1 && b.cs == k && k > 0 && m > 0 &&
           m <= 128 && m * k <= int64_t{1} << 17;
}

static void few(int64_t m, int64_t n, int64_t k, kernel_matrix a, const float *w, float *c,
                int64_t ldc) {
    const shim_kernels &K = kernels();
    int64_t padded = (m + K.nr - 1) / K.nr * K.nr, unit = 12;
    float *x = scratch(padded * k);
    K.pack(m, k, {a.p, 1, a.rs}, x);
    /* A piece is worth handing over for about 2^18 multiply-adds. */
    int64_t grain = std::max<int64_t>(1, (int64_t{1} << 18) / (unit * padded * k));
    team_parallel((n + unit - 1) / unit, grain, [&](int64_t from, int64_t to) {
        int64_t at = from * unit, end = std::min(to * unit, n);
        K.few(m, end - at, k, x, w + at * k, c + at, ldc);
    });
}

void linear16(const shim_kernels &K, int64_t m, const float *x, weights16 w, float *y) {
    constexpr int64_t ROWS = 128; /* whose packed copy stays near the processor */
    int64_t n = w.n, k = w.k, pairs = k / 2, unit = K.few16_rows;
    auto *few16 = w.tiled ? K.few16_tiled : K.few16;
    for (int64_t at = 0; at < m; at += ROWS) {
        int64_t rows = std::min(ROWS, m - at), padded = (rows + K.nr - 1) / K.nr * K.nr;
        float *packed = scratch((padded + rows) * pairs), *plain = packed + padded * pairs;
        for (int64_t r = 0; r < rows; r++)
            K.halve(k, x + (at + r) * k, reinterpret_cast<uint16_t *>(plain + r * pairs));
        K.pack(rows, pairs, {plain, 1, pairs}, packed);
        const uint32_t *px = reinterpret_cast<const uint32_t *>(packed);
        int64_t grain = std::max<int64_t>(1, (int64_t{1} << 18) / (unit * padded * pairs));
        team_parallel((n + unit - 1) / unit, grain, [&](int64_t from, int64_t to) {
            int64_t first = from * unit, end = std::min(to * unit, n);
            few16(rows, end - first, pairs, px, w.p + first * k, y + at * n + first, n);
        });
    }
}

void gemm(int64_t m, int64_t n, int64_t k, kernel_matrix a, kernel_matrix b, float *c,
          int64_t ldc, bool accumulate) {
    if (is_few(m, k, a, b, accumulate))
        return few(m, n, k, a, b.p, c, ldc);
    const shim_kernels &K = kernels();
    bool by_rows = m >= n;
    int64_t unit = by_rows ? 24 : K.nr, units = ((by_rows ? m : n) + unit - 1) / unit;
    /* A thread is worth starting for about 2^21 multiply-adds. */
    int64_t per_unit = std::max<int64_t>(1, unit * (by_rows ? n : m) * k);
    int64_t grain = std::max<int64_t>(1, (int64_t{1} << 21) / per_unit);
    crew_parallel(units, grain, [&](int64_t from, int64_t to) {
        float *pack = scratch(int64_t{KERNEL_KC} * KERNEL_NC);
        int64_t at = from * unit, end = std::min(to * unit, by_rows ? m : n);
        if (by_rows)
            K.gemm(end - at, n, k, {a.p + at * a.rs, a.rs, a.cs}, b, c + at * ldc, ldc, accumulate,
                   pack);
        else
            K.gemm(m, end - at, k, a, {b.p + at * b.cs, b.rs, b.cs}, c + at, ldc, accumulate,
                   pack);
    });
}

} // namespace shim
