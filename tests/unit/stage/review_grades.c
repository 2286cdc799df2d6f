/* review_grades: a grader stands beside people; what they find of it is what a tolerance goes by, and
 * what red teaming set aside is checked by them too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "stage/graders.h"
#include "stage/review.h"
#include "world.h"
#include <math.h>
#include <string.h>

#define DATA "harmful helpful human classifier evaluate"
#define SMALL                                                                                      \
    "  red_team: off\n  revise: {prompts: 60, revisions: 2}\n  sft: {take: last}\n"                \
    "  label: {pairs: 60, gate_pairs: 40, principles: 2}\n  prefer: {held_out: 0.3}\n"             \
    "  evaluate: {prompts: 30, win_pairs: 10}\n  ppo: {steps: 2, rollouts: 8}\n"

static void say(struct world *w, const struct store_review_item *i, const char *reader,
                int verdict) {
    CAI_AUTO(mem) char *body = cai_format("{\"verdict\":%d}", verdict);
    struct store_review_event e = {.job = i->job, .item = i->id, .reader = reader,
                                   .role = "reviewer", .event = "final", .body = body};
    assert_int_equal(store_review_append(w->store, &e), 0);
}

/* ---- a grader beside people ------------------------------------------------------------------- */

struct grades {
    size_t n, of_base, missed, accused;
    double weight;
};

static int count_grade(void *context, const struct review_graded *g) {
    struct grades *o = context;
    assert_int_equal(g->person, 1);
    assert_int_equal(g->readers, 1);
    assert_true(g->weight >= 1);
    o->n++;
    o->of_base += g->round == 0;
    o->missed += g->person == 1 && g->grader == 0;
    o->accused += g->grader;
    o->weight += g->weight;
    return 0;
}

static bool all_fail(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "grade", &b), 0);
    for (size_t i = 0; i < b.n; i++)
        say(w, &b.at[i].row, "ann", 7);
    return true;
}

static void a_grader_stands_beside_people(void **state) {
    (void)state;
    struct world w = {.order = 2, .read = all_fail};
    struct grades all = {0}, of_class = {0};
    world_open(&w, DATA, SMALL "human: {grades: 9}\nguards: {alpha: 0}\n");
    for (const char *const *s = (const char *const[]){"revise", "sft", "label", "prefer",
                                                      "evaluate", NULL};
         *s; s++)
        assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
    assert_int_equal(w.waits, 1);
    assert_string_equal(w.last_gate, "grades-1");
    assert_int_equal(review_graded_each(w.store, w.c.job_id, -1, NULL, count_grade, &all), 0);
    assert_int_equal(all.n, world_metric(&w, 1, "evaluate", "grades_drawn"));
    assert_true(all.of_base > 0 && all.of_base < all.n && all.missed > 0 && all.accused > 0);
    assert_int_equal(review_graded_each(w.store, w.c.job_id, 1, "harmful_rate", count_grade,
                                        &of_class), 0);
    assert_int_equal(of_class.n, 9);
    assert_int_equal(of_class.of_base, 0);
    /* The drawn stand for all replies of the class: 30 probes, few of them too long to judge. */
    assert_true(fabs(of_class.weight - world_metric(&w, 1, "evaluate", "harmful_rate_n")) < 1e-9);
    assert_true(world_metric(&w, 1, "evaluate", "harmful_rate_verdicts") == 9);
    assert_true(world_metric(&w, 1, "evaluate", "harmful_rate_true_low") > 0.5); /* all failed */
    /* Every class that people grade is corrected, not harm alone. */
    for (const char *const *s = (const char *const[]){"refusal_rate_helpful", "evasion_rate_helpful",
                                                      "unanswered_rate", NULL}; *s; s++) {
        CAI_AUTO(mem) char *verdicts = cai_format("%s_verdicts", *s);
        CAI_AUTO(mem) char *low = cai_format("%s_true_low", *s);
        assert_true(world_metric(&w, 1, "evaluate", verdicts) == 9);
        assert_true(world_metric(&w, 1, "evaluate", low) > 0.5);
    }
    world_close(&w);
}

/* People find what the grader found, and, where `blind`, a failure in every fourth reply that it passed. */
static size_t passed;
static bool blind;

static bool grade_as(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "grade", &b), 0);
    for (size_t i = 0; i < b.n; i++) {
        bool flagged = json_is_true(json_object_get(book_kept(&b.at[i]), "grader"));
        passed += !flagged;
        say(w, &b.at[i].row, "ann", flagged || (blind && passed % 4 == 0) ? 6 : 2);
    }
    return strncmp(w->last_gate, "grades-", 7) == 0;
}

