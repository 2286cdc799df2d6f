/* model.h: a decoder in C over the shim: named parameters in one flat buffer, the
 * forward pass layer by layer, heads, KV cache. What is trained, and how, is learn's. */
#ifndef CAI_MODEL_MODEL_H
#define CAI_MODEL_MODEL_H

#include "base/rng.h"
#include "hf/adapter.h"
#include "shim/ct.h"

/* The matrices of a layer that an adapter can add to. */
enum model_projection { MODEL_Q, MODEL_K, MODEL_V, MODEL_O, MODEL_GATE, MODEL_UP, MODEL_DOWN,
                        MODEL_PROJECTIONS };

/* w + scale · b a; NULL where nothing is added. */
struct model_lora {
    ct_tensor *a, *b; /* [r, in] [out, r] */
};

/* NULL where the family has no such parameter. */
struct model_layer {
    ct_tensor *attention_norm, *attention_norm_bias, *mlp_norm, *mlp_norm_bias; /* [D] */
    ct_tensor *post_attention_norm, *post_mlp_norm;                             /* [D] */
    ct_tensor *q_norm, *k_norm;                 /* [Dh], or [Hq·Dh] and [Hkv·Dh] */
    ct_tensor *q, *k, *v, *o;                   /* [Hq·Dh, D] [Hkv·Dh, D] [Hkv·Dh, D] [D, Hq·Dh] */
    ct_tensor *q_bias, *k_bias, *v_bias, *o_bias;
    ct_tensor *gate, *up, *down;                /* [F, D] [F, D] [D, F] */
    ct_tensor *gate_bias, *up_bias, *down_bias;
    /* The same numbers seen as one matrix, for the cached forward (no gradients); NULL
     * where padding separates the parts: [(Hq+2·Hkv)·Dh, D], [2F, D] and their biases. */
    ct_tensor *qkv, *qkv_bias, *gate_up, *gate_up_bias;
    struct model_lora lora[MODEL_PROJECTIONS];
};

/* One parameter's place in the flat buffer. */
struct model_param {
    struct hf_param file;  /* name, shape, and where it lies in a checkpoint's tensor */
    int64_t offset, numel; /* elements */
    ct_tensor *view;       /* into model.flat; a leaf once ct_set_requires_grad is called */
    bool decay;            /* weight decay applies (matrices, not norms) */
};

enum model_head { MODEL_HEAD_LM, MODEL_HEAD_SCALAR };

struct rope; /* rotation tables; rope.c */

/* A model owns all its parameters, or is an adapter over a base: then flat and params are
 * the adapter's alone (and its score head's), what it does not add to is the base's, and
 * the base stays as it is. Any number of adapters share one base, the base being a model
 * like any other. */

struct model {
    struct hf_config config;
    const struct hf_family *family;
    enum model_head head;
    ct_tensor *flat; /* [N] every parameter, fp32, padded to 128 elements each */
    int64_t n;       /* elements of flat */
    struct model_param *params;
    int n_params;
    ct_tensor *embedding;  /* [V, D] */
    ct_tensor *positions;  /* [P, D]; NULL unless they are learned */
    ct_tensor *final_norm, *final_norm_bias; /* [D]; the bias may be NULL */
    ct_tensor *lm_head;    /* [V, D]; the embedding itself when tied; NULL for a scalar head */
    ct_tensor *score;      /* [1, D], model_heads: [n, D]; NULL for an LM head */
    struct model_layer *layers;
    bool half_products; /* of the packed pass and the LM head's log-probabilities: in bfloat16 */
    struct rope *rope, *rope_local; /* of all layers, of those that slide; NULL if the same */
    char *dir;                      /* where it was loaded from; tokenizer files are copied from here */
    struct model *base;             /* NULL, or what the adapter is over */
    struct hf_adapter adapter;      /* of one with a base */
    double lora_scale;
    int uses;                       /* its owners and the adapters over it */
    bool half;                      /* seen in bfloat16 (model_half_seen): no gradients */
    /* Of one without a base: which files its weights are of (hf_weights_stamp), "" when they
     * are of none or were trained since; and their model hash, once asked for. */
    char stamp[65], hash[65];
};

