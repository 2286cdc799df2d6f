/* debate.c: see debate.h. */
#include "stage/debate.h"

#include "base/error.h"
#include "stage/data.h"
#include "stage/extract.h"
#include "stage/probes.h"
#include "stage/rates.h"
#include <stdio.h>
#include <string.h>

enum { DROPPED = 3u << 30, SPEECHES_MAX = 32 };

bool debate_used(const struct stage_context *c) { return job_label_debates(c->job); }

static uint32_t speeches(const struct stage_context *c) { return 2 * (uint32_t)c->job->label.turns; }

void debate_open(struct builder *b, const struct stage_context *c, bool gate, uint32_t first_chunk,
                 const struct model_ref *overseer) {
    build_generate(b, c, gate ? "gate-debate-1" : "debate-1", first_chunk, overseer,
                   &c->job->label.speech);
}

bool debate_builds(const struct builder *b) { return strstr(b->phase, "debate-") != NULL; }

/* ---- one debate ----------------------------------------------------------------------------------- */
struct debate {
    struct turn *turns;
    size_t n;
    const char *seat[2]; /* the replies at (A) and (B) in this seating */
    struct principle principle;
    struct speech said[SPEECHES_MAX];
    size_t n_said;
};

static const char *member(const json_t *o, const char *key, struct cai_arena *a) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? cai_arena_strdup(a, s) : NULL;
}

static int load_speech(const struct stage_context *c, uint64_t item, uint32_t k, uint32_t at,
                       struct cai_arena *a, struct debate *d) {
    CAI_AUTO(mem) char *text = NULL;
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "label", item, "speech",
                              SPEECHES_MAX * k + at, &text, NULL));
    d->said[d->n_said++] = (struct speech){at % 2 ? 'B' : 'A', cai_arena_strdup(a, text)};
    return 0;
}

/* The debate of comparison k / 2 in seating k % 2, with its first `n` speeches. */
static int load(const struct stage_context *c, uint64_t item, uint32_t k, uint32_t n,
                struct cai_arena *a, struct debate *ret) {
    CAI_AUTO(mem) char *detail = NULL;
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, "label", item, "debate", k / 2, NULL,
                              &detail));
    json_auto_t *o = json_loads(detail, 0, NULL);
    const json_t *messages = json_object_get(o, "messages"), *m;
    size_t i;
    *ret = (struct debate){.principle = {.id = "", .critique = member(o, "critique", a),
                                         .choice = member(o, "choice", a)}};
    ret->turns = cai_arena_array(a, json_array_size(messages) + 1, sizeof *ret->turns);
    json_array_foreach((json_t *)messages, i, m)
        ret->turns[ret->n++] = (struct turn){member(m, "role", a), member(m, "text", a)};
    ret->seat[k % 2] = member(o, "a", a);
    ret->seat[1 - k % 2] = member(o, "b", a);
    for (uint32_t at = 0; at < n; at++)
        CAI_TRY(load_speech(c, item, k, at, a, ret));
    return 0;
}

/* Asks for the speech that comes after those said. */
static int ask_speech(struct builder *b, const struct stage_context *c, const struct debate *d,
                      uint64_t item, uint32_t k) {
    size_t side = d->n_said % 2;
    struct rendering r;
    render_debate(c->constitution, &d->principle, d->turns, d->n, side ? 'B' : 'A', d->seat[side],
                  d->seat[1 - side], d->said, d->n_said, &r);
    int rc = build_generate_rendered(b, item, k, &r);
    rendering_free(&r);
    return rc;
}

int debate_ask(struct builder *b, const struct stage_context *c, const struct principle *p,
               const struct turn *turns, size_t n, const char *reply_a, const char *reply_b,
               uint64_t item, uint32_t pair, bool swap) {
    CAI_TRY(example_put(c, item, pair, "debate", "", p->id, "",
                        json_pack("{s:o, s:s, s:s, s:s*, s:s*}", "messages",
                                  data_messages(turns, n), "a", reply_a, "b", reply_b, "critique",
                                  p->critique, "choice", p->choice)));
    for (uint32_t order = 0; order < (swap ? 2u : 1u); order++) {
        CAI_AUTO(arena) struct cai_arena a = {0};
        struct debate d;
        CAI_TRY(load(c, item, 2 * pair + order, 0, &a, &d));
        CAI_TRY(ask_speech(b, c, &d, item, 2 * pair + order));
    }
    return 0;
}

/* ---- speeches --------------------------------------------------------------------------------------- */
/* A speech that ran into its limit is cut off there; one that says nothing, or loops, ends the
 * debate in both seatings. */
static enum extract_reason read_orders(const Cai__V1__Generated *const *g, size_t orders,
                                       struct cai_arena *a, const char *ret_text[2]) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < orders; i++) {
        struct extract_input in = {
            .kind = EXTRACT_REASONING, .raw = g[i]->text,
            .finish = g[i]->finish == CAI__V1__FINISH__FINISH_TOO_LONG ? EXTRACT_NOT_RUN
                                                                      : EXTRACT_ENDED};
        enum extract_reason why = extract(&in, &text);
        if (why != EXTRACT_OK)
            return why;
        ret_text[i] = cai_arena_strndup(a, text.data, text.len);
    }
    return EXTRACT_OK;
}

static int put_speech(const struct stage_context *c, const Cai__V1__Generated *g, uint32_t at,
                      const char *text, const char *model) {
    return example_put(c, g->item, SPEECHES_MAX * g->k + at, "speech", text, NULL, model,
                       json_pack("{s:s, s:i, s:i}", "side", at % 2 ? "B" : "A", "generated",
                                 (int)g->tokens, "read", (int)g->prompt_tokens));
}

