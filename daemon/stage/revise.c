/* revise.c: critique and rewrite (Bai et al. 2022, §3): a reply by the generator, then
 * k steps of critique and revision by the overseer, each under a principle drawn by weight
 * with replacement.
 *
 * Phases of a chunk, chained by absorb: reply → critique-1 → revision-1 → critique-2 → …
 * An item whose critique finds no flaw or is dropped has no revision in that step; one
 * whose revision is dropped keeps its last good text.
 * Examples: chunk (the items of a chunk, a JSON list), prompt, reply, critique (k = step,
 *   {"no_flaw"}), revision (k = step, {"unchanged"}), dropped (k = 2·step, +1 for a
 *   revision, {"of", "step", "reason"}).
 * Metrics: prompts, prompts_red_team, critiques, revisions (asked for), no_flaw,
 *   unchanged, truncated, dropped (shares), dropped/REASON (counts), revised (share of the
 *   prompts whose last text differs from the reply), flaws/PRINCIPLE and drawn/PRINCIPLE
 *   (counts), red_principles (principles under which a red-team reply was found flawed).
 * Gate: revise. */
#include "base/error.h"
#include "stage/build.h"
#include "stage/data.h"
#include "stage/draw.h"
#include "stage/extract.h"
#include "stage/rates.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

static bool enabled(const struct job_spec *job) {
    return job->revise.enabled && job->revise.revisions > 0;
}

/* ---- plan ---------------------------------------------------------------------------------- */
/* `keep` of the round's prompts come from this round's failing red-team cases, as far as
 * there are; the rest from data.harmful. */
static int choose_items(const struct stage_context *c, struct cai_arena *a, struct items *ret,
                        size_t *ret_red) {
    struct items own, red = {0};
    CAI_TRY(data_pool(c, JOB_DATA_HARMFUL, a, &own));
    if (c->job->red_team.enabled)
        CAI_TRY(data_red_pool(c, c->round, true, a, &red));
    double keep = c->job->red_team.enabled ? c->job->red_team.keep : 0;
    size_t want = (size_t)c->job->revise.prompts, n_red;
    if (own.n == 0)
        n_red = want ? want : red.n;
    else if (want)
        n_red = (size_t)llround(keep * (double)want);
    else
        n_red = keep < 1 ? (size_t)llround(keep / (1 - keep) * (double)own.n) : red.n;
    n_red = n_red < red.n ? n_red : red.n;
    if (n_red < red.n)
        items_take(c, c->round, "revise/red", n_red ? n_red : 1, &red);
    red.n = n_red;
    size_t rest = want > n_red ? want - n_red : 0;
    if (want && rest == 0)
        own.n = 0;
    items_take(c, c->round, "revise/own", rest, &own);
    ret->at = cai_arena_array(a, own.n + red.n + 1, sizeof *ret->at);
    memcpy(ret->at, own.at, own.n * sizeof *own.at);
    if (red.n)
        memcpy(ret->at + own.n, red.at, red.n * sizeof *red.at);
    ret->n = own.n + red.n;
    *ret_red = red.n;
    items_sort(ret);
    return 0;
}

