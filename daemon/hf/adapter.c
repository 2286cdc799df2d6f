/* adapter.c: see adapter.h. Only what PEFT's plain LoRA computes is read; every other
 * switch is refused by name. */
#include "hf/adapter.h"
#include "hf/json.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)4 << 20)

bool hf_adapter_is(const char *dir) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_config.json");
    return cai_file_exists(path);
}

double hf_adapter_scale(const struct hf_adapter *a) {
    return a->alpha / (a->rslora ? sqrt((double)a->rank) : (double)a->rank);
}

/* ---- from settings ----------------------------------------------------------------- */

static int add_target(const char *path, const char *name, size_t n, struct hf_adapter *a) {
    if (n == 0 || n >= sizeof a->targets[0] || a->n_targets == HF_ADAPTER_TARGETS)
        return cai_fail(CAI_EINPUT, "%s must be 1 to %d names of modules", path,
                        HF_ADAPTER_TARGETS);
    snprintf(a->targets[a->n_targets++], sizeof a->targets[0], "%.*s", (int)n, name);
    return 0;
}

int hf_adapter_make(int64_t rank, double alpha, const char *targets, struct hf_adapter *ret) {
    struct hf_adapter a = {.rank = rank, .alpha = alpha};
    CAI_CHECK(rank > 0 && alpha > 0);
    for (const char *s = targets;; s++) { /* s: behind a comma */
        s += strspn(s, " ");
        size_t n = strcspn(s, " ,");
        CAI_TRY(add_target("the targets of LoRA", s, n, &a));
        s += n + strspn(s + n, " ");
        if (*s == '\0')
            break;
        if (*s != ',')
            return cai_fail(CAI_EINPUT, "the targets of LoRA: commas go between names, in \"%.80s\"",
                            targets);
    }
    *ret = a;
    return 0;
}

int hf_adapter_check(const char *dir, const struct hf_adapter *a) {
    CAI_AUTO(mem) struct hf_param *params = NULL;
    struct hf_config c;
    int n;
    if (hf_adapter_is(dir))
        return cai_fail(CAI_EINPUT, "%s is an adapter already, and is trained on without LoRA "
                        "being asked for; or name its base, or merge it into that", dir);
    CAI_TRY(hf_config_load(dir, &c));
    if (c.sequence_classification)
        return cai_fail(CAI_EINPUT, "%s: an adapter's base must be a language model, this one has "
                        "a score head", dir);
    return hf_adapter_params(&c, a, &params, &n) < 0 ? cai_fail_in("%s", dir) : 0;
}

/* ---- reading --------------------------------------------------------------------- */

