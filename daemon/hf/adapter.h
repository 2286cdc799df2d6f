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
    int n_targets;    /* endings of module names, as in target_modules */
    char targets[HF_ADAPTER_TARGETS][64];
};

/* Whether the folder holds an adapter: adapter_config.json is there. */
bool hf_adapter_is(const char *dir);
int hf_adapter_load(const char *dir, struct hf_adapter *ret);
int hf_adapter_parse(const char *path, const char *json, size_t len, struct hf_adapter *ret);
int hf_adapter_save(const char *dir, const struct hf_adapter *a, const struct hf_config *c);
/* The base's folder: an absolute path, or one beside the adapter's. */
int hf_adapter_base(const char *dir, const struct hf_adapter *a, char **ret);
double hf_adapter_scale(const struct hf_adapter *a);

/* The adapter's own parameters over a base of this configuration; of a fused matrix one A
 * and a B for each of its parts. A target that no layer has is refused by name. */
int hf_adapter_params(const struct hf_config *c, const struct hf_adapter *a,
                      struct hf_param **ret, int *ret_n);
/* The tensor that holds p, checked for type and shape; and that no other is there. */
int hf_adapter_find(const struct hf_weights *w, const struct hf_param *p,
                    const struct hf_tensor **ret);
int hf_adapter_check_unused(const struct hf_weights *w, const struct hf_param *p, int n);

#endif
