/* kernels.h: fp32 arithmetic for CPUs, below libtorch: a matrix product, attention and the
 * row operations. The same sources are built once per instruction set; shim_kernels()
 * of the C++ side picks one. Not for memory, threads or gradients' graphs.
 *
 * The promise: an element's bits are a function of its own operands and of the length of
 * its sum only. A sum over k runs in order, one fused multiply-add each, in blocks of
 * KERNEL_KC whose totals are added in order; so neither the number of rows, nor their
 * grouping into tiles, nor threads change a bit. Private to the shim. */
#ifndef CAI_SHIM_KERNELS_H
#define CAI_SHIM_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { KERNEL_KC = 256, KERNEL_NC = 512, KERNEL_BLOCK = 48 /* query rows at a time */,
       KERNEL_SUM = 256 /* weights per sum of exp_sums */,
       KERNEL_TILE_ROWS = 16, KERNEL_TILE_SUMS = 32 /* of few16_tiled's order */ };

/* A(m, k) = p[m · rs + k · cs]; one of rs, cs is 1 where it is the left operand. */
struct kernel_matrix {
    const float *p;
    int64_t rs, cs;
};

/* Rows of one sequence against one key/value head, for each of `group` query heads.
 * Query row i attends to positions 0 … past + i, or the last `window` of these if it is
 * not 0. Row strides in elements. */
struct kernel_attention {
    int64_t rows, past, d, group;
    const float *q, *k, *v; /* q: head g at q + g · d */
    int64_t q_row, k_row;
    bool keys_packed; /* k lies as pack() leaves B(d, positions); k_row is v's alone */
    float *out;       /* as q, but for its row stride */
    int64_t out_row;
    float *lse; /* [rows, …]: row i, head g at lse[i · lse_row + g]; may be NULL */
    int64_t lse_row;
    int64_t window;
    float scale, softcap; /* softcap · tanh(scale · qk / softcap) if it is not 0 */
    float *scratch;       /* attention_scratch() floats */
};

struct kernel_attention_grad {
    struct kernel_attention f; /* past = 0, out_row = q_row; out and lse as forward left them */
    const float *d_out;        /* as q */
    float *d_q, *d_k, *d_v;    /* as q, k, k */
};

/* Both with products of bfloat16, summed in fp32; d even. */
struct kernel_attention16 {
    struct kernel_attention f; /* past = 0, lse wanted; of v and out only what follows */
    const uint16_t *v;         /* as k */
    uint16_t *out;             /* as q, so its row stride; rounded */
    const uint16_t *d_out;     /* the rest is backward's; as q */
    float *d_q, *d_k;          /* as q, k */
    uint16_t *d_v;             /* as k; rounded */
};

struct kernel_logprob {
    int64_t vocab;
    float inverse_temperature;
};

struct shim_kernels {
    const char *bf16; /* what few16's bits depend on */
    int64_t nr;       /* columns of a packed sliver */
    /* B(k, n) into slivers [⌈n / nr⌉][k][nr], zero-padded. */
    void (*pack)(int64_t n, int64_t k, struct kernel_matrix b, float *packed);
    /* c[m, n] (row stride ldc) = or += A · B. `scratch`: KERNEL_KC · KERNEL_NC floats. */
    void (*gemm)(int64_t m, int64_t n, int64_t k, struct kernel_matrix a, struct kernel_matrix b,
                 float *c, int64_t ldc, bool accumulate, float *scratch);
    void (*gemm_packed)(int64_t m, int64_t n, int64_t k, struct kernel_matrix a,
                        const float *packed, float *c, int64_t ldc);
    /* y[m, n] (row stride ldy) = x · wᵀ, w [n, k] as it lies; x packed as B(k, m) = xᵀ. */
    void (*few)(int64_t m, int64_t n, int64_t k, const float *x, const float *w, float *y,
                int64_t ldy);
    /* The same with w in bfloat16, k = 2 · pairs, and x's rows rounded to it: halve() of each,
     * packed like floats as B(pairs, m). */
    void (*few16)(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                  float *y, int64_t ldy);
    /* The same from w in tiles [n / 16][k / 32][16][32], which come one after the other as
     * they are read; n and k multiples of these. The bits are few16's. NULL: no gain here. */
    void (*few16_tiled)(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                        float *y, int64_t ldy);
    int64_t few16_rows; /* of w, that are best taken together */
    void (*halve)(int64_t n, const float *x, uint16_t *to); /* to bfloat16, ties to even */
    void (*widen)(int64_t n, const uint16_t *x, float *to); /* and back */
    int64_t (*attention_scratch)(int64_t positions, int64_t d, bool backward);
    void (*attention)(const struct kernel_attention *a);
    void (*attention_grad)(const struct kernel_attention_grad *g);
    /* NULL, all three: no gain here. */
    int64_t (*attention16_scratch)(int64_t positions, int64_t d, bool backward);
    void (*attention16)(const struct kernel_attention16 *h);
    void (*attention16_grad)(const struct kernel_attention16 *h);
    /* Rows [n, d]. r [n] = 1 / sqrt(mean square + eps). */
    void (*rms_norm)(int64_t n, int64_t d, const float *x, const float *w, float eps, float *y,
                     float *r);
    /* dx [n, d]; dw [d] += Σ rows of this call, in order. */
    void (*rms_norm_grad)(int64_t n, int64_t d, const float *x, const float *w, const float *r,
                          const float *dy, float *dx, float *dw);
    void (*swiglu)(int64_t n, const float *gate, const float *up, float *y);
    void (*swiglu_grad)(int64_t n, const float *gate, const float *up, const float *dy,
                        float *d_gate, float *d_up);
    /* x [n, h, d], row stride of x given; cos, sin [n, turned], turned ≤ d; y dense. `back`
     * transposes. */
    void (*rotary)(int64_t n, int64_t h, int64_t d, int64_t turned, const float *x, int64_t x_row,
                   const float *cos, const float *sin, float *y, bool back);
    void (*add)(int64_t n, const float *x, float *y); /* y += x */
    /* One row of logits: lse, log-probability of target; entropy and argmax unless NULL. */
    void (*logprob)(const struct kernel_logprob *k, const float *logits, int64_t target,
                    float *lse, float *logprob, float *entropy, int64_t *argmax);
    /* In place: (onehot(target) − softmax) · coefficient. */
    void (*logprob_grad)(const struct kernel_logprob *k, float *logits, int64_t target, float lse,
                         float coefficient);
    /* weights[i] = exp((x[i] − max) · inverse), sums[⌈n / KERNEL_SUM⌉]; returns the maximum. */
    float (*exp_sums)(int64_t n, const float *x, float inverse, float *weights, double *sums);
};

extern const struct shim_kernels shim_kernels_base, shim_kernels_avx2, shim_kernels_avx512,
    shim_kernels_avx512bf16;

/* For a processor with tile registers, which takes all else from the last of these tables. */
void kernel_few16_amx(int64_t m, int64_t n, int64_t pairs, const uint32_t *x, const uint16_t *w,
                      float *y, int64_t ldy);
void kernel_few16_tiled_amx(int64_t m, int64_t n, int64_t pairs, const uint32_t *x,
                            const uint16_t *w, float *y, int64_t ldy);

#ifdef __cplusplus
}
#endif
#endif
