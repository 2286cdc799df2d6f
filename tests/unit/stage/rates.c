/* rates, draws and choices: published values, hand-counted examples, frequencies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stage/draw.h"
#include "stage/label.h"
#include "stage/rates.h"
#include <math.h>

static void near(double got, double want, double tolerance) {
    if (fabs(got - want) > tolerance)
        print_error("%.12g, expected %.12g\n", got, want);
    assert_true(fabs(got - want) <= tolerance);
}

static void quantiles(void **state) {
    (void)state;
    near(rates_quantile(0.975), 1.959963984540054, 1e-9);
    near(rates_quantile(0.5), 0, 1e-9);
    near(rates_quantile(0.05), -1.6448536269514722, 1e-9);
}

static void wilson(void **state) {
    (void)state;
    double low, high;
    /* Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29 */
    rates_wilson(81, 263, 0.95, &low, &high);
    near(low, 0.2553, 5e-5);
    near(high, 0.3662, 5e-5);
    rates_wilson(15, 148, 0.95, &low, &high);
    near(low, 0.0624, 5e-5);
    near(high, 0.1605, 5e-5);
    rates_wilson(0, 20, 0.95, &low, &high);
    near(low, 0, 0);
    near(high, 0.1611, 5e-5);
    assert_true(rates_beat_chance(60, 100, 0.95, &low, &high) && low > 0.5);
    assert_false(rates_beat_chance(57, 100, 0.95, &low, &high) || low > 0.5);
    rates_wilson(1, 29, 0.95, &low, &high);
    near(low, 0.0061, 5e-5);
    near(high, 0.1718, 5e-5);
    rates_wilson(0, 0, 0.95, &low, &high);
    assert_true(low == 0 && high == 1);
}

static void bootstrap(void **state) {
    (void)state;
    double value[400], low, high, again;
    for (int i = 0; i < 400; i++)
        value[i] = i % 4 == 0;
    struct cai_key key = cai_key_make(1, 1, "test", 0, 0);
    rates_bootstrap(key, value, 400, 1000, 0.95, &low, &high);
    near(low, 0.25 - 1.96 * sqrt(0.25 * 0.75 / 400), 0.01);
    near(high, 0.25 + 1.96 * sqrt(0.25 * 0.75 / 400), 0.01);
    again = low;
    rates_bootstrap(key, value, 400, 1000, 0.95, &low, &high);
    assert_true(again == low);
}

static void calibration(void **state) {
    (void)state;
    const double p[] = {0.05, 0.05, 0.95, 0.95, 1.0}, y[] = {0, 1, 1, 1, 0};
    double count[10], mean[10], seen[10];
    near(rates_ece(p, y, 5, 10, count, mean, seen), (fabs(0.1 - 1) + fabs(2.9 - 2)) / 5, 1e-12);
    near(count[0], 2, 0);
    near(count[9], 3, 0);
    near(seen[0], 0.5, 0);
    near(mean[9], 2.9 / 3, 1e-12);
}

static void slope(void **state) {
    (void)state;
    double b, error;
    /* Three of four agree with the sign of their gap: σ(b) = ¾. The gradient's parts are ¼ of
     * the gap (three times) and ¾ (once), its bend 4 · ¾ · ¼. */
    const double gap[] = {1, 1, 1, -1}, y[] = {1, 1, 0, 0};
    rates_slope(gap, y, 4, &b, &error);
    near(b, log(3), 1e-9);
    near(error, sqrt(3 * 0.0625 + 0.5625) / 0.75, 1e-9);
    /* Soft labels that say just what the gaps say. */
    const double wide[] = {-2, -0.5, 0.3, 1.7};
    double soft[4];
    for (int i = 0; i < 4; i++)
        soft[i] = 1 / (1 + exp(-0.4 * wide[i]));
    rates_slope(wide, soft, 4, &b, &error);
    near(b, 0.4, 1e-9);
    near(error, 0, 1e-9);
    /* Turned round; nothing to go by; parted without fault, where no factor is large enough. */
    rates_slope(wide, (double[]){1, 0.5, 0.5, 0}, 4, &b, &error);
    assert_true(b < -0.5);
    rates_slope((double[]){0, 0}, y, 2, &b, &error);
    assert_true(b == 0 && isinf(error));
    rates_slope((double[]){1, 2}, y, 2, &b, &error);
    assert_true(b > 5 && isfinite(b));
    /* Labels by a coin: the lower bound is above 0 about once in a hundred. */
    int above = 0;
    for (uint64_t run = 0; run < 1000; run++) {
        struct cai_key key = cai_key_make(7, run, "slope", 0, 0);
        double g[200], coin[200];
        for (uint64_t i = 0; i < 200; i++) {
            g[i] = cai_rng_uniform(key, 2 * i) - 0.5;
            coin[i] = cai_rng_uniform(key, 2 * i + 1) < 0.5;
        }
        rates_slope(g, coin, 200, &b, &error);
        above += b - rates_quantile(0.99) * error > 0;
    }
    assert_in_range(above, 2, 20);
}

