/* cost: from a rehearsal's notes to the whole job, in numbers that are had another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "stage/cost.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct job_spec *job_of(const char *changes) {
    struct job_spec *job = NULL;
    json_error_t error;
    CAI_AUTO(mem) char *text = cai_format(
        "{\"job\": 1, \"name\": \"x\", \"constitution\": \"house\", \"models\": {\"start\": \"m\"}, "
        "\"data\": {\"harmful\": \"r\", \"helpful\": \"h\", \"evaluate\": \"e\"}%s}", changes);
    json_t *o = json_loads(text, 0, &error);
    assert_non_null(o);
    assert_int_equal(job_from_json(o, &job), 0);
    json_decref(o);
    return job;
}

#define ONLY_REVISE                                                                                \
    ", \"rounds\": 2, \"stages\": {\"red_team\": {\"enabled\": false}, \"sft\": {\"enabled\": "    \
    "false}, \"label\": {\"enabled\": false}, \"prefer\": {\"enabled\": false}, \"evaluate\": "     \
    "{\"enabled\": false}, \"ppo\": {\"enabled\": false}, \"revise\": {\"prompts\": %d, "          \
    "\"revisions\": %d, \"reply\": {\"max_tokens\": %d}}}"

static struct cost_seen *add(struct cost_probe *p, const char *stage, const char *phase,
                             double items, double seconds, double generated, double read) {
    struct cost_seen *s = &p->seen[p->n++];
    *s = (struct cost_seen){.tasks = 1, .items = items, .seconds = seconds,
                            .generated = generated, .read = read};
    snprintf(s->stage, sizeof s->stage, "%s", stage);
    snprintf(s->phase, sizeof s->phase, "%s", phase);
    return s;
}

static void near(double a, double b) {
    if (fabs(a - b) > 1e-9 * fabs(b) + 1e-12)
        fail_msg("%g is not %g", a, b);
}

/* 64 prompts took 1 s to answer, 2 s for each critique, half of them with a flaw, 0.5 s to
 * rewrite those 32; 640 prompts take ten times that, the third and fourth step as the second. */
static void revise_grows_with_prompts_and_steps(void **state) {
    (void)state;
    char full_text[512], small_text[512];
    snprintf(full_text, sizeof full_text, ONLY_REVISE, 640, 4, 64);
    snprintf(small_text, sizeof small_text, ONLY_REVISE, 64, 2, 64);
    struct job_spec *full = job_of(full_text), *small = job_of(small_text);
    struct cost_probe p = {.job = small, .whole = true};
    struct cost_data data = {.harmful = 10000};
    struct cost_estimate e;
    add(&p, "revise", "reply", 64, 1, 1280, 640);
    add(&p, "revise", "critique-1", 64, 2, 640, 6400);
    add(&p, "revise", "revision-1", 32, 0.5, 320, 1600);
    add(&p, "revise", "critique-2", 64, 2, 640, 6400);
    add(&p, "revise", "revision-2", 16, 0.25, 160, 800);
    cost_estimate(full, &data, &p, 1, &e);
    assert_int_equal(e.n, 2);
    assert_string_equal(e.rows[1].stage, "revise");
    assert_int_equal(e.rows[1].round, 2);
    near(e.rows[0].seconds, 10 * (1 + 2 + 0.5 + 3 * (2 + 0.25)));
    near(e.rows[0].generated, 10 * (1280 + 640 + 320 + 3 * (640 + 160)));
    near(e.seconds, 2 * e.rows[0].seconds);
    assert_true(e.rows[0].low < e.rows[0].seconds && e.rows[0].seconds < e.rows[0].high);
    /* A later round's model is another: its bars are wider. */
    assert_true(e.rows[1].high > e.rows[0].high);
    assert_false(e.rows[0].guessed);
    /* No phase has fewer than two chunks. */
    struct cost_estimate side;
    cost_estimate(full, &data, &p, 2, &side);
    near(side.rows[0].seconds, e.rows[0].seconds / 2);
    job_free(full);
    job_free(small);
}

/* Fewer prompts than the job asks for: no more than there are. */
static void data_that_is_short_limits(void **state) {
    (void)state;
    char text[512];
    snprintf(text, sizeof text, ONLY_REVISE, 640, 1, 64);
    struct job_spec *job = job_of(text);
    struct cost_probe p = {.job = job, .whole = true};
    struct cost_data data = {.harmful = 100};
    struct cost_estimate e;
    add(&p, "revise", "reply", 64, 1, 1280, 640);
    cost_estimate(job, &data, &p, 1, &e);
    near(e.rows[0].seconds, 100.0 / 64);
    near(e.rows[0].generated, 2000);
    job_free(job);
}

