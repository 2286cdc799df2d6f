/* trial.c: `constitution try`: replies, critiques and revisions under each principle, with
 * one model, outside any job and in memory only: a restart forgets them.
 *
 * reply (all prompts) → critique (principle × prompt) → revision → finished; each step is
 * one Generate task on an idle worker. A worker that is lost gives the step back. */
#include "control/trial.h"
#include "control/parts.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "constitution/render.h"
#include "hf/hf.h"
#include "proto/control.h"
#include "stage/build.h"
#include "stage/extract.h"
#include <string.h>

enum { TRIALS_MAX = 8, PROMPTS_MAX = CONTROL_TRY_PROMPTS, PRINCIPLES_MAX = 32, TOKENS_MAX = 256, TRIES_MAX = 3 };
enum trial_step { TRIAL_REPLY, TRIAL_CRITIQUE, TRIAL_REVISION, TRIAL_FINISHED };

struct trial_row { /* one principle and prompt */
    const struct principle *principle;
    size_t prompt;
    char *critique, *revision;
    enum extract_reason critique_reason, revision_reason;
};

struct trial {
    int64_t ticket;
    struct constitution *constitution;
    char *model_path, model_hash[65];
    uint64_t seed;
    char *prompts[PROMPTS_MAX], *replies[PROMPTS_MAX];
    size_t n_prompts, n_rows;
    struct trial_row *rows;
    enum trial_step step;
    uint64_t lease; /* 0 = nobody works on it */
    int tries;
    char failure[512];
    struct trial *next;
};

bool trials_name(const struct run *r, const char *path) {
    for (const struct trial *t = r->front->trials; t; t = t->next)
        if (t->lease && strcmp(t->model_path, path) == 0)
            return true;
    return false;
}

static void free_trial(struct trial *t) {
    for (size_t i = 0; i < t->n_prompts; i++) {
        free(t->prompts[i]);
        free(t->replies[i]);
    }
    for (size_t i = 0; i < t->n_rows; i++) {
        free(t->rows[i].critique);
        free(t->rows[i].revision);
    }
    free(t->rows);
    free(t->model_path);
    constitution_free(t->constitution);
    free(t);
}

void trials_free(struct run *r) {
    while (r->front->trials) {
        struct trial *t = r->front->trials;
        r->front->trials = t->next;
        free_trial(t);
    }
}

/* ---- starting -------------------------------------------------------------------- */

static int take_prompts(const struct request *q, struct trial *t) {
    const json_t *list = json_object_get(q->args, "prompts");
    size_t n = json_array_size(list);
    if (n == 0 || n > PROMPTS_MAX)
        return cai_fail(CAI_EINPUT, "prompts: give 1 to %d", PROMPTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !*text)
            return cai_fail(CAI_EINPUT, "prompts: each is a text");
        t->prompts[t->n_prompts++] = cai_strdup(text);
    }
    return 0;
}

static int take_principles(const struct request *q, struct trial *t) {
    const char *only = request_text(q, "principle");
    int64_t limit = request_int(q, "limit", 3);
    t->rows = cai_realloc(NULL, PRINCIPLES_MAX * PROMPTS_MAX, sizeof *t->rows);
    int64_t taken = 0;
    for (size_t i = 0; i < t->constitution->n_principles; i++) {
        const struct principle *p = &t->constitution->principles[i];
        bool fits = only ? strcmp(p->id, only) == 0 : p->enabled && p->weight > 0;
        if (!fits || !p->critique || !p->revision || taken >= limit || taken == PRINCIPLES_MAX)
            continue;
        taken++;
        for (size_t k = 0; k < t->n_prompts; k++)
            t->rows[t->n_rows++] = (struct trial_row){.principle = p, .prompt = k};
    }
    if (taken == 0)
        return cai_fail(CAI_ENOTFOUND, only ? "no principle '%s' with critique and revision"
                                            : "no principle with critique and revision%.0s",
                        only);
    return 0;
}

static int fill(const struct request *q, struct trial *t) {
    const char *ref = request_text(q, "ref");
    if (!ref && !request_text(q, "canonical"))
        return cai_fail(CAI_EINPUT, "constitution.try needs 'canonical' or 'ref'");
    CAI_TRY(request_constitution(q, ref, &t->constitution));
    CAI_TRY(take_prompts(q, t));
    CAI_TRY(take_principles(q, t));
    t->model_path = cai_strdup(request_text(q, "model"));
    t->seed = (uint64_t)request_int(q, "seed", 1);
    return hf_model_hash(t->model_path, t->model_hash);
}