/* A tolerance takes people's verdicts on the job's own replies for a check of its graders: it asks on
 * when they are in, and lets pass what they show; a grader that overlooks failures it does not. */
static void grades_bear_out_a_tolerance(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        blind = i;
        struct world w = {.order = 2, .read = grade_as, .refuse = true, .refuses = 0.2};
        world_open(&w, DATA, SMALL "human: {grades: 40, overlap: 0, gold: 0}\n"
                             "guards: {tolerance: 0.55}\n");
        for (const char *const *s = (const char *const[]){"revise", "sft", "label", "prefer", NULL}; *s; s++)
            assert_int_equal(world_stage(&w, 1, *s).next, STAGE_DONE);
        assert_int_equal(world_stage(&w, 1, "evaluate").next, blind ? STAGE_WAIT : STAGE_DONE);
        assert_int_equal(w.waits, 1 + blind);
        /* Nobody evaded: people who read all 30 replies of both rounds say so; no grader is shown. */
        assert_true(world_metric(&w, 1, "evaluate", "evasion_rate_helpful_index") == 0);
        double none = world_metric(&w, 1, "evaluate", "evasion_rate_helpful_bound");
        assert_true(none > 0.05 && (blind || none < 0.1));
        assert_true((world_metric(&w, 1, "evaluate", "refusal_rate_helpful_index") > 0.5) == !blind);
        assert_true((world_metric(&w, 1, "evaluate", "refusal_rate_helpful_bound") <= 0.55) == !blind);
        assert_true(blind || world_count(&w, 1, "evaluate", "again") > 0); /* asked after people */
        if (blind)
            assert_string_equal(w.last_gate, "guard-1-tolerance");
        world_close(&w);
    }
}

/* ---- what red teaming set aside ------------------------------------------------------------------ */

static size_t checks[2];

/* People agree with the classifier, but for every third reply that it passed. */
static bool check_some(struct world *w) {
    CAI_AUTO(book) struct book b = {0};
    assert_int_equal(book_load(w->store, w->c.job_id, w->c.round, "grade", &b), 0);
    checks[0] = checks[1] = 0;
    for (size_t i = 0; i < b.n; i++) {
        const json_t *kept = book_kept(&b.at[i]);
        bool flagged = json_is_true(json_object_get(kept, "grader"));
        assert_string_equal(json_string_value(json_object_get(kept, "class")), "red_team");
        assert_true(json_number_value(json_object_get(kept, "weight")) >= 1);
        say(w, &b.at[i].row, "ann", flagged || checks[0] % 3 == 2 ? 6 : 2);
        checks[flagged]++;
    }
    return true;
}

static void red_teaming_is_checked(void **state) {
    (void)state;
    struct world w = {.order = 2, .read = check_some};
    world_open(&w, DATA, "  red_team: {samples: 60, shots: 3, check: 9}\n  revise: off\n  label: off\n"
                         "  prefer: off\n  sft: off\n  ppo: off\n"
                         "  evaluate: {prompts: 20, win_pairs: 0}\nhuman: {checks: 12}\n"
                         "guards: {alpha: 0}\n");
    assert_int_equal(world_stage(&w, 1, "red_team").next, STAGE_DONE);
    assert_int_equal(world_stage(&w, 1, "evaluate").next, STAGE_DONE);
    assert_int_equal(w.waits, 1);
    assert_string_equal(w.last_gate, "grades-1");
    assert_true(world_metric(&w, 1, "evaluate", "checks_drawn") == 12);
    assert_int_equal(checks[0], 6);
    assert_int_equal(checks[1], 6);
    /* 2 of 6 that it passed are failures: by weight they are many, so it sees far from all. */
    double sees = world_metric(&w, 1, "evaluate", "grader_sensitivity");
    assert_true(sees > 0.2 && sees < 0.95);
    assert_true(world_metric(&w, 1, "evaluate", "grader_specificity") == 1);
    assert_true(world_metric(&w, 1, "evaluate", "harmful_rate_verdicts") > 0);
    struct graders g;
    assert_int_equal(graders_load(w.store, w.c.job_id, &g), 0);
    assert_non_null(strstr(g.check, "of other replies it passes 100.0 %"));
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grader_stands_beside_people),
        cmocka_unit_test(grades_bear_out_a_tolerance),
        cmocka_unit_test(red_teaming_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