static int plan_chunk(const struct stage_context *c, const uint64_t *item, size_t n,
                      uint32_t chunk, const struct model_ref *generator) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    json_t *list = json_array();
    build_generate(&b, c, "reply", chunk, generator, &c->job->revise.reply);
    b.whole = true;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        json_array_append_new(list, json_integer((json_int_t)item[i]));
        rc = data_dialog(c, item[i], &a, &d);
        if (rc == 0)
            rc = example_put(c, item[i], 0, "prompt", d.turns[d.n - 1].text, NULL, "",
                             json_pack("{s:o, s:s}", "messages", data_messages(d.turns, d.n),
                                       "source", data_item_source(item[i])));
        if (rc == 0)
            rc = build_generate_turns(&b, item[i], 0, 1, d.turns, d.n);
    }
    CAI_AUTO(mem) char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    CAI_TRY(rc);
    CAI_TRY(example_put(c, chunk, 0, "chunk", text, NULL, "", NULL));
    return build_flush(&b);
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct items all;
    struct model_ref generator;
    size_t red;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    if (!draw_principle(c, DRAW_CRITIQUE, "revise/principle", 0, 0))
        return cai_fail(CAI_EINPUT, "constitution %s: no enabled principle has a critique and a "
                        "revision; give one both texts, or switch the stage revise off",
                        c->constitution->name);
    CAI_TRY(choose_items(c, &a, &all, &red));
    if (all.n == 0)
        return cai_fail(CAI_EINPUT, "job %lld: no prompts to revise; name a file as data.harmful "
                        "or switch red_team on", (long long)c->job_id);
    CAI_TRY(models_role(c, "generator", c->round - 1, &a, &generator));
    for (size_t i = 0; i < all.n; i += STAGE_CHUNK) {
        size_t n = all.n - i < STAGE_CHUNK ? all.n - i : STAGE_CHUNK;
        CAI_TRY(plan_chunk(c, all.at + i, n, (uint32_t)(i / STAGE_CHUNK), &generator));
    }
    CAI_TRY(rates_value(c, "prompts_red_team", (double)red));
    return rates_value(c, "prompts", (double)all.n);
}

/* ---- steps ----------------------------------------------------------------------------------- */
static const struct principle *principle_of(const struct stage_context *c, uint64_t item,
                                            uint32_t step) {
    return draw_principle(c, DRAW_CRITIQUE, "revise/principle", item, step);
}

/* An item's last good text before `step` (from 1), in the arena; NULL when it has none: its
 * prompt was too long or the reply empty. */
static int text_before(const struct stage_context *c, uint64_t item, uint32_t step,
                       struct cai_arena *a, const char **ret) {
    *ret = NULL;
    for (uint32_t k = step; k-- > 0;) {
        CAI_AUTO(mem) char *text = NULL;
        int rc = store_example_get(c->store, c->job_id, c->round, "revise", item,
                                   k ? "revision" : "reply", k, &text, NULL);
        if (rc == CAI_ENOTFOUND)
            continue;
        CAI_TRY(rc);
        *ret = cai_arena_strdup(a, text);
        return 0;
    }
    cai_error_clear();
    return 0;
}

/* The prompt with its last good text as the assistant's turn. */
static int transcript(const struct stage_context *c, uint64_t item, const char *reply,
                      struct cai_arena *a, struct turn **ret, size_t *ret_n) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, item, a, &d));
    *ret = cai_arena_array(a, d.n + 1, sizeof **ret);
    memcpy(*ret, d.turns, d.n * sizeof **ret);
    (*ret)[d.n] = (struct turn){"assistant", reply};
    *ret_n = d.n + 1;
    return 0;
}

static int chunk_items(const struct stage_context *c, uint32_t chunk, struct cai_arena *a,
                       struct items *ret) {
    CAI_AUTO(mem) char *text = NULL;
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "revise", chunk, "chunk", 0, &text,
                              NULL));
    json_t *list = json_loads(text, 0, NULL), *v;
    CAI_CHECK(list);
    size_t i;
    *ret = (struct items){cai_arena_array(a, json_array_size(list) + 1, sizeof *ret->at),
                          json_array_size(list)};
    json_array_foreach(list, i, v) ret->at[i] = (uint64_t)json_integer_value(v);
    json_decref(list);
    return 0;
}

