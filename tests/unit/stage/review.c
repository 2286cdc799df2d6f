/* review: what is drawn is the same whoever works and reads; and what people decide is what is
 * trained on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "stage/data.h"
#include "stage/graders.h"
#include "stage/pairs.h"
#include "stage/review.h"
#include "stage/review_plant.h"
#include "world.h"
#include <math.h>
#include <string.h>

#define DATA "harmful helpful human classifier evaluate"
#define SMALL                                                                                      \
    "  red_team: off\n  revise: {prompts: 60, revisions: 2}\n  sft: {take: last}\n"                \
    "  label: {pairs: 60, gate_pairs: 40, principles: 2}\n  prefer: {held_out: 0.3}\n"             \
    "  evaluate: {prompts: 30, win_pairs: 10}\n  ppo: {steps: 2, rollouts: 8}\n"

/* ---- readers -------------------------------------------------------------------------------- */

static void say_body(struct world *w, const struct store_review_item *i, const char *reader,
                     const char *body) {
    struct store_review_event e = {.job = i->job, .item = i->id, .reader = reader,
                                   .role = "reviewer", .event = "final", .body = body};
    assert_int_equal(store_review_append(w->store, &e), 0);
}

static void say(struct world *w, const struct store_review_item *i, const char *reader,
                int verdict) {
    CAI_AUTO(mem) char *body = cai_format("{\"verdict\":%d}", verdict);
    say_body(w, i, reader, body);
}

static const char *gate_kind(const struct world *w) {
    return strncmp(w->last_gate, "review-", 7) == 0  ? "comparison"
           : strncmp(w->last_gate, "texts-", 6) == 0 ? "critique"
                                                     : "grade";
}

/* Which side is "as stored A" (or the reply, of a rewrite): 1 or 7. */
static int towards(const struct book_item *i, bool stored_first) {
    bool flipped = json_is_true(json_object_get(book_kept(i), "flipped"));
    return stored_first == flipped ? 7 : 1;
}

/* One reader, who always holds against the overseer, strongly; second readings are left. */
static bool against(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, gate_kind(w), &b), 0);
    for (size_t i = 0; i < b.n; i++) {
        const json_t *kept = book_kept(&b.at[i]);
        double p = json_number_value(json_object_get(kept, "p"));
        if (b.at[i].n_final == 0)
            say(w, &b.at[i].row, "ann", towards(&b.at[i], p < 0.5));
    }
    return true;
}

/* ---- drawing -------------------------------------------------------------------------------- */

static int put_item(void *c, const struct store_review_item *i) {
    cai_buf_printf(c, "%s %u %u %llu/%u %s %d%d%d %s\n", i->kind, i->round, i->position,
                   (unsigned long long)i->item, i->k, i->drawn, i->gold, i->unaided, i->second,
                   i->content);
    return 0;
}

static char *queues(uint64_t order, const char *settings) {
    struct world w = {.order = order, .read = against};
    struct cai_buf text = {0};
    world_open(&w, DATA, settings);
    for (uint32_t round = 1; round <= 2; round++)
        for (const char *const *s = (const char *const[]){"revise", "review_texts", "sft", "label",
                                                          "review", "prefer", "evaluate", NULL};
             *s; s++)
            assert_int_equal(world_stage(&w, round, *s).next, STAGE_DONE);
    assert_int_equal(store_review_items_each(w.store, 0, -1, NULL, put_item, &text), 0);
    world_close(&w);
    return text.data;
}

static void the_draw_is_counted(void **state) {
    (void)state;
    const char *settings = SMALL "human: {required: 10, critiques: 6, grades: 5}\n";
    CAI_AUTO(mem) char *one = queues(1, settings);
    CAI_AUTO(mem) char *two = queues(2, settings);
    assert_string_equal(one, two);
    CAI_AUTO(mem) char *other = queues(1, SMALL "human: {required: 10, critiques: 6, grades: 5, "
                                                "draw: {uncertain: 0}}\n");
    assert_string_not_equal(one, other);
    assert_null(strstr(other, " uncertain "));
}

struct counted {
    size_t n, gold, unaided, second, flipped, how[3], critiques, people;
};