/* A rehearsal that was cut short: half of the replies ran into 16 tokens where the job allows 64,
 * so they would have gone on, by 24 on average; what was not reached is guessed, and said. */
static void what_was_cut_is_longer_and_what_was_missed_guessed(void **state) {
    (void)state;
    char full_text[512], small_text[512];
    snprintf(full_text, sizeof full_text, ONLY_REVISE, 64, 1, 64);
    snprintf(small_text, sizeof small_text, ONLY_REVISE, 64, 1, 16);
    struct job_spec *full = job_of(full_text), *small = job_of(small_text);
    struct cost_probe p = {.job = small, .whole = false};
    struct cost_data data = {.harmful = 1000};
    struct cost_estimate e;
    add(&p, "revise", "reply", 64, 1, 800, 640)->cut = 32;
    cost_estimate(full, &data, &p, 1, &e);
    assert_true(e.rows[0].guessed);
    near(e.rows[0].generated / 800, (1 + 32 * 24 / 800.0) + 2 * (1 + 0.0));
    assert_true(e.rows[0].high > 2 * e.rows[0].seconds);
    job_free(full);
    job_free(small);
}

/* Steps of a training run and what is none of them; growth of the latter from two sizes. */
static void training_is_steps_and_the_rest(void **state) {
    (void)state;
    struct job_spec *job = job_of(", \"rounds\": 0, \"stages\": {\"ppo\": {\"steps\": 100, "
                                  "\"rollouts\": 256}, \"evaluate\": {\"enabled\": false}}");
    struct job_spec *small = job_of(", \"rounds\": 0, \"stages\": {\"ppo\": {\"steps\": 2, "
                                    "\"rollouts\": 64}, \"evaluate\": {\"enabled\": false}}");
    struct cost_probe p = {.job = small, .whole = true};
    struct cost_data data = {.harmful = 500, .helpful = 500};
    struct cost_estimate e;
    struct cost_seen *s = add(&p, "ppo", "ppo", 0, 5, 0, 0);
    s->steps = 3;
    s->step_s = 1.5;
    s->rest_s = 0.5;
    s->rows = 100;
    s->memory = 300 << 20;
    cost_estimate(job, &data, &p, 1, &e);
    assert_int_equal(e.n, 1);
    near(e.rows[0].seconds, 100 * 1.5 * 4 + 0.5);
    assert_int_equal(e.memory, 300 << 20);
    s->small_rows = 20;
    s->small_rest_s = 0.1; /* 5 ms a row */
    cost_estimate(job, &data, &p, 1, &e);
    near(e.rows[0].seconds, 100 * 1.5 * 4 + 0.5 + 900 * 0.005);
    job_free(job);
    job_free(small);
}

/* A rehearsal is one round: votes and all known answers. Of several the first learns the answers that
 * teach alone: here half of 40 rows of 100, four times as many questions being asked. */
static void votes_wait_for_known_answers(void **state) {
    (void)state;
    static const char text[] =
        ", \"rounds\": %d, \"stages\": {\"red_team\": {\"enabled\": false}, \"revise\": {\"enabled\": "
        "false}, \"label\": {\"enabled\": false}, \"prefer\": {\"enabled\": false}, \"evaluate\": "
        "{\"enabled\": false}, \"ppo\": {\"enabled\": false}, \"consist\": {\"enabled\": true, "
        "\"paths\": 10, \"questions\": 200, \"teach\": 0.5}, \"sft\": {\"batch\": 10, \"epochs\": 1, "
        "\"helpful\": 0}}";
    CAI_AUTO(mem) char *whole = cai_format(text, 2), *once = cai_format(text, 1);
    struct job_spec *job = job_of(whole), *small = job_of(once);
    struct cost_probe p = {.job = small, .whole = true, .consist_rows = 100, .taught_rows = 40};
    struct cost_data data = {.questions = 500};
    struct cost_estimate e;
    add(&p, "consist", "path", 500, 1, 5000, 5000);
    struct cost_seen *s = add(&p, "sft", "sft", 0, 5, 0, 0);
    s->steps = 3;
    s->step_s = 1;
    s->rows = 10;
    cost_estimate(job, &data, &p, 1, &e);
    assert_int_equal(e.n, 4);
    assert_string_equal(e.rows[1].stage, "sft");
    near(e.rows[1].seconds, 4 * 40 * 0.5 / 10);
    near(e.rows[3].seconds, 4 * 100 / 10);
    job_free(job);
    job_free(small);
}

