/* config_save.c: writes config.json and generation_config.json with the names of
 * transformers 4 (torch_dtype, rope_theta), which 4.57 and 5 both open. Not for reading. */
#include "hf/hf.h"
#include "base/error.h"
#include "base/file.h"
#include <jansson.h>
#include <string.h>

static int write_json(const char *dir, const char *name, const json_t *o) {
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    CAI_CHECK(text);
    CAI_AUTO(buf) struct cai_buf b = {0};
    cai_buf_puts(&b, text);
    cai_buf_putc(&b, '\n');
    free(text);
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    return cai_file_write_atomic(path, b.data, b.len);
}

static void set_id(json_t *o, const char *key, int64_t id) {
    json_object_set_new(o, key, id < 0 ? json_null() : json_integer(id));
}

static void set_eos(json_t *o, const struct hf_config *c) {
    if (c->num_eos <= 1) {
        set_id(o, "eos_token_id", c->eos_token_id);
        return;
    }
    json_t *list = json_array();
    for (int i = 0; i < c->num_eos; i++)
        json_array_append_new(list, json_integer(c->eos_ids[i]));
    json_object_set_new(o, "eos_token_id", list);
}

static void set_sizes(json_t *o, const struct hf_config *c) {
    json_object_set_new(o, "vocab_size", json_integer(c->vocab_size));
    json_object_set_new(o, "hidden_size", json_integer(c->hidden_size));
    json_object_set_new(o, "intermediate_size", json_integer(c->intermediate_size));
    json_object_set_new(o, "num_hidden_layers", json_integer(c->num_layers));
    json_object_set_new(o, "num_attention_heads", json_integer(c->num_heads));
    json_object_set_new(o, "num_key_value_heads", json_integer(c->num_kv_heads));
    json_object_set_new(o, "head_dim", json_integer(c->head_dim));
    json_object_set_new(o, "max_position_embeddings", json_integer(c->max_positions));
}

static const char *dtype_name(enum hf_dtype t) {
    switch (t) {
    case HF_BF16:
        return "bfloat16";
    case HF_F16:
        return "float16";
    case HF_F64:
        return "float64";
    default:
        return "float32";
    }
}

static void set_head(json_t *o, const struct hf_config *c) {
    bool mistral = strcmp(c->model_type, "mistral") == 0;
    CAI_AUTO(mem)
    char *class =
        cai_format("%s%s", mistral ? "Mistral" : "Llama",
                   c->sequence_classification ? "ForSequenceClassification" : "ForCausalLM");
    json_object_set_new(o, "architectures", json_pack("[s]", class));
    json_object_set_new(o, "model_type", json_string(mistral ? "mistral" : "llama"));
    if (mistral)
        json_object_set_new(o, "sliding_window", json_null());
    if (c->sequence_classification) {
        json_object_set_new(o, "id2label", json_pack("{ss}", "0", "LABEL_0"));
        json_object_set_new(o, "label2id", json_pack("{si}", "LABEL_0", 0));
    }
}

int hf_config_save(const char *dir, const struct hf_config *c) {
    json_auto_t *o = json_object();
    set_head(o, c);
    set_sizes(o, c);
    json_object_set_new(o, "hidden_act", json_string("silu"));
    json_object_set_new(o, "rms_norm_eps", json_real(c->rms_norm_eps));
    json_object_set_new(o, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(o, "rope_scaling", json_null());
    json_object_set_new(o, "attention_bias", json_boolean(c->attention_bias));
    json_object_set_new(o, "mlp_bias", json_boolean(c->mlp_bias));
    json_object_set_new(o, "attention_dropout", json_real(0));
    json_object_set_new(o, "initializer_range", json_real(0.02));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tie_word_embeddings));
    set_id(o, "bos_token_id", c->bos_token_id);
    set_eos(o, c);
    set_id(o, "pad_token_id", c->pad_token_id);
    json_object_set_new(o, "torch_dtype", json_string(dtype_name(c->dtype)));
    json_object_set_new(o, "use_cache", json_true());
    CAI_TRY(write_json(dir, "config.json", o));

    json_auto_t *g = json_object();
    json_object_set_new(g, "_from_model_config", json_true());
    set_id(g, "bos_token_id", c->bos_token_id);
    set_eos(g, c);
    set_id(g, "pad_token_id", c->pad_token_id);
    return write_json(dir, "generation_config.json", g);
}
