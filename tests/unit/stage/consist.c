/* consist: whole jobs of self-consistency over a real store with a hand-made worker: what is kept
 * and what is learned from it, in any order of answers; and when it stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/file.h"
#include "cai.pb-c.h"
#include "stage/consist.h"
#include "world.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OTHERS_OFF                                                                                 \
    "  red_team: off\n  revise: off\n  label: off\n  prefer: off\n  evaluate: off\n  ppo: off\n"
#define CONSIST(more) OTHERS_OFF "  consist: {enabled: true, paths: 12, shots: 2" more "}\n"

static void whole(uint64_t order, char ret_hex[65]) {
    struct world w = {.order = order};
    world_open(&w, "questions helpful", CONSIST(", teach: 0.5"));
    (void)world_run(&w);
    world_digest(&w, ret_hex);
    world_close(&w);
}

static void order_changes_nothing(void **state) {
    (void)state;
    char first[65], other[65];
    whole(1, first);
    for (uint64_t order = 2; order < 4; order++) {
        whole(order, other);
        assert_string_equal(first, other);
    }
}

/* The frozen rows of a round's fine-tuning. */
static void rows_of(struct world *w, uint32_t round, struct dataset *ret, size_t *ret_n) {
    w->c.round = round;
    w->c.stage = "sft";
    *ret_n = 0;
    assert_int_equal(consist_rows(&w->c, round, ret, ret_n), 0);
    assert_int_equal(cai_buf_status(&ret->text), 0);
    assert_int_equal(ret->rows, *ret_n);
}

static size_t times(const char *text, const char *what) {
    size_t n = 0;
    for (const char *s = text; (s = strstr(s, what)); s++)
        n++;
    return n;
}

static void all_forms_of_what_agrees(void **state) {
    (void)state;
    struct world w = {.order = 4, .agree = {0, 0.7, 0.7}, .right = {0, 0.9, 0.9}};
    CAI_AUTO(dataset) struct dataset d = {0};
    size_t n;
    world_open(&w, "questions", CONSIST(", accuracy: 0, keep: 3, stop: false"));
    assert_true(world_run(&w));
    assert_true(world_metric(&w, 1, "consist", "questions") == 70);
    assert_true(world_metric(&w, 1, "consist", "labelled") == 120);
    assert_true(world_metric(&w, 1, "consist", "kept_questions") == 70);
    assert_true(world_metric(&w, 1, "consist", "threshold") == 0);
    double unread = world_metric(&w, 1, "consist", "unread");
    assert_true(unread > 0.01 && unread < 0.06); /* those that were cut */
    assert_true(world_metric(&w, 1, "sft", "rows_consist") ==
                world_metric(&w, 1, "sft", "rows"));
    rows_of(&w, 1, &d, &n);
    assert_true((double)n == world_metric(&w, 1, "sft", "rows"));
    /* three paths of a question are kept, each in four forms */
    assert_true(n <= 70 * 3 * 4 && n > 60 * 3 * 4 && n % 4 == 0);
    const char *text = d.text.data;
    assert_int_equal(times(text, "step by step"), n / 4);
    assert_null(strstr(text, "labelled")); /* never trained on */
    assert_int_equal(times(text, "way "), n / 2);
    assert_null(strstr(text, "\"text\":\" ")); /* the form puts a blank before it by itself */
    /* two worked questions before half of the rows, with their steps or their answers */
    assert_int_equal(times(text, "\"worked "), n / 2 * 2);
    assert_int_equal(times(text, " and 1. The answer is "), n / 4 * 2);
    world_close(&w);
}

/* Which labelled questions teach in a round, with the rows that they give; a way of theirs that does
 * not come to the known answer is no row. */
