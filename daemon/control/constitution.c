/* constitution.c: verbs about constitutions: list, show, apply, rollback, stats,
 * try. A job pins a revision at submission; nothing here touches a job. */
#include "base/error.h"
#include "base/failpoint.h"
#include "control/control.h"
#include "control/trial.h"
#include <string.h>

/* ---- reading --------------------------------------------------------------------- */

static int parse_canonical(const char *text, struct constitution **ret) {
    struct input_report report = {.file = "constitution"};
    int rc = constitution_parse("constitution", text, strlen(text), NULL, &report, ret);
    input_report_free(&report);
    return rc;
}

struct listing {
    struct run *run;
    json_t *rows;
    const char *name;
};

struct users {
    const char *revision;
    int64_t n;
};
static int count_user(void *c, const struct store_job *j) {
    struct users *u = c;
    u->n += strcmp(j->constitution, u->revision) == 0;
    return 0;
}

static int64_t count_principles(struct run *r, const char *revision) {
    CAI_AUTO(mem) char *full = NULL;
    CAI_AUTO(mem) char *canonical = NULL;
    struct constitution *c = NULL;
    if (store_constitution_get(r->store, revision, &full, &canonical) < 0 ||
        parse_canonical(canonical, &c) < 0)
        return 0;
    int64_t n = (int64_t)c->n_principles;
    constitution_free(c);
    return n;
}

static int list_one(void *c, const char *name, const char *revision, int64_t wall_ms,
                    const char *message, bool current) {
    struct listing *l = c;
    if (l->name ? strcmp(l->name, name) != 0 : !current)
        return 0;
    struct users u = {revision, 0};
    CAI_TRY(store_jobs_each(l->run->store, count_user, &u));
    /* Newest first. */
    json_array_insert_new(l->rows, 0,
                          json_pack("{s:s, s:s, s:I, s:s, s:b, s:I, s:I}", "name", name, "revision",
                                    revision, "at_ms", (json_int_t)wall_ms, "message", message,
                                    "current", (int)current, "principles",
                                    (json_int_t)count_principles(l->run, revision), "jobs",
                                    (json_int_t)u.n));
    return 0;
}

static int list(const struct request *q, json_t **ret) {
    struct listing l = {q->run, json_array(), request_text(q, "name")};
    int rc = store_constitutions_each(q->run->store, list_one, &l);
    if (rc == 0 && l.name && json_array_size(l.rows) == 0)
        rc = cai_fail(CAI_ENOTFOUND, "there is no constitution '%s'", l.name);
    *ret = json_pack("{s:o}", "rows", l.rows);
    return rc;
}

static int show(const struct request *q, json_t **ret) {
    CAI_AUTO(mem) char *revision = NULL;
    CAI_AUTO(mem) char *canonical = NULL;
    CAI_TRY(store_constitution_get(q->run->store, request_text(q, "ref"), &revision, &canonical));
    struct constitution *c = NULL;
    CAI_TRY(parse_canonical(canonical, &c));
    *ret = json_pack("{s:s, s:s, s:s}", "name", c->name, "revision", revision, "canonical",
                     canonical);
    constitution_free(c);
    return 0;
}

/* ---- applying -------------------------------------------------------------------- */

struct applied {
    const char *name;
    char *previous; /* the current revision before; NULL = none */
    char *before;   /* the one before the current */
    char *last;
};

static int find_previous(void *c, const char *name, const char *revision, int64_t wall_ms,
                         const char *message, bool current) {
    struct applied *a = c;
    (void)wall_ms, (void)message;
    if (strcmp(name, a->name) != 0)
        return 0;
    if (current) {
        a->previous = cai_strdup(revision);
        a->before = a->last ? cai_strdup(a->last) : NULL;
    }
    free(a->last);
    a->last = cai_strdup(revision);
    return 0;
}

static void free_applied(struct applied *a) {
    free(a->previous);
    free(a->before);
    free(a->last);
}

/* Jobs of the same name's constitution: what keeps its revision. */
static json_t *affected(struct run *r, const char *name, bool pending) {
    json_t *ids = json_array();
    for (struct job_run *j = r->jobs; j; j = j->next)
        if (store_constitution_has(r->store, name, j->revision) > 0 && (j->state == JOB_PENDING) == pending)
            json_array_append_new(ids, json_integer(j->id));
    return ids;
}

