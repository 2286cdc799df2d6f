/* team: tasks on the compute threads run once each, whoever takes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "shim/ct.h"

static int init(void **state) {
    (void)state;
    return ct_init(3);
}

/* Every task once, tasks within tasks too; short rounds follow each other without mixing. */
struct tally {
    int n, count[300];
};

static void count_one(void *context, int i) {
    struct tally *t = context;
    __atomic_add_fetch(&t->count[i], 1, __ATOMIC_RELAXED);
}

static void count_within(void *context, int i) {
    struct tally *t = context;
    ct_parallel(t->n, count_one, &t[1 + i]);
}

static void parallel_runs_every_task_once(void **state) {
    (void)state;
    assert_int_equal(ct_threads(), 3);
    for (int round = 0; round < 2000; round++) {
        struct tally t = {.n = 1 + round % 300};
        ct_parallel(t.n, count_one, &t);
        for (int i = 0; i < 300; i++)
            assert_int_equal(t.count[i], i < t.n);
    }
    static struct tally nested[6];
    nested[0].n = 40;
    ct_parallel(5, count_within, nested);
    for (int i = 1; i < 6; i++)
        for (int j = 0; j < 300; j++)
            assert_int_equal(nested[i].count[j], j < 40);
}

/* Two threads that compute at once do not mix: one has the helpers, the other works alone. */
static void *many_rounds(void *context) {
    for (int round = 0; round < 500; round++) {
        struct tally t = {.n = 100};
        ct_parallel(t.n, count_one, &t);
        for (int i = 0; i < t.n; i++)
            if (t.count[i] != 1)
                *(int *)context = 1;
    }
    return NULL;
}

static void two_callers_do_not_mix(void **state) {
    (void)state;
    pthread_t other;
    int wrong[2] = {0};
    assert_int_equal(pthread_create(&other, NULL, many_rounds, &wrong[0]), 0);
    many_rounds(&wrong[1]);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(wrong[0] + wrong[1], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parallel_runs_every_task_once),
        cmocka_unit_test(two_callers_do_not_mix),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}