static int count_item(void *context, const struct store_review_item *i) {
    struct counted *n = context;
    json_t *o = json_loads(i->content, 0, NULL), *kept = json_object_get(o, "kept");
    assert_int_equal(i->position, n->n);
    n->n++;
    n->gold += i->gold;
    n->unaided += i->unaided;
    n->second += i->second;
    assert_false(i->gold && i->second);
    n->flipped += json_is_true(json_object_get(kept, "flipped"));
    n->how[0] += !i->gold && strcmp(i->drawn, "uncertain") == 0;
    n->how[1] += !i->gold && strcmp(i->drawn, "disagreement") == 0;
    n->how[2] += !i->gold && strcmp(i->drawn, "random") == 0;
    n->critiques += json_array_size(json_object_get(o, "critiques"));
    assert_int_equal(json_array_size(json_object_get(o, "replies")), 2);
    assert_int_equal(json_integer_value(json_object_get(kept, "answer")) != 0, i->gold);
    const char *from = json_string_value(json_object_get(kept, "from"));
    n->people += strcmp(from, "data.human") == 0;
    json_decref(o);
    return 0;
}

/* 20 wanted: 20 + ⌈20 × 0.15 ÷ 0.85⌉ + 2 = 26 items, and 0.2 × 20 = 4 of gold. */
static void shares_are_exact(void **state) {
    (void)state;
    struct world w = {.order = 2, .read = against};
    struct counted n = {0};
    world_open(&w, DATA, SMALL "human: {required: 20, gold: 0.2, overlap: 0.15, unaided: 0.2}\n");
    for (const char *const *s = (const char *const[]){"revise", "sft", "label", "review", NULL};
         *s; s++)
        assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
    assert_int_equal(store_review_items_each(w.store, w.c.job_id, 1, "comparison", count_item, &n), 0);
    assert_int_equal(n.n, 30);
    assert_int_equal(n.gold, 4);
    assert_int_equal(n.unaided, 6);
    assert_int_equal(n.second, 4);
    assert_true(n.people > 0);
    assert_int_equal(n.how[0] + n.how[1] + n.how[2], 26);
    assert_true(n.how[0] >= 10 && n.how[1] <= 8 && n.how[2] >= 7);
    assert_true(n.flipped > 5 && n.flipped < 25);
    assert_true(n.critiques > 20); /* of 60 some found no flaw, some broke off */
    assert_int_equal(world_metric(&w, 1, "review", "drawn"), 30);
    world_close(&w);
}

static void without_help_nothing_is_asked(void **state) {
    (void)state;
    struct world w = {.order = 2, .read = against};
    struct counted n = {0};
    world_open(&w, DATA, SMALL "human: {required: 5, help: false}\n");
    for (const char *const *s = (const char *const[]){"revise", "sft", "label", NULL}; *s; s++)
        assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
    size_t tasks = w.tasks;
    assert_int_equal(world_stage(&w, 1, "review").next, STAGE_DONE);
    assert_int_equal(w.tasks, tasks);
    assert_int_equal(store_review_items_each(w.store, w.c.job_id, 1, "comparison", count_item, &n), 0);
    assert_int_equal(n.critiques, 0);
    world_close(&w);
}

/* ---- deciding ------------------------------------------------------------------------------- */

