/* family.c: the table of families. Reference for every row: the modeling files of
 * transformers 4.57.6. Not for: the tensors a configuration has (params.c). */
#include "hf/family.h"
#include "base/buf.h"
#include "base/check.h"
#include <string.h>

/* The names that Llama gave and most took over. */
#define LLAMA_OUTER                                                                                \
    [HF_EMBEDDING] = "model.embed_tokens.weight", [HF_FINAL_NORM] = "model.norm.weight",           \
    [HF_LM_HEAD] = "lm_head.weight", [HF_SCORE] = "score.weight"
#define LLAMA_ATTENTION                                                                            \
    [HF_Q] = "self_attn.q_proj.weight", [HF_K] = "self_attn.k_proj.weight",                        \
    [HF_V] = "self_attn.v_proj.weight", [HF_O] = "self_attn.o_proj.weight",                        \
    [HF_Q_BIAS] = "self_attn.q_proj.bias", [HF_K_BIAS] = "self_attn.k_proj.bias",                  \
    [HF_V_BIAS] = "self_attn.v_proj.bias", [HF_O_BIAS] = "self_attn.o_proj.bias"
#define LLAMA_MLP                                                                                  \
    [HF_GATE] = "mlp.gate_proj.weight", [HF_UP] = "mlp.up_proj.weight",                            \
    [HF_DOWN] = "mlp.down_proj.weight", [HF_GATE_BIAS] = "mlp.gate_proj.bias",                     \
    [HF_UP_BIAS] = "mlp.up_proj.bias", [HF_DOWN_BIAS] = "mlp.down_proj.bias"
#define PRE_NORMS                                                                                  \
    [HF_ATTENTION_NORM] = "input_layernorm.weight",                                                \
    [HF_MLP_NORM] = "post_attention_layernorm.weight"
#define HEAD_NORMS                                                                                 \
    [HF_Q_NORM] = "self_attn.q_norm.weight", [HF_K_NORM] = "self_attn.k_norm.weight"
#define GEMMA_NORMS                                                                                \
    [HF_ATTENTION_NORM] = "input_layernorm.weight",                                                \
    [HF_POST_ATTENTION_NORM] = "post_attention_layernorm.weight",                                  \
    [HF_MLP_NORM] = "pre_feedforward_layernorm.weight",                                            \
    [HF_POST_MLP_NORM] = "post_feedforward_layernorm.weight"
#define LLAMA_FILES                                                                                \
    .trunk = "model.", .layer = "model.layers.%d.", .buffers = {".rotary_emb.inv_freq"}
#define LLAMA_KEYS                                                                                 \
    .eps_key = "rms_norm_eps", .act_key = "hidden_act", .theta_key = "rope_theta",                 \
    .partial_key = "partial_rotary_factor", .default_act = "silu", .eps = 1e-6, .gated = true
#define GEMMA_KEYS                                                                                 \
    .eps_key = "rms_norm_eps", .act_key = "hidden_activation", .theta_key = "rope_theta",          \
    .partial_key = "partial_rotary_factor", .default_act = "gelu_pytorch_tanh", .eps = 1e-6,       \
    .gated = true, .tied = true, .head_dim = 256, .kv_heads = 4, .norm = HF_NORM_RMS_PLUS,         \
    .scaled_embedding = true, .mlp_bias = HF_BIAS_NEVER, .softcaps = true, .own_scale = true,      \
    .slide = HF_SLIDE_PERIOD, .slide_absent = 4096

