/* policy: the rows of the table of algorithms on a tiny policy: ratios exactly 1 until
 * weights move, groups of one prompt, groups of equals skipped, no value model where none
 * is; DPO from labels; the options of PPO do what they say. */
#include "folder.h"

#include "learn/guard.h"
#include "learn/ppo.h"
#include "learn/ppo_reward.h"

#define RUN(more)                                                                                  \
    "{\"steps\":3,\"rollouts\":16,\"epochs\":2,\"minibatches\":2,\"clip\":0.2,\"value_clip\":0.2," \
    "\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,\"value_lr\":0.001,\"whiten_advantages\":true,"  \
    "\"whiten_rewards\":false,\"reward_clip\":10,\"no_end_reward\":-1,\"helpful\":0.5,"            \
    "\"kl_budget\":0,\"checkpoint_every\":0,"                                                      \
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":8}," more "," OPTIMIZER_JSON "}"
#define KL "\"kl\":{\"coef\":0.05,\"target\":0,\"horizon\":100}"
#define GROUP(name) RUN("\"lr\":0.01,\"group\":4," KL ",\"algorithm\":\"" name "\"")
#define DPO(lr, epochs)                                                                            \
    "{\"algorithm\":\"dpo\",\"lr\":" lr ",\"checkpoint_every\":2,"                                 \
    "\"dpo\":{\"beta\":0.1,\"batch\":18,\"epochs\":" epochs "}," OPTIMIZER_JSON "}"

static int open_policy_world(void **state) {
    return open_scored_world(state, "pm");
}

static Cai__V1__Trained *run_policy(const char *options, const char *name) {
    struct job j = ppo_job(options);
    Cai__V1__Trained *t;
    must(run_job(&j, name, &t));
    return t;
}

static void every_row_trains(void **state) {
    (void)state;
    const char *const names[] = {"rloo", "grpo", "best_of_n"};
    const char *const options[] = {GROUP("rloo"), GROUP("grpo"), GROUP("best_of_n")};
    CAI_AUTO(mem) char *base = at_root("base");
    char hash[65];
    must(hf_model_hash(base, hash));
    for (int i = 0; i < 3; i++) {
        Cai__V1__Trained *t = run_policy(options[i], names[i]);
        assert_string_not_equal(t->outputs[0]->hash, hash);
        assert_true(figure(t, "ratio_max") > 1 && figure(t, "grad_norm") > 0);
        assert_true(isnan(figure(t, "value_loss")) && isnan(figure(t, "explained_variance")));
        assert_true(figure(t, "used_replies") > 0 && figure(t, "used_replies") <= 1);
        if (i == 2) /* one of four at most */
            assert_true(figure(t, "used_replies") <= 0.25);
        free_trained(t);
    }
}

/* No reply ends within eight tokens: with "replace" all would have one score. */
static void still_weights_give_ratio_one(void **state) {
    (void)state;
    const char *const options[] = {
        RUN("\"lr\":0,\"group\":4,\"no_end\":\"keep\"," KL ",\"algorithm\":\"rloo\""),
        RUN("\"lr\":0,\"group\":4,\"no_end\":\"keep\"," KL ",\"algorithm\":\"grpo\",\"aggregate\":\"replies\""),
        RUN("\"lr\":0,\"group\":4,\"no_end\":\"keep\"," KL ",\"algorithm\":\"best_of_n\"")};
    for (size_t i = 0; i < CAI_COUNT(options); i++) {
        Cai__V1__Trained *t = run_policy(options[i], "still");
        if (figure(t, "ratio_max") != 1 || figure(t, "approx_kl") != 0)
            fail_msg("%zu: ratio %g, kl %g, used %g", i, figure(t, "ratio_max"),
                     figure(t, "approx_kl"), figure(t, "used_replies"));
        free_trained(t);
    }
}

/* Scores that count for nothing move nothing, whatever whitening makes of what is left; those
 * that count for a little move weights, and the value model learns in their scale. */
