/* config.c: reads config.json of the Llama family. Not for weights (weights.c), nor for
 * writing (config_save.c).
 *
 * What transformers 4.57.6 computes for model_type "llama" (and "mistral" without a
 * sliding window, which is the same arithmetic) is the reference: keys that would change
 * it are either handled or refused by name; keys that it ignores are ignored here. */
#include "hf/hf.h"
#include "hf/json.h"
#include "base/file.h"
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)4 << 20)

/* A key that changes the arithmetic and that only has one value we compute. */
static int refuse_key(const char *path, const json_t *v, const char *key, const char *what_to_do) {
    if (!v || json_is_null(v))
        return 0;
    return cai_fail(CAI_EINPUT,
                    "%s: \"%s\" changes the arithmetic in a way this version does not "
                    "compute; %s",
                    path, key, what_to_do);
}

static int parse_family(const char *path, const json_t *o, struct hf_config *c) {
    const char *type;
    CAI_TRY(hf_json_string(path, o, "model_type", &type));
    if (strcmp(type, "llama") != 0 && strcmp(type, "mistral") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: model_type \"%.64s\" is not supported in this version; use "
                        "a checkpoint of the Llama family (model_type llama, or mistral without a "
                        "sliding window)",
                        path, type);
    snprintf(c->model_type, sizeof c->model_type, "%s", type);
    return 0;
}

/* "LlamaForCausalLM" and the like; another family's class under our model_type is refused. */
static int parse_architecture(const char *path, const json_t *o, struct hf_config *c) {
    const json_t *list = json_object_get(o, "architectures");
    if (!list || json_is_null(list))
        return 0;
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name)
        return cai_fail(CAI_EINPUT,
                        "%s: \"architectures\" must be a list that begins with a class "
                        "name, such as [\"LlamaForCausalLM\"]",
                        path);
    const char *family = c->model_type[0] == 'l' ? "Llama" : "Mistral";
    size_t n = strlen(family);
    const char *head = strncmp(name, family, n) == 0 ? name + n : "";
    c->sequence_classification = strcmp(head, "ForSequenceClassification") == 0;
    if (!c->sequence_classification && strcmp(head, "ForCausalLM") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: architecture \"%.64s\" is not supported; expected "
                        "%sForCausalLM or %sForSequenceClassification",
                        path, name, family, family);
    return 0;
}

/* A preference model scores with one number: num_labels (or id2label) must be 1. */
static int parse_labels(const char *path, const json_t *o, const struct hf_config *c) {
    if (!c->sequence_classification)
        return 0;
    const json_t *names = json_object_get(o, "id2label");
    int64_t labels;
    CAI_TRY(hf_json_int_or(path, o, "num_labels", 1, 1 << 20,
                           names ? (int64_t)json_object_size(names) : 2, &labels));
    if (labels != 1 || (names && json_object_size(names) != 1))
        return cai_fail(CAI_EINPUT,
                        "%s: a preference model needs exactly one label, this one has "
                        "%lld; export it with num_labels=1",
                        path, (long long)labels);
    return 0;
}

static int parse_sizes(const char *path, const json_t *o, struct hf_config *c) {
    CAI_TRY(hf_json_int(path, o, "vocab_size", 1, 1 << 24, &c->vocab_size));
    CAI_TRY(hf_json_int(path, o, "hidden_size", 1, 1 << 17, &c->hidden_size));
    CAI_TRY(hf_json_int(path, o, "intermediate_size", 1, 1 << 20, &c->intermediate_size));
    CAI_TRY(hf_json_int(path, o, "num_hidden_layers", 1, 4096, &c->num_layers));
    CAI_TRY(hf_json_int(path, o, "num_attention_heads", 1, 4096, &c->num_heads));
    CAI_TRY(
        hf_json_int(path, o, "max_position_embeddings", 1, (int64_t)1 << 31, &c->max_positions));
    int64_t kv = c->model_type[0] == 'm' ? 8 : c->num_heads; /* the classes' own defaults */
    CAI_TRY(hf_json_int_or(path, o, "num_key_value_heads", 1, 4096, kv, &c->num_kv_heads));
    if (c->num_heads % c->num_kv_heads)
        return cai_fail(CAI_EINPUT,
                        "%s: \"num_attention_heads\" %lld is not a multiple of "
                        "\"num_key_value_heads\" %lld",
                        path, (long long)c->num_heads, (long long)c->num_kv_heads);
    CAI_TRY(hf_json_int_or(path, o, "head_dim", 2, 4096, 0, &c->head_dim));
    if (!c->head_dim && c->hidden_size % c->num_heads)
        return cai_fail(CAI_EINPUT,
                        "%s: \"hidden_size\" %lld is not a multiple of "
                        "\"num_attention_heads\" %lld and there is no \"head_dim\"",
                        path, (long long)c->hidden_size, (long long)c->num_heads);
    if (!c->head_dim)
        c->head_dim = c->hidden_size / c->num_heads;
    if (c->head_dim % 2)
        return cai_fail(CAI_EINPUT,
                        "%s: the head dimension %lld is odd; rotary positions need an "
                        "even one",
                        path, (long long)c->head_dim);
    return 0;
}