static void who_decides(void **state) {
    (void)state;
    static const struct {
        bool second;
        int said[3];
        enum review_state state;
        double verdict;
    } cases[] = {
        {false, {0}, REVIEW_OPEN, 0},          {false, {6}, REVIEW_FINAL, 6},
        {true, {6}, REVIEW_SECOND, 6},         {true, {6, 5}, REVIEW_FINAL, 5.5},
        {true, {6, 2}, REVIEW_DISPUTED, 4},    {true, {6, 2, 1}, REVIEW_FINAL, 1},
        {true, {4, 5}, REVIEW_FINAL, 4.5},     {true, {7, 4}, REVIEW_DISPUTED, 5.5},
        {false, {3, 5}, REVIEW_DISPUTED, 4},   {true, {3, 3, 7}, REVIEW_FINAL, 3},
    };
    struct world w = {.order = 1};
    world_open(&w, DATA, SMALL);
    static const char *const readers[] = {"ann", "bea", "cyn"};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct store_review_item item = {.job = 9, .round = 1, .kind = "comparison", .item = i,
                                         .position = (uint32_t)i, .drawn = "random",
                                         .second = cases[i].second, .content = "{}"};
        assert_int_equal(store_review_item_add(w.store, &item, &item.id), 0);
        for (size_t r = 0; r < 3; r++)
            if (cases[i].said[r])
                say(&w, &item, readers[r], cases[i].said[r]);
    }
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w.store, 9, 1, "comparison", &b), 0);
    assert_int_equal(b.n, CAI_COUNT(cases));
    for (size_t i = 0; i < b.n; i++) {
        assert_int_equal(b.at[i].state, cases[i].state);
        assert_true(b.at[i].verdict == cases[i].verdict);
    }
    struct store_review_queue q = {.job = 9, .round = 1, .kind = "comparison", .gate = "review-1",
                                   .required = 50};
    struct review_count n = book_count(&b, &q);
    assert_int_equal(n.required, 10); /* no more than there are */
    assert_int_equal(n.done, 5);
    assert_int_equal(n.second, 1);
    assert_int_equal(n.disputed, 3);
    char reason[512];
    review_reason(&q, &n, reason, sizeof reason);
    assert_non_null(strstr(reason, "5 of 10 comparisons are final; 1 waits for a second reader and 3 "
                                   "disputed for a third"));
    assert_non_null(strstr(reason, "'caictl review next 9'"));
    world_close(&w);
}

/* ---- what it does to training: pairs ---------------------------------------------------------- */

struct ai {
    double sum[70];
    uint64_t item[70];
    uint32_t pass[70];
    size_t n, each[70];
};

static int note_ai(void *context, const struct store_label *l) {
    struct ai *o = context;
    if (strcmp(l->source, "ai") != 0)
        return 0;
    size_t i = o->n ? o->n - 1 : 0;
    if (!o->n || o->item[i] != l->item || o->pass[i] != l->k / 2) {
        i = o->n++;
        o->item[i] = l->item;
        o->pass[i] = l->k / 2;
    }
    o->sum[i] += l->p;
    o->each[i]++;
    return 0;
}

static double ai_of(const struct ai *o, uint64_t item, uint32_t pass) {
    for (size_t i = 0; i < o->n; i++)
        if (o->item[i] == item && o->pass[i] == pass)
            return o->sum[i] / (double)o->each[i];
    fail_msg("no label of %llu/%u", (unsigned long long)item, pass);
    return 0;
}

static void a_verdict_takes_the_labels_place(void **state) {
    (void)state;
    struct world w = {.order = 2, .read = against};
    struct ai ai = {0};
    struct pairs pairs;
    world_open(&w, DATA, SMALL "human: {required: 20}\n");
    for (const char *const *s = (const char *const[]){"revise", "sft", "label", "review", NULL};
         *s; s++)
        assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
    assert_int_equal(w.waits, 1);
    assert_int_equal(store_labels_each(w.store, w.c.job_id, 1, note_ai, &ai), 0);
    assert_int_equal(pairs_load(&w.c, 1, &pairs), 0);
    size_t turned = 0, kept = 0, own = 0;
    for (size_t i = 0; i < pairs.n; i++) {
        const struct pair *p = &pairs.at[i];
        if (data_item_is_human(p->item)) {
            own++;
            continue;
        }
        double said = ai_of(&ai, p->item, p->pass);
        if (p->human) { /* every verdict was against the overseer, as strongly as can be */
            assert_true(p->p == (said < 0.5 ? 1 : 0));
            turned++;
        } else {
            assert_true(fabs(p->p - said) < 1e-12);
            kept++;
        }
    }
    assert_int_equal(pairs.n - own, ai.n);
    assert_int_equal(turned, 26); /* lone second readings count, too */
    assert_int_equal(kept, ai.n - 26);
    assert_true(own > 0);
    assert_true(world_metric(&w, 1, "review", "overturned") == 1);
    assert_int_equal(world_metric(&w, 1, "review", "verdicts"), 26);
    assert_int_equal(world_stage(&w, 1, "prefer").next, STAGE_DONE);
    assert_int_equal(world_metric(&w, 1, "prefer", "rows_human"), 26 + own);
    free(pairs.at);
    world_close(&w);
}

