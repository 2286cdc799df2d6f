/* skill: critique as a skill through whole jobs: what people verified becomes rows, the overseer's
 * lineage, the gaps; and labels after debates. A hand-made worker, a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "stage/debate.h"
#include "stage/models.h"
#include "stage/review.h"
#include "world.h"
#include <string.h>

#define ALL "harmful helpful human classifier critiques evaluate"
#define REST                                                                                       \
    "  red_team: {enabled: false}\n  revise: {prompts: 40, revisions: 1}\n  sft: {take: last}\n"  \
    "  prefer: {held_out: 0.3}\n  evaluate: {prompts: 20, win_pairs: 5}\n  ppo: {enabled: false}\n"
#define ALONE                                                                                      \
    "  red_team: {enabled: false}\n  revise: {enabled: false}\n  sft: {enabled: false}\n"          \
    "  prefer: {enabled: false}\n  evaluate: {enabled: false}\n  ppo: {enabled: false}\n"
#define LABELS "  label: {pairs: 60, gate_pairs: 40}\n"

static void run(struct world *w, const char *settings) {
    world_open(w, ALL, settings);
    assert_true(world_run(w));
    if (w->waits)
        print_error("%s\n", w->last_reason);
    assert_int_equal(w->waits, 0);
}

static void digest(uint64_t order, const char *settings, char ret[65]) {
    struct world w = {.order = order};
    run(&w, settings);
    world_digest(&w, ret);
    world_close(&w);
}

static void same_in_any_order(const char *settings) {
    char first[65], other[65];
    digest(1, settings, first);
    for (uint64_t order = 2; order < 5; order++) {
        digest(order, settings, other);
        assert_string_equal(first, other);
    }
}

static void order_changes_nothing(void **state) {
    (void)state;
    same_in_any_order(REST LABELS "  skill: {enabled: true, prompts: 10, inserted: 9}\n");
    same_in_any_order(REST "  skill: {enabled: true, judge: human, held_out: 0.5}\n"
                           "  label: {pairs: 40, gate_pairs: 40, mode: debate, turns: 2, "
                           "max_dropped: 1}\n");
}

/* Where a switched-off stage stands nothing is asked, and nothing is stored. */
static void off_by_default(void **state) {
    (void)state;
    struct world w = {.order = 2};
    run(&w, REST LABELS);
    int64_t n;
    assert_int_equal(store_examples_count(w.store, w.c.job_id, 0, "skill", NULL, &n), 0);
    assert_int_equal(n, 0);
    world_close(&w);
}

/* ---- rows ---------------------------------------------------------------------------------------- */
struct frozen {
    json_t *rows;
    char path[512];
    size_t trained;
};

static int find_dataset(void *context, const struct store_model *m) {
    struct frozen *f = context;
    if (strcmp(m->stage, "skill") == 0) {
        json_auto_t *about = json_loads(m->provenance, 0, NULL);
        snprintf(f->path, sizeof f->path, "%s", json_string_value(json_object_get(about, "dataset")));
        f->trained++;
    }
    return 0;
}

static struct frozen dataset_of(struct world *w) {
    struct frozen f = {.rows = json_array()};
    CAI_AUTO(buf) struct cai_buf text = {0};
    assert_int_equal(store_models_each(w->store, w->c.job_id, find_dataset, &f), 0);
    CAI_AUTO(mem) char *path = store_blob_path(w->store, f.path);
    assert_int_equal(cai_file_read(path, 1 << 24, &text), 0);
    for (char *line = text.data, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        json_array_append_new(f.rows, json_loadb(line, (size_t)(end - line), 0, NULL));
    }
    return f;
}

static const char *said(const json_t *row, size_t from_end) {
    const json_t *m = json_object_get(row, "messages");
    return json_string_value(
        json_object_get(json_array_get(m, json_array_size(m) - 1 - from_end), "text"));
}

static size_t count(const json_t *rows, size_t from_end, const char *needle) {
    size_t n = 0, i;
    json_t *row;
    json_array_foreach((json_t *)rows, i, row)
        n += strstr(said(row, from_end), needle) != NULL;
    return n;
}

