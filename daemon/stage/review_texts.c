/* review_texts.c: people read rewrites beside the replies they came from, and the critiques
 * between, before supervised training takes them.
 *
 * Gate: texts-ROUND. Examples: decision (text = a reader's own rewrite or "", {"verdict": 1 … 7, 7
 * = the rewrite is much better, "rejected": [step, …], "item": number of the item}).
 * Metrics: drawn, gold, required; and at the end verdicts, edited, dropped (the reply was better),
 *   rejected (critiques), critiques, undecided. */
#include "stage/review.h"

#include "base/error.h"
#include "stage/data.h"
#include "stage/rates.h"
#include "stage/review_plant.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

enum { PLANTED = 0x10000, STEPS_MAX = 64 };

static bool enabled(const struct job_spec *job) {
    return job->human.critiques > 0 && stage_revise.enabled(job);
}

/* ---- candidates ------------------------------------------------------------------------------- */

struct texts {
    struct examples replies, critiques, revisions;
};

static int load(const struct stage_context *c, struct cai_arena *a, struct texts *ret) {
    CAI_TRY(examples_load(c, c->round, "revise", "reply", a, &ret->replies));
    CAI_TRY(examples_load(c, c->round, "revise", "critique", a, &ret->critiques));
    return examples_load(c, c->round, "revise", "revision", a, &ret->revisions);
}

/* The last revision that changed something; NULL when there is none. */
static const struct store_example *last_change(const struct texts *t, uint64_t item) {
    const struct store_example *last = NULL;
    for (uint32_t k = 1; k < STEPS_MAX; k++) {
        const struct store_example *r = examples_find(&t->revisions, item, k);
        if (r && !example_flag(r, "unchanged"))
            last = r;
    }
    return last;
}

/* Overseers' own doubt: some of its critiques found a flaw, others none. */
static double mixed(const struct texts *t, uint64_t item) {
    double flaws = 0, n = 0;
    for (uint32_t k = 1; k < STEPS_MAX; k++) {
        const struct store_example *x = examples_find(&t->critiques, item, k);
        if (!x)
            continue;
        n++;
        flaws += !example_flag(x, "no_flaw");
    }
    return n > 0 ? 1 - fabs(2 * flaws / n - 1) : 0;
}

static size_t list(const struct texts *t, struct cai_arena *a, struct candidate **ret) {
    size_t n = 0;
    *ret = cai_arena_array(a, t->replies.n + 1, sizeof **ret);
    for (size_t i = 0; i < t->replies.n; i++) {
        uint64_t item = t->replies.at[i].item;
        if (last_change(t, item))
            (*ret)[n++] = (struct candidate){.item = item, .disputes = mixed(t, item), .weight = 1};
    }
    return n;
}

/* Rewrites whose words can be put out of order, among those that are there. */
static size_t list_gold(const struct stage_context *c, const struct texts *t,
                        const struct candidate *from, size_t n, size_t want, struct cai_arena *a,
                        uint64_t **ret) {
    uint32_t *order = cai_arena_array(a, n + 1, sizeof *order);
    size_t got = 0;
    *ret = cai_arena_array(a, want + 1, sizeof **ret);
    if (n)
        cai_rng_permutation(cai_key_make(c->job->seed, c->round, "texts/gold", 0, 0), n, order);
    for (size_t i = 0; i < n && got < want; i++) {
        uint64_t item = from[order[i]].item;
        if (plant_possible(last_change(t, item)->text))
            (*ret)[got++] = item;
    }
    return got;
}

/* ---- the queue --------------------------------------------------------------------------------- */

static json_t *critiques_of(const struct texts *t, uint64_t item, const char *reply) {
    json_t *o = json_array();
    for (uint32_t k = 1; k < STEPS_MAX; k++) {
        const struct store_example *x = examples_find(&t->critiques, item, k);
        if (x && !example_flag(x, "no_flaw"))
            shown_critique(o, k, x->text, 0, reply);
    }
    return o;
}

