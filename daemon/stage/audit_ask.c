/* audit_ask.c: see audit_ask.h. */
#include "stage/audit_ask.h"

#include "base/error.h"
#include "base/rng.h"
#include "stage/extract.h"
#include "stage/label.h"
#include "stage/reason.h"
#include <math.h>
#include <string.h>

void audit_disguise(const struct stage_context *c, const char *stage, const char *phase,
                    struct audit_guise *own) {
    const struct job_spec *j = c->job;
    int64_t items = strcmp(stage, "revise") == 0 ? j->revise.prompts
                                                 : j->label.pairs * j->label.principles;
    own->guise = (struct stage_guise){stage, phase,
                                      (uint32_t)((items + STAGE_CHUNK - 1) / STAGE_CHUNK)};
    own->c = *c;
    own->c.guise = &own->guise;
}

int audit_overseer(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret) {
    return models_role(c, "overseer", c->round - 1, a, ret); /* as revise asks it */
}

int audit_second(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret) {
    return c->job->models.second_overseer ? models_role(c, "second_overseer", c->round - 1, a, ret)
                                          : CAI_ENOTFOUND;
}

const struct turn *audit_transcript(const struct turn *turns, size_t n, const char *reply,
                                    struct cai_arena *a) {
    struct turn *o = cai_arena_array(a, n + 1, sizeof *o);
    memcpy(o, turns, n * sizeof *o);
    o[n] = (struct turn){"assistant", reply};
    return o;
}

/* ---- asking ------------------------------------------------------------------------------- */
static int ask_critiques(const struct stage_context *c, const struct canaries *l,
                         const char *phase, const struct model_ref *overseer,
                         struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct audit_guise own;
    const struct canary **order = canaries_by_item(l, a);
    audit_disguise(c, "revise", "critique-1", &own);
    build_generate(&b, &own.c, phase, 0, overseer, &c->job->revise.critique);
    for (size_t i = 0; i < l->n; i++) {
        const struct canary *o = order[i];
        struct rendering r;
        render_critique(c->constitution, o->principle,
                        audit_transcript(o->turns, o->n_turns, o->reply, a), o->n_turns + 1, &r);
        int rc = build_generate_rendered(&b, o->item, 1, &r);
        rendering_free(&r);
        CAI_TRY(rc);
    }
    return build_flush(&b);
}

/* Which of a pair is shown first: a coin. Both orders are asked, whatever it shows. */
static bool clean_is_a(const struct stage_context *c, uint64_t item) {
    return cai_rng_below(cai_key_make(c->job->seed, c->round, "audit/side", item, 0), 0, 2) == 0;
}

static int ask_choices(const struct stage_context *c, const struct canaries *l, const char *phase,
                       const struct model_ref *overseer, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct audit_guise own;
    bool reasons = reason_used(c);
    const struct canary **order = canaries_by_item(l, a);
    audit_disguise(c, "label", reasons ? "reason" : "score", &own);
    if (reasons)
        reason_open(&b, &own.c, cai_arena_printf(a, "%s-reason", phase), 0, overseer);
    else
        build_score(&b, &own.c, phase, 0, overseer);
    for (size_t i = 0; i < l->n; i++) {
        const struct canary *o = order[i], *twin = &l->at[o->twin];
        bool clean = clean_is_a(c, o->item);
        if (o->flawed)
            CAI_TRY(choice_ask(&b, &own.c, o->principle, o->turns, o->n_turns,
                               clean ? twin->reply : o->reply, clean ? o->reply : twin->reply,
                               o->item, 0, true));
    }
    return build_flush(&b);
}