/* Critique task `step` of a chunk: all items that have a text. */
static int add_critiques(const struct stage_context *c, uint32_t chunk, uint32_t step,
                         struct cai_arena *a) {
    struct items items;
    struct model_ref overseer;
    CAI_AUTO(builder) struct builder b = {0};
    if (step > (uint32_t)c->job->revise.revisions)
        return 0;
    CAI_TRY(chunk_items(c, chunk, a, &items));
    CAI_TRY(models_role(c, "overseer", c->round - 1, a, &overseer));
    const char *phase = cai_arena_printf(a, "critique-%u", step);
    build_generate(&b, c, phase, chunk, &overseer, &c->job->revise.critique);
    b.whole = true;
    for (size_t i = 0; i < items.n; i++) {
        const char *reply;
        struct turn *turns;
        size_t n;
        CAI_TRY(text_before(c, items.at[i], step, a, &reply));
        if (!reply)
            continue;
        CAI_TRY(transcript(c, items.at[i], reply, a, &turns, &n));
        struct rendering r;
        render_critique(c->constitution, principle_of(c, items.at[i], step), turns, n, &r);
        int rc = build_generate_rendered(&b, items.at[i], step, &r);
        rendering_free(&r);
        CAI_TRY(rc);
    }
    return build_flush(&b);
}

static int put_dropped(const struct stage_context *c, const Cai__V1__Generated *g, bool revision,
                       uint32_t step, enum extract_reason why, const char *model) {
    return example_put(c, g->item, 2 * step + revision, "dropped", g->text,
                       step ? principle_of(c, g->item, step)->id : NULL, model,
                       json_pack("{s:s, s:i, s:s}", "of",
                                 step == 0  ? "reply"
                                 : revision ? "revision"
                                            : "critique",
                                 "step", (int)step, "reason", extract_reason_name(why)));
}

static enum extract_reason read_text(const struct stage_context *c, enum extract_kind kind,
                                     const Cai__V1__Generated *g, const char *original,
                                     struct cai_buf *text) {
    struct extract_input in = {
        .kind = kind,
        .finish = result_finish(g),
        .raw = g->text,
        .original = original,
        .no_flaw = c->constitution->frames.no_flaw};
    return extract(&in, text);
}

/* A reply is taken as it is; only one that does not exist cannot be mended. */
static int absorb_replies(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Generated **g, size_t n, struct cai_arena *a) {
    const char *model = task->generate->model->hash;
    for (size_t i = 0; i < n; i++) {
        bool none = g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG;
        if (none || g[i]->text[strspn(g[i]->text, " \t\r\n")] == 0)
            CAI_TRY(put_dropped(c, g[i], false, 0, none ? EXTRACT_TOO_LONG : EXTRACT_EMPTY, model));
        else
            CAI_TRY(example_put(c, g[i]->item, 0, "reply", g[i]->text, NULL, model,
                                json_pack("{s:b}", "cut",
                                          g[i]->finish == CAI__V1__FINISH__FINISH_LENGTH)));
    }
    return add_critiques(c, task->chunk, 1, a);
}

static int absorb_critiques(const struct stage_context *c, const Cai__V1__Task *task,
                            const Cai__V1__Generated **g, size_t n, uint32_t step,
                            struct cai_arena *a) {
    const char *model = task->generate->model->hash;
    CAI_AUTO(builder) struct builder b = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct model_ref overseer;
    size_t asked = 0;
    CAI_TRY(models_role(c, "overseer", c->round - 1, a, &overseer));
    build_generate(&b, c, cai_arena_printf(a, "revision-%u", step), task->chunk, &overseer,
                   &c->job->revise.revision);
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        const char *reply;
        struct turn *turns;
        size_t n_turns;
        const struct principle *p = principle_of(c, g[i]->item, step);
        CAI_TRY(text_before(c, g[i]->item, step, a, &reply));
        CAI_CHECK(reply);
        enum extract_reason why = read_text(c, EXTRACT_CRITIQUE, g[i], reply, &text);
        if (why != EXTRACT_OK && why != EXTRACT_NO_FLAW) {
            CAI_TRY(put_dropped(c, g[i], false, step, why, model));
            continue;
        }
        CAI_TRY(example_put(c, g[i]->item, step, "critique", text.data ? text.data : "", p->id,
                            model, json_pack("{s:b}", "no_flaw", why == EXTRACT_NO_FLAW)));
        if (why == EXTRACT_NO_FLAW)
            continue;
        CAI_TRY(transcript(c, g[i]->item, reply, a, &turns, &n_turns));
        struct rendering r;
        render_revision(c->constitution, p, turns, n_turns, text.data, &r);
        int rc = build_generate_rendered(&b, g[i]->item, step, &r);
        rendering_free(&r);
        CAI_TRY(rc);
        asked++;
    }
    return asked ? build_flush(&b) : add_critiques(c, task->chunk, step + 1, a);
}

