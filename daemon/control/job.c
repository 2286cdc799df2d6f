/* job.c: verbs about jobs: submit, jobs, progress, show, logs, cancel, resume,
 * rollback, requeue. */
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "hf/adapter.h"
#include "hf/hf.h"
#include "run/admit.h"
#include "control/assets.h"
#include "run/keep.h"
#include "run/people.h"
#include "report/report.h"
#include "control/control.h"
#include <string.h>

enum { RECENT_MS = 3600 * 1000, JOBS_ROWS = 200, DATA_MAX = 512 << 20 };

/* ---- submit ---------------------------------------------------------------------- */

/* Data files are copied under their hash: an edited file cannot change a job. */
static int freeze(struct run *r, const char **io_path, struct cai_arena *a) {
    if (!*io_path)
        return 0;
    if (store_blob_is(r->store, *io_path))
        return 0;
    CAI_AUTO(buf) struct cai_buf data = {.max = DATA_MAX};
    CAI_TRY(cai_file_read(*io_path, DATA_MAX, &data));
    char hash[CAI_SHA256_HEX];
    CAI_AUTO(mem) char *path = NULL;
    CAI_TRY(store_blob_put(r->store, data.data ? data.data : "", data.len, hash, &path));
    *io_path = cai_arena_strdup(a, path);
    return 0;
}

static int freeze_data(struct run *r, struct job_spec *spec) {
    for (int role = 0; role < JOB_DATA_FILES; role++)
        CAI_TRY(freeze(r, job_data_at(spec, (enum job_data)role), &spec->arena));
    return 0;
}

static bool is_folder(const char *name) {
    return name && strcmp(name, "start") != 0 && strcmp(name, "latest") != 0;
}

static int check_model(const char *role, const char *path) {
    if (!is_folder(path))
        return 0;
    CAI_AUTO(mem) char *config = cai_path_join(path, "config.json");
    CAI_AUTO(mem) char *adapter = cai_path_join(path, "adapter_config.json");
    if (!cai_file_exists(config) && !cai_file_exists(adapter))
        return cai_fail(CAI_EINPUT,
                        "models.%s: %s is not a model folder that caid can see (no config.json)",
                        role, path);
    bool writes = strcmp(role, "pm") != 0;
    bool good = hf_check(path, false) == 0 && (!writes || hf_check_writes(path) == 0);
    return good ? 0 : cai_fail_in("models.%s", role);
}

/* That what is to be trained can be: score heads, and adapters over their base. */
static int check_trained(const struct job_spec *spec) {
    struct hf_adapter lora;
    bool prefers = spec->rounds > 0 && spec->prefer.enabled, own = is_folder(spec->models.pm);
    if (spec->data.classifier && hf_check_scores(spec->models.start, JOB_REMEDY_CLASSIFIER) < 0)
        return cai_fail_in("data.classifier");
    if (prefers &&
        hf_check_scores(own ? spec->models.pm : spec->models.start, JOB_REMEDY_PREFER) < 0)
        return cai_fail_in("stages.prefer");
    if (job_value_from_policy(spec) && hf_check_scores(spec->models.start, JOB_REMEDY_VALUE) < 0)
        return cai_fail_in("stages.ppo");
    if (spec->models.lora.rank == 0)
        return 0;
    int rc = hf_adapter_make(spec->models.lora.rank, spec->models.lora.alpha,
                             spec->models.lora.targets, &lora);
    if (rc == 0)
        rc = hf_adapter_check(spec->models.start, &lora);
    if (rc == 0 && prefers && own)
        rc = hf_adapter_check(spec->models.pm, &lora);
    if (rc == 0 && job_red_learns(spec) && is_folder(spec->models.red))
        rc = hf_adapter_check(spec->models.red, &lora);
    return rc < 0 ? cai_fail_in("models.lora") : 0;
}