/* Loads a folder; that of an adapter with its base. A scalar-head model is refused when its head is missing. */
int model_load(const char *dir, struct model **ret);
/* Loads a causal LM's trunk and puts a fresh scalar head on it: weights N(0, 1/(D+1)),
 * no bias (Huang et al. 2024, "N+ implementation details"), drawn from `key`. With a
 * folder that already has a scalar head, loads it as it is. */
int model_load_scalar(const char *dir, struct cai_key key, struct model **ret);
/* Random initialisation (GPT-2/Llama: N(0, 0.02), residual outputs scaled by 1/√(2L)). */
int model_new(const struct hf_config *config, struct cai_key key, struct model **ret);
int model_clone(const struct model *m, struct model **ret);
int model_copy_weights(struct model *to, const struct model *from);
/* The trunk of a scalar-head model that owns its parameters, copied, with n heads in one
 * score matrix [n, D]: m's own, then one drawn from each of keys[1] … keys[n - 1] (as of
 * model_load_scalar). head_scalar gives n scores a row. To be trained; it has no folder. */
int model_heads(const struct model *m, const struct cai_key *keys, int64_t n, struct model **ret);
/* Its trunk and k-th head into `to`, a model of one head. */
int model_take_head(struct model *to, const struct model *heads, int64_t k);
/* A fresh adapter over a base, which computes what the base does (B = 0; A uniform as
 * PEFT's); with how->scalar also a fresh score head. The base must own its parameters; it
 * is freed when its owner and the last adapter over it are. */
int model_adapt(struct model *base, const struct hf_adapter *how, struct cai_key key,
                struct model **ret);
/* A language model's adapter with a fresh score head (as of model_load_scalar) added: over
 * the same base, with factors of its own that begin where the other's are. */
int model_adapt_scalar(const struct model *m, struct cai_key key, struct model **ret);
/* The adapter of a folder over a base that is already there. */
int model_load_adapter(struct model *base, const char *dir, struct model **ret);
/* As model_load, but a base that one of `beside` is or is over is not loaded a second time:
 * *ret is over it too, or is it. None of `beside` may be a whole model that is trained. */
int model_load_beside(const char *dir, struct model *const *beside, size_t n, struct model **ret);
/* The model hash of the folder that m was loaded from; CAI_ESTATE when that has changed
 * since. Read once, then kept. "" for a model of no folder. */
int model_folder_hash(struct model *m, const char **ret);
/* A folder that transformers opens, or PEFT if it is an adapter; tokenizer files come from
 * m->dir. A scalar head is saved as LlamaForSequenceClassification with a pad token id of
 * its own. In shards of at most 5 GB. Durable. */
int model_save(const struct model *m, const char *dir);
int model_save_sharded(const struct model *m, const char *dir, size_t shard_bytes);
void model_free(struct model *m);
/* Whether a pack that was built for one serves the other: vocabulary and positions. */
bool model_same_inputs(const struct model *a, const struct model *b);

/* ---- in bfloat16 ------------------------------------------------------------------- */
/* The model with copies of its matrices in bfloat16, for generation and scoring: every
 * forward without gradients, head_logits and head_scalar take model_half_seen(). Borrows the
 * original; after that was trained, or loaded anew, model_half_refresh() copies again. An
 * adapter's own matrices and a scalar head stay in fp32. */
struct model_half;
int model_half_new(const struct model *m, struct model_half **ret);
void model_half_free(struct model_half *h);
const struct model *model_half_seen(const struct model_half *h);
int model_half_refresh(struct model_half *h);
int64_t model_half_bytes(const struct model *m); /* of the copies, at most */

/* ---- packed forward -------------------------------------------------------------- */
/* cos and sin of every row's position; [t, R] with R what turns of a head, or NULL. */
struct rope_rows {
    ct_tensor *cos, *sin;
};

/* Sequences laid end to end; positions restart. Built once, used by many forwards. */
struct pack {
    int64_t t, n;     /* tokens, sequences */
    int64_t *starts;  /* [n + 1] host */
    int32_t *host_ids; /* [t] host */
    ct_tensor *ids;       /* [t] I64 */
    ct_tensor *positions; /* [t] I64 */
    struct rope_rows rope, rope_local;
};