static bool empty(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

/* Switches of PEFT that change what an adapter computes, or what it was made against. */
static int refuse(const char *path, const json_t *o) {
    static const char *const keys[] = {
        "use_dora", "use_qalora", "lora_bias", "rank_pattern", "alpha_pattern",
        "layers_to_transform", "layers_pattern", "exclude_modules", "trainable_token_indices",
        "target_parameters", "layer_replication", "megatron_config", "alora_invocation_tokens",
        "arrow_config"};
    for (size_t i = 0; i < CAI_COUNT(keys); i++)
        if (!empty(json_object_get(o, keys[i])))
            return cai_fail(CAI_EINPUT, "%s: \"%s\" is not supported; adapters here are plain LoRA",
                            path, keys[i]);
    const json_t *bias = json_object_get(o, "bias"),
                 *init = json_object_get(o, "init_lora_weights");
    if (json_is_string(bias) && strcmp(json_string_value(bias), "none") != 0)
        return cai_fail(CAI_EINPUT, "%s: \"bias\" is \"%.32s\"; only \"none\" is supported", path,
                        json_string_value(bias));
    if (json_is_string(init) && strcmp(json_string_value(init), "gaussian") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: \"init_lora_weights\" is \"%.32s\", which changes the base "
                        "model too; only true, false and \"gaussian\" are supported",
                        path, json_string_value(init));
    return 0;
}

static int parse_type(const char *path, const json_t *o, struct hf_adapter *a) {
    const char *type, *task = json_string_value(json_object_get(o, "task_type"));
    CAI_TRY(hf_json_string(path, o, "peft_type", &type));
    if (strcmp(type, "LORA") != 0)
        return cai_fail(CAI_EINPUT, "%s: peft_type \"%.32s\" is not supported; expected LORA", path,
                        type);
    a->scalar = task && strcmp(task, "SEQ_CLS") == 0;
    if (task && !a->scalar && strcmp(task, "CAUSAL_LM") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: task_type \"%.32s\" is not supported; expected CAUSAL_LM or "
                        "SEQ_CLS",
                        path, task);
    const json_t *save = json_object_get(o, "modules_to_save");
    size_t i;
    json_t *v;
    json_array_foreach(save, i, v) {
        const char *name = json_string_value(v);
        bool head = name && (strcmp(name, "score") == 0 || strcmp(name, "classifier") == 0);
        if (!head || !a->scalar)
            return cai_fail(CAI_EINPUT,
                            "%s: \"modules_to_save\" names \"%.64s\"; only the score head "
                            "of a SEQ_CLS adapter is supported",
                            path, name ? name : hf_json_kind(v));
    }
    return 0;
}

static int parse_targets(const char *path, const json_t *o, struct hf_adapter *a) {
    CAI_AUTO(mem) char *what = cai_format("%s: \"target_modules\"", path);
    const json_t *list = json_object_get(o, "target_modules");
    const char *one = json_string_value(list);
    if (one && strcmp(one, "all-linear") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: \"target_modules\" is the pattern \"%.64s\"; write the names "
                        "of the modules as a list",
                        path, one);
    if (one)
        return add_target(path, one, strlen(one), a);
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cai_fail(CAI_EINPUT, "%s: \"target_modules\" must be a list of names, found %s",
                        path, hf_json_kind(list));
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
        CAI_TRY(add_target(what, json_is_string(v) ? json_string_value(v) : "",
                           json_string_length(v), a));
    return 0;
}

int hf_adapter_parse(const char *path, const char *json, size_t len, struct hf_adapter *ret) {
    json_auto_t *o = NULL;
    CAI_TRY(hf_json_parse(path, json, len, HF_JSON_PLAIN, &o));
    struct hf_adapter a = {0};
    CAI_TRY(parse_type(path, o, &a));
    CAI_TRY(refuse(path, o));
    CAI_TRY(hf_json_int(path, o, "r", 1, 1 << 14, &a.rank));
    CAI_TRY(hf_json_real_or(path, o, "lora_alpha", 1e-9, 1e9, 8, &a.alpha));
    CAI_TRY(hf_json_bool_or(path, o, "use_rslora", false, &a.rslora));
    CAI_TRY(hf_json_real_or(path, o, "lora_dropout", 0, 1, 0, &a.dropout));
    CAI_TRY(parse_targets(path, o, &a));
    const char *base = json_string_value(json_object_get(o, "base_model_name_or_path"));
    if (base && strlen(base) >= sizeof a.base)
        return cai_fail(CAI_EINPUT, "%s: \"base_model_name_or_path\" is too long", path);
    snprintf(a.base, sizeof a.base, "%s", base ? base : "");
    *ret = a;
    return 0;
}

int hf_adapter_load(const char *dir, struct hf_adapter *ret) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_config.json");
    CAI_TRY(hf_require_file(dir, path, "the adapter's configuration"));
    CAI_AUTO(buf) struct cai_buf b = {0};
    CAI_TRY(cai_file_read(path, CONFIG_MAX_BYTES, &b));
    return hf_adapter_parse(path, b.data ? b.data : "", b.len, ret);
}

int hf_adapter_base(const char *dir, const struct hf_adapter *a, char **ret) {
    if (!a->base[0])
        return cai_fail(CAI_EINPUT, "%s: adapter_config.json names no base model; set "
                        "base_model_name_or_path to its folder", dir);
    CAI_AUTO(mem) char *path = a->base[0] == '/' ? cai_strdup(a->base)
                                                 : cai_path_join(dir, a->base);
    CAI_AUTO(mem) char *config = cai_path_join(path, "config.json");
    if (!cai_file_exists(config))
        return cai_fail(CAI_EINPUT, "%s: the adapter's base model %s is not a folder with a "
                        "config.json; set base_model_name_or_path to where it is", dir, path);
    *ret = path;
    path = NULL;
    return 0;
}

/* ---- writing --------------------------------------------------------------------- */

int hf_adapter_save(const char *dir, const struct hf_adapter *a, const struct hf_config *c) {
    json_auto_t *o = json_object();
    json_t *targets = json_array();
    bool all = a->n_targets == 1 && strcmp(a->targets[0], "all-linear") == 0;
    for (int i = 0; i < a->n_targets; i++)
        json_array_append_new(targets, json_string(a->targets[i]));
    json_object_set_new(o, "peft_type", json_string("LORA"));
    json_object_set_new(o, "task_type", json_string(a->scalar ? "SEQ_CLS" : "CAUSAL_LM"));
    json_object_set_new(o, "base_model_name_or_path", json_string(a->base));
    json_object_set_new(o, "r", json_integer(a->rank));
    json_object_set_new(o, "lora_alpha", json_real(a->alpha));
    json_object_set_new(o, "use_rslora", json_boolean(a->rslora));
    json_object_set_new(o, "use_dora", json_false());
    json_object_set_new(o, "lora_dropout", json_real(a->dropout));
    json_object_set_new(o, "bias", json_string("none"));
    json_object_set_new(o, "fan_in_fan_out", json_boolean(hf_family(c)->conv1d));
    json_object_set_new(o, "inference_mode", json_true());
    json_object_set_new(o, "init_lora_weights", json_true());
    json_object_set_new(o, "modules_to_save", a->scalar ? json_pack("[s]", "score") : json_null());
    json_object_set_new(o, "target_modules",
                        all ? json_string("all-linear") : json_incref(targets));
    json_decref(targets);
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_config.json");
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    CAI_CHECK(text);
    int rc = cai_file_write_atomic(path, text, strlen(text));
    free(text);
    return rc;
}