static void scores_count_as_far_as_trusted(void **state) {
    (void)state;
    CAI_AUTO(mem) char *base = at_root("base");
    char hash[65];
    must(hf_model_hash(base, hash));
    const char *const none[] = {
        RUN("\"lr\":0.01,\"no_end\":\"keep\",\"trust\":0," KL),
        RUN("\"lr\":0.01,\"no_end\":\"keep\",\"trust\":0,\"normalise\":\"running\"," KL),
        RUN("\"lr\":0.01,\"no_end\":\"keep\",\"trust\":0,\"group\":4," KL ",\"algorithm\":\"grpo\"")};
    for (size_t i = 0; i < CAI_COUNT(none); i++) {
        Cai__V1__Trained *t = run_policy(none[i], "untrusted");
        assert_string_equal(t->outputs[0]->hash, hash);
        assert_true(figure(t, "score_mean") == 0);
        free_trained(t);
    }
    Cai__V1__Trained *full = run_policy(RUN("\"lr\":0,\"no_end\":\"keep\"," KL), "trusted");
    Cai__V1__Trained *half =
        run_policy(RUN("\"lr\":0,\"no_end\":\"keep\",\"trust\":0.5," KL), "half-trusted");
    assert_true(fabs(figure(half, "score_mean") / figure(full, "score_mean") - 0.5) < 1e-6);
    assert_true(figure(half, "value_loss") > 0);
    free_trained(full);
    free_trained(half);
}

/* Every reply scores -1, and policy and reference are one: nothing to compare. */
static void groups_of_equals_teach_nothing(void **state) {
    (void)state;
    Cai__V1__Trained *t =
        run_policy(RUN("\"lr\":0,\"group\":4," KL ",\"algorithm\":\"rloo\""), "equals");
    assert_true(figure(t, "end_rate") == 0 && figure(t, "used_replies") == 0);
    assert_true(figure(t, "ratio_max") == 0 && figure(t, "grad_norm") == 0); /* no update */
    free_trained(t);
}

/* The replies of one step, for what cannot be seen from outside. */
static void a_group_has_one_prompt(void **state) {
    (void)state;
    Cai__V1__Train t = CAI__V1__TRAIN__INIT;
    Cai__V1__Model base = CAI__V1__MODEL__INIT, pm = CAI__V1__MODEL__INIT, *pms[] = {&pm};
    Cai__V1__Dataset d = CAI__V1__DATASET__INIT;
    CAI_AUTO(mem) char *a = at_root("base");
    CAI_AUTO(mem) char *b = at_root("out/pm/0");
    CAI_AUTO(mem) char *rows = at_root("ppo.jsonl");
    base.path = a;
    pm.path = b;
    d.path = rows;
    t.init = t.reference = &base;
    t.n_pm = 1;
    t.pm = pms;
    t.dataset = &d;
    t.options = (char *)(uintptr_t)GROUP("grpo");
    struct learn_task task = {.train = &t, .seed = 11, .round = 1};
    struct ppo *p;
    must(ppo_open(&task, &p));
    struct sampler_of_rollouts s = {&task, &p->prompts, p->engine, &p->o};
    struct rollouts r;
    must(rollouts_sample(&s, 0, &r));
    int differ = 0;
    for (size_t i = 0; i < r.n; i++)
        for (size_t j = 0; j < r.n; j++) {
            bool together = r.r[i].number / 4 == r.r[j].number / 4;
            if (together)
                assert_ptr_equal(r.r[i].row, r.r[j].row);
            differ += together && strcmp(r.r[i].text, r.r[j].text) != 0;
        }
    assert_true(differ > 0); /* each with draws of its own */
    rollouts_free(&r);
    ppo_close(p);
}

