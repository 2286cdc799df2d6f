/* ct.h: tensors for C, over libtorch. The whole C surface of the shim.
 *
 * C code reads like the paper: every operation takes a scope, which owns its result
 * and keeps the first error. Operations on a failed scope, or with a NULL input,
 * return NULL at once, so a computation is written without checks and tested once:
 *
 *     ct_scope *s = ct_scope_open();
 *     ct_tensor *h = ct_add(s, x, ct_linear(s, a, w, NULL));   // [T, D]
 *     int rc = ct_scope_status(s);
 *     if (rc == 0) ct_keep(h, &out);       // out outlives the scope
 *     ct_scope_close(s);
 *
 * One scope per layer, closed with the tensor to keep; otherwise intermediates outlive
 * their use. A scope belongs to one thread. Gradient recording is a property of the
 * scope (ct_scope_open_grad). Errors are codes of base/error.h; out-of-memory is its
 * own code (CAI_ENOMEM). No model and no algorithm is known here.
 *
 * Shapes are written in brackets; [T, D] is row-major, T outermost. fp32 unless said. */
#ifndef CAI_SHIM_CT_H
#define CAI_SHIM_CT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_scope ct_scope;
typedef struct ct_tensor ct_tensor;

enum ct_dtype { CT_F32, CT_BF16, CT_F16, CT_F64, CT_I64, CT_I32, CT_U8, CT_BOOL };

/* ---- process ---------------------------------------------------------------- */
/* Once per process, before anything else: intra-op threads (>= 1), deterministic
 * algorithms on, uninitialised-memory fill off. */
int ct_init(int threads);
const char *ct_version(void);    /* "2.11.0" */
/* What bits depend on besides the build: what libtorch, we and oneDNN (isa.h) multiply with here,
 * threads: "cpu/avx512/bf16=amx/onednn=avx512_core_amx/threads=2/torch=2.11.0"; on a GPU
 * it begins with "cuda/" and its model (tokens are drawn on the processor). */
const char *ct_numeric_class(void);

/* ---- devices ------------------------------------------------------------------- */
/* Where tensors are made and computed with: the processor, or one NVIDIA GPU, through the
 * plug-in caid_cuda.so, which is opened the first time a GPU is asked for. A process uses
 * one device from beginning to end; only tests change it in between. */
struct ct_device {
    bool cuda;
    int index; /* of the GPU; 0 on the processor */
};
struct ct_memory { /* bytes */
    int64_t free, total;               /* of the device, all processes together */
    int64_t allocated, reserved, peak; /* by this process: in tensors, in all, most in tensors */
    int64_t refused;                   /* requests that did not fit */
};
/* GPUs that this process can use; 0 with the reason (NULL: not wanted). */
int ct_device_count(char *why, size_t size);
/* "cpu"; "cuda" or "cuda:N"; "auto": the first GPU if there is one, else the processor, with
 * the reason in `why`; "auto:N": the same for the N-th process of a machine, refused when
 * there are GPUs but fewer. CAI_EINPUT for another name, CAI_ENOTFOUND for no such GPU. */
int ct_device_find(const char *name, struct ct_device *ret, char *why, size_t size);
/* From now on tensors are made there. After ct_init(). */
int ct_device_use(struct ct_device device);
struct ct_device ct_device_now(void);
struct ct_device ct_device_of(const ct_tensor *t);
/* Of the present device; CAI_ESTATE on the processor. */
int ct_device_memory(struct ct_memory *ret);
int ct_device_trim(void); /* gives memory that no tensor uses back to the device */
/* Waits for all work; a fault that came meanwhile is CAI_EINTERNAL, and the process must
 * then be started anew. 0 at once on the processor. */
int ct_device_sync(void);

/* Work recorded once and replayed with one call: same kernels, same memory, whatever lies
 * there by then. work() must read and write tensors that stay, only compute (no reading
 * back), and leave alike what it leaves; it runs once plainly, then once recorded (nothing is
 * computed then). CAI_ESTATE on the processor, which records nothing. */
struct ct_graph;
int ct_graph_record(int (*work)(void *context), void *context, struct ct_graph **ret);
int ct_graph_replay(struct ct_graph *g);
void ct_graph_free(struct ct_graph *g);