int control_check_job(const struct job_spec *spec) {
    CAI_TRY(check_model("start", spec->models.start));
    CAI_TRY(check_model("generator", spec->models.generator));
    CAI_TRY(check_model("overseer", spec->models.overseer));
    CAI_TRY(check_model("second_overseer", spec->models.second_overseer));
    CAI_TRY(check_model("pm", spec->models.pm));
    CAI_TRY(check_model("red", spec->models.red));
    CAI_TRY(check_trained(spec));
    uint32_t round = 0;
    if (!stage_after(spec, 0, NULL, &round))
        return cai_fail(CAI_EINPUT, "every stage of the job is switched off");
    return 0;
}

/* The constitution that came with the request is stored; otherwise one is looked up. */
static int pin_constitution(struct run *r, const char *canonical, const char *name,
                            char **ret_revision) {
    if (!canonical) {
        CAI_AUTO(mem) char *text = NULL;
        return store_constitution_get(r->store, name, ret_revision, &text);
    }
    struct input_report report = {.file = "constitution"};
    struct constitution *c = NULL;
    int rc = constitution_parse("constitution", canonical, strlen(canonical), NULL, &report, &c);
    input_report_free(&report);
    CAI_TRY(rc);
    CAI_AUTO(buf) struct cai_buf form = {0};
    constitution_canonical(c, &form);
    rc = cai_buf_status(&form);
    if (rc == 0)
        rc = store_constitution_add(r->store, c->name, c->revision, form.data, "with a job");
    if (rc == 0)
        *ret_revision = cai_strdup(c->revision);
    constitution_free(c);
    return rc;
}

static int add_job(const struct request *q, const struct job_spec *spec, const json_t *uses,
                   int64_t *ret_id, char **ret_revision) {
    struct run *r = q->run;
    CAI_AUTO(mem) char *revision = NULL;
    CAI_TRY(pin_constitution(r, request_text(q, "canonical"), spec->constitution, &revision));
    json_t *full = job_to_json(spec);
    CAI_AUTO(mem) char *text = json_dumps(full, JSON_SORT_KEYS);
    json_decref(full);
    CAI_TRY(store_job_add(r->store, spec->name, text, revision, q->who->uid, q->key, ret_id));
    CAI_TRY(store_job_set_priority(r->store, *ret_id, spec->priority));
    CAI_TRY(assets_note_uses(r, *ret_id, uses));
    if (request_flag(q, "hold"))
        CAI_TRY(people_hold(q, *ret_id));
    const char *source = request_text(q, "source");
    CAI_AUTO(mem) char *event = cai_format("submitted, constitution %.12s%s%s", revision,
                                           source ? " from " : "", source ? source : "");
    CAI_TRY(store_event_add(r->store, *ret_id, CAI_LOG_INFO, event));
    *ret_revision = revision;
    revision = NULL;
    return 0;
}

static json_t *warnings_of(const struct job_spec *spec) {
    json_t *w = json_array();
    if (!spec->data.helpful)
        json_array_append_new(
            w, json_string("data.helpful is absent: without helpful replies in the mix the model "
                           "may learn to evade"));
    if (!spec->data.classifier)
        json_array_append_new(
            w, json_string("data.classifier is absent: harm is graded by the overseer with no "
                           "labelled data behind it, and rates are marked unverified"));
    if (spec->guards.tolerance > 0 && spec->guards.alpha > 0 && !spec->data.graded &&
        spec->human.grades == 0)
        json_array_append_new(
            w, json_string("guards.tolerance will halt the job: nobody checks its graders (data.graded, "
                           "human.grades)"));
    return w;
}

static int submit_spec(const struct request *q, struct job_spec *spec, const json_t *uses,
                       json_t **ret) {
    struct run *r = q->run;
    struct memory_plan plan;
    CAI_TRY(assets_readable(spec));
    CAI_TRY(control_check_job(spec));
    CAI_TRY(keep_submit_check(r, spec));
    CAI_TRY(memory_plan(spec, &plan));
    CAI_TRY(admit_check(r, spec, &plan));
    CAI_TRY(admit_disk(r, spec, NULL));
    CAI_TRY(CAI_FAILPOINT("submit.freeze.before"));
    CAI_TRY(freeze_data(r, spec));
    CAI_TRY(CAI_FAILPOINT("submit.freeze.after"));
    CAI_TRY(store_begin(r->store));
    int64_t id = 0;
    CAI_AUTO(mem) char *revision = NULL;
    int rc = add_job(q, spec, uses, &id, &revision);
    if (rc == 0)
        rc = CAI_FAILPOINT("submit.commit.before");
    CAI_TRY(store_end(r->store, rc));
    (void)CAI_FAILPOINT("submit.commit.after");
    if (!job_find(r, id))
        CAI_TRY(job_take(r, id));
    *ret = json_pack("{s:I, s:s, s:s, s:s, s:o, s:o}", "id", (json_int_t)id, "name", spec->name,
                     "state", request_flag(q, "hold") ? "HELD" : "PENDING", "revision", revision,
                     "warnings", warnings_of(spec), "memory", admit_json(r, &plan));
    return 0;
}

