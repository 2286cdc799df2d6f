/* models.c: roles → checkpoints. Not for training or checking them. */
#include "stage/models.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include <string.h>

/* Walks the models for the newest of a kind by (round, step), lowest stage name last. */
struct newest {
    const char *kind, *stage; /* stage NULL = any */
    uint32_t max_round, k;
    struct cai_arena *arena;
    struct model_ref *ret;
    uint32_t round;
    uint64_t step;
    bool found;
};

static int newest_take(void *context, const struct store_model *m) {
    struct newest *w = context;
    if (strcmp(m->kind, w->kind) != 0 || m->k != w->k || m->round > w->max_round)
        return 0;
    if (w->stage && strcmp(m->stage, w->stage) != 0)
        return 0;
    if (w->found && (m->round < w->round || (m->round == w->round && m->step < w->step)))
        return 0;
    w->found = true;
    w->round = m->round;
    w->step = m->step;
    w->ret->path = cai_arena_strdup(w->arena, m->path);
    w->ret->hash = cai_arena_strdup(w->arena, m->hash);
    return 0;
}

static int find(const struct stage_context *c, const char *kind, const char *stage, uint32_t round,
                uint32_t k, struct cai_arena *a, struct model_ref *ret, uint32_t *ret_round) {
    struct newest w = {kind, stage, round, k, a, ret, 0, 0, false};
    CAI_TRY(store_models_each(c->store, c->job_id, newest_take, &w));
    if (ret_round)
        *ret_round = w.round;
    return w.found ? 0 : CAI_ENOTFOUND;
}

/* A folder is anything but the two words. */
static bool is_folder(const char *name) {
    return name && strcmp(name, "start") != 0 && strcmp(name, "latest") != 0;
}

static int register_folder(const struct stage_context *c, const char *kind, const char *path) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct model_ref known;
    int rc = find(c, kind, "start", 0, 0, &a, &known, NULL);
    if (rc == 0 || rc != CAI_ENOTFOUND)
        return rc;
    char hash[CAI_SHA256_HEX];
    if (hf_model_hash(path, hash) < 0)
        return cai_fail_in("job %lld, models, '%s'", (long long)c->job_id, path);
    struct store_model m = {.job = c->job_id, .stage = "start", .kind = kind, .path = path,
                            .hash = hash, .provenance = "{}"};
    return store_model_add(c->store, &m);
}

int models_ensure(const struct stage_context *c) {
    CAI_TRY(register_folder(c, "policy", c->job->models.start));
    if (is_folder(c->job->models.overseer))
        CAI_TRY(register_folder(c, "overseer", c->job->models.overseer));
    if (is_folder(c->job->models.second_overseer))
        CAI_TRY(register_folder(c, "second_overseer", c->job->models.second_overseer));
    if (is_folder(c->job->models.generator))
        CAI_TRY(register_folder(c, "generator", c->job->models.generator));
    if (is_folder(c->job->models.pm))
        CAI_TRY(register_folder(c, "pm_start", c->job->models.pm));
    if (is_folder(c->job->models.red))
        CAI_TRY(register_folder(c, "red_start", c->job->models.red));
    return 0;
}

static int missing(const struct stage_context *c, const char *what) {
    return cai_fail(CAI_ESTATE, "job %lld: no %s is registered in round %u",
                    (long long)c->job_id, what, c->round);
}

int models_start(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret) {
    int rc = find(c, "policy", "start", 0, 0, a, ret, NULL);
    return rc == CAI_ENOTFOUND ? missing(c, "start model") : rc;
}

int models_policy(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                  struct model_ref *ret) {
    int rc = find(c, "policy", NULL, round, 0, a, ret, NULL);
    return rc == CAI_ENOTFOUND ? missing(c, "policy") : rc;
}

int models_role(const struct stage_context *c, const char *role, uint32_t round,
                struct cai_arena *a, struct model_ref *ret) {
    bool judge = strcmp(role, "judge") == 0;
    if (strcmp(role, "overseer") == 0 && c->job->skill.enabled && c->job->skill.use) {
        int trained = models_skilled(c, round, a, ret);
        if (trained != CAI_ENOTFOUND)
            return trained;
        cai_error_clear();
    }
    role = judge ? "overseer" : role;
    const struct {
        const char *role, *name, *kind;
    } roles[] = {{"overseer", c->job->models.overseer, "overseer"},
                 {"pm", c->job->models.pm, "pm_start"},
                 {"second_overseer", c->job->models.second_overseer, "second_overseer"},
                 {"generator", c->job->models.generator, "generator"},
                 {"red", c->job->models.red, "red_start"}};
    size_t i = 0;
    while (i < CAI_COUNT(roles) && strcmp(role, roles[i].role) != 0)
        i++;
    CAI_CHECK(i < CAI_COUNT(roles));
    const char *name = roles[i].name;
    if (name && strcmp(name, "latest") == 0)
        return models_policy(c, round, a, ret);
    if (!is_folder(name))
        return models_start(c, a, ret);
    int rc = find(c, roles[i].kind, "start", 0, 0, a, ret, NULL);
    return rc == CAI_ENOTFOUND ? missing(c, role) : rc;
}

int models_skilled(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                   struct model_ref *ret) {
    return find(c, "overseer", "skill", round, 0, a, ret, NULL);
}

int models_pm(const struct stage_context *c, uint32_t round, struct cai_arena *a,
              struct model_ref **ret, size_t *ret_n) {
    enum { MEMBERS_MAX = 64 };
    struct model_ref *members = cai_arena_array(a, MEMBERS_MAX, sizeof *members);
    uint32_t first = 0, r = 0;
    size_t n = 0;
    for (; n < MEMBERS_MAX; n++) {
        int rc = find(c, "pm", NULL, round, (uint32_t)n, a, &members[n], &r);
        if (rc == CAI_ENOTFOUND || (n && r != first))
            break;
        CAI_TRY(rc);
        first = r;
    }
    if (n == 0)
        return cai_fail(CAI_ENOTFOUND, "job %lld: no preference model was trained up to round %u; "
                        "switch the stage prefer on", (long long)c->job_id, round);
    *ret = members;
    *ret_n = n;
    return 0;
}

int models_red(const struct stage_context *c, uint32_t round, struct cai_arena *a,
               struct model_ref *ret, uint32_t *ret_round) {
    struct model_ref supervised;
    uint32_t of_red = 0, of_supervised = 0;
    int red = find(c, "red", NULL, round, 0, a, ret, &of_red);
    int other = find(c, "red_supervised", NULL, round, 0, a, &supervised, &of_supervised);
    if (other == 0 && (red == CAI_ENOTFOUND || of_supervised > of_red)) {
        *ret = supervised;
        of_red = of_supervised;
        red = 0;
    }
    if (ret_round)
        *ret_round = of_red;
    return red;
}

int models_classifier(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret) {
    return find(c, "classifier", NULL, UINT32_MAX, 0, a, ret, NULL);
}
