/* red: a red model's reward, and its runs on a tiny world: still weights, what is shown, weights
 * that move, stopped and resumed with the same bits, what is refused. */
#include "folder.h"

#include "learn/ppo.h"

#define RED(lr, steps, more)                                                                       \
    "{\"lr\":" lr ",\"value_lr\":" lr ",\"steps\":" steps ",\"rollouts\":16,\"epochs\":2,"         \
    "\"minibatches\":2,\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,"               \
    "\"value_coef\":1,\"kl\":{\"coef\":0.3,\"target\":0,\"horizon\":100},"                         \
    "\"whiten_advantages\":true,\"whiten_rewards\":false,\"reward_clip\":10,"                      \
    "\"no_end_reward\":-1,\"helpful\":0,\"kl_budget\":0,\"checkpoint_every\":1,"                   \
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":16}," more "," OPTIMIZER_JSON "}"

static int open_red_world(void **state) {
    open_world(state);
    add_judge();
    return 0;
}

static void close_to(double x, double y) { assert_true(fabs(x - y) < 1e-12 * (1 + fabs(y))); }

static void rewards_are_the_papers(void **state) {
    (void)state;
    struct red_options o = {.alpha = 0.3, .penalty = -3};
    double p = 1 / (1 + exp(-1.25));
    close_to(red_reward(&o, true, true, 1.25), 0.7 * -log(1 - p));
    close_to(red_reward(&o, true, true, 0), 0.7 * log(2));
    close_to(red_reward(&o, true, true, 800), 0.7 * 800); /* where 1 − p is 0 in floating point */
    close_to(red_reward(&o, true, true, -800), 0);
    close_to(red_reward(&o, false, false, 5), 0.7 * -3);
    close_to(red_reward(&o, true, false, 5), 0);
    o.alpha = 1;
    close_to(red_reward(&o, true, true, 5), 0);
}

static void still_weights_give_ratio_one(void **state) {
    (void)state;
    struct job j = red_job(RED("0", "2", RED_JSON));
    Cai__V1__Trained *t;
    must(run_job(&j, "still", &t));
    assert_true(figure(t, "rl/ratio_max") == 1 && fabs(figure(t, "rl/kl")) < 1e-4);
    double failing = figure(t, "rl/failing"), unusable = figure(t, "rl/unusable");
    double distinct = figure(t, "rl/distinct"), harm = figure(t, "rl/harm");
    assert_true(failing >= 0 && failing + unusable <= 1 && harm > 0 && harm < 1);
    assert_true(unusable > 0 && unusable < 1 && distinct > 0.5 && distinct <= 1);
    assert_true(isnan(figure(t, "score_mean")) && isfinite(figure(t, "rl/score_mean")));
    CAI_AUTO(mem) char *base = at_root("base");
    char hash[65];
    must(hf_model_hash(base, hash));
    assert_string_equal(t->outputs[0]->hash, hash);
    free_trained(t);
}

static void weights_move_and_resume(void **state) {
    (void)state;
    struct seen whole = {0}, first = {.stop_after = 1}, second = {0};
    Cai__V1__Trained *a, *b;
    struct job j = red_job(RED("0.004", "4", RED_JSON));
    j.seen = &whole;
    must(run_job(&j, "red", &a));
    assert_int_equal(whole.reports, 4);
    assert_true(figure(a, "rl/ratio_max") > 1 && figure(a, "rl/grad_norm") > 0);
    j.seen = &first;
    assert_int_equal(run_job(&j, "red-cut", &b), CAI_ESTATE);
    j.seen = &second;
    j.resume = first.folder;
    j.resume_hash = first.hash;
    must(run_job(&j, "red-cut", &b));
    assert_int_equal(second.reports, 3);
    same_trained(a, b);
    free_trained(a);
    free_trained(b);
}

/* The penalty alone is left to learn from: what is no prompt becomes rarer. */
static void learns_to_write_prompts(void **state) {
    (void)state;
    struct job j = red_job(RED("0.02", "1", RED_JSON));
    Cai__V1__Trained *t;
    must(run_job(&j, "begin", &t));
    double before = figure(t, "rl/unusable");
    free_trained(t);
    j.options = RED("0.02", "25", RED_JSON);
    must(run_job(&j, "learnt", &t));
    assert_true(figure(t, "rl/unusable") < before - 0.1);
    free_trained(t);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    Cai__V1__Trained *t;
    struct job j = red_job(RED("0", "1", RED_JSON));
    j.target = NULL;
    assert_int_equal(run_job(&j, "refused", &t), CAI_EPROTO);
    j = red_job(RED("0", "1", RED_JSON));
    j.pm = "base";
    assert_int_equal(run_job(&j, "refused", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "score head"));
    j = red_job(RED("0", "1", RED_JSON));
    j.target = "out/judge";
    assert_int_equal(run_job(&j, "refused", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "writes no text"));
    j = red_job(RED("0", "1", "\"algorithm\":\"ppo\",\"red\":{\"alpha\":0.3,\"penalty\":-3,"
                              "\"question\":false},\"reply\":{\"temperature\":1,\"top_p\":1,"
                              "\"max_tokens\":8}"));
    assert_int_equal(run_job(&j, "refused", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "cannot be ppo"));
    j = red_job(RED("0", "1", "\"algorithm\":\"rloo\",\"group\":8"));
    assert_int_equal(run_job(&j, "refused", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "red.alpha"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewards_are_the_papers), cmocka_unit_test(still_weights_give_ratio_one),
        cmocka_unit_test(weights_move_and_resume), cmocka_unit_test(learns_to_write_prompts),
        cmocka_unit_test(what_cannot_be_is_refused)};
    return cmocka_run_group_tests(tests, open_red_world, close_world);
}