static int submit(const struct request *q, json_t **ret) {
    struct job_spec *spec = NULL;
    CAI_TRY(job_from_json(json_object_get(q->args, "spec"), &spec));
    int64_t smoke = request_int(q, "smoke", 0);
    CAI_AUTO(mem) char *dir = cai_path_join(q->run->o.state_dir, "estimates/smoke");
    json_t *uses = json_array();
    int rc = assets_resolve(q->run, spec, uses);
    if (rc == 0 && smoke)
        rc = rehearse_shrink(spec, smoke, dir);
    if (rc == 0)
        rc = submit_spec(q, spec, uses, ret);
    if (smoke && cai_dir_remove(dir) < 0) /* what the job needs of it, is frozen */
        cai_warn("%s", cai_error_text());
    json_decref(uses);
    job_free(spec);
    return rc;
}

/* ---- looking --------------------------------------------------------------------- */

struct listing {
    struct run *run;
    struct page page;
    const char *state;
    int64_t last;
    int64_t uid; /* -1: of everybody */
};

/* A page's "after" is here the last one's id, which costs nothing to find again. */
static int list_one(void *c, const struct store_job *row) {
    struct listing *l = c;
    const struct job_run *j = job_find(l->run, row->id);
    const char *state = job_state_name(j && j->full ? JOB_SUSPENDED : row->state);
    bool asked = (l->uid < 0 || row->uid == l->uid) &&
                 (!l->state || strcasecmp(l->state, state) == 0);
    l->page.seen = l->last + 1;
    if (asked && !page_add(&l->page, progress_json(l->run, row)))
        return 1;
    l->last = row->id;
    return 0;
}

static int jobs(const struct request *q, json_t **ret) {
    struct listing l = {q->run, {0}, request_text(q, "state"), request_int(q, "after", 0), -1};
    bool all = request_flag(q, "all");
    if (request_text(q, "user"))
        CAI_TRY(person_find(request_text(q, "user"), &l.uid));
    page_open(&l.page, q, JOBS_ROWS);
    int rc = store_jobs_page(q->run->store, l.last, all ? 0 : cai_wall_ms() - RECENT_MS, list_one,
                             &l);
    *ret = page_close(&l.page);
    return rc < 0 ? rc : 0;
}

static int progress(const struct request *q, json_t **ret) {
    struct store_job row;
    CAI_TRY(store_job_get(q->run->store, request_int(q, "id", 0), &row));
    *ret = progress_json(q->run, &row);
    store_job_free(&row);
    return 0;
}

static int list_model(void *c, const struct store_model *m) {
    json_t *about = json_loads(m->provenance, 0, NULL);
    json_array_append_new(c, json_pack("{s:i, s:s, s:s, s:i, s:I, s:s, s:s, s:o}", "round",
                                       (int)m->round, "stage", m->stage, "kind", m->kind, "k",
                                       (int)m->k, "step", (json_int_t)m->step, "path", m->path,
                                       "hash", m->hash, "provenance",
                                       about ? about : json_object()));
    return 0;
}

struct rate_list {
    struct graders graders;
    json_t *rows;
};