static bool dispute(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "comparison", &b), 0);
    for (size_t i = 0; i < b.n; i++) {
        say(w, &b.at[i].row, "ann", 1);
        say(w, &b.at[i].row, "bea", 7);
    }
    return false; /* nothing is decided: the gate must be accepted */
}

static void a_dispute_leaves_the_label(void **state) {
    (void)state;
    struct world w = {.order = 2, .read = dispute};
    struct pairs pairs;
    world_open(&w, DATA, SMALL "human: {required: 20}\n");
    for (const char *const *s = (const char *const[]){"revise", "sft", "label", "review", NULL};
         *s; s++)
        assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
    assert_string_equal(w.accepted, "review-1 ");
    assert_int_equal(world_metric(&w, 1, "review", "undecided"), 26);
    assert_int_equal(pairs_load(&w.c, 1, &pairs), 0);
    for (size_t i = 0; i < pairs.n; i++)
        assert_int_equal(pairs.at[i].human, data_item_is_human(pairs.at[i].item));
    free(pairs.at);
    world_close(&w);
}

/* ---- what it does to training: rewrites --------------------------------------------------------- */

enum { KEEP, WORSE, REJECT, EDIT, WAYS };
static uint64_t judged[WAYS];

static bool judge_rewrites(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    size_t way = 0;
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "critique", &b), 0);
    for (size_t i = 0; i < b.n; i++) {
        const struct book_item *x = &b.at[i];
        int worse = towards(x, true), better = towards(x, false);
        if (x->row.gold || x->row.second || way == WAYS) {
            say(w, &x->row, "ann", x->row.gold ? worse : better);
            continue;
        }
        json_t *list = json_array(), *c;
        size_t k;
        json_array_foreach(json_object_get(book_content(x), "critiques"), k, c)
            json_array_append_new(list, json_pack("{s:O, s:s}", "id", json_object_get(c, "id"),
                                                  "state", way == REJECT ? "reject" : "keep"));
        json_t *o = json_pack("{s:i, s:o}", "verdict", way == WORSE ? worse : better, "critiques",
                              list);
        if (way == EDIT)
            json_object_set_new(o, "edit", json_string("By hand."));
        CAI_AUTO(mem) char *body = json_dumps(o, 0);
        json_decref(o);
        say_body(w, &x->row, "ann", body);
        judged[way++] = x->row.item;
    }
    assert_int_equal(way, WAYS);
    return true;
}

static const char *row_of(const struct sft_rows *rows, uint64_t item, bool *ret_changed) {
    const char *text = NULL;
    for (size_t i = 0; i < rows->n; i++)
        if (rows->at[i].item == item) {
            text = rows->at[i].text;
            *ret_changed = rows->at[i].changed;
        }
    return text;
}

static void a_reader_rules_over_rewrites(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct world w = {.order = 2, .read = judge_rewrites};
    struct sft_rows before, after;
    bool changed;
    world_open(&w, DATA, SMALL "human: {critiques: 12, gold: 0.1}\n");
    assert_int_equal(world_stage(&w, 1, "revise").next, STAGE_DONE);
    assert_int_equal(sft_rows(&w.c, 1, &a, &before), 0);
    assert_int_equal(world_stage(&w, 1, "review_texts").next, STAGE_DONE);
    assert_int_equal(sft_rows(&w.c, 1, &a, &after), 0);
    const char *kept = row_of(&before, judged[KEEP], &changed);
    assert_string_equal(row_of(&after, judged[KEEP], &changed), kept);
    assert_true(changed);
    assert_null(row_of(&after, judged[WORSE], &changed));
    CAI_AUTO(mem) char *reply = NULL;
    assert_int_equal(store_example_get(w.store, w.c.job_id, 1, "revise", judged[REJECT], "reply", 0,
                                       &reply, NULL), 0);
    assert_string_equal(row_of(&after, judged[REJECT], &changed), reply);
    assert_false(changed);
    assert_string_equal(row_of(&after, judged[EDIT], &changed), "By hand.");
    assert_true(changed);
    assert_int_equal(after.n, before.n - 1);
    assert_int_equal(world_metric(&w, 1, "review_texts", "edited"), 1);
    assert_int_equal(world_metric(&w, 1, "review_texts", "dropped"), 1);
    assert_int_equal(world_metric(&w, 1, "review_texts", "gold"), 1);
    assert_int_equal(world_stage(&w, 1, "sft").next, STAGE_DONE);
    world_close(&w);
}