/* rope_type "default" is plain RoPE; anything else scales positions. */
static int check_rope_type(const char *path, const char *key, const json_t *scaling) {
    if (!scaling || json_is_null(scaling))
        return 0;
    if (!json_is_object(scaling))
        return cai_fail(CAI_EINPUT, "%s: \"%s\" must be an object or null, found %s", path, key,
                        hf_json_kind(scaling));
    const json_t *type = json_object_get(scaling, "rope_type");
    if (!type)
        type = json_object_get(scaling, "type");
    const char *name = json_string_value(type);
    if (name && strcmp(name, "default") == 0)
        return 0;
    return cai_fail(CAI_EINPUT,
                    "%s: \"%s\" of type \"%.32s\" is not supported in this version; use "
                    "a checkpoint with plain RoPE (rope_scaling null)",
                    path, key, name ? name : "(none)");
}

static int parse_rope(const char *path, const json_t *o, struct hf_config *c) {
    const json_t *v5 = json_object_get(o, "rope_parameters");
    CAI_TRY(check_rope_type(path, "rope_scaling", json_object_get(o, "rope_scaling")));
    CAI_TRY(check_rope_type(path, "rope_parameters", v5));
    const json_t *from = json_is_object(v5) && json_object_get(v5, "rope_theta") ? v5 : o;
    CAI_TRY(hf_json_real_or(path, from, "rope_theta", 1e-3, 1e15, 10000, &c->rope_theta));
    double partial, partial_v5;
    CAI_TRY(hf_json_real_or(path, o, "partial_rotary_factor", 0, 1, 1, &partial));
    CAI_TRY(hf_json_real_or(path, v5, "partial_rotary_factor", 0, 1, 1, &partial_v5));
    if (partial != 1 || partial_v5 != 1)
        return cai_fail(CAI_EINPUT,
                        "%s: \"partial_rotary_factor\" other than 1 is not supported in "
                        "this version; use a checkpoint that rotates whole heads",
                        path);
    return 0;
}

static int check_layer_types(const char *path, const json_t *list) {
    if (!list || json_is_null(list))
        return 0;
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        const char *s = json_string_value(v);
        if (!s || strcmp(s, "full_attention") != 0)
            return cai_fail(CAI_EINPUT,
                            "%s: \"layer_types\" names \"%.32s\"; this version computes "
                            "full_attention only",
                            path, s ? s : hf_json_kind(v));
    }
    return 0;
}

static int check_arithmetic(const char *path, const json_t *o) {
    const json_t *act = json_object_get(o, "hidden_act");
    const char *name = json_string_value(act);
    if (act && (!name || (strcmp(name, "silu") != 0 && strcmp(name, "swish") != 0)))
        return cai_fail(CAI_EINPUT,
                        "%s: \"hidden_act\" is \"%.32s\"; this version computes silu "
                        "only",
                        path, name ? name : hf_json_kind(act));
    CAI_TRY(refuse_key(path, json_object_get(o, "sliding_window"), "sliding_window",
                       "use a checkpoint where it is null"));
    CAI_TRY(refuse_key(path, json_object_get(o, "quantization_config"), "quantization_config",
                       "save the checkpoint unquantized, in float32, bfloat16 or float16"));
    CAI_TRY(refuse_key(path, json_object_get(o, "auto_map"), "auto_map",
                       "it names Python code of its own; use a checkpoint of the plain family"));
    return check_layer_types(path, json_object_get(o, "layer_types"));
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

static int parse_rest(const char *path, const json_t *o, struct hf_config *c) {
    CAI_TRY(hf_json_real_or(path, o, "rms_norm_eps", 0, 1, 1e-6, &c->rms_norm_eps));
    CAI_TRY(hf_json_bool_or(path, o, "tie_word_embeddings", false, &c->tie_word_embeddings));
    CAI_TRY(hf_json_bool_or(path, o, "attention_bias", false, &c->attention_bias));
    CAI_TRY(hf_json_bool_or(path, o, "mlp_bias", false, &c->mlp_bias));
    if (c->model_type[0] == 'm')
        c->attention_bias = c->mlp_bias = false; /* the Mistral classes have none */
    CAI_TRY(parse_token_id(path, o, "bos_token_id", c, &c->bos_token_id));
    CAI_TRY(parse_token_id(path, o, "pad_token_id", c, &c->pad_token_id));
    CAI_TRY(parse_eos(path, o, c));
    return parse_dtype(path, o, c);
}

int hf_config_parse(const char *path, const char *json, size_t len, struct hf_config *ret) {
    json_auto_t *o = NULL;
    CAI_TRY(hf_json_parse(path, json, len, HF_JSON_PLAIN, &o));
    struct hf_config c = {0};
    CAI_TRY(parse_family(path, o, &c));
    CAI_TRY(parse_architecture(path, o, &c));
    CAI_TRY(parse_labels(path, o, &c));
    CAI_TRY(check_arithmetic(path, o));
    CAI_TRY(parse_sizes(path, o, &c));
    CAI_TRY(parse_rope(path, o, &c));
    CAI_TRY(parse_rest(path, o, &c));
    *ret = c;
    return 0;
}

int hf_config_load(const char *dir, struct hf_config *ret) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "config.json");
    CAI_TRY(hf_require_file(dir, path, "the model's configuration"));
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(cai_file_read(path, CONFIG_MAX_BYTES, &b));
    return hf_config_parse(path, b.data ? b.data : "", b.len, ret);
}