/* A rate once, however many rounds it has. */
static int list_rate(void *c, const struct store_metric *m) {
    struct rate_list *l = c;
    struct grader by;
    size_t i;
    json_t *row;
    if (!graders_of(&l->graders, m->stage, m->name, &by))
        return 0;
    json_array_foreach(l->rows, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "stage")), m->stage) == 0 &&
            strcmp(json_string_value(json_object_get(row, "rate")), m->name) == 0)
            return 0;
    }
    json_t *o = json_pack("{s:s, s:s}", "stage", m->stage, "rate", m->name);
    json_object_update_new(o, report_grader(&by));
    json_array_append_new(l->rows, o);
    return 0;
}

static int list_rates(struct run *r, int64_t job, json_t **ret) {
    struct rate_list l = {.rows = json_array()};
    *ret = l.rows;
    CAI_TRY(graders_load(r->store, job, &l.graders));
    return store_metrics_each(r->store, job, list_rate, &l);
}

static json_t *words_of(const char *text) {
    json_t *list = json_array();
    CAI_AUTO(mem) char *copy = cai_strdup(text);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            json_array_append_new(list, json_string(word));
    return list;
}

static json_t *time_or_null(int64_t ms) { return ms ? json_integer(ms) : json_null(); }

static int add_details(struct run *r, const struct store_job *row, json_t *o) {
    char digest[65];
    CAI_TRY(store_ledger_digest(r->store, row->id, digest));
    json_t *models = json_array();
    int rc = store_models_each(r->store, row->id, list_model, models);
    json_object_set_new(o, "models", models);
    json_t *rates = NULL;
    if (rc == 0)
        rc = list_rates(r, row->id, &rates);
    json_object_set_new(o, "rates", rates ? rates : json_array());
    json_object_set_new(o, "ledger", json_string(digest));
    json_object_set_new(o, "spec", json_loads(row->spec, 0, NULL));
    json_object_set_new(o, "revision", json_string(row->constitution));
    json_object_set_new(o, "numeric_class", json_string(row->numeric_class));
    json_object_set_new(o, "submitted_ms", json_integer(row->submitted_ms));
    json_object_set_new(o, "started_ms", time_or_null(row->started_ms));
    json_object_set_new(o, "finished_ms", time_or_null(row->finished_ms));
    json_object_set_new(o, "uid", json_integer(row->uid));
    json_object_set_new(o, "accepted", words_of(row->accepted));
    CAI_AUTO(mem) char *dir = cai_format("%s/jobs/%lld", r->o.state_dir, (long long)row->id);
    json_object_set_new(o, "work_dir", json_string(dir));
    double seconds = 0;
    int64_t tokens = 0;
    if (rc == 0)
        rc = store_task_costs(r->store, row->id, &seconds, &tokens);
    json_object_set_new(o, "cost", json_pack("{s:f, s:I}", "worker_seconds", seconds, "tokens",
                                             (json_int_t)tokens));
    return rc;
}

static int show(const struct request *q, json_t **ret) {
    struct store_job row;
    CAI_TRY(store_job_get(q->run->store, request_int(q, "id", 0), &row));
    *ret = progress_json(q->run, &row);
    int rc = add_details(q->run, &row, *ret);
    store_job_free(&row);
    return rc;
}

struct log_page {
    struct page page;
    int64_t last;
};

static const char *level_name(int level) {
    return level <= CAI_LOG_ERROR  ? "error"
           : level <= CAI_LOG_WARN ? "warn"
           : level <= CAI_LOG_INFO ? "info"
                                   : "debug";
}

static int list_event(void *c, int64_t id, int64_t wall_ms, int level, const char *text) {
    struct log_page *l = c;
    l->page.seen++;
    if (!page_add(&l->page, json_pack("{s:I, s:I, s:s, s:s}", "id", (json_int_t)id, "at_ms",
                                      (json_int_t)wall_ms, "level", level_name(level), "text",
                                      text)))
        return 1;
    l->last = id;
    return 0;
}

static int logs(const struct request *q, json_t **ret) {
    struct store_job row;
    CAI_TRY(store_job_get(q->run->store, request_int(q, "id", 0), &row));
    store_job_free(&row);
    struct log_page l;
    page_open(&l.page, q, 200);
    l.last = l.page.after;
    int rc = store_events_each(q->run->store, request_int(q, "id", 0), l.page.after, list_event,
                               &l);
    *ret = json_pack("{s:o, s:I}", "rows", l.page.rows, "next", (json_int_t)l.last);
    return rc < 0 ? rc : 0;
}

