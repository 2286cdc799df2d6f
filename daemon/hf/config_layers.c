/* config_layers.c: which layers slide or have no RoPE, and the keys that would change the
 * arithmetic in a way we do not compute: those are refused by name. Not for: RoPE itself
 * (config_rope.c). */
#include "hf/config.h"
#include "base/check.h"
#include "base/error.h"
#include <string.h>

/* The window that applies, 0 for none, from the keys of the family. */
static int read_window(const struct config_reader *r) {
    bool on = true;
    int64_t absent = r->f->slide_absent;
    if (json_is_null(json_object_get(r->o, "sliding_window")))
        absent = 0;
    if (r->f->slide == HF_SLIDE_SWITCHED)
        CAI_TRY(hf_json_bool_or(r->path, r->o, "use_sliding_window", false, &on));
    if (!on || r->f->slide == HF_SLIDE_NEVER)
        return 0;
    return hf_json_int_or(r->path, r->o, "sliding_window", 1, (int64_t)1 << 31, absent,
                          &r->c->sliding_window);
}

/* The family's own pattern, where layer_types is absent. */
static int default_types(const struct config_reader *r) {
    struct hf_config *c = r->c;
    int64_t full_below = 28, period = r->f->slide_period;
    if (r->f->slide == HF_SLIDE_SWITCHED)
        CAI_TRY(hf_json_int_or(r->path, r->o, "max_window_layers", 0, 1 << 20, 28, &full_below));
    if (r->f->slide == HF_SLIDE_PERIOD && r->f->local_rope)
        CAI_TRY(hf_json_int_or(r->path, r->o, "sliding_window_pattern", 1, 1 << 20, period,
                               &period));
    for (int64_t i = 0; i < c->num_layers; i++) {
        bool slides = false;
        if (r->f->slide == HF_SLIDE_ALL)
            slides = c->sliding_window > 0;
        else if (r->f->slide == HF_SLIDE_PERIOD)
            slides = (i + 1) % period != 0;
        else if (r->f->slide == HF_SLIDE_SWITCHED && r->f->nope_layers)
            slides = c->sliding_window > 0 && c->layers[i] & HF_LAYER_NO_ROPE;
        else if (r->f->slide == HF_SLIDE_SWITCHED)
            slides = c->sliding_window > 0 && i >= full_below;
        if (slides)
            c->layers[i] |= HF_LAYER_SLIDES;
    }
    return 0;
}

static int read_types(const struct config_reader *r, const json_t *list) {
    if (!json_is_array(list) || (int64_t)json_array_size(list) != r->c->num_layers)
        return cai_fail(CAI_EINPUT,
                        "%s: \"layer_types\" must be a list of %lld, one for each layer", r->path,
                        (long long)r->c->num_layers);
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        const char *s = json_string_value(v);
        bool slides = s && strcmp(s, "sliding_attention") == 0;
        if (!slides && (!s || strcmp(s, "full_attention") != 0))
            return cai_fail(CAI_EINPUT,
                            "%s: \"layer_types\" names \"%.32s\"; this version computes "
                            "full_attention and sliding_attention",
                            r->path, s ? s : hf_json_kind(v));
        if (slides && r->f->slide == HF_SLIDE_NEVER)
            return cai_fail(CAI_EINPUT,
                            "%s: \"layer_types\" names sliding_attention, but %s layers "
                            "are computed with full_attention only",
                            r->path, r->f->name);
        if (r->f->slide == HF_SLIDE_ALL && slides != (r->c->sliding_window > 0))
            return cai_fail(CAI_EINPUT, "%s: \"layer_types\" says \"%s\" of layer %zu, which %s's "
                            "\"sliding_window\" contradicts", r->path, s, i, r->f->name);
        if (slides)
            r->c->layers[i] |= HF_LAYER_SLIDES;
    }
    return 0;
}

static int read_nope(const struct config_reader *r) {
    if (!r->f->nope_layers)
        return 0;
    const json_t *list = json_object_get(r->o, "no_rope_layers"); /* 1: has RoPE */
    int64_t interval;
    CAI_TRY(hf_json_int_or(r->path, r->o, "no_rope_layer_interval", 1, 1 << 20, 4, &interval));
    bool given = list && !json_is_null(list);
    if (given && (!json_is_array(list) || (int64_t)json_array_size(list) != r->c->num_layers))
        return cai_fail(CAI_EINPUT, "%s: \"no_rope_layers\" must be a list of %lld, one for each "
                        "layer", r->path, (long long)r->c->num_layers);
    for (int64_t i = 0; i < r->c->num_layers; i++) {
        const json_t *v = given ? json_array_get(list, (size_t)i) : NULL;
        if (given && !json_is_integer(v) && !json_is_boolean(v))
            return cai_fail(CAI_EINPUT, "%s: \"no_rope_layers\" must hold 0 and 1", r->path);
        bool has = given ? json_is_true(v) || json_integer_value(v) != 0 : (i + 1) % interval != 0;
        if (!has)
            r->c->layers[i] |= HF_LAYER_NO_ROPE;
    }
    return 0;
}

