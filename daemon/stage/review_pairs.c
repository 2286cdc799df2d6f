/* review_pairs.c: people compare pairs of replies that the overseer has labelled, before the
 * preference model is trained.
 *
 * Phases: critique (the overseer's, of both replies of what was drawn: human.help) → (done) the
 * queue opens and the job waits. Gate: review-ROUND.
 * Examples: drawn (k = place in the queue, {"pass", "how", "unaided", "second", "gold"}), critique
 *   (k = 2 · place + reply), judged (review.h). Labels: "human", k = pass × principles, model
 *   "review:ITEM".
 * Metrics: drawn (items), gold, required; and at the end verdicts (labels that people gave), tied,
 *   compared (with an opinion on both sides), overturned (share of those in which people prefer the
 *   other reply; _low _high _n), undecided (disputes that were still open). */
#include "stage/review.h"

#include "base/error.h"
#include "stage/data.h"
#include "stage/debate.h"
#include "stage/draw.h"
#include "stage/extract.h"
#include "stage/label.h"
#include "stage/pairs.h"
#include "stage/rates.h"
#include "stage/review_plant.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

static bool enabled(const struct job_spec *job) {
    return job->human.required > 0 && stage_label.enabled(job);
}

/* ---- candidates ----------------------------------------------------------------------------- */

struct about { /* a pair, and what the overseer says of it */
    const struct pair *pair;
    char principle[128];
    double low, high;
};
struct listing {
    const struct stage_context *c;
    struct candidate *at;
    struct about *about;
    size_t n, walked;
    uint32_t per_pair;
};

/* Labels come by (item, k), as the pairs do. */
static int note_label(void *context, const struct store_label *l) {
    struct listing *o = context;
    if (strcmp(l->source, "ai") != 0)
        return 0;
    uint32_t pass = l->k / o->per_pair;
    while (o->walked < o->n && (o->at[o->walked].item < l->item ||
                                (o->at[o->walked].item == l->item && o->at[o->walked].k < pass)))
        o->walked++;
    if (o->walked == o->n || o->at[o->walked].item != l->item || o->at[o->walked].k != pass)
        return 0;
    struct candidate *x = &o->at[o->walked];
    struct about *about = x->about;
    struct choice choice = {.p_ab = l->p_ab, .p_ba = l->p_ba};
    choice_weigh(&choice);
    if (choice.flipped)
        x->disputes = fmax(x->disputes, fabs(l->p_ab + l->p_ba - 1));
    if (!*about->principle)
        snprintf(about->principle, sizeof about->principle, "%s", l->principle);
    about->low = fmin(about->low, l->p);
    about->high = fmax(about->high, l->p);
    if (about->low < 0.5 && about->high > 0.5)
        x->disputes = fmax(x->disputes, about->high - about->low);
    return 0;
}

static int list_candidates(const struct stage_context *c, const struct pairs *pairs,
                           struct cai_arena *a, struct listing *ret) {
    *ret = (struct listing){.c = c, .per_pair = pairs->per_pair};
    ret->at = cai_arena_array(a, pairs->n + 1, sizeof *ret->at);
    ret->about = cai_arena_array(a, pairs->n + 1, sizeof *ret->about);
    for (size_t i = 0; i < pairs->n; i++) {
        const struct pair *p = &pairs->at[i];
        if (p->round != c->round || p->human)
            continue;
        ret->about[ret->n] = (struct about){.pair = p, .low = 1, .high = 0};
        ret->at[ret->n] = (struct candidate){.item = p->item, .k = p->pass,
                                             .doubt = label_entropy(p->p), .weight = 1,
                                             .about = &ret->about[ret->n]};
        ret->n++;
    }
    return store_labels_each(c->store, c->job_id, c->round, note_label, ret);
}

/* ---- debates ---------------------------------------------------------------------------------- */

static bool debates_shown(const struct stage_context *c) {
    return c->job->human.help && debate_used(c);
}

static uint32_t principles_of(const struct stage_context *c) {
    size_t want = c->job->label.principles > 0 ? (size_t)c->job->label.principles : 1;
    uint32_t n = label_principles(c, want);
    return n ? n : 1;
}

/* The debate under the pair's first principle, in the seating in which (A) is what the reader sees
 * as A; without swapping there is one seating, and the reader sees that. */