static void options_are_in_force(void **state) {
    (void)state;
    Cai__V1__Trained *plain = run_policy(RUN("\"lr\":0.01," KL), "plain");
    const struct {
        const char *name, *options;
    } other[] = {
        {"normalise", RUN("\"lr\":0.01," KL ",\"normalise\":\"reference\"")},
        {"running", RUN("\"lr\":0.01," KL ",\"normalise\":\"running\"")},
        {"keep", RUN("\"lr\":0.01," KL ",\"no_end\":\"keep\"")},
        {"add", RUN("\"lr\":0.01," KL ",\"no_end\":\"add\"")},
        {"k3", RUN("\"lr\":0.01,\"kl\":{\"coef\":0.5,\"target\":0,\"horizon\":100,"
                   "\"estimator\":\"k3\"}")},
        {"head", RUN("\"lr\":0.01," KL ",\"value_from\":\"policy\"")},
        {"eps", RUN("\"lr\":0.01," KL ",\"eps_place\":\"tensorflow\"")},
        {"advantage", RUN("\"lr\":0.01," KL ",\"advantage_clip\":0.1")},
        {"half", RUN("\"lr\":0.01," KL ",\"train_dtype\":\"bfloat16\"")},
        {"replies", RUN("\"lr\":0.01," KL ",\"aggregate\":\"replies\"")},
        {"whiten", RUN("\"lr\":0.01," KL ",\"whiten_over\":\"minibatch\"")},
    };
    for (size_t i = 0; i < CAI_COUNT(other); i++) {
        if (strcmp(other[i].name, "half") == 0 && !ct_half_pays())
            continue;
        Cai__V1__Trained *t = run_policy(other[i].options, other[i].name);
        if (strcmp(t->outputs[0]->hash, plain->outputs[0]->hash) == 0)
            fail_msg("%s changes nothing", other[i].name);
        free_trained(t);
    }
    free_trained(plain);
}

/* A minibatch of two of three bins has mean 0 and variance 1, cut at the limit; the third
 * bin's rows stay. */
static void a_minibatch_is_whitened_alone(void **state) {
    (void)state;
    double advantage[] = {1, 2, 50, 60, 70, 3, 9}, white[] = {7, 7, 7, 7, 7, 7, 7};
    size_t bin_rows[] = {0, 2, 5, 7};
    const uint32_t bins[] = {2, 0};
    struct ppo_batch b = {.n_rows = 7, .bin_rows = bin_rows, .advantage = advantage, .white = white};
    struct ppo_options o = {.advantage_clip = 0};
    policy_whiten(&b, &o, bins, 2);
    const double mine[] = {white[0], white[1], white[5], white[6]};
    assert_true(fabs(loss_mean(mine, NULL, 4)) < 1e-12);
    assert_true(fabs(loss_variance(mine, NULL, 4) - 1) < 1e-6);
    assert_true(white[2] == 7 && white[4] == 7 && advantage[6] == 9 && white[6] > 1);
    o.advantage_clip = 0.5;
    policy_whiten(&b, &o, bins, 2);
    assert_true(white[6] == 0.5 && white[0] == -0.5);
}

static void rates_of_every_schedule(void **state) {
    (void)state;
    struct train_optimizer o = {.lr = 0.1, .warmup = 0.1};
    const struct {
        enum train_schedule schedule;
        double at[3]; /* steps 3 (warming up), 10, 99 of 100 */
    } want[] = {{TRAIN_CONSTANT, {0.4 / 11, 0.1, 0.1}},
                {TRAIN_LINEAR, {0.4 / 11, 0.1, 0.1 / 90}},
                {TRAIN_COSINE, {0.4 / 11, 0.1, 0.05 * (1 + cos(M_PI * 89 / 90))}},
                {TRAIN_INVERSE_SQRT, {0.4 / 11, 0.1, 0.1 * sqrt(0.11)}}};
    for (size_t i = 0; i < CAI_COUNT(want); i++) {
        const int64_t at[] = {3, 10, 99};
        o.schedule = want[i].schedule;
        for (int k = 0; k < 3; k++)
            assert_true(fabs(train_rate(&o, at[k], 100) - want[i].at[k]) < 1e-12);
    }
}

