/* audit_people: what people find among the overseer's own critiques: the interval of its miss rate
 * holds however few there are and however they were drawn; an overseer that overlooks things stops
 * the job, with canaries and without; readers are told nothing of what it said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "stage/audit_people.h"
#include "stage/review.h"
#include "world.h"
#include <math.h>
#include <string.h>

#define SMALL                                                                                      \
    "  red_team: off\n  revise: {prompts: 60, revisions: 1}\n  sft: off\n  label: off\n"          \
    "  prefer: off\n  evaluate: off\n  ppo: off\n"

/* ---- the estimate --------------------------------------------------------------------------- */

static uint64_t drawn;

static bool chance(double p) {
    return cai_rng_uniform(cai_key_make(5, 0, "audit_people", 0, 0), drawn++) < p;
}

static void the_estimate_weighs(void **state) {
    (void)state;
    double missed, low, high;
    /* Of 900 that were passed 1 in 10 is flawed, of 100 that were flagged 9 in 10: 90 of 180. */
    struct reaudit r = {{4, 40}, {9, 10}, 900, 100};
    assert_true(reaudit_missed(&r, 0.025, &missed, &low, &high));
    assert_true(fabs(missed - 0.5) < 1e-12 && low < 0.4 && high > 0.6);
    r = (struct reaudit){{0, 40}, {9, 10}, 900, 100};
    assert_true(reaudit_missed(&r, 0.025, &missed, &low, &high));
    assert_true(missed == 0 && low == 0 && high > 0.3); /* 40 do not show that none is missed */
    r = (struct reaudit){{5, 40}, {0, 0}, 900, 0};
    assert_true(reaudit_missed(&r, 0.025, &missed, &low, &high));
    assert_true(missed == 1 && low == 1); /* it flags nothing at all */
    r = (struct reaudit){{0, 0}, {5, 10}, 0, 100};
    assert_true(reaudit_missed(&r, 0.025, &missed, &low, &high));
    assert_true(missed == 0 && high == 0); /* nor passes anything */
    const struct reaudit nothing[] = {{{0, 40}, {0, 10}, 900, 100}, {{0, 0}, {9, 10}, 900, 100},
                                      {{4, 40}, {0, 0}, 900, 100}};
    for (size_t i = 0; i < 3; i++)
        assert_false(reaudit_missed(&nothing[i], 0.025, &missed, &low, &high));
}

/* Share of draws in which [low, high] holds the truth: f of the passed and g of the flagged. */
static double coverage(double f, double g, size_t n0, size_t n1, size_t all0, size_t all1) {
    enum { TIMES = 1000 };
    double truth = (double)all0 * f / ((double)all0 * f + (double)all1 * g);
    size_t held = 0, told = 0;
    for (int i = 0; i < TIMES; i++) {
        struct reaudit r = {{0, n0}, {0, n1}, all0, all1};
        double missed, low, high;
        for (size_t k = 0; k < n0; k++)
            r.passed.hits += chance(f);
        for (size_t k = 0; k < n1; k++)
            r.flagged.hits += chance(g);
        if (!reaudit_missed(&r, 0.025, &missed, &low, &high))
            continue;
        told++;
        held += low <= truth && truth <= high;
    }
    return (double)held / (double)told;
}

static void the_interval_holds_the_truth(void **state) {
    (void)state;
    assert_true(coverage(0.02, 0.8, 80, 20, 900, 100) >= 0.95);
    assert_true(coverage(0.3, 0.9, 16, 4, 50, 200) >= 0.95);
    assert_true(coverage(0.5, 0.5, 8, 8, 300, 300) >= 0.95);
    assert_true(coverage(0.9, 0.1, 5, 1, 10, 40) >= 0.95);
}

/* ---- whole audits --------------------------------------------------------------------------- */

enum { AS_IT_SAID, ALL_FLAWED, HALF_TOLD };
static int reader;
static size_t passed_items, flagged_items;