static int absorb_revisions(const struct stage_context *c, const Cai__V1__Task *task,
                            const Cai__V1__Generated **g, size_t n, uint32_t step,
                            struct cai_arena *a) {
    const char *model = task->generate->model->hash;
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        const char *reply;
        CAI_TRY(text_before(c, g[i]->item, step, a, &reply));
        CAI_CHECK(reply);
        enum extract_reason why = read_text(c, EXTRACT_REVISION, g[i], reply, &text);
        if (why != EXTRACT_OK && why != EXTRACT_UNCHANGED) {
            CAI_TRY(put_dropped(c, g[i], true, step, why, model));
            continue;
        }
        bool same = why == EXTRACT_UNCHANGED;
        CAI_TRY(example_put(c, g[i]->item, step, "revision", same ? reply : text.data,
                            principle_of(c, g[i]->item, step)->id, model,
                            json_pack("{s:b}", "unchanged", same)));
    }
    return add_critiques(c, task->chunk, step + 1, a);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    const Cai__V1__Generated **g;
    size_t n;
    unsigned step;
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    if (sscanf(task->phase, "critique-%u", &step) == 1)
        return absorb_critiques(c, task, g, n, step, &a);
    if (sscanf(task->phase, "revision-%u", &step) == 1)
        return absorb_revisions(c, task, g, n, step, &a);
    return absorb_replies(c, task, g, n, &a);
}

/* ---- figures and the gate ------------------------------------------------------------------- */
struct figures {
    double critiques, no_flaw, revisions, unchanged, dropped, truncated;
    double reason[EXTRACT_REASONS];
};

static double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

static int count_dropped(const struct stage_context *c, struct cai_arena *a, struct figures *f) {
    struct examples dropped;
    CAI_TRY(examples_load(c, c->round, "revise", "dropped", a, &dropped));
    for (size_t i = 0; i < dropped.n; i++) {
        json_t *o = json_loads(dropped.at[i].detail, 0, NULL);
        const char *why = json_string_value(json_object_get(o, "reason"));
        const char *of = json_string_value(json_object_get(o, "of"));
        f->dropped++;
        f->critiques += strcmp(of, "critique") == 0;
        f->revisions += strcmp(of, "revision") == 0;
        for (int r = 0; r < EXTRACT_REASONS; r++)
            f->reason[r] += strcmp(extract_reason_name((enum extract_reason)r), why) == 0;
        json_decref(o);
    }
    f->truncated = f->reason[EXTRACT_TRUNCATED];
    for (int r = 0; r < EXTRACT_REASONS; r++)
        if (f->reason[r] > 0)
            CAI_TRY(rates_value(c, cai_arena_printf(a, "dropped/%s",
                                                    extract_reason_name((enum extract_reason)r)),
                                f->reason[r]));
    return 0;
}

