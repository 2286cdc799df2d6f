/* invariants: what must hold whatever the numbers are. Others stand where they are tested
 * with more: ratio 1 while weights are still (ppo, policy), neighbours and batches (trainer,
 * ranks), resuming (resume, fault), swapped pairs (policy), unset heads (train).
 *
 *   the sampler's log-probability of what it wrote is the trainer's, with the weights it
 *     had, and not with those after an update
 *   a saved preference model, opened again, gives the same scores to the bit
 *   KL(policy ‖ reference) is not negative in expectation under pure sampling */
#include "folder.h"

#include "learn/engine.h"
#include "learn/loss.h"
#include "learn/packing.h"
#include "learn/reward.h"
#include "learn/trainer.h"

enum { REPLIES = 24, TOKENS = 12 };

struct written {
    int32_t prompt[3];
    int32_t ids[3 + TOKENS];
    int64_t n;
    double sampled[TOKENS];
};

static void write_replies(struct model *m, uint64_t seed, struct written *w) {
    CAI_AUTO(mem) char *dir = at_root("base");
    struct hf_tokenizer *tokenizer;
    struct engine *e;
    struct engine_options o = {.slots = REPLIES, .capacity = 3 + TOKENS, .end_id = BYTE_END};
    struct sampling how = {.temperature = 1, .top_p = 1, .max_tokens = TOKENS};
    struct gen_request q[REPLIES];
    struct gen_result g[REPLIES];
    must(hf_tokenizer_load(dir, &tokenizer));
    must(engine_new(m, tokenizer, &o, &e));
    memset(q, 0, sizeof q);
    for (int i = 0; i < REPLIES; i++) {
        for (int j = 0; j < 3; j++)
            w[i].prompt[j] = 'a' + (i * 7 + j * 3) % 26;
        q[i].ids = w[i].prompt;
        q[i].n_ids = 3;
        q[i].key = cai_key_make(seed, 0, "test/replies", (uint64_t)i, 0);
    }
    must(engine_generate(e, q, REPLIES, &how, NULL, NULL, g));
    for (int i = 0; i < REPLIES; i++) {
        w[i].n = 3 + (int64_t)g[i].n;
        memcpy(w[i].ids, w[i].prompt, sizeof w[i].prompt);
        memcpy(w[i].ids + 3, g[i].ids, g[i].n * sizeof *g[i].ids);
        for (size_t j = 0; j < g[i].n; j++)
            w[i].sampled[j] = (double)g[i].logprobs[j];
        gen_result_free(&g[i]);
    }
    engine_free(e);
    hf_tokenizer_free(tokenizer);
}

static struct micro *micro_of(const struct model *m, const struct written *w) {
    struct span s[REPLIES];
    struct micro *b;
    for (int i = 0; i < REPLIES; i++)
        s[i] = (struct span){w[i].ids, w[i].n, 3, w[i].n};
    must(micro_new(m, s, REPLIES, &b));
    return b;
}

static double sampler_gap(const struct written *w, const double *out) {
    double worst = 0;
    for (int i = 0; i < REPLIES; i++)
        for (int64_t j = 0; j < w[i].n - 3; j++)
            worst = fmax(worst, fabs(w[i].sampled[j] - *out++));
    return worst;
}

static int towards(void *context, const double *out, double *grad, int64_t n) {
    (void)context;
    (void)out;
    for (int64_t i = 0; i < n; i++)
        grad[i] = -1 / (double)n;
    return 0;
}

static struct model *load_base(void) {
    CAI_AUTO(mem) char *dir = at_root("base");
    struct model *m;
    must(model_load(dir, &m));
    return m;
}

static void one_update(struct model *m, const struct micro *b, double lr) {
    struct trainer_options o = {.beta1 = .9, .beta2 = .999, .eps = 1e-8, .temperature = 1};
    struct trainer_report r;
    struct trainer *t;
    must(trainer_new(m, &o, &t));
    must(trainer_backward(t, b, towards, NULL));
    must(trainer_step(t, lr, &r));
    trainer_free(t);
}

