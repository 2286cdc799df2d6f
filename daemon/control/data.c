/* data.c: what a job wrote, for people and outside judges: samples, export. Pages
 * are cut by position in a fixed order, so a page read twice is the same page. */
#include "base/error.h"
#include "base/file.h"
#include "report/report.h"
#include "control/attempts.h"
#include "control/control.h"
#include "stage/data.h"
#include "stage/extract.h"
#include <string.h>

enum { BLOB_MAX = 512 << 20 };

/* ---- samples --------------------------------------------------------------------- */

struct sampler {
    struct page page;
    int64_t round, item; /* -1 = any */
    const char *stage, *kind, *principle;
    json_t *group; /* the texts of one (round, stage, item) */
    uint32_t at_round;
    uint64_t at_item;
    char at_stage[32];
    bool full;
};

static json_t *example_json(const struct store_example *e) {
    json_t *detail = json_loads(e->detail, 0, NULL);
    return json_pack("{s:i, s:s, s:I, s:i, s:s, s:s, s:s, s:s, s:s, s:o}", "round", (int)e->round,
                     "stage", e->stage, "item", (json_int_t)e->item, "k", (int)e->k, "kind",
                     e->kind, "text", e->text, "principle", e->principle, "revision", e->revision,
                     "model", e->model, "detail", detail ? detail : json_object());
}

static bool wanted(const struct sampler *s, const struct store_example *e) {
    /* What stages note for themselves, and the frozen data, only when asked for. */
    if (!s->kind && strcmp(e->kind, "chunk") == 0)
        return false;
    if (!s->stage && strcmp(e->stage, "data") == 0)
        return false;
    return (s->item < 0 || e->item == (uint64_t)s->item) &&
           (s->round < 0 || e->round == (uint32_t)s->round) &&
           (!s->principle || strcmp(e->principle, s->principle) == 0);
}

/* By k, then kind: a reply, its first critique, its first revision, … */
static void insert_by_k(json_t *group, json_t *row) {
    int64_t k = json_integer_value(json_object_get(row, "k"));
    size_t at = json_array_size(group);
    while (at > 0 && json_integer_value(json_object_get(json_array_get(group, at - 1), "k")) > k)
        at--;
    json_array_insert_new(group, at, row);
}

static void flush_group(struct sampler *s) {
    size_t i;
    json_t *row;
    json_array_foreach(s->group, i, row) {
        if (s->full)
            break;
        if (page_wants(&s->page))
            s->full = !page_add(&s->page, json_incref(row));
    }
    json_array_clear(s->group);
}

/* The salt of an audit's key, before the key is opened (stage/canary.h). */
static bool is_secret(const struct store_example *e) {
    return strcmp(e->stage, "audit") == 0 && strcmp(e->kind, "salt") == 0;
}

static int sample_one(void *c, const struct store_example *e) {
    struct sampler *s = c;
    if (is_secret(e) || !wanted(s, e))
        return 0;
    if (e->round != s->at_round || e->item != s->at_item || strcmp(e->stage, s->at_stage) != 0) {
        flush_group(s);
        s->at_round = e->round;
        s->at_item = e->item;
        snprintf(s->at_stage, sizeof s->at_stage, "%s", e->stage);
    }
    insert_by_k(s->group, example_json(e));
    return s->full;
}

static int known_job(const struct request *q, int64_t *ret) {
    struct store_job row;
    *ret = request_int(q, "id", 0);
    CAI_TRY(store_job_get(q->run->store, *ret, &row));
    store_job_free(&row);
    return 0;
}

static int samples(const struct request *q, json_t **ret) {
    int64_t job = 0;
    CAI_TRY(known_job(q, &job));
    struct sampler s = {.round = request_int(q, "round", -1),
                        .item = request_int(q, "item", -1),
                        .stage = request_text(q, "stage"),
                        .kind = request_text(q, "kind"),
                        .principle = request_text(q, "principle"),
                        .group = json_array()};
    page_open(&s.page, q, 20);
    int rc = store_examples_each(q->run->store, job, s.round > 0 ? (uint32_t)s.round : 0, s.stage,
                                 s.kind, sample_one, &s);
    if (rc >= 0)
        flush_group(&s);
    json_decref(s.group);
    *ret = page_close(&s.page);
    return rc < 0 ? rc : 0;
}

/* ---- export ---------------------------------------------------------------------- */

struct exporter {
    struct page page;
    struct run *run;
    int64_t job;
    int64_t principles; /* per pair, to find a label's replies */
    int code;
};

static int put(struct exporter *x, json_t *row) { return !page_add(&x->page, row); }

static int export_example(void *c, const struct store_example *e) {
    struct exporter *x = c;
    return !is_secret(e) && page_wants(&x->page) ? put(x, example_json(e)) : 0;
}