static void updates_are_left_out(void **state) {
    (void)state;
    CAI_AUTO(mem) char *base = at_root("base");
    char hash[65];
    must(hf_model_hash(base, hash));
    Cai__V1__Trained *t = run_policy(RUN("\"lr\":0.01," KL ",\"max_ratio\":0.5"), "ratio");
    assert_true(figure(t, "left_out_updates") == 4); /* every one: a mean ratio is near 1 */
    assert_string_equal(t->outputs[0]->hash, hash);
    free_trained(t);
    t = run_policy(RUN("\"lr\":0.3,\"kl\":{\"coef\":0.05,\"target\":0,\"horizon\":100,"
                       "\"stop\":1e-6}"), "stop");
    assert_true(figure(t, "left_out_updates") == 1);
    free_trained(t);
    t = run_policy(RUN("\"lr\":0.01," KL ",\"value_warmup\":3"), "warm-up");
    assert_string_equal(t->outputs[0]->hash, hash);
    assert_true(figure(t, "value_grad_norm") > 0 && isnan(figure(t, "policy_loss")));
    free_trained(t);
}

static void unusable_options_are_refused(void **state) {
    (void)state;
    const char *const bad[] = {
        RUN("\"lr\":0.01," KL ",\"algorithm\":\"rloo\""),
        RUN("\"lr\":0.01,\"group\":5," KL ",\"algorithm\":\"grpo\""),
        RUN("\"lr\":0.01," KL ",\"algorithm\":\"q-learning\""),
        RUN("\"lr\":0.01," KL ",\"aggregate\":7"),
        RUN("\"lr\":0.01," KL ",\"ptx\":{\"coef\":1,\"batch\":0}"),
        RUN("\"lr\":0.01," KL ",\"ptx\":{\"coef\":1,\"batch\":4}")};
    const char *const why[] = {"\"group\" is missing", "not a multiple", "cannot be q-learning",
                               "anything but a word", "\"ptx.batch\" is 0",
                               "the task names no rows for it"};
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        struct job j = ppo_job(bad[i]);
        Cai__V1__Trained *t;
        assert_int_equal(run_job(&j, "refused", &t), CAI_EINPUT);
        assert_non_null(strstr(cai_error_text(), why[i]));
    }
}

/* ---- dpo --------------------------------------------------------------------------------- */

static struct job dpo_job(const char *options, const char *rows) {
    return (struct job){.kind = "ppo", .init = "base", .reference = "base", .dataset = rows,
                        .options = options};
}

static void dpo_learns_from_labels(void **state) {
    (void)state;
    Cai__V1__Trained *t;
    struct job j = dpo_job(DPO("0", "1"), "pm.jsonl");
    must(run_job(&j, "dpo-still", &t)); /* policy and reference are one: every logit is 0 */
    assert_true(fabs(figure(t, "loss") - log(2)) < 1e-5);
    free_trained(t);
    j = dpo_job(DPO("0.003", "20"), "pm.jsonl");
    must(run_job(&j, "dpo", &t));
    assert_true(figure(t, "loss") < 0.6);
    assert_true(figure(t, "accuracy") == 1 && figure(t, "held_out") == 6);
    free_trained(t);
}

/* a and b, p and 1 − p, each in the other's place. */
static void swap_rows(void) {
    CAI_AUTO(mem) char *from = at_root("pm.jsonl");
    CAI_AUTO(mem) char *to = at_root("swapped.jsonl");
    CAI_AUTO(buf) struct cai_buf text = {0}, out = {0};
    must(cai_file_read(from, 1 << 20, &text));
    for (char *line = text.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL), *a = json_incref(json_object_get(o, "a"));
        json_object_set(o, "a", json_object_get(o, "b"));
        json_object_set_new(o, "b", a);
        json_object_set_new(o, "p", json_real(1 - json_number_value(json_object_get(o, "p"))));
        CAI_AUTO(mem) char *swapped = json_dumps(o, JSON_COMPACT);
        cai_buf_printf(&out, "%s\n", swapped);
        json_decref(o);
    }
    write_text(to, out.data);
}

