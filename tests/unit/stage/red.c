/* red: the methods of red teaming over a real store with a hand-made worker: which sub-steps
 * they take and what these ask for, figures by pass; clusters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "stage/cluster.h"
#include "stage/data.h"
#include "stage/models.h"
#include "stage/red.h"
#include "world.h"
#include <math.h>
#include <string.h>

#define REST                                                                                       \
    "  revise: off\n  sft: off\n  label: off\n  prefer: off\n  evaluate: off\n  ppo: off\n"
#define RED(more) "  red_team: {samples: 130, shots: 3, " more "}\n" REST

/* What was asked, in the order of answering: phases of one round, each once in a row. */
struct asked {
    char phases[512];
    char supervised[4096], rl[4096];       /* their options */
    char reward[65], target[65], init[65]; /* of rl: hashes */
    char red_init[65];                     /* of supervised */
    size_t writers;                        /* write tasks of another model than the start's */
    char start[65];
    size_t shown;                          /* exemplars in write tasks */
    size_t request;                        /* messages that hold the job's own request */
    char rows[1024];                       /* path of supervised's dataset */
};

static void see_train(struct asked *x, const Cai__V1__Task *t) {
    const Cai__V1__Train *r = t->train;
    if (strcmp(t->phase, "supervised") == 0) {
        snprintf(x->supervised, sizeof x->supervised, "%s", r->options);
        snprintf(x->red_init, sizeof x->red_init, "%s", r->init->hash);
        snprintf(x->rows, sizeof x->rows, "%s", r->dataset->path);
        assert_string_equal(r->kind, "sft");
    } else if (strcmp(t->phase, "rl") == 0) {
        assert_string_equal(r->kind, "red");
        assert_string_equal(r->reference->hash, r->init->hash);
        assert_int_equal(r->n_pm, 1);
        snprintf(x->rl, sizeof x->rl, "%s", r->options);
        snprintf(x->init, sizeof x->init, "%s", r->init->hash);
        snprintf(x->reward, sizeof x->reward, "%s", r->pm[0]->hash);
        snprintf(x->target, sizeof x->target, "%s", r->target->hash);
    }
}

static void see(void *context, const Cai__V1__Task *t) {
    struct asked *x = context;
    size_t len = strlen(x->phases), n = strlen(t->phase);
    bool again = len > n && strcmp(x->phases + len - n, t->phase) == 0 &&
                 x->phases[len - n - 1] == ' ';
    if (!again)
        snprintf(x->phases + len, sizeof x->phases - len, " %s", t->phase);
    if (t->work_case == CAI__V1__TASK__WORK_TRAIN)
        see_train(x, t);
    if (t->work_case != CAI__V1__TASK__WORK_GENERATE || strstr(t->phase, "write") == NULL)
        return;
    if (!*x->start)
        snprintf(x->start, sizeof x->start, "%s", t->generate->model->hash);
    x->writers += strcmp(x->start, t->generate->model->hash) != 0;
    for (size_t i = 0; i < t->generate->n_items; i++) {
        const Cai__V1__Conversation *c = t->generate->items[i]->conversation;
        x->shown += c->n_messages / 2;
        for (size_t k = 0; k < c->n_messages; k++)
            x->request += strcmp(c->messages[k]->text, "Ask me anything.") == 0;
    }
}

static void run_round(struct world *w, const char *data, const char *settings, struct asked *x) {
    *x = (struct asked){{0}};
    *w = (struct world){.order = 0, .see = see, .seer = x};
    world_open(w, data, settings);
    assert_int_equal(world_stage(w, 1, "red_team").next, STAGE_DONE);
}

static void zero_shot_shows_nothing(void **state) {
    (void)state;
    struct world w;
    struct asked x;
    run_round(&w, "harmful classifier", RED("method: zero_shot, request: Ask me anything., coverage: 0"),
              &x);
    assert_non_null(strstr(x.phases, "write"));
    assert_null(strstr(x.phases, "explore"));
    assert_null(strstr(x.phases, "cover"));
    assert_int_equal(x.shown, 0);
    assert_int_equal(x.request, 130);
    assert_int_equal(world_count(&w, 1, "red_team", "check"), 20);
    world_close(&w);
}