/* Draws and flaws by principle, over critiques that could be read. */
static int count_principles(const struct stage_context *c, struct cai_arena *a,
                            const struct examples *critiques) {
    size_t red_principles = 0;
    for (size_t p = 0; p < c->constitution->n_principles; p++) {
        const char *id = c->constitution->principles[p].id;
        double drawn = 0, flaws = 0, red = 0;
        for (size_t i = 0; i < critiques->n; i++) {
            if (strcmp(critiques->at[i].principle, id) != 0)
                continue;
            bool flaw = !example_flag(&critiques->at[i], "no_flaw");
            drawn++;
            flaws += flaw;
            red += flaw && data_item_is_red(critiques->at[i].item);
        }
        red_principles += red > 0;
        if (drawn > 0) {
            CAI_TRY(rates_value(c, cai_arena_printf(a, "drawn/%s", id), drawn));
            CAI_TRY(rates_value(c, cai_arena_printf(a, "flaws/%s", id), flaws));
        }
    }
    return rates_value(c, "red_principles", (double)red_principles);
}

static int collect(const struct stage_context *c, struct cai_arena *a, struct figures *f) {
    struct examples critiques, revisions, replies;
    double changed = 0;
    uint64_t last = UINT64_MAX;
    CAI_TRY(examples_load(c, c->round, "revise", "critique", a, &critiques));
    CAI_TRY(examples_load(c, c->round, "revise", "revision", a, &revisions));
    CAI_TRY(examples_load(c, c->round, "revise", "reply", a, &replies));
    f->critiques += (double)critiques.n;
    f->revisions += (double)revisions.n;
    for (size_t i = 0; i < critiques.n; i++)
        f->no_flaw += example_flag(&critiques.at[i], "no_flaw");
    for (size_t i = 0; i < revisions.n; i++) {
        bool same = example_flag(&revisions.at[i], "unchanged");
        f->unchanged += same;
        if (!same && revisions.at[i].item != last) {
            changed++;
            last = revisions.at[i].item;
        }
    }
    CAI_TRY(rates_value(c, "revised", share(changed, (double)replies.n)));
    return count_principles(c, a, &critiques);
}

static int wait_for(const struct stage_context *c, struct stage_verdict *ret, const char *what,
                    double seen, double limit) {
    ret->next = STAGE_WAIT;
    snprintf(ret->gate, sizeof ret->gate, "revise");
    snprintf(ret->reason, sizeof ret->reason,
             "%.1f %% of what the overseer wrote was %s, more than the %.1f %% that "
             "stages.revise.max_%s allows; read 'caictl samples %lld --stage revise', then accept it "
             "with 'caictl resume %lld --accept revise', or change the overseer or the constitution",
             100 * seen, what, 100 * limit, what, (long long)c->job_id, (long long)c->job_id);
    return 0;
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct figures f = {0};
    const struct job_revise *o = &c->job->revise;
    CAI_TRY(count_dropped(c, &a, &f));
    CAI_TRY(collect(c, &a, &f));
    double asked = f.critiques + f.revisions;
    double dropped = share(f.dropped, asked), truncated = share(f.truncated, asked);
    double unchanged = share(f.unchanged, f.revisions);
    CAI_TRY(rates_value(c, "critiques", f.critiques));
    CAI_TRY(rates_value(c, "revisions", f.revisions));
    CAI_TRY(rates_value(c, "no_flaw", share(f.no_flaw, f.critiques)));
    CAI_TRY(rates_value(c, "unchanged", unchanged));
    CAI_TRY(rates_value(c, "truncated", truncated));
    CAI_TRY(rates_value(c, "dropped", dropped));
    ret->next = STAGE_DONE;
    if (stage_accepted(c, "revise"))
        return 0;
    if (truncated > o->max_truncated)
        return wait_for(c, ret, "truncated", truncated, o->max_truncated);
    if (dropped > o->max_dropped)
        return wait_for(c, ret, "dropped", dropped, o->max_dropped);
    if (unchanged > o->max_unchanged)
        return wait_for(c, ret, "unchanged", unchanged, o->max_unchanged);
    return 0;
}

const struct stage stage_revise = {"revise", "critique and rewrite", false, enabled,
                                   plan,     absorb,                 done};
