/* skill_rows.c: what people verified about replies → rows to learn from, by behavioural cloning of
 * five tasks at once (Saunders et al. 2022 §3): is there a flaw, the critique, is the critique
 * helpful, a better reply with and without the critique. Only the answers of people are learned;
 * a critique that they found useless teaches no critique. Not for: measuring (skill_gaps.c). */
#include "base/error.h"
#include "stage/data.h"
#include "stage/draw.h"
#include "stage/extract.h"
#include "stage/rates.h"
#include "stage/skill.h"
#include <string.h>

/* ---- reading --------------------------------------------------------------------------------------- */
static const char *text_of(const json_t *row, const char *key, struct cai_arena *a) {
    const char *s = json_string_value(json_object_get(row, key));
    return s && s[strspn(s, " \t\r\n")] ? cai_arena_strdup(a, s) : NULL;
}

static int truth_of(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    return json_is_boolean(v) ? json_is_true(v) : -1;
}

static int with_reply(const struct dialog *d, const char *reply, struct cai_arena *a,
                      struct verified *ret) {
    ret->turns = cai_arena_array(a, d->n + 1, sizeof *ret->turns);
    memcpy(ret->turns, d->turns, d->n * sizeof *ret->turns);
    ret->turns[d->n] = (struct turn){"assistant", reply};
    ret->n = d->n + 1;
    return 0;
}

int verified_load(const struct stage_context *c, uint64_t item, struct cai_arena *a,
                  struct verified *ret, bool *ret_known) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, item, a, &d));
    const char *name = json_string_value(json_object_get(d.row, "principle"));
    const struct principle *p = name ? constitution_find(c->constitution, name) : NULL;
    *ret = (struct verified){.item = item, .principle = p ? *p : render_any(c->constitution),
                             .critique = text_of(d.row, "critique", a),
                             .refinement = text_of(d.row, "refinement", a),
                             .flaw = truth_of(d.row, "flaw"),
                             .helpful = truth_of(d.row, "helpful")};
    *ret_known = !name || (p && p->critique && p->revision);
    const char *reply = text_of(d.row, "reply", a);
    return with_reply(&d, reply ? reply : "", a, ret);
}

int verified_items(const struct stage_context *c, bool held_out, struct cai_arena *a,
                   struct items *ret) {
    struct items all;
    CAI_TRY(data_pool(c, JOB_DATA_CRITIQUES, a, &all));
    *ret = (struct items){cai_arena_array(a, all.n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < all.n; i++) {
        uint64_t group;
        CAI_TRY(data_group(c, all.at[i], &group));
        struct cai_key key = cai_key_make(c->job->seed, 0, "skill/held_out", group, 0);
        if ((cai_rng_uniform(key, 0) < c->job->skill.held_out) == held_out)
            ret->at[ret->n++] = all.at[i];
    }
    return 0;
}

/* ---- inserted flaws ---------------------------------------------------------------------------------- */
static const struct principle *tampering(const struct stage_context *c, uint64_t item, uint32_t k) {
    return draw_principle(c, DRAW_CRITIQUE, "skill/tamper", item, k);
}

int skill_tamper(const struct stage_context *c, size_t *ret_asked) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    struct items items;
    struct model_ref overseer;
    size_t good = 0, want = (size_t)c->job->skill.inserted;
    *ret_asked = 0;
    CAI_TRY(verified_items(c, false, &a, &items));
    CAI_TRY(models_role(c, "judge", c->round, &a, &overseer));
    build_generate(&b, c, "tamper", 0, &overseer, &c->job->skill.refinement);
    for (uint32_t pass = 0; *ret_asked < want && (pass == 0 || good > 0); pass++) {
        for (size_t i = 0; i < items.n && *ret_asked < want; i++) {
            struct verified v;
            bool known;
            struct rendering r;
            const struct principle *p = tampering(c, items.at[i], pass);
            CAI_TRY(verified_load(c, items.at[i], &a, &v, &known));
            if (v.flaw != 0 || !p)
                continue;
            good++;
            render_tamper(c->constitution, p, v.turns, v.n, &r);
            int rc = build_generate_rendered(&b, items.at[i], pass, &r);
            rendering_free(&r);
            CAI_TRY(rc);
            ++*ret_asked;
        }
    }
    return build_flush(&b);
}

int skill_absorb_tampered(const struct stage_context *c, const Cai__V1__Task *task,
                          const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        struct verified v;
        bool known;
        CAI_TRY(verified_load(c, g[i]->item, &a, &v, &known));
        struct extract_input in = {
            .kind = EXTRACT_REVISION, .raw = g[i]->text, .original = v.turns[v.n - 1].text,
            .finish = result_finish(g[i]),
            .no_flaw = c->constitution->frames.no_flaw};
        enum extract_reason why = extract(&in, &text);
        bool good = why == EXTRACT_OK;
        CAI_TRY(example_put(c, g[i]->item, g[i]->k, good ? "tampered" : "dropped",
                            good ? text.data : g[i]->text, tampering(c, g[i]->item, g[i]->k)->id,
                            task->generate->model->hash,
                            good ? NULL
                                 : json_pack("{s:s, s:s}", "of", "tamper", "reason",
                                             extract_reason_name(why))));
    }
    return 0;
}

/* ---- rows ---------------------------------------------------------------------------------------------- */
struct counts {
    double critiqueable, critique, helpful, conditional, direct, unknown;
};