static void rows_are_what_people_said(void **state) {
    (void)state;
    struct world w = {.order = 3};
    run(&w, REST LABELS "  skill: {enabled: true, prompts: 0, verdict_weight: 7, held_out: 0.2}\n");
    struct frozen f = dataset_of(&w);
    assert_int_equal(f.trained, 1); /* nothing new in the second round: the same overseer stays */
    size_t all = json_array_size(f.rows);
    assert_true((double)all == world_metric(&w, 1, "skill", "rows"));
    assert_true((double)all == world_metric(&w, 1, "skill", "rows_critiqueable") +
                                   world_metric(&w, 1, "skill", "rows_critique") +
                                   world_metric(&w, 1, "skill", "rows_helpful") +
                                   world_metric(&w, 1, "skill", "rows_conditional") +
                                   world_metric(&w, 1, "skill", "rows_direct"));
    /* The answers, in the frames' words; a useless critique is no lesson, but its verdict is. */
    assert_int_equal(count(f.rows, 0, "The answer is: yes") + count(f.rows, 0, "The answer is: no"),
                     (size_t)(world_metric(&w, 1, "skill", "rows_critiqueable") +
                              world_metric(&w, 1, "skill", "rows_helpful")));
    assert_true(count(f.rows, 1, "Look at that critique again") > 10);
    size_t critiques = count(f.rows, 0, "It speaks of a crowbar."), i;
    size_t fine = count(f.rows, 0, "No flaw: the response may stay as it is.");
    assert_true(critiques > 15 && fine > 30);
    assert_true((double)(critiques + fine) == world_metric(&w, 1, "skill", "rows_critique"));
    assert_true(world_metric(&w, 1, "skill", "rows_direct") >
                world_metric(&w, 1, "skill", "rows_conditional"));
    assert_true(world_metric(&w, 1, "skill", "rows_unknown") <= 1);
    json_t *row;
    json_array_foreach(f.rows, i, row) {
        bool verdict = strncmp(said(row, 0), "The answer is:", 14) == 0;
        assert_true(json_number_value(json_object_get(row, "weight")) == (verdict ? 7 : 1));
    }
    /* Replies to one prompt are on one side. */
    double held = world_metric(&w, 1, "skill", "rows_held_out");
    assert_true(held >= 4 && (int)held % 4 == 0);
    assert_true(world_metric(&w, 1, "skill", "flaw_accuracy") == 1);
    assert_true(world_metric(&w, 1, "skill", "flaw_base") == 0.5);
    json_decref(f.rows);
    world_close(&w);
}

static void flaws_are_inserted(void **state) {
    (void)state;
    struct world w = {.order = 3};
    run(&w, REST LABELS "  skill: {enabled: true, prompts: 0, inserted: 30}\n");
    int64_t put = world_count(&w, 1, "skill", "tampered");
    assert_true(put > 10 && put + world_count(&w, 1, "skill", "dropped") == 30);
    assert_true(world_metric(&w, 1, "skill", "rows_inserted") == (double)put);
    struct frozen f = dataset_of(&w);
    /* Each teaches a yes, and a no for the reply it was put into; what mends it is that reply. */
    assert_true(count(f.rows, 0, "Fine words") >= (size_t)put);
    json_decref(f.rows);
    world_close(&w);
}

static void readers_verdicts_are_learned(void **state) {
    (void)state;
    struct world w = {.order = 4};
    world_open(&w, ALL, REST "  skill: {enabled: true, prompts: 0}\n");
    world_stage(&w, 1, "revise");
    for (uint64_t item = 1; item <= 150; item++) {
        CAI_AUTO(mem) char *text = NULL;
        if (store_example_get(w.store, w.c.job_id, 1, "revise", item, "critique", 1, &text, NULL) < 0)
            continue;
        struct store_example e = {
            .job = w.c.job_id, .round = 1, .stage = "review_texts", .item = item,
            .kind = "decision", .principle = "", .revision = "", .model = "",
            .text = item % 3 == 0 ? "A reader's own words." : "",
            .detail = item % 3 == 1 ? "{\"verdict\":2,\"rejected\":[1]}"
                                    : "{\"verdict\":6,\"rejected\":[]}"};
        assert_int_equal(store_example_add(w.store, &e), 0);
    }
    int64_t decided = world_count(&w, 1, "review_texts", "decision");
    assert_true(decided > 20);
    world_stage(&w, 1, "skill");
    assert_true(world_metric(&w, 1, "skill", "rows_reviewed") == (double)decided);
    struct frozen f = dataset_of(&w);
    assert_true(count(f.rows, 0, "A reader's own words.") > 4); /* with and without the critique */
    assert_true(count(f.rows, 2, "The reply helps with harm.") > 10); /* judged, or mended after */
    assert_true(count(f.rows, 0, "The reply helps with harm.") > 5);
    json_decref(f.rows);
    world_close(&w);
}

