/* config_rope.c: reads rotary positions: rope_theta and rope_scaling of transformers 4,
 * rope_parameters of 5. Not for: the frequencies (model/rope.c). */
#include "hf/config.h"
#include "base/check.h"
#include "base/error.h"
#include <string.h>

static const struct {
    const char *name;
    enum hf_rope_kind kind;
} kinds[] = {{"default", HF_ROPE_DEFAULT}, {"linear", HF_ROPE_LINEAR},
             {"dynamic", HF_ROPE_DYNAMIC}, {"llama3", HF_ROPE_LLAMA3},
             {"yarn", HF_ROPE_YARN},       {"longrope", HF_ROPE_LONGROPE}};

/* A key we do not know might change the frequencies. */
static int check_keys(const struct config_reader *r, const char *key, const json_t *scaling) {
    static const char *const known[] = {
        "rope_type", "type", "factor", "rope_theta", "partial_rotary_factor",
        "original_max_position_embeddings", "low_freq_factor", "high_freq_factor", "beta_fast",
        "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate", "long_factor",
        "short_factor", "finetuned"};
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)scaling, name, v) {
        bool found = json_is_null(v);
        for (size_t i = 0; !found && i < CAI_COUNT(known); i++)
            found = strcmp(known[i], name) == 0;
        if (!found)
            return cai_fail(CAI_EINPUT,
                            "%s: \"%s\" holds \"%.64s\", which this version does not compute",
                            r->path, key, name);
    }
    return 0;
}

static int read_kind(const struct config_reader *r, const char *key, const json_t *scaling) {
    const json_t *type = json_object_get(scaling, "rope_type");
    const json_t *old = json_object_get(scaling, "type");
    const char *name = json_string_value(type ? type : old);
    bool phi3 = strcmp(r->f->model_type, "phi3") == 0;
    if (phi3 && name && (strcmp(name, "su") == 0 || (old && strcmp(name, "yarn") == 0)))
        name = "longrope"; /* the names of Phi-3's first files */
    for (size_t i = 0; name && i < CAI_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0) {
            r->c->rope.kind = kinds[i].kind;
            return 0;
        }
    return cai_fail(CAI_EINPUT,
                    "%s: \"%s\" of type \"%.32s\" is not supported; expected default, linear, "
                    "dynamic, llama3, yarn or longrope",
                    r->path, key, name ? name : "(none)");
}

static int read_factors(const struct config_reader *r, const char *key, const json_t *scaling,
                        double *ret) {
    int64_t want = hf_rotary_dim(r->c) / 2;
    const json_t *list = json_object_get(scaling, key);
    if (!json_is_array(list) || (int64_t)json_array_size(list) != want || want > HF_ROPE_FACTORS)
        return cai_fail(CAI_EINPUT, "%s: \"%s\" must be a list of %lld numbers (at most %d), one "
                        "for each pair of a head that turns", r->path, key, (long long)want,
                        HF_ROPE_FACTORS);
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        ret[i] = json_number_value(v);
        if (!(ret[i] > 0 && ret[i] < 1e9))
            return cai_fail(CAI_EINPUT, "%s: \"%s\"[%zu] must be a number above 0", r->path, key,
                            i);
    }
    r->c->rope.n_factors = (int)want;
    return 0;
}

static int require(const struct config_reader *r, const json_t *o, const char *key) {
    if (json_is_number(json_object_get(o, key)))
        return 0;
    return cai_fail(CAI_EINPUT, "%s: scaled RoPE of this type needs \"%s\"", r->path, key);
}

/* What the kind needs must be there; the rest has the formula's own values. */
static int check_kind(const struct config_reader *r, const json_t *s) {
    struct hf_rope *rope = &r->c->rope;
    switch (rope->kind) {
    case HF_ROPE_DEFAULT:
        *rope = (struct hf_rope){0};
        return 0;
    case HF_ROPE_LINEAR:
    case HF_ROPE_DYNAMIC:
    case HF_ROPE_YARN:
        return require(r, s, "factor");
    case HF_ROPE_LLAMA3:
        CAI_TRY(require(r, s, "factor"));
        CAI_TRY(require(r, s, "low_freq_factor"));
        CAI_TRY(require(r, s, "high_freq_factor"));
        if (rope->high_freq_factor <= rope->low_freq_factor)
            return cai_fail(CAI_EINPUT, "%s: \"high_freq_factor\" must be above "
                            "\"low_freq_factor\"", r->path);
        return require(r, s, "original_max_position_embeddings");
    case HF_ROPE_LONGROPE:
        CAI_TRY(read_factors(r, "long_factor", s, rope->long_factor));
        return read_factors(r, "short_factor", s, rope->short_factor);
    }
    return 0;
}