static size_t taught_in(struct world *w, uint32_t round, bool ret_teaches[193]) {
    CAI_AUTO(dataset) struct dataset d = {0};
    size_t n, rows = 0;
    rows_of(w, round, &d, &n);
    memset(ret_teaches, 0, 193 * sizeof *ret_teaches);
    for (char *save, *line = strtok_r(d.text.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        const char *at = strstr(line, "labelled ");
        if (!at)
            continue;
        unsigned number = (unsigned)strtoul(at + strlen("labelled "), NULL, 10);
        CAI_AUTO(mem) char *right = cai_format("The answer is %u.\"", number + 1);
        assert_non_null(strstr(line, right));
        ret_teaches[number - 1000] = true;
        rows++;
    }
    return rows;
}

static size_t count_of(const bool of[193]) {
    size_t n = 0;
    for (size_t i = 0; i < 193; i++)
        n += of[i];
    return n;
}

static void known_answers_teach_and_the_rest_measures(void **state) {
    (void)state;
    struct world w = {.order = 4, .agree = {0, 0.7, 0.7}, .right = {0, 0.7, 0.9}};
    bool first[193], second[193];
    world_open(&w, "questions",
               CONSIST(", accuracy: 0, keep: 3, formats: 'step, direct', teach: 0.66"));
    assert_true(world_run(&w));
    assert_true(world_metric(&w, 1, "consist", "questions") == 70);
    assert_true(world_metric(&w, 1, "consist", "labelled") == 120 - 79);
    assert_true(world_metric(&w, 1, "consist", "accuracy_n") == 120 - 79);
    assert_true(world_metric(&w, 1, "consist", "teaching") == 79);
    assert_true(world_metric(&w, 1, "consist", "kept_questions") == 0); /* answers go first */
    assert_true(world_metric(&w, 1, "sft", "rows_consist") == 2 * world_metric(&w, 1, "consist", "taught_ways"));
    assert_true(world_metric(&w, 2, "consist", "kept_questions") == 70);
    assert_true(world_metric(&w, 2, "consist", "labelled") == 120 - 79);
    assert_true(world_metric(&w, 2, "consist", "teaching") == 120); /* measured for the last time */
    assert_true(world_count(&w, 2, "consist", "teach") == 120);
    assert_true(world_count(&w, 1, "consist", "teach") == 79);
    assert_in_range(world_count(&w, 1, "consist", "vote"), 70 + 30, 70 + 41);
    size_t rows = taught_in(&w, 1, first);
    assert_true(rows == 2 * (size_t)world_metric(&w, 1, "consist", "taught_ways"));
    assert_true(count_of(first) == (size_t)world_metric(&w, 1, "consist", "taught"));
    assert_in_range(count_of(first), 50, 78); /* to some not one way is right */
    assert_in_range(rows, 2 * 4 * count_of(first), 2 * 12 * count_of(first)); /* all of them */
    rows = taught_in(&w, 2, second);
    assert_true(rows == 2 * (size_t)world_metric(&w, 2, "consist", "taught_ways"));
    assert_in_range(count_of(second), 100, 120);
    for (size_t i = 0; i < 193; i++)
        assert_true(second[i] || !first[i]); /* here who was right once is again */
    world_close(&w);
}

/* Those that teach are drawn by the job's seed, never all of them, and alike ones together. */
static void who_teaches_is_drawn_once(void **state) {
    (void)state;
    struct world w = {.order = 4};
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct items teaching, again, other;
    world_open(&w, "questions", CONSIST(", teach: 0.5"));
    w.c.round = 1;
    w.c.stage = "consist";
    assert_int_equal(data_ensure(&w.c), 0);
    assert_int_equal(consist_teaching(&w.c, &a, &teaching), 0);
    assert_int_equal(teaching.n, 60);
    w.c.round = 2;
    assert_int_equal(consist_teaching(&w.c, &a, &again), 0);
    assert_memory_equal(again.at, teaching.at, 60 * sizeof *teaching.at);
    for (size_t i = 0; i < teaching.n; i++) {
        assert_true(i == 0 || teaching.at[i] > teaching.at[i - 1]);
        assert_true(items_have(&teaching, teaching.at[i]));
        assert_true(teaching.at[i] >= data_item(JOB_DATA_QUESTIONS, 73)); /* labelled */
    }
    assert_false(items_have(&teaching, data_item(JOB_DATA_QUESTIONS, 10)));
    w.job->seed++;
    assert_int_equal(consist_teaching(&w.c, &a, &other), 0);
    assert_int_equal(other.n, 60);
    assert_memory_not_equal(other.at, teaching.at, 60 * sizeof *teaching.at);
    /* what is like a question goes to its side */
    uint64_t alike = data_item(JOB_DATA_QUESTIONS, 74);
    struct store_example e = {.job = w.c.job_id, .stage = "data", .item = alike, .kind = "group",
                              .principle = "", .revision = "", .model = "", .detail = "{}"};
    CAI_AUTO(mem) char *group = cai_format("%llu", (unsigned long long)alike - 1);
    e.text = group;
    assert_int_equal(store_example_add(w.c.store, &e), 0);
    size_t together = 0, n = 0;
    for (; n < 20; n++, w.job->seed++) {
        assert_int_equal(consist_teaching(&w.c, &a, &other), 0);
        bool one = items_have(&other, alike), two = items_have(&other, alike - 1);
        assert_true(one == two);
        assert_in_range(other.n, 59, 60);
        together += one;
    }
    assert_in_range(together, 3, 17);
    w.job->consist.teach = 0;
    assert_int_equal(consist_teaching(&w.c, &a, &other), 0);
    assert_int_equal(other.n, 0);
    world_close(&w);
}

/* What known answers taught hides no majority that is wrong, and no vote that was learned after. */
static void taught_it_stops_all_the_same(void **state) {
    (void)state;
    struct world sure = {.order = 7, .agree = {0, 0.5, 0.6, 0.9}, .right = {0, 0.6, 0.6, 0.6},
                         .refuse = true};
    struct world wrong = {.order = 9, .agree = {0, 0.9, 0.9}, .right = {0, 0.2, 0.2}, .refuse = true};
    world_open(&sure, "questions", CONSIST(", accuracy: 0, teach: 0.66"));
    sure.job->rounds = 3;
    assert_false(world_run(&sure));
    assert_string_equal(sure.last_gate, "consist-3");
    assert_non_null(strstr(sure.last_reason, "of 41 labelled questions"));
    world_close(&sure);
    world_open(&wrong, "questions", CONSIST(", teach: 0.66"));
    assert_false(world_run(&wrong));
    assert_string_equal(wrong.last_gate, "consist-2");
    assert_non_null(strstr(wrong.last_reason, "none is kept"));
    assert_true(world_metric(&wrong, 2, "consist", "labelled") == 41);
    world_close(&wrong);
}

/* Where known answers teach, votes agree more for that: no vote has been learned that could be why. */
static void surer_by_answers_alone_goes_on(void **state) {
    (void)state;
    struct world w = {.order = 7, .agree = {0, 0.5, 0.9}, .right = {0, 0.6, 0.6}};
    world_open(&w, "questions", CONSIST(", accuracy: 0, teach: 0.66"));
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 0);
    assert_true(world_metric(&w, 2, "consist", "share_rise_low") > 0.1);
    world_close(&w);
}

