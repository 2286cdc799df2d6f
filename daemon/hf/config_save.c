/* config_save.c: writes config.json and generation_config.json with the names of
 * transformers 4 (torch_dtype, rope_theta), which 4.57 and 5 both open. Not for reading. */
#include "hf/family.h"
#include "base/check.h"
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

static void set(json_t *o, const char *key, json_t *v) {
    json_object_set_new(o, key, v);
}

static void set_int(json_t *o, const char *key, int64_t n) {
    set(o, key, json_integer(n));
}

/* 0 stands for none in hf_config. */
static void set_real_or_null(json_t *o, const char *key, double x) {
    set(o, key, x == 0 ? json_null() : json_real(x));
}

static void set_head(json_t *o, const struct hf_config *c, const struct hf_family *f) {
    const char *class = c->sequence_classification ? f->scalar_class : f->causal_class;
    set(o, "architectures", json_pack("[s]", class));
    set(o, "model_type", json_string(f->model_type));
    if (c->sequence_classification) {
        set(o, "id2label", json_pack("{ss}", "0", "LABEL_0"));
        set(o, "label2id", json_pack("{si}", "LABEL_0", 0));
    }
}

static void set_sizes(json_t *o, const struct hf_config *c, const struct hf_family *f) {
    bool old = f->gpt2_names, dynamic = c->rope.kind == HF_ROPE_DYNAMIC;
    set_int(o, "vocab_size", c->vocab_size);
    set_int(o, old ? "n_embd" : "hidden_size", c->hidden_size);
    set_int(o, old ? "n_inner" : "intermediate_size", c->intermediate_size);
    set_int(o, old ? "n_layer" : "num_hidden_layers", c->num_layers);
    set_int(o, old ? "n_head" : "num_attention_heads", c->num_heads);
    set_int(o, old ? "n_positions" : "max_position_embeddings",
            dynamic ? c->rope.original_positions : c->max_positions);
    if (f->norm == HF_NORM_LAYER)
        return;
    set_int(o, "num_key_value_heads", c->num_kv_heads);
    set_int(o, "head_dim", c->head_dim);
}

static json_t *reals(const double *x, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_real(x[i]));
    return list;
}

/* Phi-3's class takes a dictionary of exactly three fields, with the old name of the type. */
static json_t *longrope(const struct hf_config *c, bool phi3) {
    json_t *s = json_object();
    set(s, phi3 ? "type" : "rope_type", json_string("longrope"));
    set(s, "short_factor", reals(c->rope.short_factor, c->rope.n_factors));
    set(s, "long_factor", reals(c->rope.long_factor, c->rope.n_factors));
    if (!phi3 && c->rope.factor != 0)
        set(s, "factor", json_real(c->rope.factor));
    if (!phi3 && c->rope.attention_factor != 0)
        set(s, "attention_factor", json_real(c->rope.attention_factor));
    return s;
}

static json_t *scaling(const struct hf_config *c, bool phi3) {
    static const char *const names[] = {"default", "linear", "dynamic", "llama3", "yarn"};
    const struct hf_rope *r = &c->rope;
    if (r->kind == HF_ROPE_DEFAULT)
        return json_null();
    if (r->kind == HF_ROPE_LONGROPE)
        return longrope(c, phi3);
    const struct {
        const char *key;
        double value;
    } reals_of[] = {{"factor", r->factor}, {"low_freq_factor", r->low_freq_factor},
                    {"high_freq_factor", r->high_freq_factor}, {"beta_fast", r->beta_fast},
                    {"beta_slow", r->beta_slow}, {"mscale", r->mscale},
                    {"mscale_all_dim", r->mscale_all_dim},
                    {"attention_factor", r->attention_factor}};
    json_t *s = json_object();
    set(s, "rope_type", json_string(names[r->kind]));
    for (size_t i = 0; i < CAI_COUNT(reals_of); i++)
        if (reals_of[i].value != 0)
            set(s, reals_of[i].key, json_real(reals_of[i].value));
    if (r->original_positions && r->kind != HF_ROPE_DYNAMIC)
        set_int(s, "original_max_position_embeddings", r->original_positions);
    if (r->no_truncate)
        set(s, "truncate", json_false());
    return s;
}

