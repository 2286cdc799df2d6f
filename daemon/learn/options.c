/* options.c: see options.h. */
#include "learn/options.h"

#include "base/check.h"
#include "base/error.h"
#include "shim/ct.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* Reads members one after another and keeps the first complaint. */
struct reader {
    const char *what;
    json_t *root;
    int rc;
};

/* "kl.coef" is the member "coef" of the object "kl", or the member "kl_coef". */
static json_t *find(const struct reader *r, const char *name) {
    const char *dot = strchr(name, '.');
    if (dot == NULL)
        return json_object_get(r->root, name);
    char flat[64], outer[32];
    size_t len = (size_t)(dot - name);
    snprintf(outer, sizeof outer, "%.*s", (int)len, name);
    snprintf(flat, sizeof flat, "%s_%s", outer, dot + 1);
    json_t *inner = json_object_get(json_object_get(r->root, outer), dot + 1);
    return inner != NULL ? inner : json_object_get(r->root, flat);
}

static void number(struct reader *r, const char *name, double low, double high, double *ret) {
    *ret = 0;
    if (r->rc < 0)
        return;
    json_t *v = find(r, name);
    if (!json_is_number(v)) {
        r->rc = cai_fail(CAI_EINPUT, "%s options: number \"%s\" is missing", r->what, name);
        return;
    }
    double x = json_number_value(v);
    if (!(x >= low && x <= high)) {
        r->rc = cai_fail(CAI_EINPUT, "%s options: \"%s\" is %g; it must be from %g to %g",
                         r->what, name, x, low, high);
        return;
    }
    *ret = x;
}

static void optional(struct reader *r, const char *name, double low, double high, double *ret) {
    *ret = 0;
    if (r->rc == 0 && find(r, name) != NULL)
        number(r, name, low, high, ret);
}

static void whole(struct reader *r, const char *name, int64_t low, int64_t high, int64_t *ret) {
    double x;
    number(r, name, (double)low, (double)high, &x);
    if (r->rc == 0 && x != floor(x))
        r->rc = cai_fail(CAI_EINPUT, "%s options: \"%s\" is %g; it must be a whole number",
                         r->what, name, x);
    *ret = r->rc == 0 ? (int64_t)x : 0;
}

static void optional_whole(struct reader *r, const char *name, int64_t high, int64_t *ret) {
    *ret = 0;
    if (r->rc == 0 && find(r, name) != NULL)
        whole(r, name, 0, high, ret);
}

static void flag(struct reader *r, const char *name, bool *ret) {
    *ret = false;
    if (r->rc < 0)
        return;
    json_t *v = find(r, name);
    if (!json_is_boolean(v))
        r->rc = cai_fail(CAI_EINPUT, "%s options: \"%s\" is missing; it must be true or false",
                         r->what, name);
    else
        *ret = json_is_true(v);
}

static void optional_flag(struct reader *r, const char *name, bool *ret) {
    *ret = false;
    if (r->rc == 0 && find(r, name) != NULL)
        flag(r, name, ret);
}

static void schedule(struct reader *r, enum train_schedule *ret) {
    static const char *const names[] = {"constant", "linear", "cosine", "inverse_sqrt"};
    *ret = TRAIN_CONSTANT;
    if (r->rc < 0)
        return;
    const char *s = json_string_value(find(r, "schedule"));
    for (int i = 0; s != NULL && i < 4; i++)
        if (strcmp(s, names[i]) == 0) {
            *ret = (enum train_schedule)i;
            return;
        }
    r->rc = cai_fail(CAI_EINPUT,
                     "%s options: \"schedule\" is %s; it must be constant, linear, cosine or "
                     "inverse_sqrt", r->what, s != NULL ? s : "missing");
}

/* The index of the member's word in `words` (NULL ends them); 0 when it is absent. */
static int word(struct reader *r, const char *name, const char *const *words) {
    const json_t *v = find(r, name);
    const char *s = json_string_value(v);
    if (r->rc < 0 || v == NULL)
        return 0;
    for (int i = 0; s != NULL && words[i] != NULL; i++)
        if (strcmp(s, words[i]) == 0)
            return i;
    r->rc = cai_fail(CAI_EINPUT, "%s options: \"%s\" cannot be %s", r->what, name,
                     s != NULL ? s : "anything but a word");
    return 0;
}

enum { COUNT_MAX = 1000000000 };