/* Not one way is right: there is nothing to teach, and votes need not wait for it. */
static void no_answer_is_met_so_votes_go_first(void **state) {
    (void)state;
    struct world w = {.order = 9, .agree = {0, 1, 1}, .right = {0, 1e-9, 1e-9}};
    world_open(&w, "questions", CONSIST(", accuracy: 0, teach: 0.66, stop: false"));
    assert_true(world_run(&w));
    assert_true(world_metric(&w, 1, "consist", "taught") == 0);
    assert_true(world_metric(&w, 1, "consist", "kept_questions") == 70);
    world_close(&w);
}

static void forms_can_be_chosen(void **state) {
    (void)state;
    struct world w = {.order = 4};
    CAI_AUTO(dataset) struct dataset d = {0};
    size_t n;
    world_open(&w, "questions",
               CONSIST(", accuracy: 0, stop: false, formats: 'direct, step', direct: 'It is {}!', "
                       "questions: 20"));
    assert_true(world_run(&w));
    assert_true(world_metric(&w, 2, "consist", "questions") == 20);
    rows_of(&w, 2, &d, &n);
    assert_int_equal(times(d.text.data, "\"text\":\"It is "), n / 2);
    assert_int_equal(times(d.text.data, "\"worked "), 0);
    world_close(&w);
}

/* What a threshold keeps is right more often than all is. */
static void few_that_agree_are_left_out(void **state) {
    (void)state;
    struct world w = {.order = 6, .agree = {0, 0.7, 0.7}, .right = {0, 0.75, 0.75}};
    world_open(&w, "questions", CONSIST(", accuracy: 0.85, stop: false"));
    assert_true(world_run(&w));
    double t = world_metric(&w, 1, "consist", "threshold");
    assert_true(t > 0 && t < 1);
    assert_true(world_metric(&w, 1, "consist", "kept_questions") < 70);
    double a = world_metric(&w, 1, "consist", "accuracy");
    assert_true(a > 0.5 && a < 0.9);
    assert_true(world_metric(&w, 1, "consist", "path_accuracy") < a);
    world_close(&w);
}