/* "Is there a flaw?" after the conversation, by the two answers' probabilities. */
static int ask_question(struct builder *b, const struct stage_context *c, const struct canary *o,
                        struct cai_arena *a) {
    struct rendering r = {0};
    const struct turn *turns = audit_transcript(o->turns, o->n_turns, o->reply, a);
    const char *frame = c->job->audit.question, *at = strstr(frame, "{principle}");
    const char *asked = o->question ? o->question
                        : at ? cai_arena_printf(a, "%.*s%s%s", (int)(at - frame), frame,
                                                o->principle->critique, at + strlen("{principle}"))
                             : frame;
    r.messages = cai_arena_array(&r.arena, o->n_turns + 2, sizeof *r.messages);
    for (size_t i = 0; i <= o->n_turns; i++)
        r.messages[r.n++] = (struct rendered){turns[i].role, turns[i].text,
                                              i == o->n_turns ? "model" : "data", 0};
    r.messages[r.n++] = (struct rendered){"user", asked, "principle", 0};
    r.prefix = o->prefix ? o->prefix : "";
    r.options[0] = o->yes ? o->yes : "Yes";
    r.options[1] = o->no ? o->no : "No";
    int rc = build_score_rendered(b, o->item, 0, &r);
    rendering_free(&r);
    return rc;
}

static int ask_questions(const struct stage_context *c, const struct canaries *l,
                         const struct model_ref *overseer, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct audit_guise own;
    const struct canary **order = canaries_by_item(l, a);
    audit_disguise(c, "label", "score", &own);
    build_score(&b, &own.c, "ask", 0, overseer);
    for (size_t i = 0; i < l->n; i++)
        CAI_TRY(ask_question(&b, &own.c, order[i], a));
    return build_flush(&b);
}

int audit_ask(const struct stage_context *c, const struct canaries *l, struct cai_arena *a) {
    struct model_ref overseer, second;
    CAI_TRY(audit_overseer(c, a, &overseer));
    CAI_TRY(ask_critiques(c, l, "critique", &overseer, a));
    CAI_TRY(ask_choices(c, l, "choice", &overseer, a));
    if (c->job->audit.ask)
        CAI_TRY(ask_questions(c, l, &overseer, a));
    int rc = audit_second(c, a, &second);
    if (rc == CAI_ENOTFOUND)
        return 0;
    CAI_TRY(rc);
    CAI_TRY(ask_critiques(c, l, "critique-second", &second, a));
    return ask_choices(c, l, "choice-second", &second, a);
}

/* ---- what came back ----------------------------------------------------------------------- */
struct audit_critique audit_read_critique(const struct stage_context *c,
                                          const Cai__V1__Generated *g, const char *reply,
                                          struct cai_buf *text) {
    struct extract_input in = {
        .kind = EXTRACT_CRITIQUE, .raw = g->text, .original = reply,
        .finish = result_finish(g),
        .no_flaw = c->constitution->frames.no_flaw};
    enum extract_reason why = extract(&in, text);
    return (struct audit_critique){.found = why == EXTRACT_OK,
                                   .dropped = why != EXTRACT_OK && why != EXTRACT_NO_FLAW,
                                   .reason = extract_reason_name(why)};
}

static json_t *critique_detail(const struct audit_critique *r) {
    json_t *o = json_pack("{s:b}", "found", r->found);
    if (r->dropped)
        json_object_set_new(o, "dropped", json_string(r->reason));
    return o;
}

/* Critiques; of the overseer's own, those that found something go on to a rewrite. */
static int absorb_critiques(const struct stage_context *c, const struct canaries *l,
                            const Cai__V1__Task *task, const Cai__V1__Result *result,
                            bool second, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    struct audit_guise own;
    const struct model_ref overseer = {task->generate->model->path, task->generate->model->hash};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    audit_disguise(c, "revise", "revision-1", &own);
    build_generate(&b, &own.c, "revision", task->chunk, &overseer, &c->job->revise.revision);
    b.whole = true;
    for (size_t i = 0; i < n; i++) {
        const struct canary *o = canaries_find(l, g[i]->item);
        CAI_CHECK(o);
        struct audit_critique r = audit_read_critique(c, g[i], o->reply, &text);
        CAI_TRY(example_put(c, o->item, second, "critique", r.dropped ? g[i]->text : text.data ? text.data : "",
                            o->principle->id, overseer.hash, critique_detail(&r)));
        if (!r.found || second)
            continue;
        struct rendering q;
        render_revision(c->constitution, o->principle,
                        audit_transcript(o->turns, o->n_turns, o->reply, a), o->n_turns + 1,
                        text.data, &q);
        int rc = build_generate_rendered(&b, o->item, 1, &q);
        rendering_free(&q);
        CAI_TRY(rc);
    }
    return build_flush(&b);
}

