/* Sampling against the definitions, computed the long way in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "learn/engine_sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { V = 203 }; /* not a multiple of a block */
static float logits[V];

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < V; i++)
        logits[i] = (float)(2.5 * cai_rng_normal(cai_key_make(1, 0, "x", 0, 0), (uint64_t)i));
    return 0;
}

static void softmax(double temperature, double *p)
{
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += p[i] = exp((double)logits[i] / temperature);
    for (int i = 0; i < V; i++)
        p[i] /= sum;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Probabilities after the filters, in transformers' order; 0 for what is removed. */
static void filtered(const struct sampling *how, double *p)
{
    double sorted[V], sum = 0, max = 0, floor = 0;
    softmax(how->temperature, p);
    memcpy(sorted, p, sizeof(sorted));
    qsort(sorted, V, sizeof(double), descending);
    if (how->top_k > 0)
        for (int i = 0; i < V; i++)
            if (p[i] < sorted[how->top_k - 1])
                p[i] = 0;
    for (int i = 0; i < V; i++)
        sum += p[i];
    for (int i = 0; i < V; i++)
        p[i] /= sum;
    if (how->top_p < 1) {
        memcpy(sorted, p, sizeof(sorted));
        qsort(sorted, V, sizeof(double), descending);
        double mass = 0;
        for (int i = 0; i < V && mass < how->top_p; i++) {
            mass += sorted[i];
            floor = sorted[i];
        }
        for (int i = 0; i < V; i++)
            if (p[i] < floor)
                p[i] = 0;
    }
    for (int i = 0; i < V; i++)
        max = fmax(max, p[i]);
    sum = 0;
    for (int i = 0; i < V; i++)
        sum += p[i] = p[i] < how->min_p * max ? 0 : p[i];
    for (int i = 0; i < V; i++)
        p[i] /= sum;
}

/* Frequencies over many draws lie within five standard errors, and nothing that was
 * removed is ever drawn. */
static void check_distribution(struct sampling how)
{
    enum { DRAWS = 40000 };
    double p[V], plain[V];
    int count[V] = {0}, kept = 0;
    struct sampler s;
    sampler_open(&s, V);
    filtered(&how, p);
    softmax(how.temperature, plain);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id;
        float lp;
        assert_int_equal(sampler_draw(&s, logits, &how, cai_key_make(2, 0, "d", 0, 0),
                                      (uint64_t)i, &id, &lp), 0);
        assert_in_range(id, 0, V - 1);
        assert_true(fabs((double)lp - log(plain[id])) < 1e-5);
        count[id]++;
    }
    for (int i = 0; i < V; i++) {
        double error = sqrt(p[i] * (1 - p[i]) * DRAWS);
        kept += p[i] > 0;
        if (p[i] > 0) /* five more for rare ids, which are far from normal */
            assert_true(fabs(count[i] - p[i] * DRAWS) <= 5 * error + 5);
        else
            assert_int_equal(count[i], 0);
    }
    if (how.top_k)
        assert_true(kept <= how.top_k);
    sampler_close(&s);
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    check_distribution((struct sampling){.temperature = 1, .top_p = 1});
    check_distribution((struct sampling){.temperature = 0.7, .top_p = 1});
    check_distribution((struct sampling){.temperature = 1, .top_p = 1, .top_k = 7});
    check_distribution((struct sampling){.temperature = 1, .top_p = 0.8});
    check_distribution((struct sampling){.temperature = 1, .top_p = 1, .min_p = 0.1});
    check_distribution(
        (struct sampling){.temperature = 1.3, .top_p = 0.9, .top_k = 40, .min_p = 0.05});
}

static void greedy_takes_the_first_of_the_highest(void **state)
{
    (void)state;
    struct sampler s;
    int32_t id;
    float lp, row[V];
    struct sampling greedy = {.top_p = 1};
    memcpy(row, logits, sizeof(row));
    row[17] = row[90] = 30;
    sampler_open(&s, V);
    assert_int_equal(sampler_draw(&s, row, &greedy, (struct cai_key){0}, 0, &id, &lp), 0);
    assert_int_equal(id, 17);
    assert_true(fabs((double)lp - log(0.5)) < 1e-4);
    sampler_close(&s);
}

static void numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    struct sampler s;
    int32_t id;
    float lp, row[V];
    const float bad[] = {NAN, INFINITY};
    struct sampling how = {.temperature = 1, .top_p = 1};
    sampler_open(&s, V);
    for (int i = 0; i < 2; i++)
        for (int at = 0; at < V; at += 101) {
            memcpy(row, logits, sizeof(row));
            row[at] = bad[i];
            assert_int_equal(sampler_draw(&s, row, &how, (struct cai_key){0}, 0, &id, &lp),
                             CAI_ENUMERIC);
        }
    for (int i = 0; i < V; i++)
        row[i] = -INFINITY;
    assert_int_equal(sampler_draw(&s, row, &how, (struct cai_key){0}, 0, &id, &lp), CAI_ENUMERIC);
    sampler_close(&s);
}

/* Rows drawn by many threads are the rows drawn one by one, and a bad one is named. */
static void all_at_once_is_one_by_one(void **state)
{
    (void)state;
    enum { ROWS = 9 };
    static float rows[ROWS][V];
    struct sampler s[3];
    struct draw draws[ROWS];
    struct sampling how[] = {{.temperature = 0.9, .top_p = 1}, {.temperature = 1, .top_p = 0.8}};
    for (int i = 0; i < 3; i++)
        sampler_open(&s[i], V);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < V; j++)
            rows[i][j] = logits[(j + 31 * i) % V];
    for (int h = 0; h < 2; h++) {
        for (int i = 0; i < ROWS; i++)
            draws[i] = (struct draw){.logits = rows[i], .position = (uint64_t)i,
                                     .key = cai_key_make(4, 0, "all", (uint64_t)i, 0)};
        assert_int_equal(sampler_draw_all(s, 3, &how[h], draws, ROWS), 0);
        for (int i = 0; i < ROWS; i++) {
            int32_t id;
            float lp;
            assert_int_equal(sampler_draw(s, rows[i], &how[h], draws[i].key, draws[i].position,
                                          &id, &lp), 0);
            assert_int_equal(draws[i].id, id);
            assert_memory_equal(&draws[i].logprob, &lp, sizeof(lp));
        }
    }
    cai_error_clear();
    rows[5][7] = NAN;
    assert_int_equal(sampler_draw_all(s, 3, &how[0], draws, ROWS), CAI_ENUMERIC);
    assert_non_null(strstr(cai_error_text(), "not finite"));
    for (int i = 0; i < 3; i++)
        sampler_close(&s[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(greedy_takes_the_first_of_the_highest),
        cmocka_unit_test(numbers_that_are_none_are_refused),
        cmocka_unit_test(all_at_once_is_one_by_one),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
