/* guard: a failure that rises stops the job at the round where it does, and says so; one that
 * is as it was does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world.h"

#include <math.h>
#include <string.h>

#define DATA "harmful helpful classifier evaluate"
#define SMALL                                                                                      \
    "  red_team: off\n  revise: {prompts: 60, revisions: 2}\n  sft: {take: last}\n"                \
    "  label: {pairs: 60, gate_pairs: 40}\n  prefer: {held_out: 0.3}\n"                            \
    "  evaluate: {prompts: 30, win_pairs: 10}\n  ppo: {steps: 2, rollouts: 8}\n"

static void what_stays_stops_nothing(void **state) {
    (void)state;
    struct world w = {.order = 2};
    world_open(&w, DATA, SMALL);
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 0);
    /* the start does harm, what was trained does less: R below 1 for sure */
    double low = world_metric(&w, 2, "evaluate", "harmful_rate_R_low");
    double high = world_metric(&w, 2, "evaluate", "harmful_rate_R_high");
    assert_true(low < 1 && high > 1); /* as it was */
    /* what was trained on is nearly free of harm: S = q ÷ p */
    double s = world_metric(&w, 1, "evaluate", "harmful_rate_S");
    double q = world_metric(&w, 1, "evaluate", "harmful_rate_data");
    double before = world_metric(&w, 0, "evaluate", "harmful_rate");
    assert_true(fabs(s * before - q) < 1e-12 && q > 0 && q < before);
    assert_int_equal(world_count(&w, 1, "evaluate", "taken"), 30);
    assert_int_equal(world_count(&w, 1, "evaluate", "taken_score"), 30);
    assert_int_equal(world_count(&w, 3, "evaluate", "taken"), 0); /* PPO has no rows */
    assert_true(world_metric(&w, 2, "evaluate", "refusal_rate_helpful_least") > 0.02);
    world_close(&w);
}

static void a_rise_stops_the_job(void **state) {
    (void)state;
    struct world w = {.order = 3, .refuses = 0.7, .from = 2};
    world_open(&w, DATA, SMALL "guards: {openings: 0}\n"); /* refusals begin alike */
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 2); /* risen in round 2, and still there after PPO */
    assert_string_equal(w.accepted, "guard-2-rise guard-3-rise ");
    assert_non_null(strstr(w.last_reason, "(the start)"));
    assert_true(world_metric(&w, 2, "evaluate", "refusal_rate_helpful_R_low") > 1);
    assert_true(world_metric(&w, 3, "evaluate", "refusal_rate_helpful_R_low") < 1);
    assert_true(world_metric(&w, 3, "evaluate", "refusal_rate_helpful_R0_low") > 1);
    world_close(&w);
}

static void the_reason_names_class_and_ways(void **state) {
    (void)state;
    struct world w = {.order = 3, .refuses = 0.7, .from = 1, .refuse = true};
    world_open(&w, DATA, SMALL);
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "guard-1-rise");
    assert_non_null(strstr(w.last_reason, "refusals of "));
    assert_non_null(strstr(w.last_reason, "graded by phrases, which nobody has checked"));
    assert_non_null(strstr(w.last_reason, "--to 0'"));
    assert_non_null(strstr(w.last_reason, "--accept guard-1-rise'"));
    world_close(&w);
}

static void switched_off_it_only_measures(void **state) {
    (void)state;
    struct world w = {.order = 3, .refuses = 0.7, .from = 2};
    world_open(&w, DATA, SMALL "guards: {alpha: 0, openings: 0}\n");
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 0);
    assert_true(world_metric(&w, 2, "evaluate", "refusal_rate_helpful_R_low") > 1);
    world_close(&w);
}

static void lost_variety_stops_the_job(void **state) {
    (void)state;
    struct world w = {.order = 3, .monotone = true, .from = 2, .refuse = true};
    world_open(&w, DATA, SMALL);
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "guard-2-variety");
    assert_non_null(strstr(w.last_reason, "variety"));
    assert_true(world_metric(&w, 2, "evaluate", "self_bleu") > 0.99);
    assert_true(world_metric(&w, 1, "evaluate", "self_bleu") < 0.99);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stays_stops_nothing),
        cmocka_unit_test(a_rise_stops_the_job),
        cmocka_unit_test(the_reason_names_class_and_ways),
        cmocka_unit_test(switched_off_it_only_measures),
        cmocka_unit_test(lost_variety_stops_the_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