static int put_speeches(const struct stage_context *c, uint64_t item, uint32_t pass,
                        struct shown *io) {
    if (!debates_shown(c))
        return 0;
    if (!c->job->label.swap)
        io->flipped = false;
    return debate_said(c, item, pass * principles_of(c), io->flipped, &io->speeches);
}

/* ---- gold: people's own held-out pairs, then replies with a flaw planted --------------------- */

enum { PLANTED = 0x10000 }; /* in k: the pair is not what the overseer saw */

struct gold {
    uint64_t item;
    uint32_t k;
    struct about *about; /* of a planted one */
};
struct gold_list {
    const struct stage_context *c;
    struct gold *at;
    size_t n, cap;
};

static int add_held_out(void *context, const struct store_label *l) {
    struct gold_list *g = context;
    bool clear = fabs(l->p - 0.5) > 0.4;
    if (g->n < g->cap && l->held_out && clear && strcmp(l->source, "human") == 0 &&
        strcmp(data_item_source(l->item), "human") == 0)
        g->at[g->n++] = (struct gold){.item = l->item};
    return 0;
}

/* At most half of what is wanted beyond people's pairs can be planted in as many candidates. */
static int add_planted(const struct stage_context *c, const struct listing *l, size_t want,
                       struct cai_arena *a, struct gold_list *io) {
    uint32_t *order = cai_arena_array(a, l->n + 1, sizeof *order);
    if (l->n)
        cai_rng_permutation(cai_key_make(c->job->seed, c->round, "review/gold", 0, 0), l->n, order);
    for (size_t i = 0; i < l->n && io->n < want; i++) {
        const struct candidate *x = &l->at[order[i]];
        const char *own, *other;
        CAI_TRY(pair_replies(c, ((struct about *)x->about)->pair, a, &own, &other));
        bool helpful = strcmp(data_item_source(x->item), "helpful") == 0;
        if ((helpful || extract_is_refusal(own)) && plant_possible(own))
            io->at[io->n++] = (struct gold){x->item, PLANTED + x->k, x->about};
    }
    return 0;
}

static int list_gold(const struct stage_context *c, const struct listing *l, size_t want,
                     struct cai_arena *a, struct gold_list *ret) {
    struct gold_list all = {.c = c};
    size_t people;
    CAI_TRY(data_count(c, JOB_DATA_HUMAN, &people));
    all.cap = people;
    all.at = cai_arena_array(a, people + want + 1, sizeof *all.at);
    /* Where readers see debates, gold needs one too: only what is planted into a pair has it. */
    if (want && !debates_shown(c))
        CAI_TRY(store_labels_each(c->store, c->job_id, c->round, add_held_out, &all));
    struct items drawn = {cai_arena_array(a, all.n + 1, sizeof *drawn.at), all.n};
    for (size_t i = 0; i < all.n; i++)
        drawn.at[i] = i;
    if (want)
        items_take(c, c->round, "review/gold-people", want, &drawn);
    *ret = (struct gold_list){.c = c, .at = cai_arena_array(a, want + 1, sizeof *ret->at)};
    for (size_t i = 0; i < drawn.n && ret->n < want; i++)
        ret->at[ret->n++] = all.at[drawn.at[i]];
    return add_planted(c, l, want, a, ret);
}

/* ---- plan ----------------------------------------------------------------------------------- */

/* The stored replies A and B of what is drawn, in the arena; gold's better one is A unless
 * people's pair says B: *ret_answer. */
static int replies_of(const struct stage_context *c, uint64_t item, uint32_t k, bool gold,
                      struct cai_arena *a, const char *ret[2], int *ret_answer) {
    struct pair pair = {.round = c->round, .item = item, .pass = k & (PLANTED - 1)};
    *ret_answer = 0;
    CAI_TRY(pair_replies(c, &pair, a, &ret[0], &ret[1]));
    if (!gold)
        return 0;
    *ret_answer = 1;
    if (k & PLANTED) {
        ret[1] = plant(c, "review/plant", item, ret[0], a);
        return 0;
    }
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, item, a, &d));
    const char *chosen = json_string_value(json_object_get(d.row, "chosen"));
    if (!chosen) /* {"a", "b", "p"} */
        chosen = json_string_value(json_object_get(
            d.row, json_number_value(json_object_get(d.row, "p")) > 0.5 ? "a" : "b"));
    *ret_answer = chosen && strcmp(chosen, ret[0]) == 0 ? 1 : 7;
    return 0;
}

