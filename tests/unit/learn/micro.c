/* micro: what is computed together, which layers are computed again, and how many tokens a step
 * has are settings: the first two change no number beyond rounding, the third makes steps of
 * about as many tokens. And the schedules of the learning rate. */
#include "folder.h"

#include "learn/options.h"
#include "learn/packing.h"
#include "learn/trainer.h"

#define SMOOTH                                                                                     \
    "\"weight_decay\":0.01,\"beta1\":0.9,\"beta2\":0.99,\"eps\":1,\"clip_norm\":0.5,\"warmup\":0," \
    "\"schedule\":\"constant\""

static void run_sft(const char *name, const char *more, struct model **ret, double *ret_loss,
                    uint64_t *ret_steps) {
    CAI_AUTO(mem) char *options = cai_format("{\"lr\":1,\"batch\":12,\"epochs\":2,%s" SMOOTH "}", more);
    struct job j = {.kind = "sft", .init = "base", .dataset = "sft.jsonl", .options = options};
    Cai__V1__Trained *t;
    must(run_job(&j, name, &t));
    must(model_load(t->outputs[0]->path, ret));
    *ret_loss = figure(t, "loss");
    *ret_steps = t->steps;
    free_trained(t);
}

/* Twelve rows of some ten tokens: one micro-batch, four, one for each row; layers again. */
static void sizes_and_recompute_change_no_number(void **state) {
    (void)state;
    static const char *const more[] = {"", "\"micro_batch_tokens\":40,", "\"micro_batch_tokens\":1,",
                                       "\"recompute\":\"always\",", "\"recompute\":\"never\",",
                                       "\"recompute\":\"always\",\"micro_batch_tokens\":40,"};
    struct model *whole, *m;
    double loss, other;
    uint64_t steps, again;
    run_sft("whole", more[0], &whole, &loss, &steps);
    assert_int_equal(steps, 4);
    for (size_t i = 1; i < CAI_COUNT(more); i++) {
        run_sft("parts", more[i], &m, &other, &again);
        double apart = worst_difference(ct_host_data(whole->flat), ct_host_data(m->flat), m->n);
        print_message("%s loss %.9f (%+.1e), weights within %.1e\n", more[i], other, other - loss,
                      apart);
        assert_true(again == steps && fabs(other - loss) < 1e-5 && apart < 1e-5);
        if (i == 4) /* these graphs are small: it is what is done anyway */
            assert_true(apart == 0);
        model_free(m);
    }
    model_free(whole);
}

/* Of any lengths, any budget, any ranks: as many for each rank, none above the budget by more
 * than a row, none missing, and as even as rows allow. */
static void every_rank_has_as_many(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        struct cai_key key = cai_key_make(9, 0, "test/packing", round, 0);
        int64_t lengths[64], total = 0, longest = 0;
        size_t n = 1 + cai_rng_below(key, 100, 64), ranks = 1 + cai_rng_below(key, 101, 5);
        int64_t budget = 1 + (int64_t)cai_rng_below(key, 102, 400);
        for (size_t i = 0; i < n; i++) {
            lengths[i] = 1 + (int64_t)cai_rng_below(key, i, 90);
            total += lengths[i];
            longest = lengths[i] > longest ? lengths[i] : longest;
        }
        struct packing p;
        must(packing_make(lengths, n, budget, ranks, &p));
        assert_int_equal(p.n_bins % ranks, 0);
        assert_int_equal(p.starts[p.n_bins], n);
        int64_t least = total, most = 0;
        for (size_t b = 0; b < p.n_bins; b++) {
            int64_t load = 0;
            for (size_t i = p.starts[b]; i < p.starts[b + 1]; i++)
                load += lengths[p.units[i]];
            least = load < least ? load : least;
            most = load > most ? load : most;
        }
        assert_true(most <= budget + longest && most - least <= longest);
        packing_free(&p);
    }
}

/* 24 rows of which five tokens each are learned. */
static void a_step_can_be_of_tokens(void **state) {
    (void)state;
    static const struct {
        const char *more;
        uint64_t steps;
    } cases[] = {{"\"batch_tokens\":0,", 4}, {"\"batch_tokens\":24,", 10}, {"\"batch_tokens\":1000,", 2},
                 {"\"batch_tokens\":1,", 48}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct model *m;
        double loss;
        uint64_t steps;
        run_sft("tokens", cases[i].more, &m, &loss, &steps);
        if (steps != cases[i].steps)
            fail_msg("%s %llu steps", cases[i].more, (unsigned long long)steps);
        model_free(m);
    }
}

#define OPTIONS(more) "{\"lr\":0.1,\"batch\":4,\"epochs\":1," more OPTIMIZER_JSON "}"

static void settings_are_read(void **state) {
    (void)state;
    struct sft_options o;
    must(options_sft(OPTIONS("\"micro_batch_tokens\":512,\"recompute\":\"always\",\"batch_tokens\":9,"), &o));
    assert_true(trainer_tokens(&o.optimizer) == 512 && o.optimizer.batch_tokens == 9);
    assert_int_equal(o.optimizer.recompute, RECOMPUTE_ALWAYS);
    must(options_sft(OPTIONS(""), &o));
    assert_true(trainer_tokens(&o.optimizer) == 4096 && o.optimizer.batch_tokens == 0);
    assert_int_equal(o.optimizer.recompute, RECOMPUTE_AUTO);
    assert_int_equal(options_sft(OPTIONS("\"recompute\":\"sometimes\","), &o), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "cannot be sometimes"));
    assert_int_equal(options_sft(OPTIONS("\"micro_batch_tokens\":0.5,"), &o), CAI_EINPUT);
    assert_int_equal(options_sft(OPTIONS("\"batch_tokens\":-1,"), &o), CAI_EINPUT);
}

/* Ten of a hundred steps warm up: lr · (k + 1) / 11. Then each schedule's formula. */
static void schedules(void **state) {
    (void)state;
    struct train_optimizer o = {.lr = 2, .warmup = 0.1, .schedule = TRAIN_CONSTANT};
    for (int64_t k = 0; k < 10; k++)
        assert_true(fabs(train_rate(&o, k, 100) - 2.0 * (double)(k + 1) / 11) < 1e-12);
    for (int64_t k = 10; k < 100; k++) {
        double done = (double)(k - 10) / 90, pi = 3.14159265358979323846;
        o.schedule = TRAIN_CONSTANT;
        assert_true(train_rate(&o, k, 100) == 2);
        o.schedule = TRAIN_LINEAR;
        assert_true(fabs(train_rate(&o, k, 100) - 2 * (1 - done)) < 1e-12);
        o.schedule = TRAIN_COSINE;
        assert_true(fabs(train_rate(&o, k, 100) - (1 + cos(pi * done))) < 1e-12);
    }
    o.warmup = 0;
    assert_true(train_rate(&o, 0, 100) == 2);
    o.warmup = 1;
    o.schedule = TRAIN_LINEAR;
    assert_true(fabs(train_rate(&o, 99, 100) - 2.0 * 100 / 101) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_recompute_change_no_number),
        cmocka_unit_test(every_rank_has_as_many),
        cmocka_unit_test(a_step_can_be_of_tokens),
        cmocka_unit_test(settings_are_read),
        cmocka_unit_test(schedules),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