/* The prefix and the text, as the model would go on from the prefix. */
static void add_row(struct dataset *d, const struct verified *v, const struct rendering *r,
                    const char *text, double weight) {
    CAI_AUTO(mem) char *whole =
        *r->prefix ? cai_format("%s%s%s", r->prefix,
                                strchr(" \n", r->prefix[strlen(r->prefix) - 1]) || *text == ' ' ? ""
                                                                                               : " ",
                                text)
                   : cai_strdup(text + strspn(text, " "));
    json_t *messages = json_array();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", r->messages[i].role, "text",
                                                  r->messages[i].text));
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "text", whole));
    dataset_row(d, json_pack("{s:I, s:o, s:f}", "item", (json_int_t)v->item, "messages", messages,
                             "weight", weight));
}

static void add_verdict(const struct stage_context *c, struct dataset *d, const struct verified *v,
                        struct rendering *r, bool yes) {
    add_row(d, v, r, r->options[yes ? 0 : 1], c->job->skill.verdict_weight);
    rendering_free(r);
}

static void add_text(struct dataset *d, const struct verified *v, struct rendering *r,
                     const char *text) {
    add_row(d, v, r, text, 1);
    rendering_free(r);
}

/* What says that there is no flaw, in the constitution's words. */
static const char *no_flaw(const struct stage_context *c, struct cai_arena *a) {
    const char *words = c->constitution->frames.no_flaw;
    size_t n = strlen(words);
    return n && words[n - 1] == ':'
               ? cai_arena_printf(a, "%s the response may stay as it is.", words)
               : words;
}

static void add_tasks(const struct stage_context *c, const struct verified *v, struct dataset *d,
                      struct counts *n, struct cai_arena *a) {
    const struct constitution bare = skill_bare(c->constitution);
    const struct principle *p = &v->principle;
    struct rendering r;
    bool sound = v->critique && v->helpful != 0;
    const char *critique = sound ? v->critique : v->flaw == 0 ? no_flaw(c, a) : NULL;
    if (v->flaw >= 0) {
        render_critiqueable(&bare, p, v->turns, v->n, &r);
        add_verdict(c, d, v, &r, v->flaw == 1);
        n->critiqueable++;
    }
    if (critique) {
        render_critique(&bare, p, v->turns, v->n, &r);
        add_text(d, v, &r, critique);
        n->critique++;
    }
    if (v->critique && v->helpful >= 0) {
        render_helpful(&bare, p, v->turns, v->n, v->critique, &r);
        add_verdict(c, d, v, &r, v->helpful == 1);
        n->helpful++;
    }
    if (sound && v->refinement) {
        render_revision(&bare, p, v->turns, v->n, v->critique, &r);
        add_text(d, v, &r, v->refinement);
        n->conditional++;
    }
    if (v->refinement) {
        render_refinement(&bare, p, v->turns, v->n, &r);
        add_text(d, v, &r, v->refinement);
        n->direct++;
    }
}

/* Of an inserted flaw is known that it is there, under which principle, and what mends it; and of
 * the reply it was put into, that it is not. */
static int add_tampered(const struct stage_context *c, struct dataset *d, struct counts *n,
                        struct cai_arena *a) {
    struct examples e;
    CAI_TRY(examples_load(c, c->round, "skill", "tampered", a, &e));
    for (size_t i = 0; i < e.n; i++) {
        struct verified good, bad;
        bool known;
        const struct principle *p = constitution_find(c->constitution, e.at[i].principle);
        CAI_CHECK(p);
        CAI_TRY(verified_load(c, e.at[i].item, a, &good, &known));
        good = (struct verified){.item = good.item, .turns = good.turns, .n = good.n,
                                 .principle = *p, .flaw = 0, .helpful = -1};
        bad = good;
        bad.flaw = 1;
        bad.refinement = good.turns[good.n - 1].text;
        bad.turns = cai_arena_array(a, bad.n, sizeof *bad.turns);
        memcpy(bad.turns, good.turns, bad.n * sizeof *bad.turns);
        bad.turns[bad.n - 1].text = e.at[i].text;
        add_tasks(c, &good, d, n, a);
        add_tasks(c, &bad, d, n, a);
    }
    return rates_value(c, "rows_inserted", (double)e.n);
}

struct adding {
    const struct stage_context *c;
    struct dataset *d;
    struct counts *n;
    struct cai_arena *arena;
    double reviewed;
};

static int take_reviewed(void *context, const struct verified *v) {
    struct adding *o = context;
    add_tasks(o->c, v, o->d, o->n, o->arena);
    o->reviewed++;
    return 0;
}

int skill_rows(const struct stage_context *c, struct dataset *d) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct items items, held;
    struct counts n = {0};
    CAI_TRY(verified_items(c, false, &a, &items));
    CAI_TRY(verified_items(c, true, &a, &held));
    for (size_t i = 0; i < items.n; i++) {
        struct verified v;
        bool known;
        CAI_TRY(verified_load(c, items.at[i], &a, &v, &known));
        n.unknown += !known;
        if (known)
            add_tasks(c, &v, d, &n, &a);
    }
    struct adding reviewed = {c, d, &n, &a, 0};
    CAI_TRY(skill_reviewed(c, &a, take_reviewed, &reviewed));
    CAI_TRY(rates_value(c, "rows_reviewed", reviewed.reviewed));
    CAI_TRY(add_tampered(c, d, &n, &a));
    CAI_TRY(rates_value(c, "rows_critiqueable", n.critiqueable));
    CAI_TRY(rates_value(c, "rows_critique", n.critique));
    CAI_TRY(rates_value(c, "rows_helpful", n.helpful));
    CAI_TRY(rates_value(c, "rows_conditional", n.conditional));
    CAI_TRY(rates_value(c, "rows_direct", n.direct));
    CAI_TRY(rates_value(c, "rows_unknown", n.unknown));
    return rates_value(c, "rows_held_out", (double)held.n);
}