int config_read_layers(const struct config_reader *r) {
    const json_t *list = json_object_get(r->o, "layer_types");
    CAI_TRY(read_window(r));
    CAI_TRY(read_nope(r));
    CAI_TRY(list && !json_is_null(list) ? read_types(r, list) : default_types(r));
    for (int64_t i = 0; i < r->c->num_layers; i++)
        if (r->c->layers[i] & HF_LAYER_SLIDES && r->c->sliding_window == 0)
            return cai_fail(CAI_EINPUT, "%s: layer %lld slides, but \"sliding_window\" is not set",
                            r->path, (long long)i);
    return 0;
}

/* ---- refusals ------------------------------------------------------------------------- */

/* A value under which the key changes nothing. */
static bool neutral(const json_t *v, double identity) {
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_number(v) && json_number_value(v) == identity) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

static int refuse_key(const struct config_reader *r, const char *key, const char *what_to_do) {
    return cai_fail(CAI_EINPUT, "%s: \"%s\" changes the arithmetic in a way this version does not "
                    "compute; %s", r->path, key, what_to_do);
}

/* Keys of other families, whose arithmetic none of ours has. identity: a value that is as
 * good as absent. */
static const struct {
    const char *key;
    double identity;
} foreign[] = {
    {"is_encoder_decoder", 0},   {"add_cross_attention", 0}, {"use_bidirectional_attention", 0},
    {"logit_scale", 1},          {"logits_scaling", 1},      {"embedding_multiplier", 1},
    {"residual_multiplier", 1},  {"attention_multiplier", 1}, {"scale_emb", 1},
    {"scale_depth", 0},          {"clip_qkv", 0},            {"qk_layernorm", 0},
    {"use_qk_norm", 0},          {"qk_norm", 0},             {"num_experts", 0},
    {"num_local_experts", 0},    {"n_routed_experts", 0},    {"alibi", 0},
    {"use_alibi", 0},            {"multi_query", 0},         {"attn_temperature_tuning", 0},
    {"attention_chunk_size", 0}, {"kv_lora_rank", 0},        {"pruned_heads", 0},
    {"rope_interleaved", 0},     {"use_mrope", 0},           {"parallel_attn", 0},
    {"attn_logit_softcap", 0},   {"final_logit_softcap", 0},
};

int config_refuse(const struct config_reader *r) {
    const json_t *quantized = json_object_get(r->o, "quantization_config");
    if (quantized && !json_is_null(quantized))
        return refuse_key(r, "quantization_config",
                          "save the checkpoint unquantized, in float32, bfloat16 or float16");
    /* Hub folders of Phi-3 name Python code beside the class that transformers has itself. */
    if (json_object_get(r->o, "auto_map") && !json_object_get(r->o, "architectures"))
        return refuse_key(r, "auto_map",
                          "it names Python code of its own; use a checkpoint of the plain family");
    for (size_t i = 0; i < CAI_COUNT(foreign); i++)
        if (!neutral(json_object_get(r->o, foreign[i].key), foreign[i].identity))
            return refuse_key(r, foreign[i].key, "use a checkpoint without it");
    const struct {
        const char *key;
        bool read;
    } own[] = {{"sliding_window", r->f->slide != HF_SLIDE_NEVER},
               {"attn_logit_softcapping", r->f->softcaps && !r->f->local_rope},
               {"final_logit_softcapping", r->f->softcaps},
               {"query_pre_attn_scalar", r->f->own_scale},
               {"rope_local_base_freq", r->f->local_rope},
               {"no_rope_layers", r->f->nope_layers},
               {"rotary_pct", r->f->parallel},
               {"use_parallel_residual", r->f->parallel},
               {"scale_attn_by_inverse_layer_idx", r->f->gpt2_names}};
    for (size_t i = 0; i < CAI_COUNT(own); i++)
        if (!own[i].read && !neutral(json_object_get(r->o, own[i].key), 0))
            return refuse_key(r, own[i].key, "use a checkpoint where it is null");
    return 0;
}
