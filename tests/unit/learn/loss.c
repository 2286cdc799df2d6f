/* loss: the published vectors, recomputed (fp64, 1e-12 where the reference gives exact
 * numbers), gradients against central differences, masked positions without influence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "learn/loss.h"
#include <math.h>
#include <string.h>

static void near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.17g, want %.17g", got, want);
}

static void all_near(const double *got, const double *want, size_t n, double tolerance) {
    for (size_t i = 0; i < n; i++)
        near(got[i], want[i], tolerance);
}

static void moments_of_the_masked(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, NAN};
    const uint8_t mask[] = {0, 1, 1, 0};
    near(loss_mean(x, mask, 4), 2.5, 0);
    near(loss_variance(x, mask, 4), 0.5, 1e-12);
    double w[] = {1, 2, 3, NAN};
    loss_whiten(w, mask, 4, true);
    all_near(w, (double[]){0, -0.5 / sqrt(0.5 + 1e-8), 0.5 / sqrt(0.5 + 1e-8), 0}, 4, 1e-12);
    near(w[2], 0.7071068, 1e-6);
    double kept[] = {1, 2, 3, 4};
    loss_whiten(kept, mask, 4, false);
    near(kept[1] + kept[2], 5, 1e-12);
    const uint8_t one[] = {0, 1, 0, 0};
    double y[] = {1, 2, 3, 4};
    near(loss_variance(y, one, 4), 0, 0);
    loss_whiten(y, one, 4, true);
    all_near(y, (double[]){0, 0, 0, 0}, 4, 0);
}

static void advantages(void **state) {
    (void)state;
    double a[16], r[16];
    loss_gae((double[]){0, 0, 0, 1}, (double[]){0, 0, 0, 1}, NULL, 4, 0.9, 0.95, a, r);
    all_near(a, (double[]){.6579225, .7695, .9, 0}, 4, 1e-12);
    all_near(r, (double[]){.6579225, .7695, .9, 1}, 4, 1e-12);
    loss_gae((double[]){0, 0, 1, 0}, (double[]){0, 1, 2, 3}, NULL, 4, 0.5, 0, a, r);
    all_near(a, (double[]){.5, 0, .5, -3}, 4, 1e-12);
    all_near(r, (double[]){.5, 1, 2.5, 0}, 4, 1e-12);
    loss_gae((double[]){0, 0, 5}, (double[]){1, 2, 3}, NULL, 3, 1, 0, a, NULL);
    all_near(a, (double[]){1, 1, 2}, 3, 1e-12);
}

static void advantages_over_masks(void **state) {
    (void)state;
    double a[16];
    loss_gae((double[]){0, 0, 999, 0, 1}, (double[]){.1, .2, 999, .4, .5},
             (uint8_t[]){1, 1, 0, 1, 1}, 5, .99, .95, a, NULL);
    all_near(a, (double[]){.7823243763125, .727617625, 0, .56525, .5}, 5, 1e-12);
    for (int junk = 0; junk < 2; junk++) { /* several turns: what lies between is not seen */
        double x = junk ? NAN : 0;
        loss_gae((double[]){x, x, .1, .1, .1, x, x, .1, 1, x, x},
                 (double[]){x, x, 4, 5, 6, x, x, 7, 9, x, x},
                 (uint8_t[]){0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0}, 11, 1, .95, a, NULL);
        all_near(a, (double[]){0, 0, -1.5778125, -2.81875, -4.125, 0, 0, -5.5, -8, 0, 0}, 11,
                 1e-12);
    }
    loss_gae((double[]){0, 1, 0}, (double[]){0, 0, 100}, (uint8_t[]){1, 1, 0}, 3, 1, .95, a, NULL);
    all_near(a, (double[]){.95, 1, 0}, 3, 1e-12);
}

static void kl_estimators(void **state) {
    (void)state;
    const double lp[] = {-1, -2, -.5, -3}, ref[] = {-1.2, -1.5, -.5, -15};
    const double k1[] = {.2, -.5, 0, 10}, k2[] = {.02, .125, 0, 10};
    const double k3[] = {exp(-.2) - 1 + .2, exp(.5) - 1 - .5, 0, 10};
    for (int i = 0; i < 4; i++) {
        near(loss_kl(LOSS_KL1, lp[i], ref[i], 10), k1[i], 1e-12);
        near(loss_kl(LOSS_KL2, lp[i], ref[i], 10), k2[i], 1e-12);
        near(loss_kl(LOSS_KL3, lp[i], ref[i], 10), k3[i], 1e-12);
    }
    near(k3[0], .0187308, 1e-7);
    near(k3[1], .1487213, 1e-7);
    near(loss_kl(LOSS_KL1, -3, -15, 0), 12, 0);
}