/* ---- scopes ------------------------------------------------------------------- */
ct_scope *ct_scope_open(void);      /* no gradients recorded (inference) */
ct_scope *ct_scope_open_grad(void); /* gradients recorded */
void ct_scope_close(ct_scope *s);   /* frees every tensor it owns; NULL is fine */
/* 0, or the code of the first error; sets this thread's cai error message. */
int ct_scope_status(const ct_scope *s);
/* Makes the scope fail (for C code between ops that finds a shape wrong). */
void ct_scope_fail(ct_scope *s, int code, const char *text);
/* *ret becomes the caller's own handle to t (free with ct_free); CAI_* if t is NULL. */
int ct_keep(ct_tensor *t, ct_tensor **ret);
void ct_free(ct_tensor *t);                      /* only for handles from ct_keep */
ct_tensor *ct_adopt(ct_scope *s, ct_tensor *t);  /* a handle of s to a kept tensor (shares storage) */

/* ---- making and reading -------------------------------------------------------- */
ct_tensor *ct_zeros(ct_scope *s, enum ct_dtype dtype, const int64_t *shape, int ndim);
ct_tensor *ct_full(ct_scope *s, enum ct_dtype dtype, const int64_t *shape, int ndim, double value);
/* Copies host data of the given dtype. */
ct_tensor *ct_from_host(ct_scope *s, enum ct_dtype dtype, const int64_t *shape, int ndim,
                        const void *data);
ct_tensor *ct_from_i64(ct_scope *s, const int64_t *data, int64_t n); /* [n] */
ct_tensor *ct_from_f32(ct_scope *s, const float *data, int64_t n);   /* [n] */
int ct_ndim(const ct_tensor *t);
int64_t ct_size(const ct_tensor *t, int dim); /* negative dims count from the end */
int64_t ct_numel(const ct_tensor *t);
enum ct_dtype ct_dtype_of(const ct_tensor *t);
/* Copies out to host, converting to the named type; n must equal numel. */
int ct_read_f32(const ct_tensor *t, float *out, int64_t n);
int ct_read_i64(const ct_tensor *t, int64_t *out, int64_t n);
int ct_read_raw(const ct_tensor *t, void *out, size_t bytes); /* as stored, contiguous */
int ct_item(const ct_tensor *t, double *out);                 /* one element */
/* Pointer to a contiguous CPU tensor's data, valid while t lives; NULL otherwise. */
void *ct_host_data(ct_tensor *t);
/* The same wherever the tensor lies: an address of its device's memory. */
void *ct_data(ct_tensor *t);
ct_tensor *ct_host(ct_scope *s, ct_tensor *t); /* in host memory, contiguous; t itself if it is */
ct_tensor *ct_move(ct_scope *s, ct_tensor *t, struct ct_device device);
bool ct_all_finite(ct_scope *s, ct_tensor *t);

/* ---- in place (outside gradient recording) ------------------------------------------ */
int ct_copy_(ct_tensor *dst, const ct_tensor *src); /* converts dtype */
int ct_write_host_(ct_tensor *dst, enum ct_dtype dtype, const void *data); /* numel items */
int ct_fill_(ct_tensor *t, double value);
int ct_scale_(ct_tensor *t, double factor);
int ct_add_(ct_tensor *t, const ct_tensor *other, double alpha); /* t += alpha × other */

/* ---- shape ---------------------------------------------------------------------------- */
ct_tensor *ct_view(ct_scope *s, ct_tensor *t, const int64_t *shape, int ndim); /* one -1 allowed */
ct_tensor *ct_narrow(ct_scope *s, ct_tensor *t, int dim, int64_t start, int64_t length); /* view */
ct_tensor *ct_transpose(ct_scope *s, ct_tensor *t, int a, int b);                        /* view */
ct_tensor *ct_contiguous(ct_scope *s, ct_tensor *t);
ct_tensor *ct_cat(ct_scope *s, ct_tensor *const *t, int n, int dim);
ct_tensor *ct_to(ct_scope *s, ct_tensor *t, enum ct_dtype dtype);
/* rows[i] = t[index[i], …]; its backward is deterministic (index_select, never indexing). */
ct_tensor *ct_index_select(ct_scope *s, ct_tensor *t, int dim, ct_tensor *index);
ct_tensor *ct_gather_last(ct_scope *s, ct_tensor *t, ct_tensor *index); /* [N,V],[N] → [N] */

