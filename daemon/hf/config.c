/* config.c: reads config.json: family, sizes, ids. Windows and refusals: config_layers.c;
 * RoPE: config_rope.c. Not for weights (weights.c), nor for writing (config_save.c).
 *
 * What transformers 4.57.6 computes for a model_type is the reference: keys that would
 * change it are either handled or refused by name; keys that it ignores are ignored here. */
#include "hf/adapter.h"
#include "hf/config.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)4 << 20)

static int parse_family(struct config_reader *r) {
    const char *type;
    CAI_TRY(hf_json_string(r->path, r->o, "model_type", &type));
    r->f = hf_family_find(type);
    if (!r->f) {
        CAI_AUTO(buf) struct cai_buf known = {0};
        hf_family_list(&known);
        return cai_fail(CAI_EINPUT,
                        "%s: model_type \"%.64s\" is not supported in this version; use a "
                        "checkpoint of one of these: %s",
                        r->path, type, known.data);
    }
    snprintf(r->c->model_type, sizeof r->c->model_type, "%s", type);
    return 0;
}

/* "LlamaForCausalLM" and the like; another family's class under our model_type is refused. */
static int parse_architecture(const struct config_reader *r) {
    const json_t *list = json_object_get(r->o, "architectures");
    if (!list || json_is_null(list))
        return 0;
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name)
        return cai_fail(CAI_EINPUT,
                        "%s: \"architectures\" must be a list that begins with a class "
                        "name, such as [\"%s\"]",
                        r->path, r->f->causal_class);
    const char *scalar = r->f->scalar_class;
    r->c->sequence_classification = scalar && strcmp(name, scalar) == 0;
    if (!r->c->sequence_classification && strcmp(name, r->f->causal_class) != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: architecture \"%.64s\" is not supported; expected %s%s%s",
                        r->path, name, r->f->causal_class, scalar ? " or " : "",
                        scalar ? scalar : "");
    return 0;
}

/* A preference model scores with one number: num_labels (or id2label) must be 1. */
static int parse_labels(const struct config_reader *r) {
    if (!r->c->sequence_classification)
        return 0;
    const json_t *names = json_object_get(r->o, "id2label");
    int64_t labels;
    CAI_TRY(hf_json_int_or(r->path, r->o, "num_labels", 1, 1 << 20,
                           names ? (int64_t)json_object_size(names) : 2, &labels));
    if (labels != 1 || (names && json_object_size(names) != 1))
        return cai_fail(CAI_EINPUT,
                        "%s: a preference model needs exactly one label, this one has "
                        "%lld; export it with num_labels=1",
                        r->path, (long long)labels);
    return 0;
}

/* Sizes under GPT-2's names; its inner width is four times the outer one when unsaid. */
static int parse_sizes_gpt2(const struct config_reader *r) {
    struct hf_config *c = r->c;
    CAI_TRY(hf_json_int(r->path, r->o, "n_embd", 1, 1 << 17, &c->hidden_size));
    CAI_TRY(hf_json_int(r->path, r->o, "n_layer", 1, HF_MAX_LAYERS, &c->num_layers));
    CAI_TRY(hf_json_int(r->path, r->o, "n_head", 1, 4096, &c->num_heads));
    CAI_TRY(hf_json_int(r->path, r->o, "n_positions", 1, (int64_t)1 << 31, &c->max_positions));
    return hf_json_int_or(r->path, r->o, "n_inner", 1, 1 << 20, 4 * c->hidden_size,
                          &c->intermediate_size);
}

static int parse_sizes_usual(const struct config_reader *r) {
    struct hf_config *c = r->c;
    CAI_TRY(hf_json_int(r->path, r->o, "hidden_size", 1, 1 << 17, &c->hidden_size));
    CAI_TRY(hf_json_int(r->path, r->o, "intermediate_size", 1, 1 << 20, &c->intermediate_size));
    CAI_TRY(hf_json_int(r->path, r->o, "num_hidden_layers", 1, HF_MAX_LAYERS, &c->num_layers));
    CAI_TRY(hf_json_int(r->path, r->o, "num_attention_heads", 1, 4096, &c->num_heads));
    return hf_json_int(r->path, r->o, "max_position_embeddings", 1, (int64_t)1 << 31,
                       &c->max_positions);
}

