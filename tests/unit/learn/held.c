/* held: the most of each; caches are added up while they lie there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "learn/held.h"

static void the_most_of_each_stays(void **state) {
    (void)state;
    held_begin();
    held_cache(100, 4, 32);
    held_cache(50, 2, 16); /* two at once */
    held_cache(-50, 2, 16);
    held_cache(-100, 4, 32);
    held_cache(120, 8, 64);
    held_rows(7);
    held_rows(5);
    held_data(10);
    held_data(5);
    struct held h = held_now();
    assert_int_equal(h.cache, 150);
    assert_int_equal(h.slots, 2);
    assert_int_equal(h.rows, 7);
    assert_int_equal(h.data, 15);
    /* What still lies there counts from the beginning of the next, with its sizes when it grows. */
    held_begin();
    assert_int_equal(held_now().cache, 0);
    held_cache(10, 1, 96);
    assert_int_equal(held_now().cache, 130);
    assert_int_equal(held_now().positions, 96);
    held_cache(-130, 8, 64);
}

static void each_task_counts_anew(void **state) {
    (void)state;
    held_begin();
    held_micro(30);
    held_micro(50);
    held_micro(40);
    assert_int_equal(held_now().micro, 50);
    held_begin();
    held_micro(5);
    assert_int_equal(held_now().micro, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_of_each_stays),
        cmocka_unit_test(each_task_counts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