/* The oldest finished one makes room. */
static int make_room(struct run *r) {
    size_t n = 0;
    struct trial **oldest = NULL;
    for (struct trial **at = &r->front->trials; *at; at = &(*at)->next, n++)
        if ((*at)->step == TRIAL_FINISHED)
            oldest = at; /* the list is newest first */
    if (n < TRIALS_MAX)
        return 0;
    if (!oldest)
        return cai_fail(CAI_ESTATE, "%d trials run already; wait for one to finish", TRIALS_MAX);
    struct trial *gone = *oldest;
    *oldest = gone->next;
    free_trial(gone);
    return 0;
}

int trial_start(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    CAI_TRY(make_room(r));
    struct trial *t = cai_alloc(sizeof *t);
    int rc = fill(q, t);
    if (rc < 0) {
        free_trial(t);
        return rc;
    }
    t->ticket = (int64_t)++r->next_lease;
    t->next = r->front->trials;
    r->front->trials = t;
    r->dirty = true;
    *ret = json_pack("{s:I}", "ticket", (json_int_t)t->ticket);
    return 0;
}

/* ---- tasks ----------------------------------------------------------------------- */

struct sheet { /* a Generate task under construction; texts live in the arena */
    struct cai_arena arena;
    Cai__V1__Task task;
    Cai__V1__Generate generate;
    Cai__V1__Model model;
    Cai__V1__Sampling sampling;
};

static void add_item(struct sheet *s, uint64_t item, const struct rendered *messages, size_t n,
                     const char *prefix) {
    struct cai_arena *a = &s->arena;
    Cai__V1__Conversation *c = cai_arena_alloc(a, sizeof *c);
    cai__v1__conversation__init(c);
    c->messages = cai_arena_array(a, n, sizeof *c->messages);
    for (size_t i = 0; i < n; i++) {
        Cai__V1__Message *m = c->messages[c->n_messages++] = cai_arena_alloc(a, sizeof *m);
        cai__v1__message__init(m);
        m->role = cai_arena_strdup(a, messages[i].role);
        m->text = cai_arena_strdup(a, messages[i].text);
        m->origin = cai_arena_strdup(a, messages[i].origin);
        m->drop = messages[i].drop;
    }
    Cai__V1__GenerateItem *g = cai_arena_alloc(a, sizeof *g);
    cai__v1__generate_item__init(g);
    g->item = item;
    g->n = 1;
    g->conversation = c;
    g->prefix = cai_arena_strdup(a, prefix ? prefix : "");
    s->generate.items[s->generate.n_items++] = g;
}

static void add_rendering(struct sheet *s, uint64_t item, struct rendering *r) {
    add_item(s, item, r->messages, r->n, r->prefix);
    rendering_free(r);
}

static void add_row(struct sheet *s, const struct trial *t, size_t i) {
    const struct trial_row *row = &t->rows[i];
    struct turn turns[2] = {{"user", t->prompts[row->prompt]},
                            {"assistant", t->replies[row->prompt]}};
    struct rendering r;
    if (!t->replies[row->prompt])
        return;
    if (t->step == TRIAL_CRITIQUE) {
        render_critique(t->constitution, row->principle, turns, 2, &r);
        add_rendering(s, i, &r);
    } else if (row->critique && row->critique_reason == EXTRACT_OK) {
        render_revision(t->constitution, row->principle, turns, 2, row->critique, &r);
        add_rendering(s, i, &r);
    }
}

static void open_sheet(struct sheet *s, const struct trial *t) {
    static const char *const phases[] = {"reply", "critique", "revision"};
    *s = (struct sheet){0};
    cai__v1__task__init(&s->task);
    cai__v1__generate__init(&s->generate);
    cai__v1__model__init(&s->model);
    cai__v1__sampling__init(&s->sampling);
    s->model.path = t->model_path;
    s->model.hash = (char *)t->model_hash;
    s->sampling.temperature = s->sampling.top_p = 1;
    s->sampling.max_tokens = TOKENS_MAX;
    s->generate.model = &s->model;
    s->generate.sampling = &s->sampling;
    s->generate.items = cai_arena_array(&s->arena, t->n_rows + t->n_prompts, sizeof(void *));
    s->task.stage = (char *)"try";
    s->task.phase = (char *)phases[t->step];
    s->task.seed = t->seed;
    s->task.work_case = CAI__V1__TASK__WORK_GENERATE;
    s->task.generate = &s->generate;
    for (size_t i = 0; t->step == TRIAL_REPLY && i < t->n_prompts; i++)
        add_item(s, i, &(struct rendered){"user", t->prompts[i], "data", 0}, 1, NULL);
    for (size_t i = 0; t->step != TRIAL_REPLY && i < t->n_rows; i++)
        add_row(s, t, i);
}