/* Times of steps as a run reports them: the first is no measure when there are others. */
static void steps_are_noted_by_their_median(void **state) {
    (void)state;
    struct job_spec *job = job_of("");
    struct cost_probe p = {.job = job, .whole = true};
    Cai__V1__Dataset d = CAI__V1__DATASET__INIT;
    Cai__V1__Train train = CAI__V1__TRAIN__INIT;
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    Cai__V1__Result result = CAI__V1__RESULT__INIT;
    d.rows = 50;
    train.dataset = &d;
    task.work_case = CAI__V1__TASK__WORK_TRAIN;
    task.train = &train;
    task.stage = (char *)"sft";
    task.phase = (char *)"sft";
    result.memory = 1000;
    struct cost_steps steps = {.at = {3, 4, 5, 8}, .n = 4, .done = 4};
    cost_note(&p, &task, &result, 9, &steps);
    assert_int_equal(p.n, 1);
    near(p.seen[0].step_s, 1);
    near(p.seen[0].rest_s, 9 - 5 - 1);
    near(p.seen[0].rows, 50);
    assert_int_equal(p.seen[0].memory, 1000);
    struct cost_probe whole = {.job = job, .whole = true}, smaller = p;
    cost_note(&whole, &task, &result, 9, &steps);
    cost_note_smaller(&whole, &smaller);
    near(whole.seen[0].small_rows, 50);
    near(whole.seen[0].small_rest_s, 3);
    /* Of rollouts only if there were as many: what more of them take is no row's. */
    struct job_spec *fewer = job_of(", \"stages\": {\"ppo\": {\"rollouts\": 32}}");
    struct cost_probe all = {.job = job, .whole = true}, few = {.job = fewer, .whole = true};
    task.stage = task.phase = (char *)"ppo";
    cost_note(&all, &task, &result, 9, &steps);
    cost_note(&few, &task, &result, 5, &steps);
    cost_note_smaller(&all, &few);
    near(all.seen[0].small_rows, 0);
    few.job = job;
    cost_note_smaller(&all, &few);
    near(all.seen[0].small_rows, 50);
    job_free(fewer);
    job_free(job);
}

#define ONLY_EVALUATE                                                                              \
    ", \"rounds\": 2, \"stages\": {\"red_team\": {\"enabled\": false}, \"revise\": {\"enabled\": "  \
    "false}, \"sft\": {\"enabled\": false}, \"label\": {\"enabled\": false}, \"prefer\": "          \
    "{\"enabled\": false}, \"ppo\": {\"enabled\": false}, \"evaluate\": {\"prompts\": %d, "          \
    "\"win_pairs\": 0, \"marked\": 50}}"

/* The rehearsal drew 16 rows of each file, in two rounds: a quarter of the probes, an eighth of the
 * graded; 8 of 50 marked prompts, 24 of 100 replies for the entropy. The start is asked once. */
static void guards_ask_by_their_files_and_settings(void **state) {
    (void)state;
    char full_text[512], small_text[512];
    snprintf(full_text, sizeof full_text, ONLY_EVALUATE, 400);
    snprintf(small_text, sizeof small_text, ONLY_EVALUATE, 8);
    struct job_spec *full = job_of(full_text), *small = job_of(small_text);
    struct cost_probe p = {.job = small, .whole = true};
    struct cost_data data = {.probes = 64, .graded = 128, .evaluate = {480, 480, 480}};
    struct cost_estimate e;
    static const struct {
        const char *phase;
        double items, more;
        bool base;
    } guards[] = {{"skill/score", 10, 4, false},
                  {"skill/score-base", 10, 4, true},
                  {"watched/reply", 20, 4 * 50 / 8.0, false},
                  {"entropy/start", 16, 100 / 16.0, false},
                  {"verdicts", 16, 8, false}};
    double often = 0, once = 0;
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) {
        int looks = guards[i].base ? 1 : 2;
        struct cost_seen *s = add(&p, "evaluate", guards[i].phase, looks * guards[i].items, looks, 0,
                                  looks * 100);
        s->looks = looks;
        s->drawn = 16; /* of 1,440 held-out ones a third of each kind */
        s->prompts = 8;
        s->marked = 50;
        *(guards[i].base ? &once : &often) += guards[i].more;
    }
    cost_estimate(full, &data, &p, 1, &e);
    near(e.rows[0].seconds, often + once);
    near(e.rows[1].seconds, often);
    near(e.rows[1].read, 100 * often);
    job_free(full);
    job_free(small);
}

