/* ppo: the whole run on a tiny policy: ratios exactly 1 until weights move, equal results
 * stopped and resumed, and on one rank and two; the KL budget; prompts by counted draw. */
#include "folder.h"

#include "learn/ppo.h"

#define PPO(lr, steps, more)                                                                       \
    "{\"lr\":" lr ",\"value_lr\":" lr ",\"steps\":" steps ",\"rollouts\":16,\"epochs\":3,"         \
    "\"minibatches\":2,\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,"               \
    "\"value_coef\":1,\"kl\":{\"coef\":0.05,\"target\":0.5,\"horizon\":100},"                      \
    "\"whiten_advantages\":true,\"whiten_rewards\":false,\"reward_clip\":10,"                      \
    "\"no_end_reward\":-1,\"helpful\":0.5,"                                                        \
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":12}," more OPTIMIZER_JSON "}"
#define PLAIN "\"kl_budget\":0,\"checkpoint_every\":2,"

static int open_ppo_world(void **state) {
    return open_scored_world(state, "pm");
}

/* learn itself asserts the ratio for every token of every epoch while lr is 0. */
static void still_weights_give_ratio_one(void **state) {
    (void)state;
    struct job j = ppo_job(PPO("0", "2", PLAIN));
    Cai__V1__Trained *t;
    must(run_job(&j, "still", &t));
    assert_true(figure(t, "ratio_max") == 1);
    assert_true(figure(t, "clip_fraction") == 0);
    assert_true(figure(t, "approx_kl") == 0);
    assert_true(fabs(figure(t, "kl")) < 1e-4); /* policy and reference are one model */
    assert_true(figure(t, "sampler_gap_max") < 1e-3);
    CAI_AUTO(mem) char *base = at_root("base");
    char hash[65];
    must(hf_model_hash(base, hash));
    assert_string_equal(t->outputs[0]->hash, hash);
    free_trained(t);
}

/* Whatever is computed together, and whether layers are computed again: learn asserts the ratio
 * of every token to be 1. */
static void still_in_micro_batches_of_any_size(void **state) {
    (void)state;
    static const char *const options[] = {
        PPO("0", "1", "\"micro_batch_tokens\":1," PLAIN),
        PPO("0", "1", "\"micro_batch_tokens\":40,\"recompute\":\"always\"," PLAIN),
        PPO("0", "1", "\"micro_batch_tokens\":100000,\"recompute\":\"always\"," PLAIN)};
    for (size_t i = 0; i < CAI_COUNT(options); i++) {
        struct job j = ppo_job(options[i]);
        Cai__V1__Trained *t;
        must(run_job(&j, "still-parts", &t));
        assert_true(figure(t, "ratio_max") == 1 && figure(t, "approx_kl") == 0);
        free_trained(t);
    }
}

static void weights_move_and_resume(void **state) {
    (void)state;
    struct seen whole = {0}, first = {.stop_after = 1}, second = {0};
    Cai__V1__Trained *a, *b;
    struct job j = ppo_job(PPO("0.001", "6", PLAIN));
    j.seen = &whole;
    must(run_job(&j, "ppo", &a));
    assert_int_equal(whole.reports, 6);
    assert_int_equal(whole.commits, 2);
    assert_true(figure(a, "ratio_max") > 1);
    assert_true(figure(a, "grad_norm") > 0 && figure(a, "value_grad_norm") > 0);
    j.seen = &first;
    assert_int_equal(run_job(&j, "ppo-cut", &b), CAI_ESTATE);
    j.seen = &second;
    j.resume = first.folder;
    j.resume_hash = first.hash;
    must(run_job(&j, "ppo-cut", &b));
    assert_int_equal(second.reports, 4);
    assert_string_equal(a->outputs[0]->hash, b->outputs[0]->hash);
    assert_int_equal(a->n_metrics, b->n_metrics);
    for (size_t i = 0; i < a->n_metrics; i++)
        assert_true(a->metrics[i]->value == b->metrics[i]->value);
    free_trained(a);
    free_trained(b);
}

/* How many replies are kept, and of which steps: of none, of all, of each second and the last. */
static void samples_are_kept_as_asked(void **state) {
    (void)state;
    static const struct {
        const char *options;
        size_t samples;
    } cases[] = {{PPO("0.001", "4", PLAIN), 0},
                 {PPO("0.001", "4", PLAIN "\"samples\":2,"), 4 * 2},
                 {PPO("0.001", "4", PLAIN "\"samples\":3,\"sample_every\":2,"), 3 * 3},
                 {PPO("0.001", "4", PLAIN "\"samples\":99,\"sample_every\":3,"), 2 * 16}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct seen seen = {0};
        struct job j = ppo_job(cases[i].options);
        Cai__V1__Trained *t;
        j.seen = &seen;
        must(run_job(&j, "samples", &t));
        assert_int_equal(seen.samples, cases[i].samples);
        free_trained(t);
    }
}

static void budget_ends_the_run(void **state) {
    (void)state;
    struct job j = ppo_job(PPO("0.02", "40", "\"kl_budget\":0.2,\"checkpoint_every\":0,"));
    Cai__V1__Trained *t;
    must(run_job(&j, "budget", &t));
    assert_string_equal(t->stopped, "kl budget");
    assert_true(t->steps >= 4 && t->steps < 40);
    free_trained(t);
}

static void another_tokenizer_is_refused(void **state) {
    (void)state;
    CAI_AUTO(mem) char *path = at_root("out/pm/0/tokenizer.json");
    CAI_AUTO(buf) struct cai_buf text = {0};
    must(cai_file_read(path, 1 << 20, &text));
    CAI_AUTO(mem) char *kept = cai_strdup(text.data);
    cai_buf_putc(&text, '\n');
    write_text(path, text.data);
    struct job j = ppo_job(PPO("0", "1", PLAIN));
    Cai__V1__Trained *t;
    assert_int_equal(run_job(&j, "other", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "another tokenizer"));
    write_text(path, kept);
}

static void prompts_keep_their_share(void **state) {
    (void)state;
    struct dataset_row rows[7] = {{0}};
    struct dataset d = {.rows = rows, .n = 7};
    struct prompts p;
    int seen[7] = {0}, helpful = 0;
    for (int i = 0; i < 7; i++) {
        rows[i].item = (uint64_t)i;
        rows[i].helpful = i < 3;
    }
    prompts_make(&d, 0.25, &p);
    for (uint64_t k = 0; k < 48; k++) {
        const struct dataset_row *r = prompts_draw(&p, 5, 1, k);
        assert_ptr_equal(r, prompts_draw(&p, 5, 1, k));
        seen[r->item]++;
        helpful += r->helpful;
    }
    assert_int_equal(helpful, 12);
    for (int i = 0; i < 7; i++) /* 12 draws of three, 36 of four */
        assert_int_equal(seen[i], i < 3 ? 4 : 9);
    prompts_free(&p);
    d.n = 3;
    prompts_make(&d, 0.25, &p);
    assert_true(prompts_draw(&p, 5, 1, 0)->helpful);
    prompts_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(still_weights_give_ratio_one),
        cmocka_unit_test(still_in_micro_batches_of_any_size), cmocka_unit_test(weights_move_and_resume),
        cmocka_unit_test(samples_are_kept_as_asked), cmocka_unit_test(budget_ends_the_run), cmocka_unit_test(another_tokenizer_is_refused),
        cmocka_unit_test(prompts_keep_their_share),
    };
    return on_test_device() ? cmocka_run_group_tests(tests, open_ppo_world, close_world) : SKIPPED;
}