static void self_bleu(void **state) {
    (void)state;
    const char *same[] = {"a b c d e", "a b c d e", "a b c d e"};
    const char *apart[] = {"a b c d e", "f g h i j", "k l m n o"};
    const char *half[] = {"a b c d e", "a b c x y", "q r s t u"};
    near(rates_self_bleu(same, 3), 1, 1e-12);
    near(rates_self_bleu(apart, 3), 0, 0);
    /* by hand: 3/5 words, (2+1)/(4+1), (1+1)/(3+1), (0+1)/(2+1); the third text has none */
    near(rates_self_bleu(half, 3), 2.0 / 3 * pow(0.6 * 0.6 * 0.5 / 3, 0.25), 1e-12);
    near(rates_self_bleu(same, 1), 0, 0);
}

/* ---- draws ------------------------------------------------------------------------------- */
static struct principle principles[] = {
    {.id = "a", .critique = "x", .revision = "x", .choice = "x", .weight = 3, .enabled = true,
     .phases = PHASE_SFT | PHASE_RL},
    {.id = "b", .critique = "x", .revision = "x", .choice = "x", .weight = 1, .enabled = true,
     .phases = PHASE_SFT | PHASE_RL},
    {.id = "off", .critique = "x", .revision = "x", .choice = "x", .weight = 9, .enabled = false,
     .phases = PHASE_SFT | PHASE_RL},
    {.id = "choice", .choice = "x", .weight = 4, .enabled = true, .phases = PHASE_RL}};

static void draws(void **state) {
    (void)state;
    struct constitution o = {.principles = principles, .n_principles = 4};
    struct job_spec job = {.seed = 5};
    struct stage_context c = {.job = &job, .constitution = &o, .round = 1};
    int seen[4] = {0};
    for (uint32_t k = 0; k < 4000; k++)
        seen[draw_principle(&c, DRAW_CRITIQUE, "test", 17, k) - principles]++;
    assert_int_equal(seen[2] + seen[3], 0);
    near(seen[0] / 4000.0, 0.75, 0.03);
    for (uint64_t item = 0; item < 200; item++) {
        const struct principle *p[3];
        for (uint32_t i = 0; i < 3; i++)
            p[i] = draw_principle_distinct(&c, DRAW_CHOICE, "test", item, i);
        assert_true(p[0] != p[1] && p[1] != p[2] && p[0] != p[2]);
        assert_null(draw_principle_distinct(&c, DRAW_CHOICE, "test", item, 3));
    }
    o.n_principles = 0;
    assert_null(draw_principle(&c, DRAW_CHOICE, "test", 1, 1));
}

static void table(void **state) {
    (void)state;
    const double w[] = {0, 1, 0, 3, 0};
    struct draw_table t;
    int seen[5] = {0};
    draw_table_make(&t, w, 5);
    struct cai_key key = cai_key_make(1, 1, "table", 0, 0);
    for (uint64_t i = 0; i < 8000; i++)
        seen[draw_table_pick(&t, key, i)]++;
    draw_table_free(&t);
    assert_int_equal(seen[0] + seen[2] + seen[4], 0);
    near(seen[3] / 8000.0, 0.75, 0.02);
}

/* ---- choices ------------------------------------------------------------------------------- */
static struct choice ask(double ab, double mass_ab, double ba, double mass_ba) {
    double x[] = {log(ab * mass_ab), log((1 - ab) * mass_ab)};
    double y[] = {log(ba * mass_ba), log((1 - ba) * mass_ba)};
    Cai__V1__Scored s[2];
    cai__v1__scored__init(&s[0]);
    cai__v1__scored__init(&s[1]);
    s[0].n_logprobs = s[1].n_logprobs = 2;
    s[0].logprobs = x;
    s[1].logprobs = y;
    return choice_read(&s[0], &s[1]);
}

static void choices(void **state) {
    (void)state;
    struct choice o = ask(0.8, 0.5, 0.3, 0.25);
    near(o.p, 0.5 * (0.8 + 0.7), 1e-12);
    near(o.mass_ab, 0.5, 1e-12);
    near(o.mass_ba, 0.25, 1e-12);
    assert_false(o.flipped);
    o = ask(0.9, 1, 0.9, 1); /* the first shown, whichever it is */
    near(o.p, 0.5, 1e-12);
    assert_true(o.flipped);
    struct choice_figures f = {0};
    choice_count(&f, &o, true);
    near(f.bias, 0.8, 1e-12);
    assert_true(choice_flipped(&f) == 1);
    o = ask(0.55, 1, 0.56, 1); /* two shrugs: no sign of anything */
    assert_false(o.decided || o.flipped);
    choice_count(&f, &o, true);
    assert_true(choice_flipped(&f) == 1); /* of the decided ones */
    o = ask(0.52, 1, 0.7, 1); /* decided in one order alone, and turned */
    assert_true(o.decided && o.flipped);
    o = ask(0.2, 1e-200, 0.7, 1e-200); /* far below what exp can add up */
    near(o.p, 0.25, 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles), cmocka_unit_test(wilson),    cmocka_unit_test(bootstrap),
        cmocka_unit_test(calibration), cmocka_unit_test(self_bleu), cmocka_unit_test(draws),
        cmocka_unit_test(slope),
        cmocka_unit_test(table),     cmocka_unit_test(choices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