/* ---- changing -------------------------------------------------------------------- */

int reply_state(struct run *r, int64_t id, json_t **ret) {
    struct store_job row;
    CAI_TRY(store_job_get(r->store, id, &row));
    *ret = json_pack("{s:I, s:s}", "id", (json_int_t)id, "state", job_state_name(row.state));
    store_job_free(&row);
    return 0;
}

static int cancel(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    int64_t id = request_int(q, "id", 0);
    struct store_job row;
    CAI_TRY(store_job_get(r->store, id, &row));
    enum job_state state = row.state;
    store_job_free(&row);
    if (state == JOB_COMPLETED || state == JOB_FAILED)
        return cai_fail(CAI_ESTATE, "job %lld is %s already", (long long)id, job_state_name(state));
    struct job_run *j = job_find(r, id);
    if (j)
        job_end(r, j, JOB_CANCELLED, "cancelled");
    else if (state != JOB_CANCELLED)
        CAI_TRY(store_job_set_state(r->store, id, JOB_CANCELLED, "cancelled", ""));
    return reply_state(r, id, ret);
}

static int last_step(void *c, const struct store_model *m) {
    uint64_t *step = c;
    *step = m->step > *step ? m->step : *step;
    return 0;
}

/* From here on the policy is again the one of round `to`: registered as the newest of the
 * present round, so that whatever looks for the policy finds it. */
static int restore_policy(struct run *r, struct job_run *j, uint32_t to) {
    CAI_AUTO(mem) char *path = NULL, *hash = NULL;
    CAI_AUTO(mem) char *about = cai_format("{\"rollback_to\": %u}", to);
    uint64_t step = 0;
    CAI_TRY(store_models_each(r->store, j->id, last_step, &step));
    CAI_TRY(store_model_find(r->store, j->id, to, NULL, "policy", 0, &path, &hash));
    struct store_model m = {.job = j->id, .round = j->round, .stage = "rollback", .step = step + 1,
                            .kind = "policy", .path = path, .hash = hash, .provenance = about};
    return store_model_add(r->store, &m);
}

/* "guard-2" stands for every guard of round 2: "guard-2-rise". */
static bool gate_is(const char *accept, const char *gate) {
    size_t len = strlen(accept);
    bool guard = strncmp(accept, "guard-", 6) == 0 && strncmp(accept, gate, len) == 0;
    return strcmp(accept, gate) == 0 || (guard && gate[len] == '-');
}

/* `back`: the round whose policy is taken up again; negative = the present one. */
static int set_running(struct run *r, struct job_run *j, const char *accept, int64_t back,
                       const char *event) {
    CAI_TRY(store_begin(r->store));
    int rc = accept ? store_job_accept(r->store, j->id, accept) : 0;
    if (rc == 0 && back >= 0)
        rc = restore_policy(r, j, (uint32_t)back);
    if (rc == 0)
        rc = store_job_set_state(r->store, j->id, JOB_PENDING, "", "");
    if (rc == 0)
        rc = store_job_set_stopped(r->store, j->id, "");
    if (rc == 0)
        rc = store_event_add(r->store, j->id, CAI_LOG_INFO, event);
    if (rc == 0)
        rc = CAI_FAILPOINT("resume.commit.before");
    CAI_TRY(store_end(r->store, rc));
    (void)CAI_FAILPOINT("resume.commit.after");
    /* Read again as after a restart: what is accepted and where it stands. */
    int64_t id = j->id;
    leases_revoke_job(r, id, "the job is taken up again");
    job_drop(r, j);
    return job_take(r, id);
}