/* caid's own part of a stage: 10 ms and 1 ms for each item, by two sizes. */
static void what_caid_does_itself_counts(void **state) {
    (void)state;
    char full_text[512], small_text[512];
    snprintf(full_text, sizeof full_text, ONLY_REVISE, 640, 1, 64);
    snprintf(small_text, sizeof small_text, ONLY_REVISE, 64, 1, 64);
    struct job_spec *full = job_of(full_text), *small = job_of(small_text);
    struct cost_probe smaller = {.job = small, .whole = true}, p = {.job = small, .whole = true};
    struct cost_data data = {.harmful = 10000};
    struct cost_estimate e;
    add(&smaller, "revise", "reply", 20, 1, 0, 0);
    cost_note_turn(&smaller, "revise", 1, 0.02);
    cost_note_turn(&smaller, "revise", 1, 0.01);
    add(&p, "revise", "reply", 64, 1, 0, 0);
    cost_note_turn(&p, "revise", 1, 0.074);
    cost_note_smaller(&p, &smaller);
    cost_estimate(full, &data, &p, 1, &e);
    near(e.rows[0].seconds, 10 + 0.01 + 0.64);
    near(e.rows[0].generated, 0);
    job_free(full);
    job_free(small);
}

/* What is resident where a training run begins is the program; tasks' sizes are each the most. */
static void what_was_held_is_noted(void **state) {
    (void)state;
    struct job_spec *job = job_of(", \"rounds\": 1");
    struct cost_probe p = {.job = job, .whole = true};
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    Cai__V1__Result result = CAI__V1__RESULT__INIT;
    Cai__V1__Held held = CAI__V1__HELD__INIT;
    Cai__V1__Scored scored = CAI__V1__SCORED__INIT, *list[] = {&scored, &scored};
    struct cost_steps none = {0};
    task.stage = (char *)"evaluate";
    task.phase = (char *)"score";
    task.work_case = CAI__V1__TASK__WORK_SCORE;
    task.round = 1;
    result.scored = list;
    result.n_scored = 2;
    result.held = &held;
    result.memory = 500;
    held.rest = 200;
    held.slots = 4;
    held.cache = 64;
    cost_note(&p, &task, &result, 1, &none);
    result.n_scored = 1;
    result.memory = 400;
    held.slots = 2;
    held.rows = 30;
    cost_note(&p, &task, &result, 1, &none);
    task.round = 2; /* after the only round */
    result.memory = 700;
    cost_note(&p, &task, &result, 1, &none);
    const struct cost_seen *s = &p.seen[0];
    assert_int_equal(p.n, 1);
    assert_int_equal(s->memory, 500);
    assert_int_equal(s->memory_after, 700);
    near(s->looks, 2);
    near(s->held.items, 2);
    near(s->held.slots, 4);
    near(s->held.rows, 30);
    assert_int_equal(p.rest, 0); /* models are loaded then */
    Cai__V1__Dataset d = CAI__V1__DATASET__INIT;
    Cai__V1__Train train = CAI__V1__TRAIN__INIT;
    train.dataset = &d;
    task.work_case = CAI__V1__TASK__WORK_TRAIN;
    task.train = &train;
    task.stage = task.phase = (char *)"ppo";
    cost_note(&p, &task, &result, 1, &none);
    assert_int_equal(p.rest, 200);
    job_free(job);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revise_grows_with_prompts_and_steps),
        cmocka_unit_test(data_that_is_short_limits),
        cmocka_unit_test(what_was_cut_is_longer_and_what_was_missed_guessed),
        cmocka_unit_test(training_is_steps_and_the_rest),
        cmocka_unit_test(votes_wait_for_known_answers),
        cmocka_unit_test(steps_are_noted_by_their_median),
        cmocka_unit_test(guards_ask_by_their_files_and_settings),
        cmocka_unit_test(what_caid_does_itself_counts),
        cmocka_unit_test(what_was_held_is_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