int pack_new(const struct model *m, const int32_t *const *ids, const int64_t *lengths, int64_t n,
             struct pack **ret);
void pack_free(struct pack *p);

/* x [T, D]. The trainer calls these one by one, so that a layer's input can be a leaf. */
ct_tensor *transformer_embed(ct_scope *s, const struct model *m, const struct pack *p);
ct_tensor *transformer_layer(ct_scope *s, const struct model *m, int layer, ct_tensor *x,
                             const struct pack *p);
ct_tensor *transformer_norm(ct_scope *s, const struct model *m, ct_tensor *x);
/* All of the above, layer scopes closed as it goes (no gradients): hidden [T, D] in s. */
ct_tensor *transformer_hidden(ct_scope *s, const struct model *m, const struct pack *p);

/* ---- heads ------------------------------------------------------------------------- */
ct_tensor *head_logits(ct_scope *s, const struct model *m, ct_tensor *hidden);  /* [R, D] → [R, V] */
/* log p(target) at a temperature, per row; ret_entropy [R] may be NULL. */
ct_tensor *head_logprob(ct_scope *s, const struct model *m, ct_tensor *hidden, ct_tensor *target,
                        double temperature, ct_tensor **ret_entropy); /* [R, D], [R] → [R] */
ct_tensor *head_scalar(ct_scope *s, const struct model *m, ct_tensor *hidden);  /* [R, D] → [R · heads] */

/* ---- cached forward ------------------------------------------------------------------ */
struct kv_cache {
    int64_t slots, capacity; /* sequences, positions each */
    int layers;
    ct_tensor **k, **v;      /* per layer [slots, Hkv, ct_cache_positions(capacity), Dh] */
    /* Where rotations depend on a sequence's length (NULL elsewhere): what was read, so
     * that it can be read again, and the length class its keys were turned by. */
    int32_t *ids;            /* [slots, capacity] */
    int64_t *turned;         /* [slots] */
};

int kv_cache_new(const struct model *m, int64_t slots, int64_t capacity, struct kv_cache **ret);
/* What that keeps keys and values in: fp32; on a GPU, what the matrices are in. */
enum ct_dtype kv_cache_dtype(const struct model *m);
int kv_cache_new_of(const struct model *m, enum ct_dtype dtype, int64_t slots, int64_t capacity,
                    struct kv_cache **ret);
void kv_cache_free(struct kv_cache *c);
int kv_cache_copy(struct kv_cache *c, int64_t from, int64_t to, int64_t length);
/* Feeds each sequence's new tokens at positions past[i] … and returns the hidden state
 * of its last row: [n, D]. Writes the cache. */
ct_tensor *transformer_prefill(ct_scope *s, const struct model *m, struct kv_cache *c,
                               const int32_t *const *ids, const int64_t *lengths,
                               const int64_t *slots, const int64_t *past, int64_t n);
/* The same, with the hidden state of every row, in order: [Σ lengths, D]. */
ct_tensor *transformer_extend(ct_scope *s, const struct model *m, struct kv_cache *c,
                              const int32_t *const *ids, const int64_t *lengths,
                              const int64_t *slots, const int64_t *past, int64_t n);
/* One token per row at positions[b]: hidden [B, D]. Writes the cache. */
ct_tensor *transformer_decode(ct_scope *s, const struct model *m, struct kv_cache *c,
                              const int32_t *ids, const int64_t *slots, const int64_t *positions,
                              int64_t b);
/* The same with ids, slots and positions [B] I64 as tensors: always the same kernels with the
 * same addresses, so that a device can record it. Not for fp32 caches on the CPU, and only
 * where transformer_decodes_at(): rotations of all positions must lie in tables. */
bool transformer_decodes_at(const struct model *m, const struct kv_cache *c);
ct_tensor *transformer_decode_at(ct_scope *s, const struct model *m, struct kv_cache *c,
                                 ct_tensor *ids, ct_tensor *slots, ct_tensor *positions);

#endif