/* GPT-2 and GPT-NeoX have a key head to each query head, and no head_dim. */
static int parse_heads(const struct config_reader *r) {
    struct hf_config *c = r->c;
    bool old = r->f->norm == HF_NORM_LAYER;
    bool said = json_object_get(r->o, "num_key_value_heads") != NULL; /* null is said */
    int64_t kv = !said && r->f->kv_heads ? r->f->kv_heads : c->num_heads;
    c->num_kv_heads = c->num_heads;
    if (!old)
        CAI_TRY(
            hf_json_int_or(r->path, r->o, "num_key_value_heads", 1, 4096, kv, &c->num_kv_heads));
    if (c->num_heads % c->num_kv_heads)
        return cai_fail(CAI_EINPUT,
                        "%s: \"num_attention_heads\" %lld is not a multiple of "
                        "\"num_key_value_heads\" %lld",
                        r->path, (long long)c->num_heads, (long long)c->num_kv_heads);
    if (!old)
        CAI_TRY(hf_json_int_or(r->path, r->o, "head_dim", 2, 4096,
                               json_object_get(r->o, "head_dim") ? 0 : r->f->head_dim,
                               &c->head_dim));
    if (!c->head_dim && c->hidden_size % c->num_heads)
        return cai_fail(CAI_EINPUT,
                        "%s: the width %lld is not a multiple of the %lld heads and there is no "
                        "\"head_dim\"",
                        r->path, (long long)c->hidden_size, (long long)c->num_heads);
    if (!c->head_dim)
        c->head_dim = c->hidden_size / c->num_heads;
    if (c->head_dim % 2 && !r->f->learned_positions)
        return cai_fail(CAI_EINPUT,
                        "%s: the head dimension %lld is odd; rotary positions need an "
                        "even one",
                        r->path, (long long)c->head_dim);
    return 0;
}

static int parse_activation(const struct config_reader *r) {
    static const struct {
        const char *name;
        enum hf_activation is;
    } known[] = {{"silu", HF_SILU},           {"swish", HF_SILU},
                 {"gelu", HF_GELU},           {"gelu_new", HF_GELU_TANH},
                 {"gelu_fast", HF_GELU_TANH}, {"gelu_pytorch_tanh", HF_GELU_TANH}};
    const json_t *v = json_object_get(r->o, r->f->act_key);
    const char *name = v ? json_string_value(v) : r->f->default_act;
    for (size_t i = 0; name && i < CAI_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0) {
            r->c->activation = known[i].is;
            return 0;
        }
    return cai_fail(CAI_EINPUT,
                    "%s: \"%s\" is \"%.32s\"; this version computes silu, gelu, gelu_new and "
                    "gelu_pytorch_tanh",
                    r->path, r->f->act_key, name ? name : hf_json_kind(v));
}

static int parse_biases(const struct config_reader *r) {
    struct hf_config *c = r->c;
    CAI_TRY(
        hf_json_bool_or(r->path, r->o, "attention_bias", r->f->bias_absent, &c->attention_bias));
    CAI_TRY(hf_json_bool_or(r->path, r->o, "mlp_bias", false, &c->mlp_bias));
    if (r->f->attention_bias != HF_BIAS_KEY)
        c->attention_bias = r->f->attention_bias == HF_BIAS_ALWAYS;
    if (r->f->mlp_bias != HF_BIAS_KEY)
        c->mlp_bias = r->f->mlp_bias == HF_BIAS_ALWAYS;
    return 0;
}

/* Gemma's scale and caps, GPT-2's scales, GPT-NeoX's residuals. */
static int parse_specials(const struct config_reader *r) {
    struct hf_config *c = r->c;
    bool parallel = true, scaled = true;
    if (r->f->own_scale)
        CAI_TRY(hf_json_real_or(r->path, r->o, "query_pre_attn_scalar", 1e-6, 1e9, 256,
                                &c->query_scalar));
    if (r->f->softcaps) {
        bool second = !r->f->local_rope; /* Gemma 2 caps when nothing is said */
        bool a = json_object_get(r->o, "attn_logit_softcapping") != NULL;
        bool b = json_object_get(r->o, "final_logit_softcapping") != NULL;
        CAI_TRY(hf_json_real_or(r->path, r->o, "attn_logit_softcapping", 1e-3, 1e9,
                                second && !a ? 50 : 0, &c->attention_softcap));
        CAI_TRY(hf_json_real_or(r->path, r->o, "final_logit_softcapping", 1e-3, 1e9,
                                second && !b ? 30 : 0, &c->logit_softcap));
    }
    if (r->f->parallel)
        CAI_TRY(hf_json_bool_or(r->path, r->o, "use_parallel_residual", true, &parallel));
    if (r->f->gpt2_names) {
        CAI_TRY(hf_json_bool_or(r->path, r->o, "scale_attn_weights", true, &scaled));
        CAI_TRY(hf_json_bool_or(r->path, r->o, "scale_attn_by_inverse_layer_idx", false,
                                &c->layer_scaled_attention));
    }
    c->sequential_residual = !parallel;
    c->unscaled_attention = !scaled;
    return 0;
}

static int parse_token_id(const char *path, const json_t *o, const char *key,
                          const struct hf_config *c, int64_t *ret) {
    /* Some checkpoints say -1 for "none"; ids past the vocabulary cannot be embedded. */
    CAI_TRY(hf_json_int_or(path, o, key, -1, 1 << 24, -1, ret));
    if (*ret >= c->vocab_size)
        return cai_fail(CAI_EINPUT, "%s: \"%s\" is %lld, but \"vocab_size\" is %lld", path, key,
                        (long long)*ret, (long long)c->vocab_size);
    return 0;
}