/* Readers of compared replies keep the critique of the first, and reject that of the second. */
static bool keep_and_reject(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "comparison", &b), 0);
    for (size_t i = 0; i < b.n; i++) {
        struct store_review_event e = {
            .job = b.at[i].row.job, .item = b.at[i].row.id, .reader = "ann", .role = "reviewer",
            .event = "final",
            .body = i % 2 ? "{\"verdict\":6,\"critiques\":[{\"id\":1,\"state\":\"keep\"},"
                            "{\"id\":2,\"state\":\"reject\"}]}"
                          : "{\"verdict\":6,\"critiques\":[{\"id\":1,\"state\":\"edit\","
                            "\"text\":\"It is rude, as I see it.\"}]}"};
        assert_int_equal(store_review_append(w->store, &e), 0);
    }
    return true;
}

/* Without data.critiques: what readers say of critiques is enough; where they say nothing, nothing is
 * learned, and the job goes on. */
static void reviewed_critiques_are_enough(void **state) {
    (void)state;
    struct world w = {.order = 4, .read = keep_and_reject}, none = {.order = 4};
    const char *settings = REST LABELS "  skill: {enabled: true, prompts: 0}\n"
                                       "human: {required: 12, gold: 0}\n";
    world_open(&w, "harmful helpful human classifier evaluate", settings);
    for (const char *const *s = (const char *const[]){"revise", "label", "review", "skill", NULL}; *s; s++)
        assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
    int64_t judged = world_count(&w, 1, "review", "judged");
    assert_true(judged >= 12);
    assert_true(world_metric(&w, 1, "skill", "rows_reviewed") == (double)judged);
    struct frozen f = dataset_of(&w);
    assert_int_equal(f.trained, 1);
    assert_true(count(f.rows, 0, "It is rude, as I see it.") >= 4);
    assert_true(count(f.rows, 0, "The answer is: no") >= 3); /* a rejected one is of no use */
    json_decref(f.rows);
    world_close(&w);
    world_open(&none, "harmful helpful human classifier evaluate", settings);
    for (const char *const *s = (const char *const[]){"revise", "label", "review", "skill", NULL}; *s; s++)
        assert_int_equal(world_stage(&none, 1, *s).next, STAGE_DONE);
    assert_true(world_metric(&none, 1, "skill", "rows") == 0);
    world_close(&none);
}

/* ---- the overseer's lineage ----------------------------------------------------------------------- */
static char skilled[65];
static int keep_skilled(void *context, const struct store_model *m) {
    (void)context;
    if (strcmp(m->stage, "skill") == 0 && strcmp(m->kind, "overseer") == 0)
        snprintf(skilled, sizeof skilled, "%s", m->hash);
    return 0;
}
struct by_model {
    size_t skilled, other;
};
static int count_model(void *context, const struct store_label *l) {
    struct by_model *n = context;
    if (l->round == 2 && strcmp(l->source, "ai") == 0)
        *(strcmp(l->model, skilled) == 0 ? &n->skilled : &n->other) += 1;
    return 0;
}

static struct by_model labels_of_round_two(const char *settings) {
    struct world w = {.order = 5};
    struct by_model n = {0};
    run(&w, settings);
    assert_int_equal(store_models_each(w.store, w.c.job_id, keep_skilled, NULL), 0);
    assert_int_equal(store_labels_each(w.store, w.c.job_id, 0, count_model, &n), 0);
    /* Whoever labels, held-out replies are compared by the overseer that the job named. */
    struct model_ref judge;
    struct cai_arena a = {0};
    w.c.round = 2;
    assert_int_equal(models_role(&w.c, "judge", 2, &a, &judge), 0);
    assert_string_not_equal(judge.hash, skilled);
    cai_arena_free(&a);
    world_close(&w);
    return n;
}

static void used_only_if_asked(void **state) {
    (void)state;
    struct by_model off = labels_of_round_two(REST LABELS "  skill: {enabled: true, prompts: 0}\n");
    assert_true(off.skilled == 0 && off.other > 20);
    struct by_model on =
        labels_of_round_two(REST LABELS "  skill: {enabled: true, prompts: 0, use: true}\n");
    assert_true(on.other == 0 && on.skilled > 20);
}