static void optimizer(struct reader *r, bool batch, struct train_optimizer *o) {
    number(r, "lr", 0, 1, &o->lr);
    number(r, "weight_decay", 0, 1, &o->weight_decay);
    number(r, "beta1", 0, 0.999999999, &o->beta1);
    number(r, "beta2", 0, 0.999999999, &o->beta2);
    number(r, "eps", 1e-30, 1, &o->eps);
    number(r, "clip_norm", 0, 1e30, &o->clip_norm);
    number(r, "warmup", 0, 1, &o->warmup);
    schedule(r, &o->schedule);
    if (batch)
        whole(r, "batch", 1, COUNT_MAX, &o->batch);
    else
        o->batch = 0;
    int64_t zero = 1;
    if (find(r, "zero") != NULL)
        whole(r, "zero", 0, 1, &zero);
    o->whole_moments = zero == 0;
    o->fault_every = 0;
    if (find(r, "fault_every") != NULL)
        number(r, "fault_every", 0, 1e9, &o->fault_every);
    optional_whole(r, "bucket", COUNT_MAX, &o->bucket);
    optional_whole(r, "micro_batch_tokens", COUNT_MAX, &o->micro_batch_tokens);
    o->recompute = (enum train_recompute)word(
        r, "recompute", (const char *const[]){"auto", "always", "never", NULL});
    o->batch_tokens = 0; /* where a kind knows them, it reads them */
}

static void clear(struct reader *r, double *ret) {
    optional(r, "clear", 0, 0.5, ret);
    if (r->rc == 0 && find(r, "clear") == NULL)
        *ret = 0.1;
}

/* rank 0 when there is no "lora". */
static void lora(struct reader *r, struct hf_adapter *ret) {
    int64_t rank;
    double alpha;
    *ret = (struct hf_adapter){0};
    if (r->rc < 0 || find(r, "lora") == NULL)
        return;
    whole(r, "lora.rank", 1, 1 << 14, &rank);
    number(r, "lora.alpha", 1e-9, 1e9, &alpha);
    const char *targets = json_string_value(find(r, "lora.targets"));
    if (r->rc == 0 && targets == NULL)
        r->rc = cai_fail(CAI_EINPUT, "%s options: \"lora.targets\" must be text", r->what);
    if (r->rc == 0)
        r->rc = hf_adapter_make(rank, alpha, targets, ret);
}

static bool half(struct reader *r) {
    bool wanted = word(r, "train_dtype", (const char *const[]){"float32", "bfloat16", NULL}) == 1;
    if (r->rc == 0 && wanted && !ct_half_pays())
        r->rc = cai_fail(CAI_EINPUT, "models.train_dtype is bfloat16, but this processor has no "
                         "instructions for it (AVX512-BF16 or AMX) and would be many times slower; "
                         "use float32");
    return wanted;
}

static void guard(struct reader *r, struct train_guard *g) {
    optional(r, "loss_spike", 0, 1e9, &g->loss_spike);
    optional_whole(r, "max_skipped", COUNT_MAX, &g->max_skipped);
}

static int open_json(struct reader *r, const char *what, const char *json) {
    json_error_t e;
    *r = (struct reader){.what = what};
    r->root = json_loads(json != NULL ? json : "", JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(r->root)) {
        json_decref(r->root);
        return cai_fail(CAI_EINPUT, "%s options are not a JSON object: %s", what, e.text);
    }
    return 0;
}

static int close_json(struct reader *r) {
    json_decref(r->root);
    return r->rc;
}

int options_sft(const char *json, struct sft_options *ret) {
    struct reader r;
    if (open_json(&r, "sft", json) < 0)
        return cai_error_code();
    optimizer(&r, true, &ret->optimizer);
    optional_whole(&r, "batch_tokens", COUNT_MAX, &ret->optimizer.batch_tokens);
    lora(&r, &ret->lora);
    ret->half = half(&r);
    guard(&r, &ret->guard);
    whole(&r, "epochs", 1, COUNT_MAX, &ret->epochs);
    optional_whole(&r, "checkpoint_every", COUNT_MAX, &ret->checkpoint_every);
    return close_json(&r);
}

int options_pm(const char *json, struct pm_options *ret) {
    struct reader r;
    if (open_json(&r, "pm", json) < 0)
        return cai_error_code();
    optimizer(&r, true, &ret->optimizer);
    lora(&r, &ret->lora);
    ret->half = half(&r);
    guard(&r, &ret->guard);
    whole(&r, "epochs", 1, COUNT_MAX, &ret->epochs);
    whole(&r, "members", 1, 64, &ret->members);
    optional_whole(&r, "checkpoint_every", COUNT_MAX, &ret->checkpoint_every);
    optional(&r, "centre", 0, 1e6, &ret->centre);
    optional(&r, "margin", 0, 1e6, &ret->margin);
    optional_flag(&r, "average", &ret->average);
    clear(&r, &ret->clear);
    ret->shared = word(&r, "trunk", (const char *const[]){"own", "shared", NULL}) == 1;
    if (r.rc == 0 && ret->shared && (ret->average || ret->lora.rank > 0))
        r.rc = cai_fail(CAI_EINPUT, "pm options: members with a shared trunk can be neither "
                        "averaged nor adapters");
    return close_json(&r);
}

