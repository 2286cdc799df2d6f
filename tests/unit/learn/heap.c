/* heap: what lies free goes back to the system, from a thread's own heap too. */
#include "learn/heap.h"

#include "learn/packing.h"

#include "peak.h"
#include <pthread.h>

enum { MB = 1 << 20, BLOCKS = 24 };

/* Blocks of a megabyte, as many megabytes as that more resident; then free, the last one too. */
static void *fill(void *ret) {
    double *risen = ret;
    void *blocks[BLOCKS];
    heap_keep(true);
    double before = peak_megabytes("VmRSS:");
    for (int i = 0; i < BLOCKS; i++)
        memset(blocks[i] = cai_alloc(MB), 1, MB);
    risen[0] = peak_megabytes("VmRSS:") - before;
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    risen[1] = peak_megabytes("VmRSS:") - before;
    heap_keep(false);
    heap_give_back();
    risen[2] = peak_megabytes("VmRSS:") - before;
    return NULL;
}

static void what_lies_free_goes_back(void **state) {
    (void)state;
    double own[3], thread[3];
    pthread_t t;
    fill(own);
    assert_int_equal(pthread_create(&t, NULL, fill, thread), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    for (int i = 0; i < 2; i++) {
        const double *risen = i ? thread : own;
        print_message("%s: +%.1f MB held, +%.1f MB freed, +%.1f MB given back\n",
                      i ? "a thread" : "the first", risen[0], risen[1], risen[2]);
        assert_true(risen[0] > BLOCKS - 1 && risen[1] > BLOCKS - 1 && risen[2] < 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_lies_free_goes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
