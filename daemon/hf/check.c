/* check.c: whether a folder holds a model that a worker could load, from its headers alone:
 * config.json, the tensors' names, types and shapes, tokenizer.json, the chat template. Not
 * for: values of weights, and tensors that are there beyond those needed (model/load.c). */
#include "base/error.h"
#include "hf/hf.h"
#include <stdio.h>

struct need {
    const char *name;
    int64_t rows, cols; /* cols 0: one dimension */
    bool wanted;
};

static int check_tensor(const struct hf_weights *w, const char *name, const struct need *n) {
    const struct hf_tensor *t = hf_weights_find(w, name);
    if (!t)
        return cai_fail(CAI_EINPUT, "tensor %s is missing", name);
    if (t->dtype != HF_F32 && t->dtype != HF_BF16 && t->dtype != HF_F16)
        return cai_fail(CAI_EINPUT, "tensor %s: only F32, BF16 and F16 weights are read", name);
    bool same = t->ndim == (n->cols ? 2 : 1) && t->shape[0] == n->rows &&
                (!n->cols || t->shape[1] == n->cols);
    if (!same)
        return cai_fail(CAI_EINPUT, "tensor %s has another shape than config.json asks for: "
                        "%lld × %lld", name, (long long)n->rows,
                        (long long)(n->cols ? n->cols : 1));
    return 0;
}

static int check_layer(const struct hf_weights *w, const struct hf_config *c, int64_t layer) {
    int64_t d = c->hidden_size, f = c->intermediate_size;
    int64_t q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
    bool ab = c->attention_bias, mb = c->mlp_bias;
    const struct need needs[] = {
        {"input_layernorm.weight", d, 0, true},    {"self_attn.q_proj.weight", q, d, true},
        {"self_attn.k_proj.weight", kv, d, true},  {"self_attn.v_proj.weight", kv, d, true},
        {"self_attn.o_proj.weight", d, q, true},   {"post_attention_layernorm.weight", d, 0, true},
        {"mlp.gate_proj.weight", f, d, true},      {"mlp.up_proj.weight", f, d, true},
        {"mlp.down_proj.weight", d, f, true},      {"self_attn.q_proj.bias", q, 0, ab},
        {"self_attn.k_proj.bias", kv, 0, ab},      {"self_attn.v_proj.bias", kv, 0, ab},
        {"self_attn.o_proj.bias", d, 0, ab},       {"mlp.gate_proj.bias", f, 0, mb},
        {"mlp.up_proj.bias", f, 0, mb},            {"mlp.down_proj.bias", d, 0, mb}};
    for (size_t i = 0; i < CAI_COUNT(needs); i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, needs[i].name);
        if (needs[i].wanted)
            CAI_TRY(check_tensor(w, name, &needs[i]));
    }
    return 0;
}

static int check_tensors(const struct hf_weights *w, const struct hf_config *c) {
    bool scalar = c->sequence_classification;
    const struct need needs[] = {
        {"model.embed_tokens.weight", c->vocab_size, c->hidden_size, true},
        {"model.norm.weight", c->hidden_size, 0, true},
        {"lm_head.weight", c->vocab_size, c->hidden_size, !scalar && !c->tie_word_embeddings},
        {"score.weight", 1, c->hidden_size, scalar}};
    for (size_t i = 0; i < CAI_COUNT(needs); i++)
        if (needs[i].wanted)
            CAI_TRY(check_tensor(w, needs[i].name, &needs[i]));
    for (int64_t i = 0; i < c->num_layers; i++)
        CAI_TRY(check_layer(w, c, i));
    return 0;
}

/* One turn is rendered, so that a template's own errors come through. */
static int check_chat(const char *dir, const struct hf_tokenizer *t) {
    static const struct hf_message hello = {"user", "Hello", 0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct hf_chat *chat;
    CAI_TRY(hf_chat_load(dir, t, &chat));
    int rc = hf_chat_render(chat, &hello, 1, true, NULL, &text);
    hf_chat_free(chat);
    return rc;
}

int hf_check(const char *dir, bool with_template) {
    struct hf_config c;
    struct hf_weights *w;
    struct hf_tokenizer *t;
    CAI_TRY(hf_config_load(dir, &c));
    CAI_TRY(hf_weights_open(dir, &w));
    int rc = check_tensors(w, &c);
    hf_weights_close(w);
    if (rc < 0)
        return cai_fail_in("%s", dir);
    CAI_TRY(hf_tokenizer_load(dir, &t));
    rc = with_template ? check_chat(dir, t) : 0;
    hf_tokenizer_free(t);
    return rc;
}

int hf_check_writes(const char *dir) {
    struct hf_config c;
    CAI_TRY(hf_config_load(dir, &c));
    if (!c.sequence_classification)
        return 0;
    return cai_fail(CAI_EINPUT, "%s: the model has a scalar head (…ForSequenceClassification), it "
                    "gives scores and cannot write text; name a …ForCausalLM folder", dir);
}