int options_classifier(const char *json, struct classifier_options *ret) {
    struct reader r;
    if (open_json(&r, "classifier", json) < 0)
        return cai_error_code();
    optimizer(&r, true, &ret->optimizer);
    lora(&r, &ret->lora);
    ret->half = half(&r);
    guard(&r, &ret->guard);
    whole(&r, "epochs", 1, COUNT_MAX, &ret->epochs);
    number(&r, "held_out", 0, 0.9, &ret->held_out);
    optional_whole(&r, "checkpoint_every", COUNT_MAX, &ret->checkpoint_every);
    return close_json(&r);
}

/* ---- the policy's algorithms --------------------------------------------------------- */

static enum train_algorithm algorithm(struct reader *r) {
    static const char *const names[] = {"ppo", "rloo", "grpo", "best_of_n", "dpo", NULL};
    return (enum train_algorithm)word(r, "algorithm", names);
}

static bool eps_place(struct reader *r) {
    return word(r, "eps_place", (const char *const[]){"pytorch", "tensorflow", NULL}) == 1;
}

static void rewards(struct reader *r, struct ppo_options *ret) {
    flag(r, "whiten_rewards", &ret->whiten_rewards);
    number(r, "reward_clip", 0, 1e9, &ret->reward_clip);
    number(r, "no_end_reward", -1e9, 1e9, &ret->no_end_reward);
    ret->no_end = (enum ppo_no_end)word(
        r, "no_end", (const char *const[]){"replace", "add", "keep", NULL});
    ret->trust = 1;
    if (r->rc == 0 && find(r, "trust") != NULL)
        number(r, "trust", 0, 1, &ret->trust);
    ret->normalise = (enum ppo_normalise)word(
        r, "normalise", (const char *const[]){"pairs", "reference", "running", "none", NULL});
    ret->pm_worst = word(r, "pm_combine", (const char *const[]){"mean", "worst", NULL}) == 1;
    optional(r, "pm_variance", 0, 1e6, &ret->pm_variance);
}

static void divergence(struct reader *r, struct ppo_options *ret) {
    number(r, "kl.coef", 0, 1e6, &ret->kl_coef);
    number(r, "kl.target", 0, 1e6, &ret->kl_target);
    number(r, "kl.horizon", 1, 1e12, &ret->kl_horizon);
    number(r, "kl_budget", 0, 1e9, &ret->kl_budget);
    ret->kl_estimator = word(r, "kl.estimator", (const char *const[]){"k1", "k2", "k3", NULL});
    optional(r, "kl.clamp", 0, 1e9, &ret->kl_clamp);
    optional(r, "kl.stop", 0, 1e9, &ret->kl_stop);
}

static void objective(struct reader *r, struct ppo_options *ret) {
    number(r, "clip", 0, 1e6, &ret->clip);
    optional(r, "clip_high", 0, 1e6, &ret->clip_high);
    optional(r, "dual_clip", 0, 1e6, &ret->dual_clip);
    optional(r, "advantage_clip", 0, 1e6, &ret->advantage_clip);
    optional(r, "max_ratio", 0, 1e9, &ret->max_ratio);
    flag(r, "whiten_advantages", &ret->whiten_advantages);
    ret->whiten_minibatch =
        word(r, "whiten_over", (const char *const[]){"rollouts", "minibatch", NULL}) == 1;
    ret->scale_std = word(r, "scale", (const char *const[]){"std", "none", NULL}) == 0;
    ret->aggregate = (enum ppo_aggregate)word(
        r, "aggregate", (const char *const[]){"tokens", "replies", "fixed", NULL});
    ret->group = 1;
    if (find(r, "group") != NULL)
        whole(r, "group", 2, 1 << 20, &ret->group);
}

static void values(struct reader *r, struct ppo_options *ret) {
    number(r, "value_clip", 0, 1e6, &ret->value_clip);
    number(r, "gamma", 0, 1, &ret->gamma);
    number(r, "lambda", 0, 1, &ret->lambda);
    number(r, "value_coef", 0, 1e6, &ret->value_coef);
    number(r, "value_lr", 0, 1, &ret->value_lr);
    optional_whole(r, "value_warmup", COUNT_MAX, &ret->value_warmup);
    ret->value_from_policy =
        word(r, "value_from", (const char *const[]){"pm", "policy", NULL}) == 1;
}

static void mixed(struct reader *r, struct ppo_options *ret) {
    optional(r, "ptx.coef", 0, 1e6, &ret->ptx_coef);
    ret->ptx_batch = 0;
    if (ret->ptx_coef > 0)
        whole(r, "ptx.batch", 1, 1 << 20, &ret->ptx_batch);
}