static int resume(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    int64_t id = request_int(q, "id", 0);
    const char *accept = request_text(q, "accept");
    struct store_job row;
    CAI_TRY(store_job_get(r->store, id, &row));
    CAI_AUTO(mem) char *gate = cai_strdup(row.gate);
    enum job_state state = row.state;
    store_job_free(&row);
    struct job_run *j = job_find(r, id);
    if (!j || (state != JOB_WAITING_REVIEW && state != JOB_HELD && state != JOB_SUSPENDED))
        return cai_fail(CAI_ESTATE, "job %lld is %s; there is nothing to resume", (long long)id,
                        job_state_name(state));
    if (accept && !gate_is(accept, gate))
        return cai_fail(CAI_ESTATE, *gate ? "job %lld waits for '%s', not for '%s'"
                                          : "job %lld waits for nothing to be accepted%.0s%.0s",
                        (long long)id, gate, accept);
    if (state == JOB_WAITING_REVIEW && *gate && !accept)
        return cai_fail(CAI_ESTATE,
                        "job %lld waits for a decision: look at 'caictl show %lld', then "
                        "'caictl resume %lld --accept %s'",
                        (long long)id, (long long)id, (long long)id, gate);
    CAI_AUTO(mem) char *event = accept ? cai_format("resumed; '%s' accepted by a person", accept)
                                       : cai_strdup("resumed");
    CAI_TRY(j->state == JOB_SUSPENDED ? job_unpause(r, j, event)
                                     : set_running(r, j, accept, -1, event));
    return reply_state(r, id, ret);
}

static int rollback(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    int64_t id = request_int(q, "id", 0), to = request_int(q, "to", 0);
    struct store_job row;
    CAI_TRY(store_job_get(r->store, id, &row));
    CAI_AUTO(mem) char *gate = cai_strdup(row.gate);
    struct job_run *j = job_find(r, id);
    bool waits = j && row.state == JOB_WAITING_REVIEW && strncmp(gate, "guard-", 6) == 0;
    store_job_free(&row);
    if (!waits)
        return cai_fail(CAI_ESTATE, "job %lld does not wait for a guard's decision; a job is rolled "
                        "back when a guard has stopped it", (long long)id);
    if (to < 0 || to >= j->round)
        return cai_fail(CAI_EINPUT, "--to %lld: job %lld is in round %u; expected 0 (the start) to "
                        "%u", (long long)to, (long long)id, j->round, j->round - 1);
    CAI_AUTO(mem) char *event = cai_format("rolled back to the policy of round %lld by a person",
                                           (long long)to);
    /* What else of the round was found, was found of the policy that is gone. */
    CAI_AUTO(mem) char *all = cai_format("guard-%u", j->round);
    CAI_TRY(set_running(r, j, all, to, event));
    return reply_state(r, id, ret);
}

static int requeue(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    int64_t id = request_int(q, "id", 0);
    struct store_job row;
    CAI_TRY(store_job_get(r->store, id, &row));
    enum job_state state = row.state;
    store_job_free(&row);
    if (state != JOB_FAILED && state != JOB_CANCELLED)
        return cai_fail(CAI_ESTATE, "job %lld is %s; only FAILED and CANCELLED jobs are requeued",
                        (long long)id, job_state_name(state));
    CAI_TRY(keep_requeue_check(r, id));
    CAI_TRY(store_begin(r->store));
    int rc = store_tasks_reset_failures(r->store, id);
    if (rc == 0)
        rc = store_job_set_state(r->store, id, JOB_PENDING, "", "");
    if (rc == 0)
        rc = store_job_set_stopped(r->store, id, "");
    if (rc == 0)
        rc = store_event_add(r->store, id, CAI_LOG_INFO, "requeued");
    if (rc == 0)
        rc = CAI_FAILPOINT("requeue.commit.before");
    CAI_TRY(store_end(r->store, rc));
    (void)CAI_FAILPOINT("requeue.commit.after");
    CAI_TRY(job_take(r, id));
    return reply_state(r, id, ret);
}

const struct verb job_verbs[] = {
    {"submit", true, "spec:o! canonical:s source:s hold:b smoke:i", submit},
    {"jobs", false, "all:b state:s user:s after:i limit:i", jobs},
    {"progress", false, "id:i!", progress},
    {"show", false, "id:i!", show},
    {"logs", false, "id:i! after:i limit:i", logs},
    {"cancel", true, "id:i!", cancel},
    {"resume", true, "id:i! accept:s", resume},
    {"rollback", true, "id:i! to:i!", rollback},
    {"requeue", true, "id:i!", requeue},
    {0},
};
