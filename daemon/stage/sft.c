/* sft.c: supervised training on the revisions and on what self-consistency kept (consist.h), mixed
 * with helpful replies.
 *
 * Phases: reply (only when data.helpful has rows without one: the start model answers
 * them) → sft (a gang). Rows, by (round, item, step): the last good text of every prompt
 * that went through a step (`take: last`; a reply in which every critique that could be
 * read found no flaw counts as its own revision), or every changed revision (`take: all`);
 * then helpful replies, `helpful` per revision. Where a reader has decided about a rewrite
 * (review.h), that rules: a reader's own rewrite is taken in its place, and alone; what follows a
 * critique that was rejected is left out, and a reply all of whose critiques were rejected counts
 * as one in which none was found; of a rewrite that is worse than the reply neither is taken.
 * Examples: helpful (a reply of the start model). Models: policy.
 * Metrics: rows, rows_revisions, rows_kept (unrevised replies), rows_helpful, rows_consist
 *   (where that stage runs), and what the trainer names. */
#include "stage/sft.h"

#include "base/error.h"
#include "stage/build.h"
#include "stage/consist.h"
#include "stage/data.h"
#include "stage/dataset.h"
#include "stage/rates.h"
#include "stage/review.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

static bool enabled(const struct job_spec *job) { return job->sft.enabled; }

/* What one prompt gives in one round. */
struct mended {
    uint64_t item;
    const char *last; /* NULL: nothing usable */
    bool changed;
    bool alone; /* a reader's own text: none of the revisions beside it */
};

struct gathered {
    struct examples replies, critiques, revisions;
    size_t critique_at, revision_at, decision_at, n_decisions;
    struct rewrite_decision *decisions;
};

static const struct rewrite_decision *decision_of(struct gathered *g, uint64_t item) {
    while (g->decision_at < g->n_decisions && g->decisions[g->decision_at].item < item)
        g->decision_at++;
    bool there = g->decision_at < g->n_decisions && g->decisions[g->decision_at].item == item;
    return there ? &g->decisions[g->decision_at] : NULL;
}

/* Step k (1 … 63) rests on a critique that a reader rejected. */
static bool rejected(const struct rewrite_decision *d, uint32_t k) {
    return d && (d->rejected >> (k % 64) & 1);
}

/* A revision that training may take: one that changed something, on good grounds. */
static bool usable(const struct rewrite_decision *d, const struct store_example *r) {
    return !example_flag(r, "unchanged") && !rejected(d, r->k);
}

/* The rows of an item; the lists are in item order, so three cursors walk them together. */
static struct mended mend(struct gathered *g, const struct store_example *reply) {
    struct mended m = {.item = reply->item};
    const struct rewrite_decision *d = decision_of(g, m.item);
    bool flawed = false, clean = false;
    while (g->critique_at < g->critiques.n && g->critiques.at[g->critique_at].item < m.item)
        g->critique_at++;
    for (; g->critique_at < g->critiques.n && g->critiques.at[g->critique_at].item == m.item;
         g->critique_at++) {
        const struct store_example *x = &g->critiques.at[g->critique_at];
        bool none = example_flag(x, "no_flaw") || rejected(d, x->k);
        flawed = flawed || !none;
        clean = clean || none;
    }
    while (g->revision_at < g->revisions.n && g->revisions.at[g->revision_at].item < m.item)
        g->revision_at++;
    for (; g->revision_at < g->revisions.n && g->revisions.at[g->revision_at].item == m.item;
         g->revision_at++) {
        const struct store_example *r = &g->revisions.at[g->revision_at];
        if (rejected(d, r->k))
            continue;
        m.changed = m.changed || !example_flag(r, "unchanged");
        m.last = r->text;
    }
    if (d && d->edit)
        return (struct mended){.item = m.item, .last = d->edit, .changed = true, .alone = true};
    if (d && d->dropped && m.changed)
        return (struct mended){.item = m.item};
    /* A flaw was named but never mended: the text is known to be bad. */
    if (!m.changed)
        m.last = clean && !flawed ? reply->text : NULL;
    return m;
}