static void set_rope(json_t *o, const struct hf_config *c, const struct hf_family *f) {
    bool phi3 = strcmp(f->model_type, "phi3") == 0;
    set(o, f->theta_key, json_real(c->rope_theta));
    set(o, "rope_scaling", scaling(c, phi3));
    if (f->local_rope)
        set(o, "rope_local_base_freq", json_real(c->rope_local_theta));
    if (c->partial_rotary != 0 || f->partial_rotary != 0)
        set(o, f->partial_key, json_real(c->partial_rotary == 0 ? 1 : c->partial_rotary));
    if (c->rope.kind == HF_ROPE_LONGROPE && c->rope.original_positions)
        set_int(o, "original_max_position_embeddings", c->rope.original_positions);
}

/* Windows and NoPE, layer by layer where the family has a list for it. */
static void set_layers(json_t *o, const struct hf_config *c, const struct hf_family *f) {
    json_t *types = json_array(), *has_rope = json_array();
    int64_t first = c->num_layers;
    for (int64_t i = c->num_layers - 1; i >= 0; i--) {
        bool slides = c->layers[i] & HF_LAYER_SLIDES;
        first = slides ? i : first;
        json_array_insert_new(types, 0, json_string(slides ? "sliding_attention"
                                                           : "full_attention"));
        json_array_insert_new(has_rope, 0, json_integer(!(c->layers[i] & HF_LAYER_NO_ROPE)));
    }
    if (f->slide != HF_SLIDE_NEVER)
        set(o, "sliding_window", c->sliding_window ? json_integer(c->sliding_window)
                                                   : json_null());
    if (f->slide == HF_SLIDE_SWITCHED) {
        set(o, "use_sliding_window", json_boolean(c->sliding_window > 0));
        set_int(o, "max_window_layers", first);
    }
    if (f->slide == HF_SLIDE_SWITCHED || f->slide == HF_SLIDE_PERIOD)
        set(o, "layer_types", json_incref(types));
    if (f->nope_layers)
        set(o, "no_rope_layers", json_incref(has_rope));
    json_decref(types);
    json_decref(has_rope);
}

static void set_specials(json_t *o, const struct hf_config *c, const struct hf_family *f) {
    static const char *const activations[] = {"silu", "gelu", "gelu_pytorch_tanh"};
    bool tanh = c->activation == HF_GELU_TANH;
    set(o, f->act_key, json_string(tanh && f->gpt2_names ? "gelu_new"
                                                         : activations[c->activation]));
    set(o, f->eps_key, json_real(c->rms_norm_eps));
    if (f->attention_bias == HF_BIAS_KEY)
        set(o, "attention_bias", json_boolean(c->attention_bias));
    if (f->mlp_bias == HF_BIAS_KEY)
        set(o, "mlp_bias", json_boolean(c->mlp_bias));
    if (f->own_scale)
        set(o, "query_pre_attn_scalar", json_real(c->query_scalar));
    if (f->softcaps) {
        set_real_or_null(o, "attn_logit_softcapping", c->attention_softcap);
        set_real_or_null(o, "final_logit_softcapping", c->logit_softcap);
    }
    if (f->parallel)
        set(o, "use_parallel_residual", json_boolean(!c->sequential_residual));
    if (f->gpt2_names) {
        set(o, "scale_attn_weights", json_boolean(!c->unscaled_attention));
        set(o, "scale_attn_by_inverse_layer_idx", json_boolean(c->layer_scaled_attention));
    }
}

int hf_config_save(const char *dir, const struct hf_config *c) {
    const struct hf_family *f = hf_family(c);
    CAI_CHECK(f->scalar_class || !c->sequence_classification); /* hf_params refuses it */
    json_auto_t *o = json_object();
    set_head(o, c, f);
    set_sizes(o, c, f);
    if (!f->learned_positions)
        set_rope(o, c, f);
    set_layers(o, c, f);
    set_specials(o, c, f);
    if (!f->gpt2_names)
        set(o, "attention_dropout", json_real(0));
    set(o, "initializer_range", json_real(0.02));
    set(o, "tie_word_embeddings", json_boolean(c->tie_word_embeddings));
    set_id(o, "bos_token_id", c->bos_token_id);
    set_eos(o, c);
    set_id(o, "pad_token_id", c->pad_token_id);
    set(o, "torch_dtype", json_string(dtype_name(c->dtype)));
    set(o, "use_cache", json_true());
    CAI_TRY(write_json(dir, "config.json", o));

    json_auto_t *g = json_object();
    json_object_set_new(g, "_from_model_config", json_true());
    set_id(g, "bos_token_id", c->bos_token_id);
    set_eos(g, c);
    set_id(g, "pad_token_id", c->pad_token_id);
    return write_json(dir, "generation_config.json", g);
}