int options_algorithm(const char *json, enum train_algorithm *ret) {
    struct reader r;
    *ret = TRAIN_PPO;
    if (open_json(&r, "ppo", json) < 0)
        return cai_error_code();
    *ret = algorithm(&r);
    return close_json(&r);
}

/* Every reply is one of a group of so many, and no group is cut. */
static int check_groups(struct ppo_options *o) {
    bool compared = o->algorithm == TRAIN_RLOO || o->algorithm == TRAIN_GRPO ||
                    o->algorithm == TRAIN_BEST_OF_N;
    if (!compared)
        o->group = 1;
    else if (o->group < 2)
        return cai_fail(CAI_EINPUT, "ppo options: \"group\" is missing: this algorithm compares "
                        "replies to one prompt");
    if (o->rollouts % o->group != 0)
        return cai_fail(CAI_EINPUT, "ppo options: %lld rollouts are not a multiple of group %lld",
                        (long long)o->rollouts, (long long)o->group);
    return 0;
}

int options_ppo(const char *json, struct ppo_options *ret) {
    struct reader r;
    if (open_json(&r, "ppo", json) < 0)
        return cai_error_code();
    optimizer(&r, false, &ret->optimizer);
    lora(&r, &ret->lora);
    ret->half = half(&r);
    guard(&r, &ret->guard);
    ret->algorithm = algorithm(&r);
    ret->eps_tensorflow = eps_place(&r);
    whole(&r, "steps", 1, COUNT_MAX, &ret->steps);
    whole(&r, "rollouts", 1, 1000000, &ret->rollouts);
    whole(&r, "epochs", 1, 1000, &ret->epochs);
    whole(&r, "minibatches", 1, 100000, &ret->minibatches);
    whole(&r, "checkpoint_every", 0, COUNT_MAX, &ret->checkpoint_every);
    optional_whole(&r, "samples", 1000000, &ret->samples);
    optional_whole(&r, "sample_every", COUNT_MAX, &ret->sample_every);
    objective(&r, ret);
    values(&r, ret);
    divergence(&r, ret);
    rewards(&r, ret);
    number(&r, "helpful", 0, 1, &ret->helpful);
    number(&r, "rollout.temperature", 1e-3, 100, &ret->temperature);
    number(&r, "rollout.top_p", 1e-6, 1, &ret->top_p);
    whole(&r, "rollout.max_tokens", 1, 1 << 20, &ret->max_tokens);
    mixed(&r, ret);
    CAI_TRY(close_json(&r));
    return check_groups(ret);
}

int options_dpo(const char *json, struct dpo_options *ret) {
    struct reader r;
    if (open_json(&r, "dpo", json) < 0)
        return cai_error_code();
    optimizer(&r, false, &ret->optimizer);
    lora(&r, &ret->lora);
    ret->half = half(&r);
    guard(&r, &ret->guard);
    ret->eps_tensorflow = eps_place(&r);
    whole(&r, "dpo.batch", 1, COUNT_MAX, &ret->optimizer.batch);
    whole(&r, "dpo.epochs", 1, COUNT_MAX, &ret->epochs);
    number(&r, "dpo.beta", 1e-9, 1e6, &ret->beta);
    clear(&r, &ret->clear);
    optional_whole(&r, "checkpoint_every", COUNT_MAX, &ret->checkpoint_every);
    return close_json(&r);
}

int options_red(const char *json, struct red_options *ret) {
    struct reader r;
    if (open_json(&r, "red", json) < 0)
        return cai_error_code();
    number(&r, "red.alpha", 0, 1, &ret->alpha);
    number(&r, "red.penalty", -1e6, 0, &ret->penalty);
    flag(&r, "red.question", &ret->question);
    number(&r, "reply.temperature", 0, 100, &ret->temperature);
    number(&r, "reply.top_p", 1e-6, 1, &ret->top_p);
    whole(&r, "reply.max_tokens", 1, 1 << 20, &ret->max_tokens);
    return close_json(&r);
}

double train_rate(const struct train_optimizer *o, int64_t step, int64_t steps) {
    double warm = floor(o->warmup * (double)steps + 0.5);
    if ((double)step < warm)
        return o->lr * (double)(step + 1) / (warm + 1);
    double left = (double)steps - warm, done = ((double)step - warm) / (left > 0 ? left : 1);
    switch (o->schedule) {
    case TRAIN_LINEAR: return o->lr * (1 - done);
    case TRAIN_COSINE: return o->lr * 0.5 * (1 + cos(M_PI * done));
    case TRAIN_INVERSE_SQRT: return o->lr * sqrt((warm + 1) / (double)(step + 1));
    case TRAIN_CONSTANT: break;
    }
    return o->lr;
}