static int add_row(const struct stage_context *c, struct dataset *d, uint64_t item,
                   const char *text) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog o = {0};
    CAI_TRY(data_dialog(c, item, &a, &o));
    json_t *messages = data_messages(o.turns, o.n);
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "text", text));
    dataset_row(d, json_pack("{s:I, s:o}", "item", (json_int_t)item, "messages", messages));
    return 0;
}

static void push(struct sft_rows *rows, uint64_t item, const char *text, bool changed) {
    rows->at[rows->n++] = (struct sft_row){item, text, changed};
}

int sft_rows(const struct stage_context *c, uint32_t round, struct cai_arena *a,
             struct sft_rows *ret) {
    struct gathered g = {0};
    bool all = strcmp(c->job->sft.take, "all") == 0;
    CAI_TRY(examples_load(c, round, "revise", "reply", a, &g.replies));
    CAI_TRY(examples_load(c, round, "revise", "critique", a, &g.critiques));
    CAI_TRY(examples_load(c, round, "revise", "revision", a, &g.revisions));
    CAI_TRY(review_decisions(c, round, a, &g.decisions, &g.n_decisions));
    *ret = (struct sft_rows){
        cai_arena_array(a, g.replies.n + g.revisions.n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < g.replies.n; i++) {
        size_t before = g.revision_at;
        struct mended m = mend(&g, &g.replies.at[i]);
        const struct rewrite_decision *d = decision_of(&g, m.item);
        bool every = all && m.changed && !m.alone;
        if (m.last && !every)
            push(ret, m.item, m.last, m.changed);
        for (size_t r = before; every && r < g.revision_at; r++)
            if (g.revisions.at[r].item == m.item && usable(d, &g.revisions.at[r]))
                push(ret, m.item, g.revisions.at[r].text, true);
    }
    return 0;
}

struct counts {
    size_t revisions, kept, consist;
};

static int add_round(const struct stage_context *c, uint32_t round, struct dataset *d,
                     struct counts *n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct sft_rows rows;
    CAI_TRY(sft_rows(c, round, &a, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        CAI_TRY(add_row(c, d, rows.at[i].item, rows.at[i].text));
        n->revisions += rows.at[i].changed;
        n->kept += !rows.at[i].changed;
    }
    return consist_rows(c, round, d, &n->consist);
}

static int add_revisions(const struct stage_context *c, struct dataset *d, struct counts *n) {
    uint32_t first = c->job->sft.earlier_rounds ? 1 : c->round;
    for (uint32_t r = first; r <= c->round; r++)
        CAI_TRY(add_round(c, r, d, n));
    return 0;
}

/* ---- helpful replies ------------------------------------------------------------------------- */
/* A helpful row's own reply, or the start model's of any round, in the arena; NULL when
 * neither exists. */
static int helpful_reply(const struct stage_context *c, uint64_t item, struct cai_arena *a,
                         const char **ret) {
    CAI_AUTO(dialog) struct dialog d = {0};
    *ret = NULL;
    CAI_TRY(data_dialog(c, item, a, &d));
    const char *own = json_string_value(json_object_get(d.row, "reply"));
    if (own) {
        *ret = cai_arena_strdup(a, own);
        return 0;
    }
    for (uint32_t r = c->round; r > 0; r--) {
        CAI_AUTO(mem) char *text = NULL;
        int rc = store_example_get(c->store, c->job_id, r, "sft", item, "helpful", 0, &text, NULL);
        if (rc == 0) {
            *ret = cai_arena_strdup(a, text);
            return 0;
        }
        if (rc != CAI_ENOTFOUND)
            return rc;
    }
    cai_error_clear();
    return 0;
}

/* The helpful prompts of this round's mix: a counted draw, as many as the share of the rows
 * from critiques says. */
static int helpful_items(const struct stage_context *c, size_t rows, struct cai_arena *a,
                         struct items *ret) {
    CAI_TRY(data_pool(c, JOB_DATA_HELPFUL, a, ret));
    size_t want = (size_t)llround(c->job->sft.helpful * (double)(rows ? rows : 1000));
    if (want == 0)
        ret->n = 0;
    items_take(c, c->round, "sft/helpful", want, ret);
    return 0;
}

int sft_helpful_rows(const struct stage_context *c, size_t rows, struct cai_arena *a,
                     struct sft_rows *ret) {
    struct items items;
    CAI_TRY(helpful_items(c, rows, a, &items));
    *ret = (struct sft_rows){cai_arena_array(a, items.n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < items.n; i++) {
        const char *reply;
        CAI_TRY(helpful_reply(c, items.at[i], a, &reply));
        if (reply)
            push(ret, items.at[i], reply, false);
    }
    return 0;
}

static int plan_helpful(const struct stage_context *c, const struct items *items, size_t *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct model_ref start;
    CAI_TRY(models_start(c, &a, &start));
    build_generate(&b, c, "reply", 0, &start, &c->job->revise.reply);
    *ret_n = 0;
    for (size_t i = 0; i < items->n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        const char *reply;
        CAI_TRY(helpful_reply(c, items->at[i], &a, &reply));
        if (reply)
            continue;
        CAI_TRY(data_dialog(c, items->at[i], &a, &d));
        CAI_TRY(build_generate_turns(&b, items->at[i], 0, 1, d.turns, d.n));
        ++*ret_n;
    }
    return build_flush(&b);
}

/* ---- training ------------------------------------------------------------------------------- */
static int plan_training(const struct stage_context *c, struct dataset *d,
                         const struct counts *n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    Cai__V1__Dataset frozen;
    struct model_ref init;
    struct sft_rows helpful;
    CAI_TRY(sft_helpful_rows(c, n->revisions + n->kept, &a, &helpful));
    for (size_t i = 0; i < helpful.n; i++)
        CAI_TRY(add_row(c, d, helpful.at[i].item, helpful.at[i].text));
    CAI_TRY(dataset_freeze(c, d, c->job->consist.enabled
                               ? "no revision could be used, self-consistency kept nothing, and "
                                 "there are no helpful replies; read samples of the stages revise "
                                 "and consist"
                               : "no revision could be used and there are no helpful replies; "
                                 "read samples of the stage revise", &a, &frozen));
    CAI_TRY(strcmp(c->job->sft.from, "latest") == 0 ? models_policy(c, c->round - 1, &a, &init)
                                                    : models_start(c, &a, &init));
    CAI_TRY(rates_value(c, "rows_revisions", (double)n->revisions));
    CAI_TRY(rates_value(c, "rows_kept", (double)n->kept));
    CAI_TRY(rates_value(c, "rows_helpful", (double)helpful.n));
    if (c->job->consist.enabled)
        CAI_TRY(rates_value(c, "rows_consist", (double)n->consist));
    CAI_TRY(rates_value(c, "rows", (double)d->rows));
    json_t *options = job_stage_json(c->job, "sft");
    int rc = build_train(c, "sft", "sft", &init, NULL, NULL, 0, &frozen, options);
    json_decref(options);
    return rc;
}

/* Both plan and done come here: first helpful replies that are missing, then training. */
static int go_on(const struct stage_context *c, bool may_generate) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dataset) struct dataset d = {0};
    struct counts n = {0};
    struct items helpful;
    CAI_TRY(add_revisions(c, &d, &n));
    size_t rows = n.revisions + n.kept;
    CAI_TRY(helpful_items(c, rows, &a, &helpful));
    size_t missing = 0;
    if (may_generate)
        CAI_TRY(plan_helpful(c, &helpful, &missing));
    return missing ? 0 : plan_training(c, &d, &n);
}

static int plan(const struct stage_context *c) {
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    return go_on(c, true);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Generated **g;
    size_t n;
    if (task->work_case == CAI__V1__TASK__WORK_TRAIN)
        return result_trained(c, task, result, "policy", 1);
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        bool whole = g[i]->finish == CAI__V1__FINISH__FINISH_END ||
                     g[i]->finish == CAI__V1__FINISH__FINISH_STOP;
        if (!whole || g[i]->text[strspn(g[i]->text, " \t\r\n")] == 0)
            continue; /* a cut or empty reply would be learned as one */
        CAI_TRY(example_put(c, g[i]->item, 0, "helpful", g[i]->text, NULL,
                            task->generate->model->hash, NULL));
    }
    return 0;
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    ret->next = STAGE_DONE;
    if (rates_known(c, "rows"))
        return 0;
    ret->next = STAGE_MORE;
    return go_on(c, false);
}

const struct stage stage_sft = {"sft", "supervised training", false, enabled, plan, absorb, done};