static void rewards_and_controller(void **state) {
    (void)state;
    double r[3];
    loss_token_rewards((double[]){.1, .2, .3}, 3, .1, 2, r);
    all_near(r, (double[]){-.01, -.02, 1.97}, 3, 1e-12);
    near(loss_kl_coef(.2, 9, 6, 1e4, 256), .201024, 1e-12);
    near(loss_kl_coef(.2, 3, 6, 1e4, 256), .198976, 1e-12);
    near(loss_kl_coef(.2, 6.3, 6, 1e4, 256), .200256, 1e-12);
    near(loss_kl_coef(.05, 9, 0, 1e4, 256), .05, 0);
    double b[7];
    loss_rloo_baseline((uint64_t[]){0, 0, 1, 0, 0, 1, 1}, (double[]){1, 0, 2, -3, 5, 7, -1}, 7, b);
    all_near(b, (double[]){2. / 3, 1, 3, 2, -2. / 3, .5, 4.5}, 7, 1e-12);
    loss_rloo_baseline((uint64_t[]){7}, (double[]){3}, 1, b);
    near(b[0], 0, 0);
}

#define CLIP(dual) ((struct loss_clip){.2, .2, dual})

static void clipped_objective(void **state) {
    (void)state;
    const double ratio[] = {.5, 1, 1.5}, a[] = {1, -1, 2}, want[] = {-.5, 1, -2.4};
    double lp[3], old[3] = {-1, -2, -3}, g[3];
    struct loss_ppo_stats stats = {0};
    for (int i = 0; i < 3; i++)
        lp[i] = old[i] + log(ratio[i]);
    near(loss_ppo(lp, old, a, NULL, 3, CLIP(0), g, &stats) / 3, -.6333333333333333, 1e-12);
    for (int i = 0; i < 3; i++)
        near(loss_ppo(&lp[i], &old[i], &a[i], NULL, 1, CLIP(0), NULL, NULL), want[i], 1e-12);
    near(stats.clipped, 1, 0);
    near(stats.ratio_max, 1.5, 1e-12);
    const double dual_ratio[] = {2, 2, .5}, dual_a[] = {2, -2, 2}, dual_want[] = {-2.4, 3, -1};
    for (int i = 0; i < 3; i++) {
        double x = log(dual_ratio[i]), zero = 0;
        near(loss_ppo(&x, &zero, &dual_a[i], NULL, 1, CLIP(1.5), NULL, NULL), dual_want[i], 1e-12);
    }
    const uint8_t mask[] = {1, 0, 1};
    lp[1] = NAN;
    double masked = loss_ppo(lp, old, a, mask, 3, CLIP(0), g, NULL);
    near(masked, -2.9, 1e-12);
    near(g[1], 0, 0);
}

static void ppo_gradient(void **state) {
    (void)state;
    const double points[] = {-.7, -.1, 0.05, .1, .4}, advantages_[] = {1.5, -1.5};
    for (size_t i = 0; i < CAI_COUNT(points); i++)
        for (size_t j = 0; j < 2; j++) {
            double old = -1, x = old + points[i], h = 1e-6, g, up = x + h, down = x - h;
            const double *a = &advantages_[j];
            loss_ppo(&x, &old, a, NULL, 1, CLIP(3), &g, NULL);
            double slope = (loss_ppo(&up, &old, a, NULL, 1, CLIP(3), NULL, NULL) -
                            loss_ppo(&down, &old, a, NULL, 1, CLIP(3), NULL, NULL)) / (2 * h);
            near(g, slope, 1e-6);
        }
}

static void whole_reply_ratio(void **state) {
    (void)state;
    /* Two tokens whose ratios multiply to 1.5: one action, clipped at 1.2. */
    double old[] = {-1, -2}, lp[] = {-1 + log(2), -2 + log(.75)}, g[2];
    struct loss_ppo_stats stats = {0};
    near(loss_ppo_sequence(lp, old, 2, 2, CLIP(0), g, &stats), -2.4, 1e-12);
    all_near(g, (double[]){0, 0}, 2, 0);
    near(stats.ratio_max, 1.5, 1e-12);
    near(stats.clipped, 1, 0);
    near(loss_ppo_sequence(lp, old, 2, -2, CLIP(0), g, NULL), 3, 1e-12);
    all_near(g, (double[]){3, 3}, 2, 1e-12);
    /* Above 1 by .5 is within a higher upper clip. */
    near(loss_ppo_sequence(lp, old, 2, 2, (struct loss_clip){.2, .6, 0}, g, NULL), -3, 1e-12);
    near(loss_kl_penalty(lp, old, 2, .5, g),
         .5 * (loss_kl(LOSS_KL3, lp[0], old[0], 0) + loss_kl(LOSS_KL3, lp[1], old[1], 0)), 1e-12);
}

static void groups(void **state) {
    (void)state;
    const uint64_t group[] = {3, 3, 3, 4, 4, 9};
    const double r[] = {1, 2, 6, 5, 5, 7};
    double a[6];
    uint8_t used[6];
    loss_group_advantage(group, r, 6, false, a);
    all_near(a, (double[]){-2, -1, 3, 0, 0, 0}, 6, 1e-12);
    loss_group_advantage(group, r, 6, true, a); /* deviation √7 */
    all_near(a, (double[]){-2 / (sqrt(7) + 1e-4), -1 / (sqrt(7) + 1e-4), 3 / (sqrt(7) + 1e-4), 0,
                           0, 0}, 6, 1e-12);
    loss_group_used(group, r, 6, used);
    assert_memory_equal(used, ((uint8_t[]){1, 1, 1, 0, 0, 0}), 6);
    loss_group_best(group, r, 6, a);
    all_near(a, (double[]){0, 0, 1, 1, 0, 1}, 6, 0);
    const double score[] = {1, 2, 6};
    near(loss_ensemble(score, 3, false, 0), 3, 1e-12);
    near(loss_ensemble(score, 3, false, .3), 3 - .3 * 14. / 3, 1e-12);
    near(loss_ensemble(score, 3, true, .3), 1, 0);
    near(loss_ensemble(score, 1, false, 5), 1, 0);
}

