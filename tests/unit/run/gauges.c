/* gauges: which figures are kept, in which order, and as Prometheus' text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "run/gauges.h"
#include <stdio.h>
#include <string.h>

static void write_all(const struct gauges *g, struct cai_buf *out) {
    for (size_t k = 0; k < gauges_families; k++) {
        bool named = false;
        gauges_write(g, k, 7, "ppo", &named, out);
        gauges_write(g, k, 8, "ppo", &named, out);
    }
}

static void families_stand_together(void **state) {
    (void)state;
    struct gauges g = {0};
    CAI_AUTO(buf) struct cai_buf out = {0};
    gauges_note(&g, "ratio_max", 1.5);
    gauges_note(&g, "kl", 3);
    gauges_note(&g, "kl", 4); /* the last counts */
    gauges_note(&g, "unknown", 1);
    gauges_note(&g, "kl/part", 1);
    gauges_note(&g, "score", 1);
    write_all(&g, &out);
    static const char expected[] =
        "# HELP cai_kl_nats Distance of the policy from the start, nats per reply.\n"
        "# TYPE cai_kl_nats gauge\n"
        "cai_kl_nats{job=\"7\",stage=\"ppo\"} 4\n"
        "cai_kl_nats{job=\"8\",stage=\"ppo\"} 4\n"
        "# HELP cai_probability_ratio_max Largest probability ratio of the last step.\n"
        "# TYPE cai_probability_ratio_max gauge\n"
        "cai_probability_ratio_max{job=\"7\",stage=\"ppo\"} 1.5\n"
        "cai_probability_ratio_max{job=\"8\",stage=\"ppo\"} 1.5\n";
    assert_string_equal(out.data, expected);
    gauges_clear(&g);
    assert_int_equal(g.n, 0);
}

static void principles_are_labels(void **state) {
    (void)state;
    struct gauges g = {0};
    CAI_AUTO(buf) struct cai_buf out = {0};
    gauges_note(&g, "score/kind", -1);
    gauges_note(&g, "score/a\\b\"c\nd/e", 2);
    write_all(&g, &out);
    const char *odd = strstr(out.data, "principle=\"a\\\\b\\\"c\\nd/e\"} 2\n");
    assert_non_null(odd);
    assert_true(odd < strstr(out.data, "principle=\"kind\"} -1\n")); /* by name */
    gauges_clear(&g);
}

static void labels_are_bounded(void **state) {
    (void)state;
    struct gauges g = {0};
    char name[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "score/%03d", i);
        gauges_note(&g, name, i);
    }
    assert_int_equal(g.n, 64);
    gauges_note(&g, "score/003", -3); /* one that is there goes on */
    assert_true(g.at[3].value == -3);
    gauges_clear(&g);
}

static void watch_shows_a_few(void **state) {
    (void)state;
    struct gauges g = {0};
    gauges_note(&g, "ratio_max", 1);
    gauges_note(&g, "score/kind", 1);
    gauges_note(&g, "entropy", 2);
    gauges_note(&g, "reward", 3);
    json_t *shown = gauges_json(&g);
    CAI_AUTO(mem) char *text = json_dumps(shown, JSON_COMPACT);
    assert_string_equal(text, "{\"reward\":3.0,\"entropy\":2.0}");
    json_decref(shown);
    gauges_clear(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_stand_together),
        cmocka_unit_test(principles_are_labels),
        cmocka_unit_test(labels_are_bounded),
        cmocka_unit_test(watch_shows_a_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
