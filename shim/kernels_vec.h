/* kernels_vec.h: the vector type of the instruction set being built for, and exp.
 * Only for the kernels' own sources, which define KERNEL_ISA (base, avx2, avx512). */
#ifndef CAI_SHIM_KERNELS_VEC_H
#define CAI_SHIM_KERNELS_VEC_H

#include "shim/kernels.h"

#include <string.h>

/* ROWS × NV accumulators and NV operands fill the registers. */
#if defined(__AVX512F__)
enum { W = 16, ROWS = 12, NV = 2 };
#elif defined(__AVX2__)
enum { W = 8, ROWS = 6, NV = 2 };
#else
enum { W = 4, ROWS = 4, NV = 2 };
#endif
enum { NR = W * NV };

#define KERNEL_JOIN2(a, b) a##_##b
#define KERNEL_JOIN(a, b) KERNEL_JOIN2(a, b)
#define KERNEL(name) KERNEL_JOIN(name, KERNEL_ISA)

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef float vfu __attribute__((vector_size(W * 4), aligned(4), may_alias));

INLINE vf load(const float *p) {
    return *(const vfu *)p;
}

INLINE void store(float *p, vf x) {
    *(vfu *)p = x;
}

INLINE vf splat(float x) {
    return x - (vf){0};
}

/* n < W elements; the rest is 0. */
INLINE vf load_part(const float *p, int64_t n) {
    vf x = {0};
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}

INLINE void store_part(float *p, vf x, int64_t n) {
    memcpy(p, &x, (size_t)n * sizeof *p);
}

INLINE vf blend(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

INLINE vf vmax(vf a, vf b) {
    return blend(a > b, a, b);
}

INLINE float sum_lanes(vf x) {
    float s = 0;
    for (int i = 0; i < W; i++)
        s += x[i];
    return s;
}

INLINE float max_lanes(vf x) {
    float m = x[0];
    for (int i = 1; i < W; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

INLINE vi lane_numbers(void) {
    vi n;
    for (int i = 0; i < W; i++)
        n[i] = i;
    return n;
}

/* exp to about 1 ulp on [-87.3, 88.7]; below it gives exp(-87.3), NaN stays NaN.
 * 2^n · e^r with |r| ≤ ln2/2, the Taylor-like minimax polynomial of Cephes' expf. */
INLINE vf vexp(vf x) {
    const vf magic = splat(12582912.0f); /* adding 1.5 · 2^23 rounds to an integer */
    x = blend(x < splat(-87.3f), splat(-87.3f), x);
    x = blend(x > splat(88.7f), splat(88.7f), x);
    vf t = x * splat(1.44269504088896341f) + magic;
    vf n = t - magic;
    vf r = x - n * splat(0.693359375f);
    r = r - n * splat(-2.12194440e-4f);
    vf y = splat(1.9875691500e-4f);
    y = y * r + splat(1.3981999507e-3f);
    y = y * r + splat(8.3334519073e-3f);
    y = y * r + splat(4.1665795894e-2f);
    y = y * r + splat(1.6666665459e-1f);
    y = y * r + splat(5.0000001201e-1f);
    y = y * r * r + r + 1.0f;
    /* 2^n in two steps, since n = 128 alone has no exponent. */
    vi i = (vi)t - (vi)magic, half = i >> 1;
    return y * (vf)((half + 127) << 23) * (vf)((i - half + 127) << 23);
}

/* tanh to about 1e-7: the odd series near 0, where the quotient would lose digits. */
INLINE vf vtanh(vf x) {
    vf s = x * x;
    vf series = splat(62.0f / 2835) * s + splat(-17.0f / 315);
    series = series * s + splat(2.0f / 15);
    series = series * s + splat(-1.0f / 3);
    vf e = vexp(x + x);
    return blend(s < splat(0.04f), x + x * s * series, 1.0f - 2.0f / (e + 1.0f));
}

/* Shared between the kernels' sources. */
void KERNEL(kernel_pack)(int64_t n, int64_t k, struct kernel_matrix b, float *packed);
/* c (+)= A · B over columns [0, n) and sums [0, k) of a packed B of `packed_k` sums; `ldb`
 * is nr for slivers (then sliver s begins at s · packed_k · nr), or B's own row stride
 * with B dense and n a multiple of nr (sliver s then begins at s · nr). */
void KERNEL(kernel_product)(int64_t m, int64_t n, int64_t k, struct kernel_matrix a,
                            const float *b, int64_t sliver, int64_t ldb, float *c, int64_t ldc,
                            bool accumulate);
/* The same where an element of A and of B is two bfloat16, `pairs` of them: sums in fp32. */
void KERNEL(kernel_product16)(int64_t m, int64_t n, int64_t pairs, struct kernel_matrix a,
                              const float *b, int64_t sliver, float *c, int64_t ldc,
                              bool accumulate);
void KERNEL(kernel_few)(int64_t m, int64_t n, int64_t k, const float *x, const float *w, float *y,
                        int64_t ldy);
void KERNEL(kernel_few16)(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                          float *y, int64_t ldy);
void KERNEL(kernel_halve)(int64_t n, const float *x, uint16_t *to);
void KERNEL(kernel_widen)(int64_t n, const uint16_t *x, float *to);
int64_t KERNEL(kernel_attention_scratch)(int64_t positions, int64_t d, bool backward);
void KERNEL(kernel_attention)(const struct kernel_attention *a);
void KERNEL(kernel_attention_grad)(const struct kernel_attention_grad *g);
int64_t KERNEL(kernel_attention16_scratch)(int64_t positions, int64_t d, bool backward);
void KERNEL(kernel_attention16)(const struct kernel_attention16 *h);
void KERNEL(kernel_attention16_grad)(const struct kernel_attention16 *h);
void KERNEL(kernel_rms_norm)(int64_t n, int64_t d, const float *x, const float *w, float eps,
                             float *y, float *r);
void KERNEL(kernel_rms_norm_grad)(int64_t n, int64_t d, const float *x, const float *w,
                                  const float *r, const float *dy, float *dx, float *dw);
void KERNEL(kernel_swiglu)(int64_t n, const float *gate, const float *up, float *y);
void KERNEL(kernel_swiglu_grad)(int64_t n, const float *gate, const float *up, const float *dy,
                                float *d_gate, float *d_up);
void KERNEL(kernel_rotary)(int64_t n, int64_t h, int64_t d, int64_t turned, const float *x,
                           int64_t x_row, const float *cos, const float *sin, float *y,
                           bool back);
void KERNEL(kernel_add)(int64_t n, const float *x, float *y);
void KERNEL(kernel_logprob)(const struct kernel_logprob *k, const float *logits, int64_t target,
                            float *lse, float *logprob, float *entropy, int64_t *argmax);
void KERNEL(kernel_logprob_grad)(const struct kernel_logprob *k, float *logits, int64_t target,
                                 float lse, float coefficient);
float KERNEL(kernel_exp_sums)(int64_t n, const float *x, float inverse, float *weights,
                              double *sums);

#endif