/* Critiques are asked under the principle of the comparison, or under a drawn one where that has
 * no critique of its own; NULL: none has. */
static const struct principle *critic(const struct stage_context *c, const char *principle,
                                      uint64_t item) {
    const struct principle *p = *principle ? constitution_find(c->constitution, principle) : NULL;
    return p && draw_usable(p, DRAW_CRITIQUE)
               ? p
               : draw_principle(c, DRAW_CRITIQUE, "review/principle", item, 0);
}

static int ask_critiques(struct builder *b, const struct stage_context *c, uint64_t item,
                         uint32_t place, const struct principle *p, const char *const reply[2],
                         struct cai_arena *a) {
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(c, item, a, &d));
    struct turn *turns = cai_arena_array(a, d.n + 1, sizeof *turns);
    memcpy(turns, d.turns, d.n * sizeof *turns);
    for (uint32_t side = 0; side < 2; side++) {
        struct rendering r;
        turns[d.n] = (struct turn){"assistant", reply[side]};
        render_critique(c->constitution, p, turns, d.n + 1, &r);
        int rc = build_generate_rendered(b, item, 2 * place + side, &r);
        rendering_free(&r);
        CAI_TRY(rc);
    }
    return 0;
}

struct place {
    uint64_t item;
    uint32_t k;
    const char *principle;
    bool held_out;
    double p;
};

static int put_drawn(const struct stage_context *c, const struct place *x, uint32_t place,
                     const struct drawn *d) {
    return example_put(c, x->item, place, "drawn", "", x->principle, "",
                       json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:f}", "k", (int)x->k, "how",
                                 d->how, "unaided", d->unaided, "second", d->second, "gold",
                                 d->gold, "held_out", x->held_out, "p", x->p));
}

static struct place place_of(const struct drawn *d, const struct gold *g) {
    const struct about *about = d->gold ? g->about : d->of->about;
    const struct pair *pair = about ? about->pair : NULL;
    return (struct place){.item = d->gold ? g->item : d->of->item, .k = d->gold ? g->k : d->of->k,
                          .principle = about ? about->principle : "",
                          .held_out = pair && pair->held_out, .p = pair ? pair->p : 0.5};
}

static int plan_drawn(const struct stage_context *c, const struct drawn *d, size_t n,
                      const struct gold_list *gold, struct cai_arena *a) {
    CAI_AUTO(builder) struct builder b = {0};
    struct model_ref overseer;
    size_t used = 0;
    CAI_TRY(models_role(c, "overseer", c->round, a, &overseer));
    build_generate(&b, c, "critique", 0, &overseer, &c->job->revise.critique);
    for (uint32_t i = 0; i < n; i++) {
        struct place x = place_of(&d[i], d[i].gold ? &gold->at[used++] : NULL);
        const struct principle *p = critic(c, x.principle, x.item);
        const char *reply[2];
        int answer;
        CAI_TRY(put_drawn(c, &x, i, &d[i]));
        if (!c->job->human.help || !p)
            continue;
        CAI_TRY(replies_of(c, x.item, x.k, d[i].gold, a, reply, &answer));
        CAI_TRY(ask_critiques(&b, c, x.item, i, p, reply, a));
    }
    return build_flush(&b);
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct pairs pairs;
    struct listing l = {0};
    struct gold_list gold;
    struct drawn *d;
    size_t n, want = (size_t)c->job->human.required;
    CAI_TRY(pairs_load(c, c->round, &pairs));
    int rc = list_candidates(c, &pairs, &a, &l);
    if (rc == 0)
        rc = list_gold(c, &l, (size_t)llround(c->job->human.gold * (double)want), &a, &gold);
    if (rc == 0) {
        review_draw(c, "review", l.at, l.n, want, gold.n, &a, &d, &n);
        rc = plan_drawn(c, d, n, &gold, &a);
    }
    free(pairs.at);
    return rc;
}

/* ---- results -------------------------------------------------------------------------------- */

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(buf) struct cai_buf text = {0};
    const Cai__V1__Generated **g;
    size_t n;
    CAI_TRY(result_order_generated(task, result, &a, &g, &n));
    for (size_t i = 0; i < n; i++) {
        struct extract_input in = {
            .kind = EXTRACT_CRITIQUE, .raw = g[i]->text,
            .finish = result_finish(g[i]),
            .no_flaw = c->constitution->frames.no_flaw};
        if (extract(&in, &text) == EXTRACT_OK)
            CAI_TRY(example_put(c, g[i]->item, g[i]->k, "critique", text.data, NULL,
                                task->generate->model->hash, NULL));
    }
    return 0;
}