static int read_scaling(const struct config_reader *r, const char *key, const json_t *s) {
    struct hf_rope *rope = &r->c->rope;
    bool truncate;
    int64_t in_dict, top;
    CAI_TRY(check_keys(r, key, s));
    CAI_TRY(read_kind(r, key, s));
    CAI_TRY(hf_json_real_or(r->path, s, "factor", 1e-3, 1e6, 0, &rope->factor));
    CAI_TRY(hf_json_real_or(r->path, s, "low_freq_factor", 1e-6, 1e6, 0, &rope->low_freq_factor));
    CAI_TRY(hf_json_real_or(r->path, s, "high_freq_factor", 1e-6, 1e6, 0, &rope->high_freq_factor));
    CAI_TRY(hf_json_real_or(r->path, s, "beta_fast", 0, 1e6, 0, &rope->beta_fast));
    CAI_TRY(hf_json_real_or(r->path, s, "beta_slow", 0, 1e6, 0, &rope->beta_slow));
    CAI_TRY(hf_json_real_or(r->path, s, "mscale", 0, 1e3, 0, &rope->mscale));
    CAI_TRY(hf_json_real_or(r->path, s, "mscale_all_dim", 0, 1e3, 0, &rope->mscale_all_dim));
    CAI_TRY(hf_json_real_or(r->path, s, "attention_factor", 1e-6, 1e3, 0, &rope->attention_factor));
    CAI_TRY(hf_json_bool_or(r->path, s, "truncate", true, &truncate));
    CAI_TRY(hf_json_int_or(r->path, s, "original_max_position_embeddings", 1, (int64_t)1 << 31, 0,
                           &in_dict));
    /* longrope's stands beside the dictionary; Phi-3's class has a value of its own for it. */
    CAI_TRY(hf_json_int_or(r->path, r->o, "original_max_position_embeddings", 1, (int64_t)1 << 31,
                           strcmp(r->f->model_type, "phi3") == 0 && !in_dict ? 4096 : 0, &top));
    rope->no_truncate = !truncate;
    rope->original_positions = rope->kind == HF_ROPE_LONGROPE && top ? top : in_dict;
    return check_kind(r, s);
}

/* Gemma 3 in transformers 5: one dictionary for each type of layer. */
static int read_nested(const struct config_reader *r, const json_t *v5, const json_t **ret) {
    const json_t *full = json_object_get(v5, "full_attention");
    const json_t *local = json_object_get(v5, "sliding_attention");
    *ret = v5;
    if (!full && !local)
        return 0;
    if (!r->f->local_rope || !json_is_object(full) || !json_is_object(local))
        return cai_fail(CAI_EINPUT, "%s: \"rope_parameters\" by type of layer is read of Gemma 3 "
                        "only, with full_attention and sliding_attention", r->path);
    const char *type = json_string_value(json_object_get(local, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        return cai_fail(CAI_EINPUT, "%s: \"rope_parameters\" of sliding layers of type \"%.32s\" "
                        "is not supported; expected default", r->path, type);
    CAI_TRY(hf_json_real_or(r->path, local, "rope_theta", 1e-3, 1e15, 10000,
                            &r->c->rope_local_theta));
    *ret = full;
    return 0;
}

/* How much of a head turns: at the top, or in rope_parameters. */
static int read_partial(const struct config_reader *r, const json_t *v5) {
    const char *key = r->f->partial_key;
    double top, partial;
    CAI_TRY(hf_json_real_or(r->path, r->o, key, 1e-3, 1,
                            r->f->partial_rotary ? r->f->partial_rotary : 1, &top));
    CAI_TRY(hf_json_real_or(r->path, v5, "partial_rotary_factor", 1e-3, 1, top, &partial));
    r->c->partial_rotary = partial == 1 ? 0 : partial;
    if (hf_rotary_dim(r->c) < 2 || hf_rotary_dim(r->c) % 2)
        return cai_fail(CAI_EINPUT, "%s: %lld of a head's %lld elements turn, which is odd or too "
                        "few; rotary positions need pairs", r->path,
                        (long long)hf_rotary_dim(r->c), (long long)r->c->head_dim);
    return 0;
}

/* A sequence may grow to what the factor promises. */
static void widen(struct hf_config *c) {
    if (c->rope.kind != HF_ROPE_DYNAMIC)
        return;
    c->rope.original_positions = c->max_positions;
    if (c->rope.factor > 1)
        c->max_positions = (int64_t)((double)c->max_positions * c->rope.factor);
}

int config_read_rope(const struct config_reader *r) {
    const json_t *v5 = json_object_get(r->o, "rope_parameters");
    const json_t *scaling = json_object_get(r->o, "rope_scaling");
    const char *key = json_is_object(v5) ? "rope_parameters" : "rope_scaling";
    double base = r->f->theta ? r->f->theta : 10000;
    for (int i = 0; i < 2; i++) {
        const json_t *v = i ? v5 : scaling;
        if (v && !json_is_null(v) && !json_is_object(v))
            return cai_fail(CAI_EINPUT, "%s: \"%s\" must be an object or null, found %s", r->path,
                            i ? "rope_parameters" : "rope_scaling", hf_json_kind(v));
    }
    if (r->f->local_rope)
        CAI_TRY(hf_json_real_or(r->path, r->o, "rope_local_base_freq", 1e-3, 1e15, 10000,
                                &r->c->rope_local_theta));
    CAI_TRY(read_nested(r, v5, &v5));
    CAI_TRY(hf_json_real_or(r->path, r->o, r->f->theta_key, 1e-3, 1e15, base, &r->c->rope_theta));
    CAI_TRY(hf_json_real_or(r->path, v5, "rope_theta", 1e-3, 1e15, r->c->rope_theta,
                            &r->c->rope_theta));
    CAI_TRY(read_partial(r, v5));
    const json_t *from = json_is_object(v5) ? v5 : scaling;
    if (json_is_object(from))
        CAI_TRY(read_scaling(r, key, from));
    widen(r->c);
    return 0;
}