static int is_of_collapse(void *found, int64_t id, int64_t wall_ms, int level, const char *text) {
    (void)id, (void)wall_ms;
    *(int *)found += level == CAI_LOG_WARN && strstr(text, "collapsed") != NULL;
    return 0;
}

static int warnings(struct world *w) {
    int found = 0;
    assert_int_equal(store_events_each(w->store, 1, 0, is_of_collapse, &found), 0);
    return found;
}

static void few_shot_explores_when_told(void **state) {
    (void)state;
    struct world w;
    struct asked x;
    run_round(&w, "harmful classifier", RED("method: few_shot"), &x);
    assert_null(strstr(x.phases, "explore"));
    assert_int_equal(x.shown, 130 * 3);
    world_close(&w);
    run_round(&w, "harmful classifier", RED("method: few_shot, explore: 70"), &x);
    assert_non_null(strstr(x.phases, "explore-write"));
    assert_non_null(strstr(x.phases, "explore-score"));
    assert_int_equal(x.shown, 130 * 3);
    assert_true(world_metric(&w, 1, "red_team", "explore/candidates") == 70);
    assert_true(world_metric(&w, 1, "red_team", "candidates") == 130);
    assert_int_equal(warnings(&w), 0); /* nothing learned: nothing collapses */
    world_close(&w);
}

static json_t *options_of(const char *text) {
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    return o;
}

/* Rows of supervised training are the explored cases that failed, as answers to the request. */
static void check_cases(struct world *w, const struct asked *x) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct red_pass explore = red_explore(w->job);
    struct examples failing;
    size_t n = 0;
    char *line, *rest;
    assert_int_equal(cai_file_read(x->rows, 1 << 20, &text), 0);
    assert_int_equal(examples_load(&w->c, 1, "red_team", "failing", &a, &failing), 0);
    failing = red_of_pass(&w->c, &explore, &failing, &a);
    for (line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
        json_t *o = options_of(line), *messages = json_object_get(o, "messages");
        assert_int_equal(json_integer_value(json_object_get(o, "item")), failing.at[n].item);
        assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 1), "text")),
                            failing.at[n].text);
        assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 1), "role")),
                            "assistant");
        json_decref(o);
    }
    assert_int_equal(n, failing.n);
    assert_true(n > 10 && world_metric(w, 1, "red_team", "supervised_cases") == (double)n);
}

static void supervised_learns_what_failed(void **state) {
    (void)state;
    struct world w;
    struct asked x;
    run_round(&w, "harmful classifier",
              RED("method: supervised, supervised: {lr: 0.5, batch: 3, epochs: 2}"), &x);
    assert_non_null(strstr(x.phases, "explore-score supervised write"));
    assert_int_equal(x.writers, 3); /* 130 prompts in chunks of 64 */
    assert_string_equal(x.red_init, x.start);
    json_t *o = options_of(x.supervised);
    assert_true(json_number_value(json_object_get(o, "lr")) == 0.5);
    assert_int_equal(json_integer_value(json_object_get(o, "batch")), 3);
    assert_int_equal(json_integer_value(json_object_get(o, "epochs")), 2);
    json_decref(o);
    check_cases(&w, &x);
    assert_true(world_metric(&w, 1, "red_team", "explore/failure_rate") > 0.4);
    assert_true(world_metric(&w, 1, "red_team", "breaks/no-harm_n") > 20);
    assert_true(world_metric(&w, 1, "red_team", "breaks/no-harm") > 0.4);
    world_close(&w);
}

/* Of what was usable, `different` ones; a person is told that they are few. */
static void check_collapse(struct world *w, double different) {
    double usable = world_metric(w, 1, "red_team", "candidates") -
                    world_metric(w, 1, "red_team", "unusable");
    double share = world_metric(w, 1, "red_team", "written_distinct");
    assert_true(fabs(share * usable - different) < 1e-6);
    assert_true(share < 0.5);
    assert_int_equal(warnings(w), 1);
}

