/* resume: every trainer, stopped after any of its steps and continued, gives the same
 * SHA-256 of every later state (weights, moments, counts), of every later step's figures,
 * and of the result, as the unbroken run. */
#include "folder.h"

#define STEPS(lr, batch, more)                                                                     \
    "{\"lr\":" lr ",\"batch\":" batch ",\"checkpoint_every\":1,\"loss_spike\":3," more ","         \
    OPTIMIZER_JSON "}"
#define RUN(more)                                                                                  \
    "{\"lr\":0.004,\"value_lr\":0.004,\"steps\":12,\"rollouts\":8,\"epochs\":1,\"minibatches\":2," \
    "\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,"                \
    "\"whiten_advantages\":true,\"whiten_rewards\":false,\"reward_clip\":10,"                      \
    "\"no_end_reward\":-1,\"helpful\":0.5,\"kl_budget\":0,\"checkpoint_every\":1,"                 \
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":4}," more "," OPTIMIZER_JSON "}"
#define RED                                                                                        \
    "{\"lr\":0.004,\"value_lr\":0.004,\"steps\":12,\"rollouts\":16,\"epochs\":1,\"minibatches\":2," \
    "\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,"                \
    "\"whiten_advantages\":true,\"whiten_rewards\":false,\"reward_clip\":10,"                      \
    "\"no_end_reward\":-1,\"helpful\":0,\"kl_budget\":0,\"checkpoint_every\":1,"                   \
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":16}," KL("0") "," RED_JSON ","        \
    OPTIMIZER_JSON "}"
#define KL(target) "\"kl\":{\"coef\":0.05,\"target\":" target ",\"horizon\":50}"

static int splits;

static int open_resume_world(void **state) {
    open_scored_world(state, "scorer");
    add_judge();
    return 0;
}

/* Continues the run `name` from its state after `step`. */
static void continued(struct job j, const char *name, const struct seen *whole, int step,
                      const Cai__V1__Trained *end) {
    CAI_AUTO(mem) char *folder = cai_format("%s/state/%s/step-%d", folder_root, name, step);
    struct seen seen = {0};
    Cai__V1__Trained *t;
    j.seen = &seen;
    j.resume = folder;
    j.resume_hash = whole->at[step - 1].state;
    must(run_job(&j, "cut", &t));
    assert_int_equal(seen.done, whole->done);
    for (int i = step; i < (int)whole->done; i++) {
        if (strcmp(whole->at[i].figures, seen.at[i].figures) != 0)
            fail_msg("%s cut after %d: the figures of step %d differ", name, step, i + 1);
        if (strcmp(whole->at[i].state, seen.at[i].state) != 0)
            fail_msg("%s cut after %d: the state after step %d differs", name, step, i + 1);
    }
    assert_int_equal(end->steps, t->steps);
    same_trained(end, t);
    free_trained(t);
    splits++;
}

static void at_every_step(struct job j, const char *name) {
    struct seen whole = {0};
    Cai__V1__Trained *end;
    j.seen = &whole;
    j.keep = SEEN_MAX;
    must(run_job(&j, name, &end));
    assert_true(whole.done <= SEEN_MAX);
    int before = splits;
    for (int step = 1; step < (int)whole.done; step++)
        if (whole.at[step - 1].state[0] != '\0')
            continued(j, name, &whole, step, end);
    assert_true(splits - before >= 9);
    free_trained(end);
}

static void supervised(void **state) {
    (void)state;
    at_every_step((struct job){.kind = "sft", .init = "base", .dataset = "sft.jsonl",
                               .options = STEPS("0.01", "2", "\"epochs\":2")}, "sft");
    at_every_step((struct job){.kind = "classifier", .init = "base",
                               .dataset = "classifier.jsonl",
                               .options = STEPS("0.01", "3", "\"epochs\":2,\"held_out\":0.2")},
                  "classifier");
    at_every_step((struct job){.kind = "sft", .init = "base", .dataset = "sft.jsonl",
                               .options = STEPS("0.01", "2", "\"epochs\":1,\"batch_tokens\":9,"
                                                "\"micro_batch_tokens\":16,"
                                                "\"recompute\":\"always\"")}, "tokens");
    if (ct_half_pays())
        at_every_step((struct job){.kind = "sft", .init = "base", .dataset = "sft.jsonl",
                                   .options = STEPS("0.01", "2", "\"epochs\":1,"
                                                    "\"train_dtype\":\"bfloat16\"")}, "sft-half");
}

static void preferences(void **state) {
    (void)state;
    at_every_step((struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                               .options = STEPS("0.01", "3",
                                                "\"epochs\":2,\"members\":2,\"centre\":0.01")},
                  "pm");
    at_every_step((struct job){.kind = "ppo", .init = "base", .dataset = "pm.jsonl",
                               .options = STEPS("0.003", "3",
                                                "\"algorithm\":\"dpo\",\"dpo\":{\"beta\":0.1,"
                                                "\"batch\":3,\"epochs\":3}")}, "dpo");
    at_every_step((struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                               .options = STEPS("0.01", "3", "\"epochs\":2,\"members\":3,"
                                                "\"trunk\":\"shared\"")}, "heads");
    if (ct_half_pays())
        at_every_step((struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                                   .options = STEPS("0.01", "3", "\"epochs\":1,\"members\":2,"
                                                    "\"train_dtype\":\"bfloat16\"")}, "pm-half");
}

static void policies(void **state) {
    (void)state;
    const struct {
        const char *name, *options, *mix;
    } run[] = {
        {"ptx", RUN(KL("0") ",\"ptx\":{\"coef\":1,\"batch\":7}"), "sft.jsonl"},
        {"ppo", RUN(KL("0.5") ",\"normalise\":\"reference\""), NULL},
        {"half", RUN(KL("0.5") ",\"train_dtype\":\"bfloat16\""), NULL},
        {"rloo", RUN(KL("0") ",\"algorithm\":\"rloo\",\"group\":4,\"normalise\":\"running\""), NULL},
        {"grpo", RUN(KL("0") ",\"algorithm\":\"grpo\",\"group\":4,\"aggregate\":\"replies\""), NULL},
        {"best", RUN(KL("0") ",\"algorithm\":\"best_of_n\",\"group\":4"), NULL},
    };
    for (size_t i = 0; i < CAI_COUNT(run); i++)
        if (strcmp(run[i].name, "half") != 0 || ct_half_pays())
            at_every_step((struct job){.kind = "ppo", .init = "base", .reference = "base",
                                   .pm = "out/scorer/0", .dataset = "ppo.jsonl",
                                   .mix = run[i].mix, .options = run[i].options}, run[i].name);
}

static void red_models(void **state) {
    (void)state;
    at_every_step(red_job(RED), "red");
}

static void there_were_a_hundred(void **state) {
    (void)state;
    print_message("%d runs were cut and continued\n", splits);
    assert_true(splits >= 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(supervised), cmocka_unit_test(preferences), cmocka_unit_test(policies),
        cmocka_unit_test(red_models),
        cmocka_unit_test(there_were_a_hundred)};
    return cmocka_run_group_tests(tests, open_resume_world, close_world);
}
