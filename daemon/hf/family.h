/* family.h: what a family of checkpoints is: how its layer differs, how its config.json
 * spells things, and what its tensors are called. One table row each; what a checkpoint
 * adds to it stands in struct hf_config. Not for: reading config.json (config.c), the
 * arithmetic itself (model). */
#ifndef CAI_HF_FAMILY_H
#define CAI_HF_FAMILY_H

#include "hf/hf.h"

/* The parameters a decoder can have; a family names those it has. HF_EMBEDDING … HF_SCORE
 * are also the order of the flat buffer, layer by layer. */
enum hf_slot {
    HF_EMBEDDING,
    HF_POSITIONS, /* learned positions [P, D] */
    /* of a layer */
    HF_ATTENTION_NORM, HF_ATTENTION_NORM_BIAS,
    HF_Q, HF_K, HF_V, HF_Q_BIAS, HF_K_BIAS, HF_V_BIAS,
    HF_Q_NORM, HF_K_NORM,
    HF_O, HF_O_BIAS,
    HF_POST_ATTENTION_NORM, /* on the branch's output */
    HF_MLP_NORM, HF_MLP_NORM_BIAS,
    HF_GATE, HF_UP, HF_GATE_BIAS, HF_UP_BIAS,
    HF_DOWN, HF_DOWN_BIAS,
    HF_POST_MLP_NORM,
    /* behind the layers */
    HF_FINAL_NORM, HF_FINAL_NORM_BIAS,
    HF_LM_HEAD, HF_SCORE,
    HF_SLOTS
};

enum hf_norm {
    HF_NORM_RMS,      /* Zhang & Sennrich 2019 */
    HF_NORM_RMS_PLUS, /* the weight is stored less 1 */
    HF_NORM_LAYER     /* Ba et al. 2016, with bias */
};
enum hf_qk_norm { HF_QK_NONE, HF_QK_HEAD /* over each head */, HF_QK_FULL /* over all heads */ };
enum hf_bias { HF_BIAS_KEY /* as config.json says */, HF_BIAS_NEVER, HF_BIAS_ALWAYS };
enum hf_fused { HF_APART, HF_STACKED /* one below the other */, HF_BY_HEAD /* within each head */ };
/* Which layers slide, where config.json has no layer_types. */
enum hf_slide { HF_SLIDE_NEVER, HF_SLIDE_ALL, HF_SLIDE_SWITCHED /* use_sliding_window … */,
                HF_SLIDE_PERIOD };

struct hf_family {
    /* Classes of transformers; scalar_class NULL: 4.57 has none, so none is written or read. */
    const char *model_type, *name, *causal_class, *scalar_class;

    /* The layer. */
    enum hf_norm norm;
    enum hf_qk_norm qk_norm;
    bool gated;              /* act(gate) × up, else act(up) */
    bool scaled_embedding;   /* times √D */
    enum hf_bias attention_bias, mlp_bias;
    bool no_output_bias;     /* attention_bias speaks of q, k and v only */
    bool learned_positions;  /* no RoPE */
    bool nope_layers;        /* some layers have no RoPE */
    bool local_rope;         /* sliding layers have a base of their own */
    bool softcaps, own_scale;/* the keys of Gemma */
    bool parallel;           /* use_parallel_residual is read, true by default */
    enum hf_slide slide;
    int slide_period;        /* every n-th layer is full */
    int64_t slide_absent;    /* sliding_window when absent; null is none */

    /* config.json. */
    bool gpt2_names;         /* n_embd, n_layer, … */
    const char *eps_key, *act_key, *theta_key, *partial_key; /* NULL: not read */
    const char *default_act;
    bool tied;               /* tie_word_embeddings when absent */
    int64_t kv_heads, head_dim; /* num_key_value_heads, head_dim when absent; 0: the usual */
    double eps, theta, partial_rotary; /* when absent; 0: 10,000 and 1 */
    bool bias_absent;        /* attention_bias when absent */

    /* Tensors: names below `layer`, or whole ones outside of layers. */
    const char *trunk;       /* "model.": left out by checkpoints of the bare trunk */
    const char *layer;       /* "model.layers.%d." */
    enum hf_fused fused_qkv, fused_mlp;
    bool conv1d;             /* matrices of layers are stored [in, out] */
    const char *tensors[HF_SLOTS];
    const char *buffers[3];  /* endings of tensors that carry nothing */
};

/* NULL for a model_type that is not in the table. */
const struct hf_family *hf_family_find(const char *model_type);
/* That of a configuration which was read or made here; its model_type is in the table. */
const struct hf_family *hf_family(const struct hf_config *c);
/* Appends "llama, mistral, …", for messages. */
void hf_family_list(struct cai_buf *ret);

/* A parameter itself, or one of the two factors that an adapter adds to it (adapter.h). */
enum hf_matrix { HF_WHOLE, HF_LORA_A, HF_LORA_B };

/* One parameter as the model uses it, and the part of a file's tensor that holds it. */
struct hf_param {
    char name[128]; /* of the file's tensor; q, k and v of one that is fused share it */
    enum hf_slot slot;
    enum hf_matrix matrix;
    int layer;        /* -1 outside of layers */
    int ndim;
    int64_t shape[4]; /* as used: [rows, cols] or [rows] */
    /* Row r lies at row first + r / block · step + r % block of the tensor's file_rows;
     * transposed: at that column. */
    int64_t file_rows, first, block, step;
    bool transposed;
};

/* Every parameter of a configuration, in the order of the flat buffer; *ret is the
 * caller's. scalar: a scalar head in place of the token head. */
int hf_params(const struct hf_config *c, bool scalar, struct hf_param **ret, int *ret_n);
/* The tensor's row (transposed: its column) that holds row r. */
static inline int64_t hf_param_file_row(const struct hf_param *p, int64_t r) {
    return p->first + r / p->block * p->step + r % p->block;
}
/* The shape of the tensor in the file. */
int hf_param_file_shape(const struct hf_param *p, int64_t ret[2]);
/* The tensor that holds p, checked for type and shape; a bare trunk's names are taken too. */
int hf_param_find(const struct hf_weights *w, const struct hf_config *c, const struct hf_param *p,
                  const struct hf_tensor **ret);
/* The same under p's name, or `other` if that is not NULL. */
int hf_param_find_named(const struct hf_weights *w, const struct hf_param *p, const char *other,
                        const struct hf_tensor **ret);
/* Every tensor of the file is used by a parameter, or carries nothing; else named. */
int hf_params_check_unused(const struct hf_weights *w, const struct hf_config *c,
                           const struct hf_param *p, int n);
/* How many of a head's elements turn with the position. */
int64_t hf_rotary_dim(const struct hf_config *c);

#endif