static json_t *applied_json(struct run *r, const struct applied *a, const char *revision) {
    bool changed = !a->previous || strcmp(a->previous, revision) != 0;
    return json_pack("{s:s, s:s, s:s?, s:b, s:o, s:o}", "name", a->name, "revision", revision,
                     "previous", a->previous, "changed", (int)changed, "running",
                     affected(r, a->name, false), "pending", affected(r, a->name, true));
}

static int store_applied(const struct request *q, const struct applied *a,
                         const struct constitution *c, json_t **ret) {
    struct run *r = q->run;
    const char *message = request_text(q, "message");
    CAI_AUTO(buf) struct cai_buf form = {0};
    constitution_canonical(c, &form);
    CAI_TRY(cai_buf_status(&form));
    CAI_TRY(store_begin(r->store));
    int rc = store_constitution_add(r->store, c->name, c->revision, form.data,
                                    message ? message : "");
    if (rc == 0)
        rc = store_constitution_set_current(r->store, c->name, c->revision);
    if (rc == 0)
        rc = CAI_FAILPOINT("constitution.apply.before");
    *ret = applied_json(r, a, c->revision);
    return request_end(q, rc, *ret);
}

int request_constitution(const struct request *q, const char *ref, struct constitution **ret) {
    const char *text = request_text(q, "canonical");
    CAI_AUTO(mem) char *revision = NULL;
    CAI_AUTO(mem) char *canonical = NULL;
    if (!text)
        CAI_TRY(store_constitution_get(q->run->store, ref, &revision, &canonical));
    return parse_canonical(text ? text : canonical, ret);
}

static int apply(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    struct constitution *c = NULL;
    CAI_TRY(parse_canonical(request_text(q, "canonical"), &c));
    struct applied a = {.name = c->name};
    int rc = store_constitutions_each(r->store, find_previous, &a);
    if (rc == 0)
        rc = store_applied(q, &a, c, ret);
    (void)CAI_FAILPOINT("constitution.apply.after");
    free_applied(&a);
    constitution_free(c);
    return rc;
}

static int change_back(const struct request *q, const struct applied *a, const char *revision,
                       json_t **ret) {
    CAI_TRY(store_begin(q->run->store));
    int rc = CAI_FAILPOINT("constitution.rollback.before");
    if (rc == 0)
        rc = store_constitution_set_current(q->run->store, a->name, revision);
    *ret = applied_json(q->run, a, revision);
    rc = request_end(q, rc, *ret);
    if (rc == 0)
        (void)CAI_FAILPOINT("constitution.rollback.after");
    return rc;
}

static int rollback_to(const struct request *q, struct applied *a, const char *to, json_t **ret) {
    struct run *r = q->run;
    CAI_TRY(store_constitutions_each(r->store, find_previous, a));
    if (!a->previous)
        return cai_fail(CAI_ENOTFOUND, "there is no constitution '%s'", a->name);
    if (!to && !a->before)
        return cai_fail(CAI_ESTATE, "'%s' has no revision before the current one", a->name);
    CAI_AUTO(mem) char *revision = NULL;
    CAI_AUTO(mem) char *canonical = NULL;
    CAI_TRY(store_constitution_get(r->store, to ? to : a->before, &revision, &canonical));
    return change_back(q, a, revision, ret);
}

static int rollback(const struct request *q, json_t **ret) {
    struct applied a = {.name = request_text(q, "name")};
    int rc = rollback_to(q, &a, request_text(q, "to"), ret);
    free_applied(&a);
    return rc;
}

const struct verb constitution_verbs[] = {
    {"constitution.list", false, "name:s", list},
    {"constitution.show", false, "ref:s!", show},
    {"constitution.apply", true, "canonical:s! message:s", apply},
    {"constitution.rollback", true, "name:s! to:s", rollback},
    {"constitution.try", true, "canonical:s ref:s model:s! prompts:l! principle:s limit:i seed:i",
     trial_start},
    {"constitution.tried", false, "ticket:i!", trial_show},
    {0},
};