static void sampler_and_trainer_agree(void **state) {
    (void)state;
    struct model *m = load_base();
    struct written w[REPLIES], after[REPLIES];
    double out[REPLIES * TOKENS];
    write_replies(m, 1, w);
    struct micro *b = micro_of(m, w);
    must(model_outputs(m, b, 1, out, NULL));
    assert_true(sampler_gap(w, out) < 1e-4);
    one_update(m, b, 3e-3);
    must(model_outputs(m, b, 1, out, NULL));
    assert_true(sampler_gap(w, out) > 1e-2); /* the weights did move … */
    write_replies(m, 1, after);              /* … and the sampler sees them */
    struct micro *c = micro_of(m, after);
    must(model_outputs(m, c, 1, out, NULL));
    assert_true(sampler_gap(after, out) < 1e-4);
    micro_free(b);
    micro_free(c);
    model_free(m);
}

static void saved_scores_are_the_same(void **state) {
    (void)state;
    CAI_AUTO(mem) char *base = at_root("base");
    CAI_AUTO(mem) char *dir = at_root("pm-again");
    struct written w[REPLIES];
    struct model *policy = load_base(), *pm;
    double before[REPLIES * TOKENS], after[REPLIES * TOKENS];
    write_replies(policy, 2, w);
    must(model_load_scalar(base, cai_key_make(5, 0, "test/head", 0, 0), &pm));
    struct micro *b = micro_of(pm, w);
    one_update(pm, b, 1e-2);
    must(model_outputs(pm, b, 1, before, NULL));
    must(model_save(pm, dir));
    struct reward_norm norm = {.mean = 0.25, .std = 2, .replies = 8, .steps = 1, .accuracy = NAN, .loss = NAN};
    must(reward_norm_save(dir, pm, &norm));
    struct reward_model again;
    must(reward_model_load(dir, &again));
    must(model_outputs(again.m, b, 1, after, NULL));
    for (int64_t i = 0; i < b->n_rows; i++)
        assert_true(before[i] == after[i]);
    assert_true(again.norm.mean == 0.25 && again.norm.std == 2);
    reward_model_free(&again);
    micro_free(b);
    model_free(pm);
    model_free(policy);
}

/* Mean over replies of Σ log π − log π_ref, with its standard error. */
static void divergence_is_not_negative(void **state) {
    (void)state;
    struct model *m = load_base(), *reference = load_base();
    struct written w[REPLIES];
    double now[REPLIES * TOKENS], ref[REPLIES * TOKENS], kl[8 * REPLIES];
    write_replies(m, 3, w);
    struct micro *b = micro_of(m, w);
    one_update(m, b, 2e-2);
    micro_free(b);
    int64_t n = 0;
    double least = 0;
    for (uint64_t round = 0; round < 8; round++) {
        write_replies(m, 100 + round, w);
        b = micro_of(m, w);
        must(model_outputs(m, b, 1, now, NULL));
        must(model_outputs(reference, b, 1, ref, NULL));
        int64_t at = 0;
        for (int i = 0; i < REPLIES; i++, n++) {
            kl[n] = 0;
            for (int64_t j = 3; j < w[i].n; j++, at++) {
                kl[n] += loss_kl(LOSS_KL1, now[at], ref[at], 0);
                least = fmin(least, loss_kl(LOSS_KL3, now[at], ref[at], 0));
            }
        }
        micro_free(b);
    }
    double mean = loss_mean(kl, NULL, (size_t)n);
    double error = sqrt(loss_variance(kl, NULL, (size_t)n) / (double)n);
    if (!(mean > 0.01 && mean > 3 * error)) /* it moved, and away */
        fail_msg("the mean is %g, its standard error %g", mean, error);
    assert_true(least >= 0);                      /* k3 at every token */
    model_free(m);
    model_free(reference);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_and_trainer_agree),
        cmocka_unit_test(saved_scores_are_the_same),
        cmocka_unit_test(divergence_is_not_negative),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