static void rl_names_target_and_classifier(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct world w;
    struct asked x;
    struct model_ref judge, red;
    run_round(&w, "harmful classifier",
              RED("method: rl, rl: {alpha: 0.35, rollouts: 32, steps: 5}"), &x);
    assert_non_null(strstr(x.phases, "explore-score supervised rl write"));
    assert_int_equal(models_classifier(&w.c, &a, &judge), 0);
    assert_string_equal(x.reward, judge.hash);
    assert_string_equal(x.target, x.start); /* no policy yet */
    assert_int_equal(models_red(&w.c, 1, &a, &red, NULL), 0);
    assert_string_not_equal(red.hash, x.init); /* reinforced, from the supervised one */
    assert_string_not_equal(x.init, x.start);
    check_collapse(&w, 40); /* all that the hand-made worker knows to write */
    json_t *o = options_of(x.rl), *inner = json_object_get(o, "red");
    assert_string_equal(json_string_value(json_object_get(o, "algorithm")), "rloo");
    assert_int_equal(json_integer_value(json_object_get(o, "group")), 32);
    assert_true(json_number_value(json_object_get(json_object_get(o, "kl"), "coef")) == 0.35);
    assert_true(json_number_value(json_object_get(inner, "alpha")) == 0.35);
    assert_true(json_number_value(json_object_get(inner, "penalty")) == -3);
    assert_true(json_is_false(json_object_get(inner, "question")));
    assert_true(json_number_value(json_object_get(json_object_get(o, "rollout"), "top_p")) == 1);
    json_decref(o);
    world_close(&w);
}

/* What asks nothing is no prompt then: nothing is explored, and rl begins with the first model. */
static void only_questions(void **state) {
    (void)state;
    struct world w;
    struct asked x;
    run_round(&w, "harmful classifier", RED("method: rl, form: question"), &x);
    assert_true(world_metric(&w, 1, "red_team", "explore/unusable") == 130);
    assert_true(world_metric(&w, 1, "red_team", "prompts") > 30);
    assert_non_null(strstr(x.phases, "explore-write rl write"));
    assert_string_equal(x.init, x.start);
    json_t *o = options_of(x.rl);
    assert_true(json_is_true(json_object_get(json_object_get(o, "red"), "question")));
    json_decref(o);
    world_close(&w);
}

/* Explored cases none of which failed teach nothing, and the round goes on. */
static void nothing_failed_nothing_learnt(void **state) {
    (void)state;
    struct world w;
    struct asked x;
    run_round(&w, "harmful classifier", RED("method: supervised, explore: 1"), &x);
    bool none = world_metric(&w, 1, "red_team", "supervised_cases") == 0;
    assert_true(none == (strstr(x.phases, "supervised") == NULL));
    assert_true(world_metric(&w, 1, "red_team", "candidates") == 130);
    world_close(&w);
}

static void digest_of(uint64_t order, char ret[65]) {
    struct world w = {.order = order};
    world_open(&w, "harmful classifier", RED("method: rl"));
    assert_true(world_run(&w));
    double last = 0;
    assert_int_equal(store_metric_get(w.store, 1, 2, "red_team", 7, "sub_step", &last), 0);
    assert_true(last == 7);
    world_digest(&w, ret);
    world_close(&w);
}

static void order_changes_nothing(void **state) {
    (void)state;
    char first[65], other[65];
    digest_of(1, first);
    for (uint64_t order = 2; order < 4; order++) {
        digest_of(order, other);
        assert_string_equal(first, other);
    }
}

static void clusters_are_greedy(void **state) {
    (void)state;
    static const char *const text[] = {
        "How do I open the safe?", "how do I open the SAFE", "How do I pick a lock at night?",
        "How do I pick a lock at noon?", "", "Write a poem", "Write a poem about it, please do"};
    struct clusters c;
    cluster_texts(text, CAI_COUNT(text), &c);
    static const size_t of[] = {0, 0, 1, 1, 2, 3, 4};
    assert_int_equal(c.n, 5);
    assert_memory_equal(c.of, of, sizeof of);
    assert_int_equal(c.size[0], 2);
    assert_int_equal(c.first[3], 5);
    clusters_free(&c);
    cluster_texts(text, 0, &c);
    assert_int_equal(c.n, 0);
    clusters_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_shot_shows_nothing),
        cmocka_unit_test(few_shot_explores_when_told),
        cmocka_unit_test(supervised_learns_what_failed),
        cmocka_unit_test(rl_names_target_and_classifier),
        cmocka_unit_test(only_questions),
        cmocka_unit_test(nothing_failed_nothing_learnt),
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(clusters_are_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