/* ---- arithmetic (broadcasting) ------------------------------------------------------------ */
ct_tensor *ct_add(ct_scope *s, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_sub(ct_scope *s, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_mul(ct_scope *s, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_div(ct_scope *s, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_min(ct_scope *s, ct_tensor *a, ct_tensor *b); /* elementwise */
ct_tensor *ct_max(ct_scope *s, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_scale(ct_scope *s, ct_tensor *a, double factor);
ct_tensor *ct_shift(ct_scope *s, ct_tensor *a, double addend);
ct_tensor *ct_clamp(ct_scope *s, ct_tensor *a, double low, double high);
ct_tensor *ct_exp(ct_scope *s, ct_tensor *a);
ct_tensor *ct_log(ct_scope *s, ct_tensor *a);
ct_tensor *ct_square(ct_scope *s, ct_tensor *a);
ct_tensor *ct_sigmoid(ct_scope *s, ct_tensor *a);
ct_tensor *ct_log_sigmoid(ct_scope *s, ct_tensor *a);
ct_tensor *ct_silu(ct_scope *s, ct_tensor *a);
ct_tensor *ct_sum(ct_scope *s, ct_tensor *a);  /* scalar */
ct_tensor *ct_mean(ct_scope *s, ct_tensor *a); /* scalar */
ct_tensor *ct_sum_dim(ct_scope *s, ct_tensor *a, int dim);
ct_tensor *ct_softmax(ct_scope *s, ct_tensor *a);     /* last dimension, in fp32 */
ct_tensor *ct_log_softmax(ct_scope *s, ct_tensor *a); /* last dimension, in fp32 */
ct_tensor *ct_logsumexp(ct_scope *s, ct_tensor *a);   /* last dimension removed */
ct_tensor *ct_argmax(ct_scope *s, ct_tensor *a);      /* last dimension removed; I64 */
ct_tensor *ct_matmul(ct_scope *s, ct_tensor *a, ct_tensor *b);

/* ---- coarse operations of a transformer ------------------------------------------------------ */
/* [.., I] × [O, I] → [.., O]; b may be NULL. w may be bfloat16 beside fp32 x: x is rounded
 * to it, sums are fp32, and the result is fp32 (on a GPU out of a product in bfloat16). */
ct_tensor *ct_linear(ct_scope *s, ct_tensor *x, ct_tensor *w, ct_tensor *b);
/* n such products of one x [T, I]: w[i] [Oᵢ, I], b[i] may be NULL; → ret[i] [T, Oᵢ]. In CT_BF16
 * (below) they are one product. */
int ct_linears(ct_scope *s, ct_tensor *x, ct_tensor *const *w, ct_tensor *const *b, int n,
               ct_tensor **ret);
/* From here on, this scope's ct_linear (of x [T, I]), ct_linear_logprob and, on a CPU with an
 * instruction for it, ct_attention_packed of heads of even width compute their matrix products of
 * fp32 tensors, backward too, in CT_BF16 with sums in fp32, or in CT_F32, as at the start. */
void ct_scope_products(ct_scope *s, enum ct_dtype dtype);
/* Whether this device has instructions for it; without them CT_BF16 is many times slower. */
bool ct_half_pays(void);
/* Parts of a layer where products are in CT_BF16, each in one pass with what stands around the
 * product; bits as from the plain operations one by one. For fp32 on the CPU, where
 * ct_half_fuses(); x of the last three may also be what the first two give: rounded, CT_BF16. */
bool ct_half_fuses(const ct_scope *s, const ct_tensor *x);
ct_tensor *ct_half_norm(ct_scope *s, ct_tensor *x, ct_tensor *w, double eps); /* RMSNorm [T, D], rounded */
ct_tensor *ct_half_gate(ct_scope *s, ct_tensor *x, ct_tensor *gate, ct_tensor *up); /* SwiGLU of x [T, I] → [T, F], rounded */
ct_tensor *ct_half_residual(ct_scope *s, ct_tensor *residual, ct_tensor *x, ct_tensor *w); /* residual + x wᵀ */
/* w: of queries, keys, values; d: a head's width; cos, sin [T, R]: → ret [T, n, d], two turned,
 * fp32; the third CT_BF16 where ct_attention_packed multiplies in it, which then gives CT_BF16. */
int ct_half_heads(ct_scope *s, ct_tensor *x, ct_tensor *const w[3], ct_tensor *cos, ct_tensor *sin,
                  int64_t d, ct_tensor *ret[3]);
/* A copy of w [O, I] in bfloat16 for ct_linear alone, in the order in which this processor
 * reads it best: [O, I], or tiles [O / 16, I / 32, 16, 32]. The order changes no bit. */
ct_tensor *ct_linear_half(ct_scope *s, ct_tensor *w);
int ct_linear_half_(ct_tensor *half, const ct_tensor *w); /* the same, into a copy made before */
ct_tensor *ct_embedding(ct_scope *s, ct_tensor *w, ct_tensor *ids); /* [V, D], [T] → [T, D]; deterministic backward */
ct_tensor *ct_rms_norm(ct_scope *s, ct_tensor *x, ct_tensor *w, double eps); /* over the last dimension, fp32 inside */
/* Over the last dimension; b may be NULL. */
ct_tensor *ct_layer_norm(ct_scope *s, ct_tensor *x, ct_tensor *w, ct_tensor *b, double eps);
ct_tensor *ct_swiglu(ct_scope *s, ct_tensor *gate, ct_tensor *up);           /* silu(gate) × up */
ct_tensor *ct_gelu(ct_scope *s, ct_tensor *x, bool tanh); /* Hendrycks & Gimpel 2016; tanh: their approximation */
/* Rotates half against half. x [T, H, D]; cos, sin [T, R] fp32 (each half repeated), R ≤ D:
 * the first R of a head turn, the rest stays. */
ct_tensor *ct_rotary(ct_scope *s, ct_tensor *x, ct_tensor *cos, ct_tensor *sin);
/* What attention does besides the causal mask. Scores are softcap · tanh(scale · qk /
 * softcap), plainly scale · qk where softcap is 0; a row sees the last `window` positions,
 * itself included, or all where window is 0. */
struct ct_attend {
    double scale, softcap;
    int64_t window;
};
/* Causal self-attention over packed sequences. q [T, Hq, D]; k, v [T, Hkv, D], Hkv | Hq;
 * sequence i is rows starts[i] … starts[i+1]-1 (host array of n + 1, starts[n] = T).
 * Result [T, Hq, D]. A sequence's result does not depend on its neighbours' content. */
ct_tensor *ct_attention_packed(ct_scope *s, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                               const int64_t *starts, int64_t n, struct ct_attend how);
/* One step of decoding, no gradient. q [B, Hq, D]; k_cache, v_cache [S, Hkv, L, D] slabs, L
 * from ct_cache_positions();
 * row b attends to slots[b], positions 0 … lengths[b]-1 (host arrays of B). → [B, Hq, D].
 * A row's result depends on its own slot and length only: the same bits in any batch. */
ct_tensor *ct_attention_decode(ct_scope *s, ct_tensor *q, ct_tensor *k_cache, ct_tensor *v_cache,
                               const int64_t *slots, const int64_t *lengths, int64_t b,
                               struct ct_attend how);
/* Prompt continuation, no gradient: q [T, Hq, D] packed as starts/n; sequence i attends
 * causally to positions 0 … past[i] + its own rows in slot slots[i], whose new keys are
 * already written. → [T, Hq, D]. */
ct_tensor *ct_attention_prefill(ct_scope *s, ct_tensor *q, ct_tensor *k_cache, ct_tensor *v_cache,
                                const int64_t *slots, const int64_t *past, const int64_t *starts,
                                int64_t n, struct ct_attend how);
/* The same two with slots and positions [B] I64 as tensors, so that a step can be recorded:
 * row b becomes position positions[b] of slot slots[b], and attends to positions 0 …
 * positions[b] there. The caches must not be fp32 on the processor (kept otherwise there). */
int ct_cache_write_at(ct_tensor *cache, ct_tensor *x, ct_tensor *slots, ct_tensor *positions);
ct_tensor *ct_attention_decode_at(ct_scope *s, ct_tensor *q, ct_tensor *k_cache,
                                  ct_tensor *v_cache, ct_tensor *slots, ct_tensor *positions,
                                  struct ct_attend how);
/* Row t of x [T, Hkv, D] becomes position positions[t] of slot slots[t] (host arrays of T).
 * Keys and values lie differently: what holds the one must not be read as the other. */
int ct_cache_write_keys(ct_tensor *cache, ct_tensor *x, const int64_t *slots,
                        const int64_t *positions, int64_t n);
int ct_cache_write_values(ct_tensor *cache, ct_tensor *x, const int64_t *slots,
                          const int64_t *positions, int64_t n);
/* Copies positions 0 … length-1 of slot `from` into `to`; what lies behind them there is
 * undefined afterwards. */
int ct_cache_copy(ct_tensor *cache, int64_t from, int64_t to, int64_t length);
/* The L to make a cache's tensors with, so that at least `positions` fit. */
int64_t ct_cache_positions(int64_t positions);

ct_tensor *ct_softcap(ct_scope *s, ct_tensor *x, double cap); /* cap · tanh(x / cap); x itself where cap is 0 */
/* log softmax(softcap(h · wᵀ) / temperature)[target] per row, never holding [T, V] whole.
 * h [T, D], w [V, D], target [T] I64 → logprob [T] fp32. Differentiable in h and w.
 * ret_entropy, ret_argmax may be NULL; both [T], not differentiable. */
ct_tensor *ct_linear_logprob(ct_scope *s, ct_tensor *h, ct_tensor *w, ct_tensor *target,
                             double temperature, double softcap, ct_tensor **ret_entropy,
                             ct_tensor **ret_argmax);
/* Differentiable entropy is not offered: an entropy bonus is not part of the loop. */

/* ---- host rows, for drawing from them ------------------------------------------------------- */
enum { CT_SUM_BLOCK = 256 };
/* x, weights [n]: weights[i] = exp((x[i] - max) / T), and in sums the total of every
 * CT_SUM_BLOCK of them in order; returns max. Pure; any thread may call it. */
float ct_exp_sums(const float *x, int64_t n, double temperature, float *weights, double *sums);
/* task(context, i) for i in [0, n) on the compute threads; returns when all are done. Tasks
 * must not need each other, and which thread runs which must not show in what they compute. */
void ct_parallel(int n, void (*task)(void *context, int i), void *context);
int ct_threads(void);

/* ---- gradients ------------------------------------------------------------------------------- */
/* A new leaf sharing t's data, recording gradients. */
ct_tensor *ct_leaf(ct_scope *s, ct_tensor *t);
ct_tensor *ct_detach(ct_scope *s, ct_tensor *t);
int ct_set_requires_grad(ct_tensor *t, bool on); /* for parameters: kept leaves */
/* d(Σ roots[i] · seeds[i]); seeds[i] NULL means 1 (scalar root). Gradients accumulate
 * in place into the leaves. */
int ct_backward(ct_scope *s, ct_tensor *const *roots, ct_tensor *const *seeds, int n);
ct_tensor *ct_grad(ct_scope *s, ct_tensor *leaf); /* NULL if none arrived (no error) */
/* Makes `grad` (same shape, e.g. a view of a flat buffer) the leaf's gradient storage. */
int ct_bind_grad(ct_tensor *leaf, ct_tensor *grad);

/* ---- optimizer, over flat buffers --------------------------------------------------------------- */
/* One fused AdamW step (Loshchilov & Hutter 2019; PyTorch's placement of eps), all [N]
 * fp32; step counts from 1. */
int ct_adamw_(ct_tensor *param, ct_tensor *grad, ct_tensor *exp_avg, ct_tensor *exp_avg_sq,
              int64_t step, double lr, double beta1, double beta2, double eps,
              double weight_decay);
int ct_norm(const ct_tensor *t, double *ret); /* Euclidean, accumulated in fp64 */

#ifdef __cplusplus
}
#endif
#endif
