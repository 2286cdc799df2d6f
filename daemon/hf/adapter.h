/* adapter.h: low-rank adapters (Hu et al. 2021, "LoRA") as PEFT writes them: what
 * adapter_config.json says, and the parameters an adapter has. Not for: their arithmetic
 * (model/layer.c). */
#ifndef CAI_HF_ADAPTER_H
#define CAI_HF_ADAPTER_H

#include "hf/family.h"

enum { HF_ADAPTER_TARGETS = 16 };

struct hf_adapter {
    char base[1024];  /* base_model_name_or_path; may be "" */
    bool scalar;      /* task_type SEQ_CLS: a score head of its own */
    int64_t rank;
    double alpha;
    bool rslora;      /* scaled by alpha / √rank, not alpha / rank (Kalajdzievski 2023) */
    double dropout;   /* kept for PEFT; training here uses none */
    char base_hash[65]; /* the model hash of the base it was trained over; "" when not said */
    int n_targets;    /* endings of module names, as in target_modules */
    char targets[HF_ADAPTER_TARGETS][64];
};

/* One of so many dimensions for `targets`, names of modules with commas between them, or
 * "all-linear". */
int hf_adapter_make(int64_t rank, double alpha, const char *targets, struct hf_adapter *ret);
/* Whether it can be put over the folder's model: no adapter itself, no score head, and every
 * target is a projection of its layers. */
int hf_adapter_check(const char *dir, const struct hf_adapter *a);
/* Whether the folder holds an adapter: adapter_config.json is there. */
bool hf_adapter_is(const char *dir);
int hf_adapter_load(const char *dir, struct hf_adapter *ret); /* without base_hash */
int hf_adapter_parse(const char *path, const char *json, size_t len, struct hf_adapter *ret);
int hf_adapter_save(const char *dir, const struct hf_adapter *a, const struct hf_config *c);
/* The base's folder: an absolute path, or one beside the adapter's. */
int hf_adapter_base(const char *dir, const struct hf_adapter *a, char **ret);
double hf_adapter_scale(const struct hf_adapter *a);
/* Its weights: adapter_model.safetensors, with base_hash as metadata "base_sha256". */
int hf_adapter_save_weights(const char *dir, const struct hf_adapter *a,
                            const struct hf_tensor *tensors, size_t n);
/* Its base with the adapter's products added to the matrices, as a folder of its own: in
 * fp32, the tokenizer's files from the adapter's folder. `to` must not exist. A score head's
 * adapter is refused. In shards of HF_SHARD_BYTES, one tensor at a time in memory. */
int hf_adapter_merge(const char *dir, const char *to);

/* The adapter's own parameters over a base of this configuration; of a fused matrix one A
 * and a B for each of its parts. A target that no layer has is refused by name. */
int hf_adapter_params(const struct hf_config *c, const struct hf_adapter *a,
                      struct hf_param **ret, int *ret_n);
/* The tensor that holds p, checked for type and shape; and that no other is there. */
int hf_adapter_find(const struct hf_weights *w, const struct hf_param *p,
                    const struct hf_tensor **ret);
int hf_adapter_check_unused(const struct hf_weights *w, const struct hf_param *p, int n);

#endif