static int export_reply(void *c, const struct store_example *e) {
    struct exporter *x = c;
    if (!page_wants(&x->page))
        return 0;
    json_t *messages = NULL, *row = NULL;
    if ((x->code = report_prompt(x->run->store, x->job, e->item, &messages, &row)) < 0)
        return x->code;
    json_t *detail = json_loads(e->detail, 0, NULL);
    const char *set = json_string_value(json_object_get(detail, "kind"));
    CAI_AUTO(mem) char *id = cai_format("%lld/%u/%s/%llu/%u", (long long)x->job, e->round, e->stage,
                                        (unsigned long long)e->item, e->k);
    json_t *o = json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:i, s:o, s:s, s:o}", "id", id, "round",
                          (int)e->round, "stage", e->stage, "model", e->model, "set",
                          set ? set : "", "item", (json_int_t)e->item, "k", (int)e->k, "messages",
                          messages, "reply", e->text, "data", row);
    json_decref(detail);
    return put(x, o);
}

/* What the job's own graders say of a reply: apart from `replies`, so that an outside judge
 * does not see it. */
static int export_grade(void *c, const struct store_example *e) {
    struct exporter *x = c;
    CAI_AUTO(mem) char *score = NULL;
    if (!page_wants(&x->page))
        return 0;
    CAI_AUTO(mem) char *id = cai_format("%lld/%u/%s/%llu/%u", (long long)x->job, e->round, e->stage,
                                        (unsigned long long)e->item, e->k);
    json_t *o = json_pack("{s:s, s:b, s:b}", "id", id, "refusal", extract_is_refusal(e->text),
                          "evasion", extract_is_evasion(e->text));
    int rc = store_example_get(x->run->store, x->job, e->round, "evaluate", e->item,
                               e->k ? "again_score" : "score", e->k, NULL, &score);
    if (rc == 0) {
        json_t *detail = json_loads(score, 0, NULL);
        json_object_set(o, "harmful", json_object_get(detail, "p"));
        json_decref(detail);
    } else if (rc == CAI_ENOTFOUND) { /* too long to be graded */
        cai_error_clear();
        json_object_set_new(o, "harmful", json_null());
    } else {
        json_decref(o);
        return x->code = rc;
    }
    return put(x, o);
}

static int export_label(void *c, const struct store_label *l) {
    struct exporter *x = c;
    if (!page_wants(&x->page))
        return 0;
    return put(x, json_pack("{s:i, s:I, s:i, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:b}",
                            "round", (int)l->round, "item", (json_int_t)l->item, "k", (int)l->k,
                            "principle", l->principle, "revision", l->revision, "model", l->model,
                            "source", l->source, "p", l->p, "p_ab", l->p_ab, "p_ba", l->p_ba,
                            "mass_ab", l->mass_ab, "mass_ba", l->mass_ba, "held_out",
                            (int)l->held_out));
}

static int export_pair(void *c, const struct store_label *l) {
    struct exporter *x = c;
    if (!page_wants(&x->page))
        return 0;
    bool own = strcmp(l->source, "human") == 0 && data_item_is_human(l->item);
    uint32_t pass = own ? 0 : l->k / (uint32_t)(x->principles > 0 ? x->principles : 1);
    CAI_AUTO(mem) char *a = NULL;
    CAI_AUTO(mem) char *b = NULL;
    json_t *messages = NULL;
    x->code = store_example_get(x->run->store, x->job, l->round, "label", l->item, "reply_a", pass,
                                &a, NULL);
    if (x->code == 0)
        x->code = store_example_get(x->run->store, x->job, l->round, "label", l->item, "reply_b",
                                    pass, &b, NULL);
    if (x->code == 0)
        x->code = report_prompt(x->run->store, x->job, l->item, &messages, NULL);
    if (x->code < 0)
        return x->code;
    bool first = l->p >= 0.5;
    return put(x, json_pack("{s:o, s:s, s:s, s:f, s:s, s:s, s:i, s:s}", "prompt", messages,
                            "chosen", first ? a : b, "rejected", first ? b : a, "p",
                            first ? l->p : 1 - l->p, "principle", l->principle, "revision",
                            l->revision, "round", (int)l->round, "source", l->source));
}

/* A sample of what PPO's policy wrote, with its reward. */
static int export_rollout(void *c, const struct store_example *e) {
    struct exporter *x = c;
    if (!page_wants(&x->page))
        return 0;
    json_t *detail = json_loads(e->detail, 0, NULL);
    json_t *o = json_pack("{s:I, s:i, s:O, s:s, s:O, s:O}", "step", (json_int_t)e->item, "k",
                          (int)e->k, "messages", json_object_get(detail, "messages"), "reply",
                          e->text, "reward", json_object_get(detail, "reward"), "kl",
                          json_object_get(detail, "kl"));
    json_decref(detail);
    return o ? put(x, o) : 0;
}

static int export_attempt(void *c, json_t *row) {
    struct exporter *x = c;
    if (page_wants(&x->page))
        return put(x, row);
    json_decref(row);
    return 0;
}

static int export_metric(void *c, const struct store_metric *m) {
    struct exporter *x = c;
    if (!page_wants(&x->page))
        return 0;
    return put(x, json_pack("{s:i, s:s, s:I, s:s, s:f}", "round", (int)m->round, "stage", m->stage,
                            "step", (json_int_t)m->step, "name", m->name, "value", m->value));
}

struct last_policy {
    json_t *row;
    uint32_t round;
    uint64_t step;
};