static const struct hf_family families[] = {
    {.model_type = "llama", .name = "Llama", .causal_class = "LlamaForCausalLM",
     .scalar_class = "LlamaForSequenceClassification", LLAMA_KEYS, LLAMA_FILES,
     .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, PRE_NORMS}},
    {.model_type = "mistral", .name = "Mistral", .causal_class = "MistralForCausalLM",
     .scalar_class = "MistralForSequenceClassification", LLAMA_KEYS, LLAMA_FILES,
     .attention_bias = HF_BIAS_NEVER, .mlp_bias = HF_BIAS_NEVER, .slide = HF_SLIDE_ALL,
     .slide_absent = 4096, .kv_heads = 8, .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, PRE_NORMS}},
    {.model_type = "qwen2", .name = "Qwen2", .causal_class = "Qwen2ForCausalLM",
     .scalar_class = "Qwen2ForSequenceClassification", LLAMA_KEYS, LLAMA_FILES,
     .attention_bias = HF_BIAS_ALWAYS, .no_output_bias = true, .mlp_bias = HF_BIAS_NEVER,
     .slide = HF_SLIDE_SWITCHED, .slide_absent = 4096, .kv_heads = 32,
     .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, PRE_NORMS}},
    {.model_type = "qwen3", .name = "Qwen3", .causal_class = "Qwen3ForCausalLM",
     .scalar_class = "Qwen3ForSequenceClassification", LLAMA_KEYS, LLAMA_FILES,
     .mlp_bias = HF_BIAS_NEVER, .slide = HF_SLIDE_SWITCHED, .slide_absent = 4096,
     .qk_norm = HF_QK_HEAD, .head_dim = 128, .kv_heads = 32,
     .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, PRE_NORMS, HEAD_NORMS}},
    {.model_type = "smollm3", .name = "SmolLM3", .causal_class = "SmolLM3ForCausalLM",
     .scalar_class = "SmolLM3ForSequenceClassification", LLAMA_KEYS, LLAMA_FILES,
     .slide = HF_SLIDE_SWITCHED, .nope_layers = true, .kv_heads = 4, .tied = true,
     .theta = 2e6, .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, PRE_NORMS}},
    {.model_type = "olmo2", .name = "OLMo 2", .causal_class = "Olmo2ForCausalLM",
     .scalar_class = NULL, LLAMA_KEYS, LLAMA_FILES,
     .mlp_bias = HF_BIAS_NEVER, .qk_norm = HF_QK_FULL,
     .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, HEAD_NORMS,
                 [HF_POST_ATTENTION_NORM] = "post_attention_layernorm.weight",
                 [HF_POST_MLP_NORM] = "post_feedforward_layernorm.weight"}},
    {.model_type = "phi3", .name = "Phi-3", .causal_class = "Phi3ForCausalLM",
     .scalar_class = "Phi3ForSequenceClassification", LLAMA_KEYS, LLAMA_FILES,
     .attention_bias = HF_BIAS_NEVER, .mlp_bias = HF_BIAS_NEVER, .slide = HF_SLIDE_ALL,
     .fused_qkv = HF_STACKED, .fused_mlp = HF_STACKED,
     .tensors = {LLAMA_OUTER, PRE_NORMS, [HF_Q] = "self_attn.qkv_proj.weight",
                 [HF_K] = "self_attn.qkv_proj.weight", [HF_V] = "self_attn.qkv_proj.weight",
                 [HF_O] = "self_attn.o_proj.weight", [HF_GATE] = "mlp.gate_up_proj.weight",
                 [HF_UP] = "mlp.gate_up_proj.weight", [HF_DOWN] = "mlp.down_proj.weight"}},
    {.model_type = "gemma2", .name = "Gemma 2", .causal_class = "Gemma2ForCausalLM",
     .scalar_class = "Gemma2ForSequenceClassification", GEMMA_KEYS, LLAMA_FILES,
     .slide_period = 2, .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, GEMMA_NORMS}},
    {.model_type = "gemma3_text", .name = "Gemma 3", .causal_class = "Gemma3ForCausalLM",
     .scalar_class = "Gemma3TextForSequenceClassification", GEMMA_KEYS, LLAMA_FILES,
     .slide_period = 6, .qk_norm = HF_QK_HEAD, .local_rope = true, .theta = 1e6,
     .tensors = {LLAMA_OUTER, LLAMA_ATTENTION, LLAMA_MLP, GEMMA_NORMS, HEAD_NORMS}},
    {.model_type = "gpt2", .name = "GPT-2", .causal_class = "GPT2LMHeadModel",
     .scalar_class = "GPT2ForSequenceClassification", .norm = HF_NORM_LAYER, .tied = true,
     .attention_bias = HF_BIAS_ALWAYS, .mlp_bias = HF_BIAS_ALWAYS, .learned_positions = true,
     .gpt2_names = true, .eps_key = "layer_norm_epsilon", .act_key = "activation_function",
     .default_act = "gelu_new", .eps = 1e-5, .trunk = "transformer.", .layer = "transformer.h.%d.",
     .fused_qkv = HF_STACKED, .conv1d = true, .buffers = {".attn.bias", ".attn.masked_bias"},
     .tensors = {[HF_EMBEDDING] = "transformer.wte.weight",
                 [HF_POSITIONS] = "transformer.wpe.weight", [HF_ATTENTION_NORM] = "ln_1.weight",
                 [HF_ATTENTION_NORM_BIAS] = "ln_1.bias", [HF_Q] = "attn.c_attn.weight",
                 [HF_K] = "attn.c_attn.weight", [HF_V] = "attn.c_attn.weight",
                 [HF_Q_BIAS] = "attn.c_attn.bias", [HF_K_BIAS] = "attn.c_attn.bias",
                 [HF_V_BIAS] = "attn.c_attn.bias", [HF_O] = "attn.c_proj.weight",
                 [HF_O_BIAS] = "attn.c_proj.bias", [HF_MLP_NORM] = "ln_2.weight",
                 [HF_MLP_NORM_BIAS] = "ln_2.bias", [HF_UP] = "mlp.c_fc.weight",
                 [HF_UP_BIAS] = "mlp.c_fc.bias", [HF_DOWN] = "mlp.c_proj.weight",
                 [HF_DOWN_BIAS] = "mlp.c_proj.bias", [HF_FINAL_NORM] = "transformer.ln_f.weight",
                 [HF_FINAL_NORM_BIAS] = "transformer.ln_f.bias", [HF_LM_HEAD] = "lm_head.weight",
                 [HF_SCORE] = "score.weight"}},
    {.model_type = "gpt_neox", .name = "GPT-NeoX", .causal_class = "GPTNeoXForCausalLM",
     .scalar_class = "GPTNeoXForSequenceClassification", .norm = HF_NORM_LAYER, .parallel = true,
     .mlp_bias = HF_BIAS_ALWAYS, .eps_key = "layer_norm_eps", .act_key = "hidden_act",
     .theta_key = "rotary_emb_base", .partial_key = "rotary_pct", .default_act = "gelu",
     .eps = 1e-5, .partial_rotary = 0.25, .bias_absent = true, .trunk = "gpt_neox.", .layer = "gpt_neox.layers.%d.", .fused_qkv = HF_BY_HEAD,
     .buffers = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"},
     .tensors = {[HF_EMBEDDING] = "gpt_neox.embed_in.weight",
                 [HF_ATTENTION_NORM] = "input_layernorm.weight",
                 [HF_ATTENTION_NORM_BIAS] = "input_layernorm.bias",
                 [HF_Q] = "attention.query_key_value.weight",
                 [HF_K] = "attention.query_key_value.weight",
                 [HF_V] = "attention.query_key_value.weight",
                 [HF_Q_BIAS] = "attention.query_key_value.bias",
                 [HF_K_BIAS] = "attention.query_key_value.bias",
                 [HF_V_BIAS] = "attention.query_key_value.bias",
                 [HF_O] = "attention.dense.weight", [HF_O_BIAS] = "attention.dense.bias",
                 [HF_MLP_NORM] = "post_attention_layernorm.weight",
                 [HF_MLP_NORM_BIAS] = "post_attention_layernorm.bias",
                 [HF_UP] = "mlp.dense_h_to_4h.weight", [HF_UP_BIAS] = "mlp.dense_h_to_4h.bias",
                 [HF_DOWN] = "mlp.dense_4h_to_h.weight", [HF_DOWN_BIAS] = "mlp.dense_4h_to_h.bias",
                 [HF_FINAL_NORM] = "gpt_neox.final_layer_norm.weight",
                 [HF_FINAL_NORM_BIAS] = "gpt_neox.final_layer_norm.bias",
                 [HF_LM_HEAD] = "embed_out.weight", [HF_SCORE] = "score.weight"}},
};

const struct hf_family *hf_family_find(const char *model_type) {
    for (size_t i = 0; i < CAI_COUNT(families); i++)
        if (strcmp(families[i].model_type, model_type) == 0)
            return &families[i];
    return NULL;
}

const struct hf_family *hf_family(const struct hf_config *c) {
    const struct hf_family *f = hf_family_find(c->model_type);
    CAI_CHECK(f != NULL);
    return f;
}

void hf_family_list(struct cai_buf *ret) {
    for (size_t i = 0; i < CAI_COUNT(families); i++)
        cai_buf_printf(ret, "%s%s", i ? ", " : "", families[i].model_type);
}

int64_t hf_rotary_dim(const struct hf_config *c) {
    double partial = c->partial_rotary == 0 ? 1 : c->partial_rotary;
    return (int64_t)((double)c->head_dim * partial);
}