static void surer_and_no_better_stops(void **state) {
    (void)state;
    struct world w = {.order = 7, .agree = {0, 0.5, 0.9}, .right = {0, 0.6, 0.6}, .refuse = true};
    world_open(&w, "questions", CONSIST(", accuracy: 0"));
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "consist-2");
    assert_non_null(strstr(w.last_reason, "votes agree more"));
    assert_non_null(strstr(w.last_reason, "rollback"));
    assert_non_null(strstr(w.last_reason, "--to 0"));
    assert_non_null(strstr(w.last_reason, "--accept consist-2'"));
    assert_true(world_metric(&w, 2, "consist", "stopped") == 1);
    assert_true(world_metric(&w, 1, "consist", "stopped") == 0);
    assert_true(world_metric(&w, 2, "consist", "share_rise_low") > 0.1);
    assert_true(world_metric(&w, 2, "consist", "accuracy_rise_low") <= 0);
    world_close(&w);
}

static void worse_stops_though_less_sure(void **state) {
    (void)state;
    struct world w = {.order = 7, .agree = {0, 0.9, 0.6}, .right = {0, 0.9, 0.4}, .refuse = true};
    world_open(&w, "questions", CONSIST(", accuracy: 0"));
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "consist-2");
    assert_non_null(strstr(w.last_reason, "votes agree less"));
    assert_non_null(strstr(w.last_reason, "are right less often"));
    assert_true(world_metric(&w, 2, "consist", "accuracy_rise_high") < 0);
    world_close(&w);
}

static void surer_and_better_goes_on(void **state) {
    (void)state;
    struct world w = {.order = 8, .agree = {0, 0.5, 0.9}, .right = {0, 0.5, 0.9}};
    world_open(&w, "questions", CONSIST(", accuracy: 0"));
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 0);
    assert_true(world_metric(&w, 2, "consist", "accuracy_rise_low") > 0.1);
    world_close(&w);
}

static void no_share_is_right_often_enough(void **state) {
    (void)state;
    struct world w = {.order = 9, .agree = {0, 0.9, 0.9}, .right = {0, 0.2, 0.2}, .refuse = true};
    world_open(&w, "questions", CONSIST(""));
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "consist-1");
    assert_non_null(strstr(w.last_reason, "none is kept"));
    assert_true(world_metric(&w, 1, "consist", "kept_questions") == 0);
    world_close(&w);
}

static void with_other_rows_or_switched_off(void **state) {
    (void)state;
    struct world w = {.order = 5}, off = {.order = 5};
    CAI_AUTO(dataset) struct dataset d = {0};
    size_t n = 0;
    world_open(&w, "harmful questions",
               "  red_team: off\n  revise: {prompts: 60, revisions: 2}\n  label: off\n"
               "  prefer: off\n  evaluate: off\n  ppo: off\n"
               "  consist: {enabled: true, paths: 12, accuracy: 0, stop: false}\n");
    assert_true(world_run(&w));
    assert_true(world_metric(&w, 1, "sft", "rows_revisions") > 20);
    assert_true(world_metric(&w, 1, "sft", "rows_consist") > 20);
    world_close(&w);
    world_open(&off, "harmful questions", "  consist: off\n  ppo: off\n  prefer: off\n");
    off.c.stage = "sft";
    assert_int_equal(consist_rows(&off.c, 1, &d, &n), 0);
    assert_int_equal(n, 0);
    world_close(&off);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(all_forms_of_what_agrees),
        cmocka_unit_test(known_answers_teach_and_the_rest_measures),
        cmocka_unit_test(who_teaches_is_drawn_once),
        cmocka_unit_test(taught_it_stops_all_the_same),
        cmocka_unit_test(surer_by_answers_alone_goes_on),
        cmocka_unit_test(no_answer_is_met_so_votes_go_first),
        cmocka_unit_test(forms_can_be_chosen),
        cmocka_unit_test(few_that_agree_are_left_out),
        cmocka_unit_test(surer_and_no_better_stops),
        cmocka_unit_test(worse_stops_though_less_sure),
        cmocka_unit_test(surer_and_better_goes_on),
        cmocka_unit_test(no_share_is_right_often_enough),
        cmocka_unit_test(with_other_rows_or_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