/* Replies: 0 the first text, 1 the rewrite. Of gold: 0 the rewrite, 1 the same out of order. */
static int put_item(const struct stage_context *c, const struct texts *t, const struct drawn *d,
                    uint64_t item, uint32_t place, struct cai_arena *a) {
    CAI_AUTO(dialog) struct dialog o = {0};
    const struct store_example *reply = examples_find(&t->replies, item, 0);
    const struct store_example *rewrite = last_change(t, item);
    struct shown s = {.principle = "", .question = "Which text is better?"};
    CAI_CHECK(reply && rewrite);
    CAI_TRY(data_dialog(c, item, a, &o));
    const struct principle *p = constitution_find(c->constitution, rewrite->principle);
    s.principle = p && p->critique ? p->critique : "";
    s.reply[0] = d->gold ? rewrite->text : reply->text;
    s.reply[1] = d->gold ? plant(c, "texts/plant", item, rewrite->text, a) : rewrite->text;
    s.critiques = critiques_of(t, item, s.reply[0]);
    s.messages = data_messages(o.turns, o.n);
    s.flipped = cai_rng_below(cai_key_make(c->job->seed, c->round, "texts/order", item, place), 0, 2);
    s.kept = json_pack("{s:s, s:s}", "revision", c->constitution->revision, "from",
                       d->gold ? "planted" : "revise");
    if (d->gold)
        json_object_set_new(s.kept, "answer", json_integer(s.flipped ? 7 : 1));
    CAI_AUTO(mem) char *content = shown_content(&s);
    struct store_review_item i = {.job = c->job_id, .round = c->round, .kind = "critique",
                                  .item = item, .k = d->gold ? PLANTED : 0, .position = place,
                                  .drawn = d->how, .gold = d->gold, .unaided = d->unaided,
                                  .second = d->second, .content = content};
    return store_review_item_add(c->store, &i, NULL);
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(mem) char *gate = cai_format("texts-%u", c->round);
    struct texts t;
    struct candidate *from;
    struct drawn *d;
    uint64_t *gold;
    size_t n, used = 0, want = (size_t)c->job->human.critiques;
    CAI_TRY(load(c, &a, &t));
    size_t n_from = list(&t, &a, &from);
    size_t n_gold = list_gold(c, &t, from, n_from,
                              (size_t)llround(c->job->human.gold * (double)want), &a, &gold);
    review_draw(c, "texts", from, n_from, want, n_gold, &a, &d, &n);
    for (size_t i = 0; i < n; i++)
        CAI_TRY(put_item(c, &t, &d[i], d[i].gold ? gold[used++] : d[i].of->item, (uint32_t)i, &a));
    CAI_TRY(rates_value(c, "drawn", (double)n));
    CAI_TRY(rates_value(c, "gold", (double)used));
    CAI_TRY(rates_value(c, "required", (double)want));
    return review_open_queue(c, "critique", gate, (int64_t)want);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    (void)c;
    (void)result;
    return cai_fail(CAI_EINTERNAL, "stage review_texts has no task %s", task->phase);
}

/* ---- what verdicts do ---------------------------------------------------------------------------- */

static bool rejects(const struct reading *r, int64_t id) {
    const char *text, *state = reading_of_critique(r, id, &text);
    return state && strcmp(state, "reject") == 0;
}

struct outcome {
    size_t verdicts, edited, dropped, critiques, rejected, undecided;
};

static int use(const struct stage_context *c, const struct book_item *i, struct outcome *o) {
    const struct reading *r;
    size_t n = book_deciding(i, &r), k;
    json_t *rejected = json_array(), *x;
    const char *edit = NULL;
    bool flipped = json_is_true(json_object_get(book_kept(i), "flipped"));
    json_array_foreach(json_object_get(book_content(i), "critiques"), k, x) {
        int64_t id = json_integer_value(json_object_get(x, "id"));
        bool all = true;
        for (size_t j = 0; j < n; j++)
            all = all && rejects(&r[j], id);
        if (all)
            json_array_append_new(rejected, json_integer(id));
        o->critiques++;
        o->rejected += all;
    }
    for (size_t j = 0; j < n; j++) {
        const char *text = json_string_value(json_object_get(r[j].body, "edit"));
        edit = text && *text ? text : edit;
    }
    double verdict = flipped ? 8 - i->verdict : i->verdict;
    o->verdicts++;
    o->edited += edit != NULL;
    o->dropped += !edit && verdict < 4;
    return example_put(c, i->row.item, 0, "decision", edit ? edit : "", NULL, "",
                       json_pack("{s:f, s:o, s:I}", "verdict", verdict, "rejected", rejected,
                                 "item", (json_int_t)i->row.id));
}

static int use_all(const struct stage_context *c, const struct book *b) {
    struct outcome o = {0};
    for (size_t i = 0; i < b->n; i++) {
        const struct book_item *x = &b->at[i];
        if (x->row.gold || x->n_final == 0)
            continue;
        if (x->state == REVIEW_DISPUTED)
            o.undecided++;
        else
            CAI_TRY(use(c, x, &o));
    }
    CAI_TRY(rates_value(c, "verdicts", (double)o.verdicts));
    CAI_TRY(rates_value(c, "edited", (double)o.edited));
    CAI_TRY(rates_value(c, "dropped", (double)o.dropped));
    CAI_TRY(rates_value(c, "critiques", (double)o.critiques));
    CAI_TRY(rates_value(c, "rejected", (double)o.rejected));
    return rates_value(c, "undecided", (double)o.undecided);
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(book) struct book b = {0};
    bool closed;
    CAI_TRY(book_load(c->store, c->job_id, c->round, "critique", &b));
    CAI_TRY(review_wait(c, "critique", &b, ret, &closed));
    return closed ? use_all(c, &b) : 0;
}

int review_decisions(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                     struct rewrite_decision **ret, size_t *ret_n) {
    struct examples e;
    CAI_TRY(examples_load(c, round, "review_texts", "decision", a, &e));
    *ret = cai_arena_array(a, e.n + 1, sizeof **ret);
    *ret_n = e.n;
    for (size_t i = 0; i < e.n; i++) {
        struct rewrite_decision *d = &(*ret)[i];
        json_t *detail = json_loads(e.at[i].detail, 0, NULL), *step;
        size_t k;
        *d = (struct rewrite_decision){.item = e.at[i].item,
                                       .edit = *e.at[i].text ? e.at[i].text : NULL,
                                       .dropped = example_number(&e.at[i], "verdict", 4) < 4};
        json_array_foreach(json_object_get(detail, "rejected"), k, step)
            d->rejected |= UINT64_C(1) << (json_integer_value(step) % STEPS_MAX);
        json_decref(detail);
    }
    return 0;
}

const struct stage stage_review_texts = {"review_texts", "people read rewrites", false, enabled,
                                         plan,           absorb,                 done};