int hf_adapter_save_weights(const char *dir, const struct hf_adapter *a,
                            const struct hf_tensor *tensors, size_t n) {
    const char *const metadata[] = {"base_sha256", a->base_hash, NULL};
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_model.safetensors");
    return hf_weights_save(path, tensors, n, a->base_hash[0] ? metadata : NULL);
}

/* ---- parameters -------------------------------------------------------------------- */

static bool is_projection(enum hf_slot slot) {
    return slot == HF_Q || slot == HF_K || slot == HF_V || slot == HF_O || slot == HF_GATE ||
           slot == HF_UP || slot == HF_DOWN;
}

/* "model.layers.0.self_attn.q_proj.weight" without ".weight", if a target is its ending. */
static int target_of(const struct hf_adapter *a, const char *module) {
    size_t n = strlen(module);
    for (int i = 0; i < a->n_targets; i++) {
        size_t k = strlen(a->targets[i]);
        if (strcmp(a->targets[i], "all-linear") == 0 || strcmp(a->targets[i], module) == 0 ||
            (n > k && module[n - k - 1] == '.' && strcmp(module + n - k, a->targets[i]) == 0))
            return i;
    }
    return -1;
}

struct adapter_list {
    const struct hf_adapter *a;
    struct hf_param *p;
    int n;
    bool met[HF_ADAPTER_TARGETS];
};

static struct hf_param *push(struct adapter_list *l, const struct hf_param *of,
                             enum hf_matrix matrix, const char *module, const char *tail) {
    struct hf_param *p = &l->p[l->n++];
    *p = *of;
    p->matrix = matrix;
    p->transposed = false; /* PEFT's matrices are [out, in] over Conv1D too */
    int len = snprintf(p->name, sizeof p->name, "base_model.model.%s%s", module, tail);
    CAI_CHECK(len > 0 && (size_t)len < sizeof p->name);
    return p;
}

static void add_projection(struct adapter_list *l, const struct hf_param *of,
                           const struct hf_param *before) {
    char module[sizeof of->name];
    snprintf(module, sizeof module, "%.*s", (int)(strlen(of->name) - strlen(".weight")), of->name);
    int target = target_of(l->a, module);
    if (target < 0)
        return;
    l->met[target] = true;
    if (!before || strcmp(before->name, of->name) != 0) { /* the parts of a fused one share A */
        struct hf_param *a = push(l, of, HF_LORA_A, module, ".lora_A.weight");
        a->shape[0] = a->file_rows = a->block = l->a->rank;
        a->shape[1] = of->shape[1];
        a->first = a->step = 0;
    }
    push(l, of, HF_LORA_B, module, ".lora_B.weight")->shape[1] = l->a->rank;
}

int hf_adapter_params(const struct hf_config *c, const struct hf_adapter *a,
                      struct hf_param **ret, int *ret_n) {
    CAI_AUTO(mem) struct hf_param *all = NULL;
    int n;
    CAI_TRY(hf_params(c, a->scalar, &all, &n));
    struct adapter_list l = {.a = a, .p = cai_alloc((size_t)(2 * n + 1) * sizeof *l.p)};
    for (int i = 0; i < n; i++)
        if (is_projection(all[i].slot))
            add_projection(&l, &all[i], i ? &all[i - 1] : NULL);
        else if (all[i].slot == HF_SCORE)
            push(&l, &all[i], HF_WHOLE, "score", ".weight");
    for (int i = 0; i < a->n_targets; i++)
        if (!l.met[i]) {
            free(l.p);
            return cai_fail(CAI_EINPUT,
                            "target module \"%s\" is not a projection of a layer of the "
                            "%s family",
                            a->targets[i], hf_family(c)->name);
        }
    *ret = l.p;
    *ret_n = l.n;
    return 0;
}

int hf_adapter_find(const struct hf_weights *w, const struct hf_param *p,
                    const struct hf_tensor **ret) {
    return hf_param_find_named(w, p, NULL, ret);
}

int hf_adapter_check_unused(const struct hf_weights *w, const struct hf_param *p, int n) {
    for (size_t i = 0; i < hf_weights_count(w); i++) {
        const char *name = hf_weights_at(w, i)->name;
        bool used = false;
        for (int j = 0; !used && j < n; j++)
            used = strcmp(p[j].name, name) == 0;
        if (!used)
            return cai_fail(CAI_EINPUT, "tensor %s is not part of the adapter that "
                            "adapter_config.json describes", name);
    }
    return 0;
}
