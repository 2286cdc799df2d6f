/* options.c: see options.h. */
#include "learn/options.h"

#include "base/error.h"

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

static void schedule(struct reader *r, enum train_schedule *ret) {
    static const char *const names[] = {"constant", "linear", "cosine"};
    *ret = TRAIN_CONSTANT;
    if (r->rc < 0)
        return;
    const char *s = json_string_value(find(r, "schedule"));
    for (int i = 0; s != NULL && i < 3; i++)
        if (strcmp(s, names[i]) == 0) {
            *ret = (enum train_schedule)i;
            return;
        }
    r->rc = cai_fail(CAI_EINPUT,
                     "%s options: \"schedule\" is %s; it must be constant, linear or cosine",
                     r->what, s != NULL ? s : "missing");
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
    lora(&r, &ret->lora);
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
    whole(&r, "epochs", 1, COUNT_MAX, &ret->epochs);
    whole(&r, "members", 1, 64, &ret->members);
    optional_whole(&r, "checkpoint_every", COUNT_MAX, &ret->checkpoint_every);
    optional(&r, "centre", 0, 1e6, &ret->centre);
    optional(&r, "margin", -1e6, 1e6, &ret->margin);
    return close_json(&r);
}

int options_classifier(const char *json, struct classifier_options *ret) {
    struct reader r;
    if (open_json(&r, "classifier", json) < 0)
        return cai_error_code();
    optimizer(&r, true, &ret->optimizer);
    lora(&r, &ret->lora);
    whole(&r, "epochs", 1, COUNT_MAX, &ret->epochs);
    number(&r, "held_out", 0, 0.9, &ret->held_out);
    optional_whole(&r, "checkpoint_every", COUNT_MAX, &ret->checkpoint_every);
    return close_json(&r);
}

int options_ppo(const char *json, struct ppo_options *ret) {
    struct reader r;
    if (open_json(&r, "ppo", json) < 0)
        return cai_error_code();
    optimizer(&r, false, &ret->optimizer);
    lora(&r, &ret->lora);
    whole(&r, "steps", 1, COUNT_MAX, &ret->steps);
    whole(&r, "rollouts", 1, 1000000, &ret->rollouts);
    whole(&r, "epochs", 1, 1000, &ret->epochs);
    whole(&r, "minibatches", 1, 100000, &ret->minibatches);
    whole(&r, "checkpoint_every", 0, COUNT_MAX, &ret->checkpoint_every);
    number(&r, "clip", 0, 1e6, &ret->clip);
    number(&r, "value_clip", 0, 1e6, &ret->value_clip);
    number(&r, "gamma", 0, 1, &ret->gamma);
    number(&r, "lambda", 0, 1, &ret->lambda);
    number(&r, "value_coef", 0, 1e6, &ret->value_coef);
    number(&r, "value_lr", 0, 1, &ret->value_lr);
    number(&r, "kl.coef", 0, 1e6, &ret->kl_coef);
    number(&r, "kl.target", 0, 1e6, &ret->kl_target);
    number(&r, "kl.horizon", 1, 1e12, &ret->kl_horizon);
    number(&r, "kl_budget", 0, 1e9, &ret->kl_budget);
    flag(&r, "whiten_advantages", &ret->whiten_advantages);
    flag(&r, "whiten_rewards", &ret->whiten_rewards);
    number(&r, "reward_clip", 0, 1e9, &ret->reward_clip);
    number(&r, "no_end_reward", -1e9, 1e9, &ret->no_end_reward);
    number(&r, "helpful", 0, 1, &ret->helpful);
    number(&r, "rollout.temperature", 1e-3, 100, &ret->temperature);
    number(&r, "rollout.top_p", 1e-6, 1, &ret->top_p);
    whole(&r, "rollout.max_tokens", 1, 1 << 20, &ret->max_tokens);
    optional(&r, "pm_variance", 0, 1e6, &ret->pm_variance);
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
    case TRAIN_CONSTANT: break;
    }
    return o->lr;
}
