/* json.c: struct job_spec ↔ JSON. Members have the YAML's names and nesting, and every
 * setting is present. */
#include "base/error.h"
#include "job/job.h"
#include "job/settings.h"
#include <stdlib.h>
#include <string.h>

static json_t *value_of(const struct job_spec *j, const struct setting *s) {
    const void *at = (const char *)j + s->field.offset;
    switch (s->field.type) {
    case SCHEMA_INT:
        return json_integer(*(const int64_t *)at);
    case SCHEMA_NUMBER:
        return json_real(*(const double *)at);
    case SCHEMA_BOOL:
        return json_boolean(*(const bool *)at);
    default:
        return *(const char *const *)at ? json_string(*(const char *const *)at) : json_null();
    }
}

/* Puts `value` at the dotted path under o, making the objects between. */
static void put(json_t *o, const char *path, json_t *value) {
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        json_t *inner = json_object_get(o, name);
        if (!inner) {
            inner = json_object();
            json_object_set_new(o, name, inner);
        }
        o = inner;
    }
    json_object_set_new(o, path, value);
}

json_t *job_to_json(const struct job_spec *j) {
    json_t *o = json_object();
    for (size_t i = 0; i < n_settings; i++)
        put(o, settings[i].field.key, value_of(j, &settings[i]));
    return o;
}

/* Settings below a path. */
static json_t *below(const struct job_spec *j, const char *prefix) {
    json_t *o = json_object();
    size_t len = strlen(prefix);
    for (size_t i = 0; i < n_settings; i++)
        if (strncmp(settings[i].field.key, prefix, len) == 0)
            put(o, settings[i].field.key + len, value_of(j, &settings[i]));
    CAI_CHECK(json_object_size(o) > 0);
    return o;
}

json_t *job_stage_json(const struct job_spec *j, const char *stage) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "stages.%s.", stage);
    json_t *o = below(j, prefix);
    if (j->models.lora.rank > 0)
        json_object_set_new(o, "lora", below(j, "models.lora."));
    json_object_set_new(o, "zero", json_integer(j->models.zero));
    if (strcmp(stage, "ppo") == 0)
        json_object_set_new(o, "kl_budget", json_real(j->guards.kl_budget));
    json_object_set_new(o, "train_dtype", json_string(j->models.train_dtype));
    json_object_set_new(o, "micro_batch_tokens", json_integer(j->models.micro_batch_tokens));
    json_object_set_new(o, "recompute", json_string(j->models.recompute));
    json_object_set_new(o, "loss_spike", json_real(j->guards.loss_spike));
    json_object_set_new(o, "max_skipped", json_integer(j->guards.max_skipped));
    return o;
}

static int wrong(const char *path, const char *kind) {
    return cai_fail(CAI_EINPUT, "job: '%s' must be %s", path, kind);
}

static int take(struct job_spec *j, const struct setting *s, const json_t *v) {
    void *at = (char *)j + s->field.offset;
    const char *path = s->field.key;
    double d = json_number_value(v);
    bool ranged = s->field.min != 0 || s->field.max != 0;
    if (s->field.type == SCHEMA_BOOL) {
        if (!json_is_boolean(v))
            return wrong(path, "true or false");
        *(bool *)at = json_is_true(v);
        return 0;
    }
    if (s->field.type == SCHEMA_INT || s->field.type == SCHEMA_NUMBER) {
        bool whole = s->field.type == SCHEMA_INT;
        if (whole ? !json_is_integer(v) : !json_is_number(v))
            return wrong(path, whole ? "a whole number" : "a number");
        if (ranged && !(d >= s->field.min && d <= s->field.max))
            return cai_fail(CAI_EINPUT, "job: '%s' is %g, allowed %g to %g", path, d, s->field.min,
                            s->field.max);
        if (whole)
            *(int64_t *)at = json_integer_value(v);
        else
            *(double *)at = d;
        return 0;
    }
    if (!json_is_string(v))
        return wrong(path, "text");
    const char *text = json_string_value(v);
    for (size_t i = 0; s->field.choices; i++) {
        if (!s->field.choices[i])
            return cai_fail(CAI_EINPUT, "job: '%s' cannot be '%.60s'", path, text);
        if (strcmp(s->field.choices[i], text) == 0)
            break;
    }
    *(const char **)at = cai_arena_strdup(&j->arena, text);
    return 0;
}

/* NULL for a setting that has no value yet stays NULL. */
static int walk(struct job_spec *j, const char *prefix, const json_t *o) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        char path[128];
        int len = snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
        const struct setting *s = len > 0 && (size_t)len < sizeof path && !strchr(key, '.')
                                      ? setting_find(path, (size_t)len)
                                      : NULL;
        if (s && json_is_null(v) && !s->field.required)
            continue;
        if (s)
            CAI_TRY(take(j, s, v));
        else if (json_is_object(v) && (size_t)len < sizeof path && setting_is_group(path))
            CAI_TRY(walk(j, path, v));
        else
            return cai_fail(CAI_EINPUT, "job: unknown member '%.100s'", path);
    }
    return 0;
}

static int required(const struct job_spec *j) {
    for (size_t i = 0; i < n_settings; i++) {
        const struct setting *s = &settings[i];
        if (s->field.required && s->field.type == SCHEMA_STRING &&
            !*(const char *const *)((const char *)j + s->field.offset))
            return cai_fail(CAI_EINPUT, "job: '%s' is missing", s->field.key);
    }
    return j->version == JOB_VERSION ? 0
                                     : cai_fail(CAI_EINPUT, "job: schema version %lld is not %d",
                                                (long long)j->version, JOB_VERSION);
}

int job_from_json(const json_t *o, struct job_spec **ret) {
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "job: not a JSON object");
    struct job_spec *j = cai_alloc(sizeof *j);
    settings_default(j);
    for (size_t i = 0; i < n_settings; i++)
        j->given[i] = true;
    int rc = walk(j, "", o);
    const json_t *label = json_object_get(json_object_get(o, "stages"), "label");
    if (!json_object_get(label, "helpful")) /* a job from before there was such a setting */
        j->label.helpful = j->ppo.helpful;
    if (rc == 0)
        rc = required(j);
    if (rc < 0) {
        job_free(j);
        return rc;
    }
    *ret = j;
    return CAI_OK;
}