static int parse_eos(const char *path, const json_t *o, struct hf_config *c) {
    const json_t *v = json_object_get(o, "eos_token_id");
    if (!json_is_array(v)) {
        CAI_TRY(parse_token_id(path, o, "eos_token_id", c, &c->eos_token_id));
        c->eos_ids[0] = c->eos_token_id;
        c->num_eos = c->eos_token_id >= 0;
        return 0;
    }
    if (json_array_size(v) == 0 || json_array_size(v) > CAI_COUNT(c->eos_ids))
        return cai_fail(CAI_EINPUT, "%s: \"eos_token_id\" must be an id or a list of 1 to %zu ids",
                        path, CAI_COUNT(c->eos_ids));
    size_t i;
    json_t *id;
    json_array_foreach(v, i, id) {
        int64_t n = json_is_integer(id) ? json_integer_value(id) : -1;
        if (n < 0 || n >= c->vocab_size)
            return cai_fail(CAI_EINPUT, "%s: \"eos_token_id\" must hold ids from 0 to %lld", path,
                            (long long)c->vocab_size - 1);
        c->eos_ids[c->num_eos++] = n;
    }
    c->eos_token_id = c->eos_ids[0];
    return 0;
}

static int parse_dtype(const char *path, const json_t *o, struct hf_config *c) {
    const char *key = json_object_get(o, "dtype") ? "dtype" : "torch_dtype";
    const json_t *v = json_object_get(o, key);
    c->dtype = HF_F32;
    if (!v || json_is_null(v))
        return 0;
    static const struct {
        const char *name;
        enum hf_dtype dtype;
    } known[] = {
        {"float32", HF_F32}, {"bfloat16", HF_BF16}, {"float16", HF_F16}, {"float64", HF_F64}};
    const char *name = json_string_value(v);
    for (size_t i = 0; name && i < CAI_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0) {
            c->dtype = known[i].dtype;
            return 0;
        }
    return cai_fail(CAI_EINPUT,
                    "%s: \"%s\" must be float32, bfloat16, float16 or float64, found "
                    "%.32s",
                    path, key, name ? name : hf_json_kind(v));
}

static int parse_rest(const struct config_reader *r) {
    struct hf_config *c = r->c;
    CAI_TRY(hf_json_real_or(r->path, r->o, r->f->eps_key, 0, 1, r->f->eps, &c->rms_norm_eps));
    CAI_TRY(
        hf_json_bool_or(r->path, r->o, "tie_word_embeddings", r->f->tied, &c->tie_word_embeddings));
    CAI_TRY(parse_token_id(r->path, r->o, "bos_token_id", c, &c->bos_token_id));
    CAI_TRY(parse_token_id(r->path, r->o, "pad_token_id", c, &c->pad_token_id));
    CAI_TRY(parse_eos(r->path, r->o, c));
    return parse_dtype(r->path, r->o, c);
}

int hf_config_parse(const char *path, const char *json, size_t len, struct hf_config *ret) {
    json_auto_t *o = NULL;
    CAI_TRY(hf_json_parse(path, json, len, HF_JSON_PLAIN, &o));
    struct hf_config c = {0};
    struct config_reader r = {path, o, NULL, &c};
    CAI_TRY(parse_family(&r));
    CAI_TRY(parse_architecture(&r));
    CAI_TRY(parse_labels(&r));
    CAI_TRY(config_refuse(&r));
    CAI_TRY(hf_json_int(path, o, "vocab_size", 1, 1 << 24, &c.vocab_size));
    CAI_TRY(r.f->gpt2_names ? parse_sizes_gpt2(&r) : parse_sizes_usual(&r));
    CAI_TRY(parse_heads(&r));
    CAI_TRY(parse_activation(&r));
    CAI_TRY(parse_biases(&r));
    CAI_TRY(config_read_layers(&r));
    if (!r.f->learned_positions)
        CAI_TRY(config_read_rope(&r));
    CAI_TRY(parse_specials(&r));
    CAI_TRY(parse_rest(&r));
    *ret = c;
    return 0;
}

/* An adapter's folder: its base's configuration, with the head that the adapter has. */
static int load_of_adapter(const char *dir, struct hf_config *ret) {
    struct hf_adapter a;
    CAI_AUTO(mem) char *base = NULL;
    CAI_TRY(hf_adapter_load(dir, &a));
    CAI_TRY(hf_adapter_base(dir, &a, &base));
    if (hf_adapter_is(base))
        return cai_fail(CAI_EINPUT, "%s: its base %s is an adapter itself", dir, base);
    CAI_TRY(hf_config_load(base, ret));
    if (ret->sequence_classification)
        return cai_fail(CAI_EINPUT, "%s: its base %s must be a language model", dir, base);
    ret->sequence_classification = a.scalar;
    return 0;
}

int hf_config_load(const char *dir, struct hf_config *ret) {
    if (hf_adapter_is(dir))
        return load_of_adapter(dir, ret);
    CAI_AUTO(mem) char *path = cai_path_join(dir, "config.json");
    CAI_TRY(hf_require_file(dir, path, "the model's configuration"));
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(cai_file_read(path, CONFIG_MAX_BYTES, &b));
    return hf_config_parse(path, b.data ? b.data : "", b.len, ret);
}