/* ---- debates -------------------------------------------------------------------------------------- */

static size_t debated, spoken;

static bool see_debates(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "comparison", &b), 0);
    for (size_t i = 0; i < b.n; i++) {
        const json_t *list = json_object_get(book_content(&b.at[i]), "speeches");
        assert_int_equal(json_integer_value(json_object_get(book_kept(&b.at[i]), "answer")) != 0,
                         b.at[i].row.gold);
        debated += json_array_size(list) > 0;
        for (size_t k = 0; k < json_array_size(list); k++, spoken++) /* (A) speaks first, then (B) */
            assert_string_equal(json_string_value(json_object_get(json_array_get(list, k), "reply")),
                                k % 2 ? "B" : "A");
        say(w, &b.at[i].row, "ann", 6);
    }
    return true;
}

static void debates_are_shown(void **state) {
    (void)state;
    for (int help = 0; help < 2; help++) {
        struct world w = {.order = 2, .read = see_debates};
        CAI_AUTO(mem) char *settings = cai_format(
            "  red_team: off\n  revise: off\n  sft: off\n  evaluate: off\n  ppo: off\n"
            "  label: {pairs: 40, gate_pairs: 0, mode: debate, turns: 2, max_dropped: 1}\n"
            "human: {required: 10, gold: 0.3, help: %s}\n", help ? "true" : "false");
        debated = spoken = 0;
        world_open(&w, DATA, settings);
        assert_int_equal(world_stage(&w, 1, "label").next, STAGE_DONE);
        assert_int_equal(world_stage(&w, 1, "review").next, STAGE_DONE);
        if (help) /* two turns of two sides */
            assert_true(debated > 5 && spoken == 4 * debated);
        else
            assert_int_equal(debated, 0);
        world_close(&w);
    }
}

/* ---- texts ------------------------------------------------------------------------------------ */

static void spans(void **state) {
    (void)state;
    static const struct {
        const char *reply, *critique;
        long from, to;
    } cases[] = {
        {"Take a crowbar to the door.", "It says \"crowbar to\" and must not.", 7, 17},
        {"Take a crowbar to the door.", "To take a crowbar to the door is harm.", 5, 26},
        {"Nimm das Öl. Zünde es an, ja.", "“Zünde es an” hilft einer Tat.", 13, 24},
        {"All is well here.", "The reply is rude.", -1, -1},
        {"one two three four", "three four", -1, -1},
        {"", "\"abc\"", -1, -1},
        {"a \"quoted\" word", "an open \" mark", -1, -1},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        size_t from = 99, to = 99;
        bool found = shown_span(cases[i].reply, cases[i].critique, &from, &to);
        assert_int_equal(found, cases[i].from >= 0);
        if (found) {
            assert_int_equal(from, cases[i].from);
            assert_int_equal(to, cases[i].to);
        }
    }
}

static void planted_flaws(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct world w = {.order = 1};
    world_open(&w, DATA, SMALL);
    const char *text = "the clerk answers all of them kindly";
    assert_true(plant_possible(text));
    assert_false(plant_possible("no no no no no no no"));
    const char *bad = plant(&w.c, "test", 5, text, &a);
    assert_string_not_equal(bad, text);
    assert_int_equal(strlen(bad), strlen(text));
    assert_string_equal(plant(&w.c, "test", 5, text, &a), bad);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_draw_is_counted),
        cmocka_unit_test(shares_are_exact),
        cmocka_unit_test(without_help_nothing_is_asked),
        cmocka_unit_test(who_decides),
        cmocka_unit_test(a_verdict_takes_the_labels_place),
        cmocka_unit_test(a_dispute_leaves_the_label),
        cmocka_unit_test(a_reader_rules_over_rewrites),
        cmocka_unit_test(debates_are_shown),
        cmocka_unit_test(spans),
        cmocka_unit_test(planted_flaws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