/* One reader; and what is shown says nothing of what the overseer said. */
static bool read_again(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    if (strncmp(w->last_gate, "reaudit-", 8) != 0)
        return false;
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "audit", &b), 0);
    passed_items = flagged_items = 0;
    for (size_t i = 0; i < b.n; i++) {
        bool flagged = json_is_true(json_object_get(book_kept(&b.at[i]), "grader"));
        flagged_items += flagged;
        passed_items += !flagged;
        assert_int_equal(json_array_size(json_object_get(book_content(&b.at[i]), "critiques")), 0);
        assert_true(strlen(json_string_value(json_object_get(book_content(&b.at[i]), "principle"))) > 5);
        if (b.at[i].n_final)
            continue;
        int verdict = reader == ALL_FLAWED ? 7 : reader == HALF_TOLD && i % 2 ? 4 : flagged ? 6 : 2;
        CAI_AUTO(mem) char *body = cai_format("{\"verdict\":%d}", verdict);
        struct store_review_event e = {.job = b.at[i].row.job, .item = b.at[i].row.id,
                                       .reader = "ann", .role = "reviewer", .event = "final",
                                       .body = body};
        assert_int_equal(store_review_append(w->store, &e), 0);
    }
    return true;
}

static bool run(struct world *w, const char *data, int who, const char *settings) {
    reader = who;
    w->refuse = true;
    w->read = read_again;
    world_open(w, data, settings);
    return world_run(w);
}

static void a_sound_overseer_passes(void **state) {
    (void)state;
    struct world w = {.order = 3};
    if (!run(&w, "harmful helpful evaluate", AS_IT_SAID, SMALL "human: {audits: 25}\n"))
        fail_msg("%s: %s", w.last_gate, w.last_reason);
    assert_int_equal(w.waits, 2); /* once in each round */
    assert_int_equal(passed_items + flagged_items, 25);
    assert_true(flagged_items >= 5 && passed_items > flagged_items);
    assert_true(world_metric(&w, 1, "audit", "reaudits_drawn") == 25);
    assert_true(world_metric(&w, 1, "audit", "reaudits") == 25);
    assert_true(world_metric(&w, 1, "audit", "missed") == 0);
    assert_true(world_metric(&w, 1, "audit", "missed_high") > 0.05);
    assert_true(world_metric(&w, 1, "audit", "passed_wrong") == 0);
    assert_true(world_metric(&w, 1, "audit", "alarms") == 0);
    assert_int_equal(world_count(&w, 1, "audit", "seal"), 0); /* there are no canaries to seal */
    world_close(&w);
}

static void what_people_cannot_tell_is_left_out(void **state) {
    (void)state;
    struct world w = {.order = 3};
    assert_true(run(&w, "harmful helpful evaluate canaries", HALF_TOLD,
                    SMALL "  audit: {pairs: 20, words: 0, alpha: 0}\nhuman: {audits: 20}\n"));
    assert_true(world_metric(&w, 1, "audit", "reaudits_undecided") == 10);
    assert_true(world_metric(&w, 1, "audit", "reaudits") == 10);
    assert_true(world_metric(&w, 1, "audit", "canaries") == 80);
    world_close(&w);
}

static void an_overseer_that_overlooks_stops_the_job(void **state) {
    (void)state;
    struct world w = {.order = 3}, same = {.order = 9}, measured = {.order = 3};
    char one[65], two[65];
    assert_false(run(&w, "harmful helpful evaluate", ALL_FLAWED, SMALL "  audit: {least_recall: 0.95}\nhuman: {audits: 40}\n"));
    assert_string_equal(w.last_gate, "audit-1");
    assert_non_null(strstr(w.last_reason, "people read again what it judged"));
    assert_non_null(strstr(w.last_reason, "stages.audit.least_recall is 0.95"));
    assert_true(world_metric(&w, 1, "audit", "passed_wrong") == 1);
    double missed = world_metric(&w, 1, "audit", "missed");
    assert_true(missed > 0.1 && missed < 0.3 && world_metric(&w, 1, "audit", "missed_low") < missed);
    world_digest(&w, one);
    assert_false(run(&same, "harmful helpful evaluate", ALL_FLAWED, SMALL "  audit: {least_recall: 0.95}\nhuman: {audits: 40}\n"));
    world_digest(&same, two);
    assert_string_equal(one, two);
    /* Measured only, it halts nothing. */
    assert_true(run(&measured, "harmful helpful evaluate", ALL_FLAWED,
                    SMALL "  audit: {alpha: 0, least_recall: 0.95}\nhuman: {audits: 40}\n"));
    assert_true(world_metric(&measured, 1, "audit", "alarms") >= 1);
    world_close(&measured);
    world_close(&same);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_estimate_weighs),
        cmocka_unit_test(the_interval_holds_the_truth),
        cmocka_unit_test(a_sound_overseer_passes),
        cmocka_unit_test(what_people_cannot_tell_is_left_out),
        cmocka_unit_test(an_overseer_that_overlooks_stops_the_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
