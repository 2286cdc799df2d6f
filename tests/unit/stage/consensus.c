/* consensus: readers' accuracies come out as they were put in, few items give no certainty, and items
 * of known truth outweigh a majority. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "stage/consensus.h"
#include <math.h>

enum { ITEMS = 300, READERS = 4, SIDES = 3 };

static uint64_t drawn;

static double uniform(void) {
    return cai_rng_uniform(cai_key_make(3, 0, "consensus", 0, 0), drawn++);
}

/* Readers with these chances of being right; the fourth reads one in three. */
static void readings_of(const double *right, int *truth, int *value) {
    for (size_t i = 0; i < ITEMS; i++) {
        truth[i] = (int)(uniform() * SIDES);
        for (size_t j = 0; j < READERS; j++) {
            int wrong = (truth[i] + 1 + (int)(uniform() * (SIDES - 1))) % SIDES;
            bool reads = j < 3 || i % 3 == 0;
            value[i * READERS + j] = !reads ? AGREE_GAP : uniform() < right[j] ? truth[i] : wrong;
        }
    }
}

static void accuracies_come_out(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    static const double right[READERS] = {0.95, 0.8, 0.55, 0.7};
    int truth[ITEMS], value[ITEMS * READERS], known[ITEMS];
    struct readings r = {value, ITEMS, READERS, SIDES};
    size_t held = 0, best = 0, majority = 0;
    for (size_t i = 0; i < ITEMS; i++)
        known[i] = -1;
    for (int run = 0; run < 20; run++) {
        struct consensus c;
        readings_of(right, truth, value);
        consensus_estimate(&r, known, &a, &c);
        for (size_t j = 0; j < READERS; j++) {
            assert_true(fabs(c.reader[j].accuracy - right[j]) < 0.12);
            held += c.reader[j].low <= right[j] && right[j] <= c.reader[j].high;
        }
        assert_int_equal(c.reader[3].n, 100);
        for (size_t i = 0; i < ITEMS; i++) {
            const double *t = &c.truth[i * SIDES];
            int top = t[0] >= t[1] && t[0] >= t[2] ? 0 : t[1] >= t[2] ? 1 : 2;
            best += top == truth[i];
            int *v = &value[i * READERS];
            majority += (v[1] == v[2] ? v[1] : v[0]) == truth[i];
        }
    }
    assert_true(held >= 64);       /* of 80: consensus.h says that they are too narrow */
    assert_true(best > majority);  /* weighing is worth something */
}

static void few_give_no_certainty(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    int value[] = {0, 0, 0, 2, 2, 2}, known[] = {-1, -1}, none = -1;
    struct readings r = {value, 2, 3, SIDES}, empty = {value, 0, 3, SIDES};
    struct consensus c;
    consensus_estimate(&r, known, &a, &c);
    for (size_t j = 0; j < 3; j++) {
        assert_true(c.reader[j].accuracy > 0.66 && c.reader[j].accuracy < 0.85);
        assert_true(c.reader[j].low < 0.5 && c.reader[j].n == 2);
    }
    assert_true(c.truth[0] > 0.8 && c.truth[0] < 0.999);
    consensus_estimate(&empty, &none, &a, &c);
    assert_true(fabs(c.reader[0].accuracy - 2.0 / 3) < 1e-12 && c.reader[0].n == 0);
}

static void what_is_known_outweighs_a_majority(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    int value[60 * 3], known[60];
    for (int i = 0; i < 60; i++) { /* two agree, always against the third, who is right */
        known[i] = i < 20 ? i % 2 : -1;
        value[3 * i] = i % 2;
        value[3 * i + 1] = value[3 * i + 2] = 1 - i % 2;
    }
    struct readings r = {value, 60, 3, 2};
    struct consensus c;
    consensus_estimate(&r, known, &a, &c);
    assert_true(c.reader[0].low > 0.8 && c.reader[1].high < 0.2);
    assert_true(c.truth[2 * 59 + 1] > 0.99);
}

static void two_alone_cannot_be_told_apart(void **state) {
    (void)state;
    CAI_AUTO(arena) struct cai_arena a = {0};
    int value[80], known[40];
    for (int i = 0; i < 40; i++) {
        known[i] = -1;
        value[2 * i] = i % 2;
        value[2 * i + 1] = i % 4 < 2 ? i % 2 : 1 - i % 2;
    }
    struct readings r = {value, 40, 2, 2};
    struct consensus c;
    consensus_estimate(&r, known, &a, &c);
    assert_true(fabs(c.reader[0].accuracy - c.reader[1].accuracy) < 1e-6);
    assert_true(c.reader[0].accuracy < 0.9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accuracies_come_out),
        cmocka_unit_test(few_give_no_certainty),
        cmocka_unit_test(what_is_known_outweighs_a_majority),
        cmocka_unit_test(two_alone_cannot_be_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