static int absorb_revisions(const struct stage_context *c, const struct canaries *l,
                            const Cai__V1__Task *task, const Cai__V1__Result *result,
                            struct cai_arena *a) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        const struct canary *o = canaries_find(l, g[i]->item);
        CAI_CHECK(o);
        struct extract_input in = {
            .kind = EXTRACT_REVISION, .raw = g[i]->text, .original = o->reply,
            .finish = result_finish(g[i])};
        if (extract(&in, &text) == EXTRACT_OK)
            CAI_TRY(example_put(c, o->item, 0, "revision", text.data, o->principle->id,
                                task->generate->model->hash, NULL));
    }
    return 0;
}

static int absorb_choices(const struct stage_context *c, const struct canaries *l,
                          const Cai__V1__Task *task, const Cai__V1__Result *result, bool second,
                          struct cai_arena *a) {
    const Cai__V1__Scored **s;
    size_t n;
    CAI_TRY(result_order_scored(task, result, a, &s, &n));
    for (size_t i = 0; i + 1 < n; i += 2) {
        const struct canary *canary = canaries_find(l, s[i]->item);
        struct choice o = choice_read(s[i], s[i + 1]);
        CAI_CHECK(canary);
        if (!o.lost)
            CAI_TRY(example_put(c, s[i]->item, second, "choice", "", canary->principle->id,
                                task->score->model->hash,
                                json_pack("{s:f, s:f, s:f}", "p",
                                          clean_is_a(c, s[i]->item) ? o.p : 1 - o.p, "p_ab", o.p_ab,
                                          "p_ba", o.p_ba)));
    }
    return 0;
}

static int absorb_questions(const struct stage_context *c, const struct canaries *l,
                            const Cai__V1__Task *task, const Cai__V1__Result *result,
                            struct cai_arena *a) {
    const Cai__V1__Scored **s;
    size_t n;
    CAI_TRY(result_order_scored(task, result, a, &s, &n));
    for (size_t i = 0; i < n; i++) {
        const struct canary *o = canaries_find(l, s[i]->item);
        CAI_CHECK(o);
        if (!s[i]->too_long)
            CAI_TRY(example_put(c, o->item, 0, "ask", "", o->principle->id,
                                task->score->model->hash,
                                json_pack("{s:f}", "p", 1 / (1 + exp(s[i]->logprobs[1] -
                                                                     s[i]->logprobs[0])))));
    }
    return 0;
}

int audit_ask_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                     const Cai__V1__Result *result, bool *ret_known) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct canaries l;
    struct audit_guise own;
    const char *phase = task->phase;
    bool second = strstr(phase, "-second") != NULL;
    *ret_known = strncmp(phase, "passed", 6) != 0 && strncmp(phase, "word", 4) != 0;
    if (!*ret_known)
        return 0;
    if (strstr(phase, "-reason")) {
        audit_disguise(c, "label", "score", &own);
        return reason_absorb(&own.c, task, result, second ? "choice-second" : "choice", true);
    }
    CAI_TRY(canaries_draw(c, &a, &l));
    if (strncmp(phase, "critique", 8) == 0)
        return absorb_critiques(c, &l, task, result, second, &a);
    if (strcmp(phase, "revision") == 0)
        return absorb_revisions(c, &l, task, result, &a);
    return strcmp(phase, "ask") == 0 ? absorb_questions(c, &l, task, result, &a)
                                     : absorb_choices(c, &l, task, result, second, &a);
}