/* ---- gaps ------------------------------------------------------------------------------------------- */
static void gaps_add_up(struct world *w) {
    double g = world_metric(w, 1, "skill", "quality_g"), d = world_metric(w, 1, "skill", "quality_d");
    double c = world_metric(w, 1, "skill", "quality_c");
    assert_true(world_metric(w, 1, "skill", "gap_prompts") > 4);
    assert_true(world_metric(w, 1, "skill", "gap_gd") - (d - g) < 1e-9);
    assert_true(world_metric(w, 1, "skill", "gap_gc") - (c - g) < 1e-9);
    assert_true(world_metric(w, 1, "skill", "gap_cd") - (d - c) < 1e-9);
    assert_true(world_metric(w, 1, "skill", "gap_gd_low") <= world_metric(w, 1, "skill", "gap_gd"));
    assert_true(world_metric(w, 1, "skill", "gap_gd_high") >= world_metric(w, 1, "skill", "gap_gd"));
}

static void people_judge(void **state) {
    (void)state;
    struct world w = {.order = 6};
    run(&w, REST LABELS "  skill: {enabled: true, judge: human, held_out: 0.5}\n");
    gaps_add_up(&w);
    /* Half of the verdicts say flaw, and the worker knows which; replies whose critique could not
     * be read are left out, so that a prompt may be left with flawed ones alone. */
    double g = world_metric(&w, 1, "skill", "quality_g");
    assert_true(g > 0.4 && g < 0.6);
    assert_true(world_metric(&w, 1, "skill", "quality_d") > 0.9);
    assert_int_equal(world_count(&w, 1, "skill", "refinement"), 0);
    world_close(&w);
}

static void the_preference_model_judges(void **state) {
    (void)state;
    struct world w = {.order = 6};
    run(&w, REST LABELS "  skill: {enabled: true, prompts: 12, samples: 3}\n");
    gaps_add_up(&w);
    int64_t samples = world_count(&w, 1, "skill", "sample");
    assert_int_equal(samples, 3 * 36);
    assert_int_equal(world_count(&w, 1, "skill", "quality"), samples);
    assert_true(world_count(&w, 1, "skill", "refinement") > 20);
    assert_int_equal(world_count(&w, 1, "skill", "refined_quality"),
                     world_count(&w, 1, "skill", "refinement"));
    assert_true(world_metric(&w, 2, "skill", "gap_prompts") > 30);
    world_close(&w);
}

/* ---- debate ------------------------------------------------------------------------------------------- */
static void debates_are_held(void **state) {
    (void)state;
    struct world w = {.order = 8, .long_prompts = true};
    run(&w, ALONE "  label: {pairs: 60, gate_pairs: 50, min_option_mass: 0, mode: debate, turns: 2, max_dropped: 1}\n");
    int64_t debates = world_count(&w, 1, "label", "debate");
    int64_t speeches = world_count(&w, 1, "label", "speech");
    double labels = world_metric(&w, 1, "label", "labels");
    assert_true(labels > 5 && labels < (double)debates);
    assert_true(speeches > 8 * labels); /* two sides, two speeches, two seatings; and the gate's */
    double dropped = world_metric(&w, 1, "label", "debates_dropped");
    assert_true(dropped > 0.3 && dropped < 0.8); /* a tenth of the prompts does not fit, 8 times */
    assert_true(world_metric(&w, 1, "label", "debates/too_long") > 10);
    assert_true(world_metric(&w, 1, "label", "method_debate_accuracy") > 0.8);
    assert_true(world_metric(&w, 1, "label", "method_direct_accuracy") > 0.8);
    assert_true(world_metric(&w, 1, "label", "method_cot_accuracy") > 0.8);
    assert_true(world_metric(&w, 1, "label", "gain_direct_low") <=
                world_metric(&w, 1, "label", "gain_direct_high"));
    world_close(&w);
}

static void turns_count(void **state) {
    (void)state;
    struct world w = {.order = 8};
    run(&w, REST "  label: {pairs: 30, gate_pairs: 0, mode: debate, turns: 3}\n");
    int64_t debates = world_count(&w, 1, "label", "debate");
    assert_int_equal(world_count(&w, 1, "label", "speech"), 12 * debates);
    assert_true(world_metric(&w, 1, "label", "labels") == (double)debates);
    assert_true(world_metric(&w, 1, "label", "debate_words") > 3);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_by_default),          cmocka_unit_test(rows_are_what_people_said),
        cmocka_unit_test(readers_verdicts_are_learned),
        cmocka_unit_test(reviewed_critiques_are_enough),
        cmocka_unit_test(flaws_are_inserted),      cmocka_unit_test(used_only_if_asked),
        cmocka_unit_test(people_judge),            cmocka_unit_test(the_preference_model_judges),
        cmocka_unit_test(debates_are_held),        cmocka_unit_test(turns_count),
        cmocka_unit_test(order_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