static void clipped_value(void **state) {
    (void)state;
    const double v[] = {1, 2, 0}, old[] = {.5, 1, .1}, r[] = {0, 3, 1}, want[] = {.5, 1.62, .5};
    double g[3];
    for (int i = 0; i < 3; i++) {
        near(loss_value(&v[i], &old[i], &r[i], NULL, 1, .2, &g[i]), want[i], 1e-12);
        double h = 1e-6, up = v[i] + h, down = v[i] - h;
        double slope = (loss_value(&up, &old[i], &r[i], NULL, 1, .2, NULL) -
                        loss_value(&down, &old[i], &r[i], NULL, 1, .2, NULL)) / (2 * h);
        near(g[i], slope, 1e-6);
    }
    near(loss_value(v, old, r, NULL, 3, .2, NULL), 2.62, 1e-12);
    near(loss_value(v, old, r, (uint8_t[]){1, 0, 0}, 3, 0, NULL), .5, 1e-12);
    near(loss_value_clipped(v, old, r, NULL, 3, .2), 1, 0); /* 2, held at 1.2, is to be 3 */
    near(loss_value_clipped(v, old, r, (uint8_t[]){1, 0, 1}, 3, .2), 0, 0);
    near(loss_value_clipped(v, old, r, NULL, 3, 0), 0, 0);
}

static void soft_bradley_terry(void **state) {
    (void)state;
    double da, db;
    near(loss_bradley_terry(.4, 0, 1, 0, 0, &da, &db), .5130153, 1e-7);
    near(da, -.4013123, 1e-7);
    near(db, .4013123, 1e-7);
    near(loss_bradley_terry(.4, 0, .6, 0, 0, &da, NULL), .6730153, 1e-6);
    near(da, -.0013123, 1e-7);
    near(loss_bradley_terry(.4, 0, .5, 0, 0, &da, NULL), .7130153, 1e-7);
    near(da, .0986877, 1e-7);
    /* Swapping a and b turns p into 1 - p. */
    near(loss_bradley_terry(1.3, -.2, .7, 0, .01, NULL, NULL),
         loss_bradley_terry(-.2, 1.3, .3, 0, .01, NULL, NULL), 1e-12);
    near(loss_bradley_terry(1.3, -.2, .7, .5, .01, NULL, NULL),
         loss_bradley_terry(-.2, 1.3, .3, .5, .01, NULL, NULL), 1e-12);
    near(loss_dpo(-9, -7, -8, -8.5, .7, .1, NULL, NULL),
         loss_dpo(-7, -9, -8.5, -8, .3, .1, NULL, NULL), 1e-12);
    near(loss_dpo(-5, -5, -8, -8, .5, .1, &da, &db), log(2), 1e-12);
    near(da, 0, 1e-15);
    double h = 1e-6;
    loss_bradley_terry(1.3, -.2, .7, .25, .01, &da, &db);
    near(da, (loss_bradley_terry(1.3 + h, -.2, .7, .25, .01, NULL, NULL) -
              loss_bradley_terry(1.3 - h, -.2, .7, .25, .01, NULL, NULL)) / (2 * h), 1e-6);
    near(db, (loss_bradley_terry(1.3, -.2 + h, .7, .25, .01, NULL, NULL) -
              loss_bradley_terry(1.3, -.2 - h, .7, .25, .01, NULL, NULL)) / (2 * h), 1e-6);
}

static void logistic_ends(void **state) {
    (void)state;
    double d;
    near(loss_bce(1000, 0, &d), 1000, 1e-9);
    near(d, 1, 0);
    near(loss_bce(-1000, 1, &d), 1000, 1e-9);
    near(loss_bce(0, .5, &d), log(2), 1e-12);
    near(d, 0, 0);
    near(loss_entropy(.5), log(2), 1e-12);
    near(loss_entropy(0), 0, 0);
    near(loss_entropy(1), 0, 0);
    near(loss_sigmoid(-800), 0, 1e-300);
    near(loss_log_sigmoid(-800), -800, 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_of_the_masked), cmocka_unit_test(advantages),
        cmocka_unit_test(advantages_over_masks), cmocka_unit_test(kl_estimators),
        cmocka_unit_test(rewards_and_controller), cmocka_unit_test(clipped_objective),
        cmocka_unit_test(ppo_gradient), cmocka_unit_test(whole_reply_ratio),
        cmocka_unit_test(groups), cmocka_unit_test(clipped_value),
        cmocka_unit_test(soft_bradley_terry), cmocka_unit_test(logistic_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