static int keep_last(void *c, const struct store_model *m) {
    struct last_policy *l = c;
    bool newer = !l->row || m->round > l->round || (m->round == l->round && m->step >= l->step);
    if (strcmp(m->kind, "policy") != 0 || !newer)
        return 0;
    json_decref(l->row);
    l->row = json_pack("{s:s, s:s, s:i, s:s}", "path", m->path, "hash", m->hash, "round",
                       (int)m->round, "stage", m->stage);
    l->round = m->round;
    l->step = m->step;
    return 0;
}

static int export_policy(struct exporter *x) {
    struct last_policy l = {0};
    int rc = store_models_each(x->run->store, x->job, keep_last, &l);
    if (rc == 0 && !l.row)
        rc = cai_fail(CAI_ENOTFOUND, "job %lld has no model yet", (long long)x->job);
    if (rc == 0 && page_wants(&x->page))
        put(x, l.row);
    else
        json_decref(l.row);
    return rc;
}

/* The rows that SFT was trained on, from the frozen dataset that its model names. */
static int export_lines(struct exporter *x, const char *hash) {
    CAI_AUTO(mem) char *path = cai_format("%s/blobs/%s", x->run->o.state_dir, hash);
    CAI_AUTO(buf) struct cai_buf text = {.max = BLOB_MAX};
    CAI_TRY(cai_file_read(path, BLOB_MAX, &text));
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        if (!page_wants(&x->page))
            continue;
        json_t *row = json_loads(line, 0, NULL);
        if (!row)
            return cai_fail(CAI_EIO, "%s is not JSON Lines", path);
        if (put(x, row))
            return 1;
    }
    return 0;
}

static int export_sft_model(void *c, const struct store_model *m) {
    struct exporter *x = c;
    if (strcmp(m->stage, "sft") != 0 || strcmp(m->kind, "policy") != 0)
        return 0;
    json_t *about = json_loads(m->provenance, 0, NULL);
    const char *hash = json_string_value(json_object_get(about, "dataset"));
    int rc = hash ? export_lines(x, hash) : 0;
    if (rc < 0)
        x->code = rc;
    json_decref(about);
    return rc;
}

/* First replies to all probes, then what they were asked again. */
static int export_both(struct exporter *x, const char *first, const char *then,
                       int (*f)(void *c, const struct store_example *e)) {
    int rc = store_examples_each(x->run->store, x->job, 0, "evaluate", first, f, x);
    return rc ? rc : store_examples_each(x->run->store, x->job, 0, "evaluate", then, f, x);
}

static int export_rows(struct exporter *x, const char *what) {
    struct store *s = x->run->store;
    if (strcmp(what, "replies") == 0)
        return export_both(x, "reply", "again", export_reply);
    if (strcmp(what, "grades") == 0)
        return export_both(x, "reply", "again", export_grade);
    if (strcmp(what, "examples") == 0)
        return store_examples_each(s, x->job, 0, NULL, NULL, export_example, x);
    if (strcmp(what, "red_team") == 0)
        return store_examples_each(s, x->job, 0, "red_team", "prompt", export_example, x);
    if (strcmp(what, "attempts") == 0)
        return attempts_each(s, x->job, export_attempt, x);
    if (strcmp(what, "labels") == 0)
        return store_labels_each(s, x->job, 0, export_label, x);
    if (strcmp(what, "pairs") == 0)
        return store_labels_each(s, x->job, 0, export_pair, x);
    if (strcmp(what, "rollouts") == 0)
        return store_examples_each(s, x->job, 0, "ppo", "rollout", export_rollout, x);
    if (strcmp(what, "metrics") == 0)
        return store_metrics_each(s, x->job, export_metric, x);
    if (strcmp(what, "sft") == 0)
        return store_models_each(s, x->job, export_sft_model, x);
    if (strcmp(what, "model") == 0)
        return export_policy(x);
    return cai_fail(CAI_EINPUT,
                    "there is no export '%s'; there are: replies grades examples sft pairs "
                    "labels rollouts red_team attempts metrics model",
                    what);
}

static int principles_of(struct run *r, int64_t job, int64_t *ret) {
    struct store_job row;
    CAI_TRY(store_job_get(r->store, job, &row));
    json_t *spec = json_loads(row.spec, 0, NULL);
    json_t *label = json_object_get(json_object_get(spec, "stages"), "label");
    *ret = json_integer_value(json_object_get(label, "principles"));
    json_decref(spec);
    store_job_free(&row);
    return 0;
}

static int export(const struct request *q, json_t **ret) {
    struct exporter x = {.run = q->run};
    CAI_TRY(known_job(q, &x.job));
    CAI_TRY(principles_of(q->run, x.job, &x.principles));
    page_open(&x.page, q, 200);
    int rc = export_rows(&x, request_text(q, "what"));
    *ret = page_close(&x.page);
    return x.code < 0 ? x.code : rc < 0 ? rc : 0;
}

const struct verb data_verbs[] = {
    {"samples", false, "id:i! round:i stage:s kind:s item:i principle:s after:i limit:i", samples},
    {"export", false, "id:i! what:s! after:i limit:i", export},
    {0},
};