/* ---- the queue ------------------------------------------------------------------------------ */

static int put_item(const struct stage_context *c, const struct store_example *e,
                    const struct examples *critiques, struct cai_arena *a) {
    CAI_AUTO(dialog) struct dialog d = {0};
    const struct principle *p = *e->principle ? constitution_find(c->constitution, e->principle)
                                              : NULL;
    uint32_t k = (uint32_t)example_number(e, "k", 0);
    bool gold = example_flag(e, "gold");
    struct shown s = {.principle = p && p->choice ? p->choice : "",
                      .question = "Which reply is better?", .critiques = json_array()};
    int answer;
    json_t *detail = json_loads(e->detail, 0, NULL);
    int rc = replies_of(c, e->item, k, gold, a, s.reply, &answer);
    if (rc == 0)
        rc = data_dialog(c, e->item, a, &d);
    if (rc < 0) {
        json_decref(detail);
        json_decref(s.critiques);
        return rc;
    }
    for (uint32_t side = 0; side < 2; side++) {
        const struct store_example *x = examples_find(critiques, e->item, 2 * e->k + side);
        if (x)
            shown_critique(s.critiques, side + 1, x->text, (int)side, s.reply[side]);
    }
    s.messages = data_messages(d.turns, d.n);
    s.flipped = cai_rng_below(cai_key_make(c->job->seed, c->round, "review/order", e->item, e->k),
                              0, 2);
    rc = put_speeches(c, e->item, k & (PLANTED - 1), &s);
    if (rc < 0) {
        json_decref(detail);
        json_decref(s.critiques);
        json_decref(s.messages);
        return rc;
    }
    s.kept = json_pack("{s:O, s:O, s:s, s:s, s:s}", "p", json_object_get(detail, "p"), "held_out",
                       json_object_get(detail, "held_out"), "principle", e->principle, "revision",
                       c->constitution->revision, "from",
                       !gold ? "labels" : k & PLANTED ? "planted" : "data.human");
    if (gold)
        json_object_set_new(s.kept, "answer", json_integer(s.flipped ? 8 - answer : answer));
    CAI_AUTO(mem) char *content = shown_content(&s);
    struct store_review_item i = {
        .job = c->job_id, .round = c->round, .kind = "comparison", .item = e->item, .k = k,
        .position = e->k, .drawn = json_string_value(json_object_get(detail, "how")), .gold = gold,
        .unaided = example_flag(e, "unaided"), .second = example_flag(e, "second"),
        .content = content};
    rc = store_review_item_add(c->store, &i, NULL);
    json_decref(detail);
    return rc;
}

static int open_queue(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(mem) char *gate = cai_format("review-%u", c->round);
    struct examples drawn, critiques;
    size_t gold = 0;
    CAI_TRY(examples_load(c, c->round, "review", "drawn", &a, &drawn));
    CAI_TRY(examples_load(c, c->round, "review", "critique", &a, &critiques));
    const struct store_example **by_place = cai_arena_array(&a, drawn.n + 1, sizeof *by_place);
    for (size_t i = 0; i < drawn.n; i++) {
        CAI_CHECK(drawn.at[i].k < drawn.n);
        by_place[drawn.at[i].k] = &drawn.at[i];
    }
    for (size_t i = 0; i < drawn.n; i++) { /* ids rise with the places */
        gold += example_flag(by_place[i], "gold");
        CAI_TRY(put_item(c, by_place[i], &critiques, &a));
    }
    CAI_TRY(rates_value(c, "drawn", (double)drawn.n));
    CAI_TRY(rates_value(c, "gold", (double)gold));
    CAI_TRY(rates_value(c, "required", (double)c->job->human.required));
    return review_open_queue(c, "comparison", gate, c->job->human.required);
}

/* ---- what verdicts do ------------------------------------------------------------------------- */

/* A critique that all who decide let stand, or reject; −1: neither, or nothing was said. *io_text
 * becomes a reader's own words where one edited it. */
