/* internal.h: what the files of this room share; nobody else includes it. */
#ifndef CAI_MODEL_INTERNAL_H
#define CAI_MODEL_INTERNAL_H

#include "model/model.h"

/* More positions than this would make learned positions the largest thing in memory. */
enum { MODEL_MAX_POSITIONS = 1 << 24 };

/* A model with its layout, views and rotation tables, every weight zero. */
int model_alloc(const struct hf_config *config, enum model_head head, const char *dir,
                struct model **ret);
/* Names, shapes and offsets for a configuration; no memory for weights is taken yet.
 * *ret_params is the caller's. */
int model_layout(const struct hf_config *config, enum model_head head,
                 struct model_param **ret_params, int *ret_n, int64_t *ret_numel);
/* The first parameter of a slot; NULL if there is none. */
const struct model_param *model_find(const struct model *m, enum hf_slot slot);
/* A model of n parameters (*params becomes its own) in a flat buffer of its own, all zero,
 * with views and rotation tables; over `base` unless that is NULL. */
int model_make(const struct hf_config *config, enum model_head head, struct model_param *params,
               int n, int64_t numel, struct model *base, struct model **ret);
/* The parameters and their places for a list of the file's; *ret_params is the caller's. */
void model_place(const struct hf_param *file, int n, struct model_param **ret_params,
                 int64_t *ret_numel);
/* A parameter's rows out of the file's tensor, all finite. */
int model_read_param(const struct hf_tensor *t, const struct hf_param *p, float *out);
/* A folder with adapter_config.json: its base, and the adapter over it. */
int model_load_adapted(const char *dir, struct model **ret);
/* A head of zeros scores everything alike: refused. */
int model_check_score(const float *w, int64_t n);
/* A fresh score head, drawn from `key` (see model_load_scalar). */
int model_draw_score(struct model *m, struct cai_key key);
/* The numbers of such a head, [D]. */
void model_score_weights(const struct hf_config *c, struct cai_key key, float *ret);
/* All weights in host memory, fp32 [N]: themselves, or a copy of what a device has, which
 * model_host_close() takes back there if `changed`, and frees. *ret must be closed. */
int model_host_open(const struct model *m, float **ret);
int model_host_close(const struct model *m, float *flat, bool changed);
/* Closes a layer's scope; *x (kept) is replaced by y. 0, or a code that `s` now carries. */
int layer_close(ct_scope *s, ct_scope *layer, ct_tensor *y, ct_tensor **x);

/* ---- rotary positions (rope.c) --------------------------------------------------------- */
/* local: those of Gemma 3's sliding layers. `config` must outlive the result. */
int rope_new(const struct hf_config *config, bool local, struct rope **ret);
void rope_free(struct rope *r);
/* Rows at positions[i] of sequences of lengths[i] tokens (host arrays of t). */
struct rope_rows rope_rows(ct_scope *s, const struct rope *r, const int64_t *positions,
                           const int64_t *lengths, int64_t t);
/* The same with positions [t] I64 as a tensor, out of the kept tables; rope_kept() says for
 * how many positions these serve: 0 where rotations depend on a sequence's length. */
struct rope_rows rope_rows_at(ct_scope *s, const struct rope *r, ct_tensor *positions);
int64_t rope_kept(const struct rope *r);
/* Sequences of one class turn alike; a class of its own for each length, if need be. */
int64_t rope_class(const struct rope *r, int64_t length);
bool rope_varies(const struct rope *r);

/* ---- one layer (layer.c) ---------------------------------------------------------------- */
/* Rows on their way through the layers, and how they reach what they attend to. */
struct pass {
    int64_t t;                          /* rows */
    struct rope_rows rope, rope_local;
    bool fused;                         /* no gradients: matrices seen as one where they are */
    bool half;                          /* heads meet in bfloat16 */
    /* q [T, Hq, Dh], k and v [T, Hkv, Dh] → [T, Hq, Dh] */
    ct_tensor *(*attend)(ct_scope *s, const struct pass *p, int layer, ct_tensor *q, ct_tensor *k,
                         ct_tensor *v, struct ct_attend how);
    const void *context;
};

/* Whether queries, keys and values, or gate and up, can be had by one product. */
bool layer_heads_fuse(const struct model_layer *l);
bool layer_gate_fuses(const struct model_layer *l);
/* Whether one of these projections has a low-rank adapter beside it. */
bool layer_adapted(const struct model_layer *l, enum model_projection from,
                   enum model_projection to);
ct_tensor *layer_embed(ct_scope *s, const struct model *m, ct_tensor *ids, ct_tensor *positions);
ct_tensor *layer_run(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                     const struct pass *p); /* [T, D] → [T, D] */
ct_tensor *layer_norm(ct_scope *s, const struct model *m, ct_tensor *x, ct_tensor *w,
                      ct_tensor *b);
/* The same layer where ct_half_fuses() and it is of the plain kind (layer_half.c). */
bool layer_is_plain(const struct model *m, int layer);
ct_tensor *layer_run_half(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                          const struct rope_rows *rope, const struct pass *p,
                          struct ct_attend how);

#endif