static void swapped_pairs_teach_the_same(void **state) {
    (void)state;
    swap_rows();
    const char *const kinds[] = {"ppo", "pm"};
    const char *const options[] = {
        DPO("0.003", "6"), "{\"lr\":0.01,\"batch\":18,\"epochs\":6,\"members\":1,\"centre\":0.01,"
                           "\"margin\":0.3," OPTIMIZER_JSON "}"};
    for (int i = 0; i < 2; i++) {
        Cai__V1__Trained *a, *b;
        struct job j = dpo_job(options[i], "pm.jsonl");
        j.kind = kinds[i];
        must(run_job(&j, "straight", &a));
        j.dataset = "swapped.jsonl";
        must(run_job(&j, "swapped", &b));
        assert_true(figure(a, "loss") < 0.69);
        assert_true(fabs(figure(a, "loss") - figure(b, "loss")) < 1e-4);
        assert_true(fabs(figure(a, "held_out_loss") - figure(b, "held_out_loss")) < 1e-4);
        free_trained(a);
        free_trained(b);
    }
}

/* ---- the guard --------------------------------------------------------------------------- */

static void a_spike_is_told_from_noise(void **state) {
    (void)state;
    struct loss_guard g = {0};
    struct cai_key key = cai_key_make(3, 0, "test/noise", 0, 0);
    for (uint64_t i = 0; i < 500; i++) {
        double loss = 2 - (double)i / 500 + 0.3 * cai_rng_normal(key, i);
        assert_false(loss_guard_spike(&g, loss, 6));
        loss_guard_take(&g, loss);
    }
    assert_true(fabs(g.mean - 1) < 0.3 && fabs(sqrt(g.variance) - 0.3) < 0.1);
    assert_true(loss_guard_spike(&g, 4, 6));
    assert_false(loss_guard_spike(&g, 4, 0));
    assert_false(loss_guard_spike(&g, NAN, 6)); /* that is the gradient's guard to say */
    loss_guard_take(&g, NAN);
    assert_true(isfinite(g.mean));
    struct loss_guard flat = {.n = 100, .mean = 1, .variance = 0};
    assert_false(loss_guard_spike(&flat, 1.2, 6));
    assert_true(loss_guard_spike(&flat, 1.4, 6));
}

/* Weights that are thrown far at once: every later batch lies above the mean so far. */
static void spikes_in_a_row_end_the_run(void **state) {
    (void)state;
    struct seen seen = {0};
    Cai__V1__Trained *t;
    struct job j = {.kind = "sft", .init = "base", .dataset = "sft.jsonl", .seen = &seen,
                    .options = "{\"lr\":1,\"batch\":24,\"epochs\":60,\"loss_spike\":1e-3,"
                               "\"max_skipped\":2,\"weight_decay\":0,\"beta1\":0,"
                               "\"beta2\":0.9,\"eps\":1e-8,\"clip_norm\":0,\"warmup\":1,"
                               "\"schedule\":\"linear\"}"};
    assert_int_equal(run_job(&j, "spikes", &t), CAI_ENUMERIC);
    assert_non_null(strstr(cai_error_text(), "2 steps in a row were left out"));
    assert_true(seen.reports >= GUARD_FIRST && seen.reports < 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_trains),
        cmocka_unit_test(scores_count_as_far_as_trusted),
        cmocka_unit_test(groups_of_equals_teach_nothing),
        cmocka_unit_test(still_weights_give_ratio_one),
        cmocka_unit_test(a_group_has_one_prompt),
        cmocka_unit_test(options_are_in_force),
        cmocka_unit_test(a_minibatch_is_whitened_alone),
        cmocka_unit_test(rates_of_every_schedule),
        cmocka_unit_test(updates_are_left_out),
        cmocka_unit_test(unusable_options_are_refused),
        cmocka_unit_test(dpo_learns_from_labels),
        cmocka_unit_test(swapped_pairs_teach_the_same),
        cmocka_unit_test(a_spike_is_told_from_noise),
        cmocka_unit_test(spikes_in_a_row_end_the_run),
    };
    return cmocka_run_group_tests(tests, open_policy_world, close_world);
}