static int judged_critique(const struct reading *r, size_t n, int64_t id, const char **io_text) {
    size_t kept = 0, rejected = 0;
    for (size_t j = 0; j < n; j++) {
        const char *text, *state = reading_of_critique(&r[j], id, &text);
        if (!state)
            continue;
        rejected += strcmp(state, "reject") == 0;
        kept += strcmp(state, "reject") != 0;
        if (strcmp(state, "edit") == 0 && text && *text)
            *io_text = text;
    }
    return n && kept == n ? 1 : n && rejected == n ? 0 : -1;
}

/* What readers say of critiques is kept for the stage skill. */
static int keep_critiques(const struct stage_context *c, const struct book_item *i) {
    const struct reading *r;
    const json_t *replies = json_object_get(book_content(i), "replies");
    const char *id = json_string_value(json_object_get(book_kept(i), "principle"));
    const struct principle *p = critic(c, id ? id : "", i->row.item);
    size_t n = book_deciding(i, &r), at;
    json_t *x;
    json_array_foreach(json_object_get(book_content(i), "critiques"), at, x) {
        int64_t side = json_integer_value(json_object_get(x, "id")) - 1; /* as stored */
        const char *text = json_string_value(json_object_get(x, "text"));
        const char *mark = json_string_value(json_object_get(x, "reply"));
        int helpful = judged_critique(r, n, side + 1, &text);
        if (helpful < 0 || !p)
            continue;
        CAI_TRY(example_put(c, i->row.item, 2 * i->row.k + (uint32_t)side, "judged", text, p->id, "",
                            json_pack("{s:b, s:O}", "helpful", helpful, "reply",
                                      json_object_get(json_array_get(replies, *mark == 'B'),
                                                      "text"))));
    }
    return 0;
}

struct outcome {
    size_t verdicts, tied, compared, turned, undecided;
};

static int use(const struct stage_context *c, const struct book_item *i, uint32_t per_pair,
               struct outcome *o) {
    const json_t *kept = book_kept(i);
    bool flipped = json_is_true(json_object_get(kept, "flipped"));
    double ai = json_number_value(json_object_get(kept, "p"));
    double p = (flipped ? i->verdict - 1 : 7 - i->verdict) / 6;
    char model[48];
    snprintf(model, sizeof model, "review:%lld", (long long)i->row.id);
    struct store_label l = {
        .job = c->job_id, .round = c->round, .item = i->row.item, .k = i->row.k * per_pair,
        .principle = json_string_value(json_object_get(kept, "principle")),
        .revision = c->constitution->revision, .model = model, .source = "human", .p = p,
        .p_ab = p, .p_ba = 1 - p, .mass_ab = 1, .mass_ba = 1,
        .held_out = json_is_true(json_object_get(kept, "held_out"))};
    o->verdicts++;
    o->tied += p == 0.5;
    o->compared += p != 0.5 && ai != 0.5;
    o->turned += p != 0.5 && ai != 0.5 && (p > 0.5) != (ai > 0.5);
    CAI_TRY(keep_critiques(c, i));
    return store_label_add(c->store, &l);
}

static int use_all(const struct stage_context *c, const struct book *b) {
    struct outcome o = {0};
    uint32_t per_pair = principles_of(c);
    for (size_t i = 0; i < b->n; i++) {
        const struct book_item *x = &b->at[i];
        if (x->row.gold || x->n_final == 0)
            continue;
        if (x->state == REVIEW_DISPUTED) /* nobody has decided: the overseer's label stays */
            o.undecided++;
        else
            CAI_TRY(use(c, x, per_pair, &o));
    }
    CAI_TRY(rates_value(c, "verdicts", (double)o.verdicts));
    CAI_TRY(rates_value(c, "tied", (double)o.tied));
    CAI_TRY(rates_value(c, "compared", (double)o.compared));
    CAI_TRY(rates_value(c, "undecided", (double)o.undecided));
    return rates_metric(c, c->round, "review", "overturned", o.turned, o.compared);
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(book) struct book b = {0};
    bool closed;
    if (!review_drawn(c))
        CAI_TRY(open_queue(c));
    CAI_TRY(book_load(c->store, c->job_id, c->round, "comparison", &b));
    CAI_TRY(review_wait(c, "comparison", &b, ret, &closed));
    return closed ? use_all(c, &b) : 0;
}

const struct stage stage_review = {"review", "people compare", false, enabled, plan, absorb, done};