void trials_schedule(struct run *r) {
    for (struct trial *t = r->front->trials; t; t = t->next) {
        if (t->step == TRIAL_FINISHED || t->lease)
            continue;
        struct worker *w = r->workers;
        while (w && !worker_fits(r, w, "", NULL))
            w = w->next;
        if (!w)
            return;
        struct sheet s;
        open_sheet(&s, t);
        if (s.generate.n_items == 0)
            t->step = TRIAL_FINISHED; /* nothing was found to revise */
        else
            t->lease = lease_apart(r, &s.task, w);
        cai_arena_free(&s.arena);
    }
}

/* ---- results --------------------------------------------------------------------- */

static struct trial *trial_of(struct run *r, const struct lease *l) {
    for (struct trial *t = r->front->trials; t && l; t = t->next)
        if (t->lease == l->id)
            return t;
    return NULL;
}

static void take_row(struct trial *t, const Cai__V1__Generated *g) {
    struct trial_row *row = &t->rows[g->item];
    bool critique = t->step == TRIAL_CRITIQUE;
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct extract_input in = {critique ? EXTRACT_CRITIQUE : EXTRACT_REVISION, result_finish(g),
                               g->text, t->replies[row->prompt],
                               t->constitution->frames.no_flaw};
    enum extract_reason why = extract(&in, &text);
    char **at = critique ? &row->critique : &row->revision;
    *(critique ? &row->critique_reason : &row->revision_reason) = why;
    free(*at);
    *at = cai_strdup(text.len ? text.data : g->text);
}

static void take_result(struct trial *t, const Cai__V1__Result *result) {
    for (size_t i = 0; result && i < result->n_generated; i++) {
        const Cai__V1__Generated *g = result->generated[i];
        if (t->step == TRIAL_REPLY && g->item < t->n_prompts) {
            free(t->replies[g->item]);
            t->replies[g->item] = cai_strdup(g->text);
        } else if (t->step != TRIAL_REPLY && g->item < t->n_rows) {
            take_row(t, g);
        }
    }
    t->tries = 0;
    t->step++;
}

static void give_back(struct trial *t, const char *why) {
    t->lease = 0;
    if (++t->tries < TRIES_MAX)
        return;
    snprintf(t->failure, sizeof t->failure, "%s", why);
    t->step = TRIAL_FINISHED;
}

bool trial_outcome(struct run *r, struct worker *w, const Cai__V1__Done *done,
                   const Cai__V1__Failed *failed) {
    uint64_t epoch = done ? done->epoch : failed->epoch, id = done ? done->lease : failed->lease;
    struct lease *l = lease_of(r, w, epoch, id);
    struct trial *t = trial_of(r, l);
    if (!t)
        return false;
    if (done)
        take_result(t, done->result);
    else
        give_back(t, failed->text);
    t->lease = 0;
    lease_end(r, l);
    return true;
}

void trials_lost(struct run *r, struct worker *w) {
    struct trial *t = trial_of(r, w->lease);
    if (t)
        give_back(t, "its worker was lost");
}

/* ---- showing --------------------------------------------------------------------- */

static const char *verdict_of(const struct trial *t, const struct trial_row *row) {
    if (*t->failure)
        return t->failure;
    if (!row->critique)
        return "";
    if (row->critique_reason != EXTRACT_OK)
        return extract_reason_name(row->critique_reason);
    return row->revision ? extract_reason_name(row->revision_reason) : "";
}

static json_t *text_or_null(const char *s) { return s ? json_string(s) : json_null(); }

int trial_show(const struct request *q, json_t **ret) {
    int64_t ticket = request_int(q, "ticket", 0);
    struct trial *t = q->run->front->trials;
    while (t && t->ticket != ticket)
        t = t->next;
    if (!t)
        return cai_fail(CAI_ENOTFOUND, "there is no trial %lld; caid forgets them at a restart",
                        (long long)ticket);
    json_t *rows = json_array();
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct trial_row *row = &t->rows[i];
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:o, s:o, s:o, s:s}", "principle", row->principle->id,
                            "prompt", t->prompts[row->prompt], "reply",
                            text_or_null(t->replies[row->prompt]), "critique",
                            text_or_null(row->critique), "revision", text_or_null(row->revision),
                            "verdict", verdict_of(t, row)));
    }
    *ret = json_pack("{s:b, s:i, s:i, s:o}", "pending", (int)(t->step != TRIAL_FINISHED), "done",
                     (int)t->step, "total", (int)TRIAL_FINISHED, "rows", rows);
    return 0;
}