static int go_on(struct builder *b, const struct stage_context *c, const Cai__V1__Generated *g,
                 uint32_t said, struct cai_arena *a) {
    struct debate d;
    struct rendering r;
    CAI_TRY(load(c, g->item, g->k, said, a, &d));
    if (said < speeches(c))
        return ask_speech(b, c, &d, g->item, g->k);
    render_debated_choice(c->constitution, &d.principle, d.turns, d.n, d.seat[0], d.seat[1], d.said,
                          d.n_said, &r);
    int rc = build_score_rendered(b, g->item, g->k, &r);
    rendering_free(&r);
    return rc;
}

int debate_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result, bool gate, bool swap) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(builder) struct builder b = {0};
    const Cai__V1__Generated **g;
    size_t n, orders = swap ? 2 : 1;
    unsigned said;
    const struct model_ref overseer = {task->generate->model->path, task->generate->model->hash};
    CAI_CHECK(sscanf(strstr(task->phase, "debate-"), "debate-%u", &said) == 1);
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    const char *next = cai_arena_printf(&a, "%sdebate-%u", gate ? "gate-" : "", said + 1);
    if (said < speeches(c))
        build_generate(&b, c, next, task->chunk, &overseer, &c->job->label.speech);
    else
        build_score(&b, c, gate ? "gate" : "score", task->chunk, &overseer);
    b.whole = true;
    for (size_t i = 0; i + orders <= n; i += orders) {
        const char *text[2];
        enum extract_reason why = read_orders(&g[i], orders, &a, text);
        if (why != EXTRACT_OK) {
            CAI_AUTO(mem) char *name = cai_format("debate/%s", extract_reason_name(why));
            CAI_TRY(example_put(c, g[i]->item, DROPPED | g[i]->k, "dropped", g[i]->text, NULL, "",
                                json_pack("{s:s}", "reason", name)));
            continue;
        }
        for (size_t k = 0; k < orders; k++) {
            CAI_TRY(put_speech(c, g[i + k], said - 1, text[k], overseer.hash));
            CAI_TRY(go_on(&b, c, g[i + k], said, &a));
        }
    }
    return build_flush(&b);
}

/* ---- figures ------------------------------------------------------------------------------------------ */
int debate_said(const struct stage_context *c, uint64_t item, uint32_t pair, uint32_t seating,
                json_t **ret) {
    json_t *list = json_array();
    *ret = NULL;
    for (uint32_t i = 0; i < speeches(c); i++) {
        CAI_AUTO(mem) char *text = NULL;
        uint32_t k = SPEECHES_MAX * (2 * pair + seating) + i;
        int rc = store_example_get(c->store, c->job_id, c->round, "label", item, "speech", k, &text,
                                   NULL);
        if (rc < 0) {
            json_decref(list);
            if (rc == CAI_ENOTFOUND)
                cai_error_clear();
            return rc == CAI_ENOTFOUND ? 0 : rc;
        }
        json_array_append_new(list, json_pack("{s:i, s:s}", "reply", (int)((i + seating) % 2), "text",
                                              text));
    }
    *ret = list;
    return 0;
}

int debate_tokens(const struct stage_context *c, uint64_t item, uint32_t pair, double *ret_generated,
                  double *ret_read) {
    *ret_generated = *ret_read = 0;
    for (uint32_t i = 0; i < 2 * speeches(c); i++) {
        CAI_AUTO(mem) char *detail = NULL;
        uint32_t k = SPEECHES_MAX * (2 * pair + i / speeches(c)) + i % speeches(c);
        int rc = store_example_get(c->store, c->job_id, c->round, "label", item, "speech", k, NULL,
                                   &detail);
        if (rc == CAI_ENOTFOUND) {
            cai_error_clear();
            continue;
        }
        CAI_TRY(rc);
        json_auto_t *o = json_loads(detail, 0, NULL);
        *ret_generated += json_number_value(json_object_get(o, "generated"));
        *ret_read += json_number_value(json_object_get(o, "read"));
    }
    return 0;
}

int debate_figures(const struct stage_context *c, double *ret_dropped) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct examples dropped, held, said;
    double n[EXTRACT_REASONS] = {0}, all = 0, length = 0;
    CAI_TRY(examples_load(c, c->round, "label", "debate", &a, &held));
    CAI_TRY(examples_load(c, c->round, "label", "speech", &a, &said));
    CAI_TRY(examples_load(c, c->round, "label", "dropped", &a, &dropped));
    for (size_t i = 0; i < said.n; i++)
        length += (double)probes_words(said.at[i].text);
    for (size_t i = 0; i < dropped.n; i++) {
        json_auto_t *o = json_loads(dropped.at[i].detail, 0, NULL);
        const char *why = json_string_value(json_object_get(o, "reason"));
        if ((dropped.at[i].k & DROPPED) != DROPPED || !why || strncmp(why, "debate/", 7) != 0)
            continue;
        for (enum extract_reason r = EXTRACT_OK; r < EXTRACT_REASONS; r++)
            n[r] += strcmp(why + 7, extract_reason_name(r)) == 0;
        all++;
    }
    for (enum extract_reason r = EXTRACT_OK; r < EXTRACT_REASONS; r++)
        if (n[r] > 0)
            CAI_TRY(rates_value(c, cai_arena_printf(&a, "debates/%s", extract_reason_name(r)), n[r]));
    *ret_dropped = held.n ? all / (double)held.n : 0;
    CAI_TRY(rates_value(c, "debate_words", said.n ? length / (double)said.n : 0));
    return rates_value(c, "debates_dropped", *ret_dropped);
}
